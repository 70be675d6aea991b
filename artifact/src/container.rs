//! Artifacts, and the file they travel in.
//!
//! All numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic `\x89NSA\r\n\x1a\n` (a transfer that changes line ends or strips the eighth bit destroys it) |
//! | 4 | version of the format, 1 |
//! | 4 | number of payloads |
//! | 32 | SHA-256 of everything that follows |
//! | 8 + n | length and text of the manifest, JSON |
//! | per payload: 8 + n, 8 + n | length and text of its name, length and bytes of its content |

use crate::{Invalid, Manifest};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

const MAGIC: [u8; 8] = *b"\x89NSA\r\n\x1a\n";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 4 + 32;
/// A manifest larger than this is refused before it is parsed: parsing needs a multiple of the text's size.
const MAX_MANIFEST: usize = 16 << 20;
/// Every target and variant has one payload, so a few dozen are many.
const MAX_PAYLOADS: u32 = 4096;

/// A compiled program: its manifest, and the texts that the manifest names.
#[derive(Clone, PartialEq, Debug)]
pub struct Artifact {
    manifest: Manifest,
    payloads: Vec<(Cow<'static, str>, Cow<'static, [u8]>)>,
}

/// Why bytes are not an artifact.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The first bytes are others.
    #[error("this is not an nsa artifact")]
    Magic,
    /// Written by a later version.
    #[error("the artifact has format {0}, this version reads format {VERSION}: rebuild it, or update nsa")]
    Version(u32),
    /// The bytes end too early, or lengths contradict each other.
    #[error("the artifact is cut off or damaged")]
    Truncated,
    /// The checksum differs.
    #[error("the artifact is damaged: its checksum does not fit its content")]
    Checksum,
    /// The manifest is no manifest.
    #[error("the artifact's manifest cannot be read: {0}")]
    Manifest(#[from] serde_json::Error),
    /// The manifest contradicts itself.
    #[error("the artifact's manifest is inconsistent: {0}")]
    Invalid(#[from] Invalid),
}

/// SHA-256 of some bytes, in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

impl Artifact {
    /// An artifact of a manifest and its payloads, each a name and its content. Checks the manifest.
    pub fn new(
        manifest: Manifest,
        payloads: impl IntoIterator<Item = (impl Into<Cow<'static, str>>, impl Into<Cow<'static, [u8]>>)>,
    ) -> Result<Self, Invalid> {
        let payloads: Vec<_> = payloads.into_iter().map(|(name, content)| (name.into(), content.into())).collect();
        manifest.check(&|name| payloads.iter().any(|(n, _)| n == name))?;
        Ok(Artifact { manifest, payloads })
    }

    /// An artifact of a manifest as JSON and texts, as a program has them embedded.
    pub fn embedded(manifest: &str, payloads: &[(&'static str, &'static str)]) -> Result<Self, ReadError> {
        let manifest = serde_json::from_str(manifest)?;
        Ok(Artifact::new(manifest, payloads.iter().map(|(name, text)| (*name, text.as_bytes())))?)
    }

    /// The manifest; it has been checked.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest as JSON, one line.
    #[expect(
        clippy::expect_used,
        reason = "writing to memory fails only for map keys that JSON lacks; a manifest has no maps"
    )]
    pub fn manifest_json(&self) -> String {
        serde_json::to_string(&self.manifest).expect("a manifest has no maps")
    }

    /// The content of a payload.
    pub fn payload(&self, name: &str) -> Option<&[u8]> {
        self.payloads.iter().find(|(n, _)| n == name).map(|(_, content)| content.as_ref())
    }

    /// The content of a payload that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.payload(name)?).ok()
    }

    /// All payloads.
    pub fn payloads(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.payloads.iter().map(|(name, content)| (name.as_ref(), content.as_ref()))
    }

    /// SHA-256 of manifest and payloads, in hexadecimal: equal artifacts have equal hashes.
    pub fn hash(&self) -> String {
        digest(&self.body())
    }

    /// The artifact as one file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = self.body();
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.payloads.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&Sha256::digest(&body));
        bytes.extend_from_slice(&body);
        bytes
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let mut section = |content: &[u8]| {
            body.extend_from_slice(&(content.len() as u64).to_le_bytes());
            body.extend_from_slice(content);
        };
        section(self.manifest_json().as_bytes());
        for (name, content) in &self.payloads {
            section(name.as_bytes());
            section(content);
        }
        body
    }

    /// Reads what [`Artifact::to_bytes`] wrote. Never panics, whatever the bytes; needs memory in proportion to them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReadError> {
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(ReadError::Magic)?;
        if *magic != MAGIC {
            return Err(ReadError::Magic);
        }
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(ReadError::Truncated)?;
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(ReadError::Version(version));
        }
        let (count, rest) = rest.split_first_chunk::<4>().ok_or(ReadError::Truncated)?;
        let count = u32::from_le_bytes(*count);
        let (checksum, mut body) = rest.split_first_chunk::<32>().ok_or(ReadError::Truncated)?;
        if Sha256::digest(body)[..] != checksum[..] {
            return Err(ReadError::Checksum);
        }
        let manifest = section(&mut body)?;
        if manifest.len() > MAX_MANIFEST || count > MAX_PAYLOADS {
            return Err(ReadError::Truncated);
        }
        let manifest: Manifest = serde_json::from_slice(manifest)?;
        let mut payloads = Vec::new();
        for _ in 0..count {
            let name = std::str::from_utf8(section(&mut body)?).map_err(|_| ReadError::Truncated)?;
            payloads.push((name.to_string(), section(&mut body)?.to_vec()));
        }
        if !body.is_empty() {
            return Err(ReadError::Truncated);
        }
        Ok(Artifact::new(manifest, payloads)?)
    }
}

/// Takes a length and that many bytes off the front.
fn section<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], ReadError> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or(ReadError::Truncated)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| ReadError::Truncated)?;
    let (content, rest) = rest.split_at_checked(length).ok_or(ReadError::Truncated)?;
    *bytes = rest;
    Ok(content)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A small artifact for tests: `y[t, d] = ...x[t, d]` on a GPU.
#[cfg(test)]
pub(crate) fn sample() -> Artifact {
    use crate::*;
    let axes =
        vec![Axis { name: "t".into(), extent: Extent::Runtime }, Axis { name: "d".into(), extent: Extent::Const(64) }];
    let buffer = |name: &str, role| Buffer {
        name: name.into(),
        axes: vec!["t".into(), "d".into()],
        dtype: DType::F32,
        role,
        align: 4,
    };
    let signature = vec![buffer("x", Role::Argument), buffer("y", Role::Result)];
    let kernel = Kernel {
        name: "scale".into(),
        grid: vec![GridAxis { axis: "d".into(), tile: 64 }, GridAxis { axis: "t".into(), tile: 8 }],
        order: TileOrder::Forward,
        buffers: vec![0, 1],
        threads: 128,
        shared_bytes: 0,
        scratch_bytes: 0,
        gathered: vec![],
    };
    let variant = Variant {
        label: "only".into(),
        when: vec![],
        axes: axes.clone(),
        buffers: signature.clone(),
        kernels: vec![kernel],
        code: Code::Ptx { payload: "scale.ptx".into(), version: PtxVersion { major: 7, minor: 1 } },
    };
    let manifest = Manifest {
        name: "scale".into(),
        program: "00".into(),
        compiler: "test".into(),
        constants: vec![("D".into(), 64.0)],
        axes,
        signature,
        targets: vec![TargetCode { target: Target::Sm80, variants: vec![variant] }],
    };
    Artifact::new(manifest, [("scale.ptx", b".version 7.1".as_slice())]).expect("consistent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip() {
        let artifact = sample();
        let back = Artifact::from_bytes(&artifact.to_bytes()).expect("readable");
        assert_eq!(back, artifact);
        assert_eq!(back.hash(), artifact.hash());
        assert_eq!(back.text("scale.ptx"), Some(".version 7.1"));
    }

    #[test]
    fn every_prefix_and_every_flipped_byte_is_an_error() {
        let bytes = sample().to_bytes();
        for end in 0..bytes.len() {
            assert!(Artifact::from_bytes(&bytes[..end]).is_err(), "{end} bytes of {}", bytes.len());
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            assert!(Artifact::from_bytes(&damaged).is_err(), "byte {at} changed");
        }
    }

    /// Lengths that lie, with a checksum that fits: no panic, no large allocation.
    #[test]
    fn forged_lengths_are_errors() {
        let bytes = sample().to_bytes();
        for length in [u64::MAX, u64::MAX / 2, 1 << 40, bytes.len() as u64] {
            let mut forged = bytes.clone();
            forged[HEADER..HEADER + 8].copy_from_slice(&length.to_le_bytes());
            let sum = Sha256::digest(&forged[HEADER..]);
            forged[16..HEADER].copy_from_slice(&sum);
            assert!(matches!(Artifact::from_bytes(&forged), Err(ReadError::Truncated)), "length {length}");
        }
        let mut forged = bytes.clone();
        forged[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Artifact::from_bytes(&forged), Err(ReadError::Truncated)));
    }
}

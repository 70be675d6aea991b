//! Artifacts: any bytes, bytes behind a header and checksum that fit, and any manifest with payloads for its names.

#![no_main]

use nsa_artifact::{Artifact, Manifest};
use sha2::{Digest, Sha256};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = Artifact::from_bytes(data);
    // Else the checksum would stop everything.
    let mut bytes = b"\x89NSA\r\n\x1a\n\x01\0\0\0".to_vec();
    bytes.extend_from_slice(&[u8::from(data.len() % 2 == 1), 0, 0, 0]);
    bytes.extend_from_slice(&Sha256::digest(data));
    bytes.extend_from_slice(data);
    round_trip(Artifact::from_bytes(&bytes).ok());
    let Ok(manifest) = serde_json::from_slice::<Manifest>(data) else { return };
    let names: Vec<String> =
        manifest.targets.iter().flat_map(|t| &t.variants).map(|v| v.code.payload().to_string()).collect();
    let payloads = names.into_iter().map(|name| (name, b".version 7.1".to_vec()));
    round_trip(Artifact::new(manifest, payloads).ok());
});

/// What is accepted can be asked for everything, and is the same when it is written and read again.
fn round_trip(artifact: Option<Artifact>) {
    let Some(artifact) = artifact else { return };
    let manifest = artifact.manifest();
    for variant in manifest.targets.iter().flat_map(|t| &t.variants) {
        for kernel in &variant.kernels {
            assert!(variant.words(kernel) >= 3);
        }
        for axis in &variant.axes {
            if let nsa_artifact::Extent::Derived(length) = &axis.extent {
                for n in [0, 1, 1 << 31, i64::MAX] {
                    let _ = length.evaluate(&|_| Some(n));
                }
            }
        }
    }
    let again = Artifact::from_bytes(&artifact.to_bytes());
    assert_eq!(again.as_ref().ok(), Some(&artifact), "{:?}", again.as_ref().err());
}

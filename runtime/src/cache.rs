//! A folder of compiled programs, so that what was compiled once is not compiled again (feature `cache`, part of `jit`).
//!
//! A cache never makes a launch fail: what cannot be read is compiled anew, what cannot be written is not kept. Entries are
//! written beside their place and then renamed, so that several processes may use one folder. It is no place for what others can
//! write to: the code in it is executed.

use nsa_artifact::{Artifact, digest};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The environment variable that names another folder; `off`, or nothing: no cache.
pub const VARIABLE: &str = "NSA_CACHE";
/// What entries are called after their key.
const EXTENSION: &str = "nsak";
/// What files are called while they are written.
const UNFINISHED: &str = ".unfinished-";
/// What has not been finished for this long will not be: whoever wrote it was stopped.
const ABANDONED: Duration = Duration::from_secs(60 * 60);
/// The payload that holds an entry's key.
const KEY: &str = "cache key";
/// Entries are some hundred kilobytes: this much is a thousand of them.
const LIMIT: u64 = 256 << 20;

/// A folder of compiled programs, or none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cache {
    folder: Option<PathBuf>,
    limit: u64,
}

/// What a cache holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Number of programs.
    pub entries: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

impl Default for Cache {
    /// The folder that the environment variable `NSA_CACHE` names (`off`: none); without it the user's own folder for caches, `nsa` in
    /// `$XDG_CACHE_HOME` or `~/.cache`.
    fn default() -> Self {
        match std::env::var_os(VARIABLE) {
            Some(value) if value.is_empty() || value == "off" => Cache::none(),
            Some(folder) => Cache::at(folder),
            None => {
                use etcetera::BaseStrategy;
                let folders = etcetera::choose_base_strategy();
                folders.map_or(Cache::none(), |folders| Cache::at(folders.cache_dir().join("nsa")))
            }
        }
    }
}

impl Cache {
    /// No cache.
    pub fn none() -> Cache {
        Cache { folder: None, limit: LIMIT }
    }

    /// A cache in this folder, which is made when something is kept.
    pub fn at(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: Some(folder.into()), limit: LIMIT }
    }

    /// As many bytes are kept at most, 256 MiB by default; what was not used for longest goes first.
    pub fn limit(mut self, bytes: u64) -> Cache {
        self.limit = bytes;
        self
    }

    /// Where it is.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// What it holds; nothing if there is no folder.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn usage(&self) -> io::Result<Usage> {
        let entries = self.entries()?;
        let finished = entries.iter().filter(|entry| entry.finished);
        Ok(finished.fold(Usage::default(), |sum, e| Usage { entries: sum.entries + 1, bytes: sum.bytes + e.bytes }))
    }

    /// Makes the folder if it is not there, and tries to write a file in it.
    ///
    /// # Errors
    /// What is in the way.
    pub fn writable(&self) -> io::Result<()> {
        match &self.folder {
            Some(folder) => unfinished(folder).map(drop),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "there is no folder")),
        }
    }

    /// The entry of this key, if there is one that can be read. `key` is everything that its content depends on, in any words.
    pub fn get(&self, key: &str) -> Option<Artifact> {
        let key = digest(key.as_bytes());
        let mut file = File::open(self.path(&key)?).ok()?;
        // Larger than everything together may be: no entry.
        let size = file.metadata().ok().filter(|m| m.len() <= self.limit)?.len();
        let mut bytes = Vec::with_capacity(usize::try_from(size).ok()?);
        file.read_to_end(&mut bytes).ok()?;
        // The reader checks the sum over all bytes; the key says that nobody renamed the file.
        let artifact = Artifact::from_bytes(&bytes).ok().filter(|a| a.payload(KEY) == Some(key.as_bytes()))?;
        // For those who clean up; a folder that only others may write to is as good.
        let _ = file.set_modified(SystemTime::now());
        Some(artifact)
    }

    /// Keeps an artifact under this key. Without a word if it cannot: the next one to ask compiles.
    pub fn put(&self, key: &str, artifact: &Artifact) {
        // A full disk, a folder of somebody else's, none at all: the program runs as well without.
        let _ = self.try_put(&digest(key.as_bytes()), artifact);
    }

    fn try_put(&self, key: &str, artifact: &Artifact) -> io::Result<()> {
        let (Some(folder), Some(path)) = (&self.folder, self.path(key)) else { return Ok(()) };
        let payloads = artifact.payloads().map(|(name, content)| (name.to_string(), content.to_vec()));
        let with_key = payloads.chain([(KEY.to_string(), key.as_bytes().to_vec())]);
        let entry = Artifact::new(artifact.manifest().clone(), with_key).map_err(io::Error::other)?;
        let mut file = unfinished(folder)?;
        file.write_all(&entry.to_bytes())?;
        // Renamed in one step: others see the whole entry or none.
        file.persist(path)?;
        self.clean()
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(key).with_extension(EXTENSION))
    }

    /// Removes abandoned files, and what is too much, oldest first.
    fn clean(&self) -> io::Result<()> {
        let mut entries = self.entries()?;
        let abandoned = |e: &Entry| !e.finished && e.used.elapsed().is_ok_and(|age| age > ABANDONED);
        for entry in entries.iter().filter(|e| abandoned(e)) {
            fs::remove_file(&entry.path)?;
        }
        entries.retain(|e| e.finished);
        entries.sort_by_key(|e| e.used);
        let mut bytes: u64 = entries.iter().map(|e| e.bytes).sum();
        for entry in entries {
            if bytes <= self.limit {
                break;
            }
            // Somebody else may have been faster.
            let _ = fs::remove_file(&entry.path);
            bytes -= entry.bytes;
        }
        Ok(())
    }

    /// Files of the cache; other files in the folder are left alone.
    fn entries(&self) -> io::Result<Vec<Entry>> {
        let Some(folder) = &self.folder else { return Ok(vec![]) };
        let listed = match fs::read_dir(folder) {
            Ok(listed) => listed,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(e),
        };
        let mut entries = vec![];
        for file in listed.filter_map(Result::ok) {
            let path = file.path();
            let finished = path.extension().is_some_and(|extension| extension == EXTENSION);
            let ours = finished || file.file_name().to_string_lossy().starts_with(UNFINISHED);
            // A file that is gone meanwhile is none.
            if let (true, Ok(about)) = (ours, file.metadata()) {
                let used = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                entries.push(Entry { path, finished, bytes: about.len(), used });
            }
        }
        Ok(entries)
    }
}

/// A file of the cache.
struct Entry {
    path: PathBuf,
    finished: bool,
    bytes: u64,
    used: SystemTime,
}

/// A new file in a folder, which is made if need be; removed again unless it gets another name.
fn unfinished(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    if !folder.is_dir() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        // What is in it is executed: nobody else may write.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::compress_artifact;

    fn same(a: &Artifact, b: &Artifact) -> bool {
        a.manifest() == b.manifest() && b.payloads().all(|(name, content)| a.payload(name) == Some(content))
    }

    #[test]
    fn what_is_put_is_got() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::at(folder.path().join("made/when/needed"));
        assert_eq!(cache.usage().expect("nothing to read"), Usage::default());
        assert!(cache.get("a").is_none());
        let artifact = compress_artifact();
        cache.put("a", &artifact);
        assert!(same(&cache.get("a").expect("kept"), &artifact));
        assert!(cache.get("b").is_none());
        let usage = cache.usage().expect("readable");
        assert!(usage.entries == 1 && usage.bytes > 100, "{usage:?}");
        assert!(Cache::none().get("a").is_none());
        Cache::none().put("a", &artifact);
    }

    #[test]
    fn damaged_and_renamed_entries_are_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::at(folder.path());
        let artifact = compress_artifact();
        cache.put("a", &artifact);
        let path = |key: &str| cache.path(&digest(key.as_bytes())).expect("a folder");
        let whole = fs::read(path("a")).expect("written");
        for damaged in [&b""[..], b"nonsense", &whole[..whole.len() / 2], &[&whole[..], b"more"].concat()] {
            fs::write(path("a"), damaged).expect("writable");
            assert!(cache.get("a").is_none());
        }
        fs::write(path("b"), &whole).expect("writable");
        assert!(cache.get("b").is_none(), "an entry under the name of another");
        fs::remove_file(path("a")).expect("there");
        fs::create_dir(path("a")).expect("a folder in its place");
        assert!(cache.get("a").is_none());
        cache.put("a", &artifact);
        assert!(cache.get("a").is_none());
    }

    #[test]
    fn the_oldest_go_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let artifact = compress_artifact();
        let all = Cache::at(folder.path());
        all.put("a", &artifact);
        let one = all.usage().expect("readable").bytes;
        let cache = Cache::at(folder.path()).limit(2 * one);
        let age = |key: &str, minutes: u64| {
            let file = File::open(cache.path(&digest(key.as_bytes())).expect("a folder")).expect("there");
            file.set_modified(SystemTime::now() - Duration::from_secs(60 * minutes)).expect("ours");
        };
        cache.put("b", &artifact);
        age("a", 20);
        age("b", 30);
        // Used, so that it is younger than `b`.
        assert!(cache.get("a").is_some());
        let others = folder.path().join("notes.txt");
        fs::write(&others, "mine").expect("writable");
        cache.put("c", &artifact);
        assert!(cache.get("b").is_none() && cache.get("a").is_some() && cache.get("c").is_some());
        assert!(others.exists(), "files of others are left alone");
    }

    #[test]
    fn a_folder_that_cannot_be_is_no_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let cache = Cache::at(file.path().join("below a file"));
        cache.put("a", &compress_artifact());
        assert!(cache.get("a").is_none());
        assert!(cache.writable().is_err() && Cache::none().writable().is_err());
    }
}

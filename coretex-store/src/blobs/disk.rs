//! The blocking half: directories, files and their flushes.

use std::{
    collections::BinaryHeap,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use coretex_core::ports::{BlobEntry, BlobError, BlobErrorKind, BlobKey};

use super::{
    format,
    path::{self, Name},
};

/// Holds files that are being written. No key leads here.
const TEMPORARY: &str = ".tmp";
const LOCK: &str = ".lock";
/// Times that a write makes its directory anew, when deletions keep removing it as empty.
const TRIES: usize = 16;

#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    names: AtomicU64,
    /// Held while directories are made or removed: one that is found under it is durable.
    directories: Mutex<()>,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Disk {
    pub(super) fn open(root: PathBuf) -> Result<Self, BlobError> {
        let failed = |error| failure("open", &root.display(), error);
        let temporary = root.join(TEMPORARY);
        make_directory(&temporary).map_err(failed)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(BlobError::new(
                    BlobErrorKind::Unavailable,
                    format!("`{}` is in use; close the other process or choose another directory", root.display()),
                ));
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Whatever lies here was never finished.
        for entry in fs::read_dir(&temporary).map_err(failed)? {
            fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
        }
        Ok(Self { root, names: AtomicU64::new(0), directories: Mutex::default(), _lock: lock })
    }

    pub(super) fn put(&self, entry: &BlobEntry, bytes: &[u8]) -> Result<(), BlobError> {
        let name = self.names.fetch_add(1, Ordering::Relaxed).to_string();
        let temporary = self.root.join(TEMPORARY).join(name);
        let written = self.write(&temporary, entry, bytes);
        if written.is_err() {
            // What cannot be removed now is removed when the directory is opened again.
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(|error| failure("write", &entry.key, error))
    }

    fn write(&self, temporary: &Path, entry: &BlobEntry, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(temporary)?;
        file.write_all(&format::encode(entry))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        let target = self.path(&entry.key);
        let parent = target.parent().unwrap_or(&self.root);
        for attempt in 1.. {
            let changing = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
            make_directory(parent)?;
            drop(changing);
            match fs::rename(temporary, &target) {
                Err(error) if error.kind() == ErrorKind::NotFound && attempt < TRIES => {}
                renamed => {
                    renamed?;
                    break;
                }
            }
        }
        flush_directory(parent)
    }

    pub(super) fn get(&self, key: &BlobKey) -> Result<Option<Bytes>, BlobError> {
        match fs::read(self.path(key)) {
            Ok(file) => format::open(key, file).map(Some).map_err(|problem| corrupt(key, problem)),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(failure("read", key, error)),
        }
    }

    pub(super) fn head(&self, key: &BlobKey) -> Result<Option<BlobEntry>, BlobError> {
        let failed = |error| failure("read", key, error);
        let file = match File::open(self.path(key)) {
            Ok(file) => file,
            Err(error) if absent(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let length = file.metadata().map_err(failed)?.len();
        let mut header = Vec::with_capacity(format::HEADER);
        file.take(format::HEADER as u64).read_to_end(&mut header).map_err(failed)?;
        let entry = format::decode(key, &header).map_err(|problem| corrupt(key, problem))?;
        if length != entry.size + format::HEADER as u64 {
            return Err(corrupt(key, "its length is not what was written"));
        }
        Ok(Some(entry))
    }

    pub(super) fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        let target = self.path(key);
        match fs::remove_file(&target) {
            Ok(()) => self.prune(&target).map_err(|error| failure("delete", key, error)),
            Err(error) if absent(&error) => Ok(()),
            Err(error) => Err(failure("delete", key, error)),
        }
    }

    /// Removes the directories that a deletion left empty, and makes it durable.
    fn prune(&self, target: &Path) -> io::Result<()> {
        let _changing = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        for parent in target.ancestors().skip(1).take_while(|parent| *parent != self.root) {
            if fs::remove_dir(parent).is_err() && parent.exists() {
                // Not empty: the removed name was in here.
                return flush_directory(parent);
            }
        }
        flush_directory(&self.root)
    }

    /// The first `limit` keys, by bytes, that start with `prefix` and lie behind `after`.
    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> Result<Vec<BlobEntry>, BlobError> {
        let mut walk = Walk { prefix, after: after.map(BlobKey::as_str), limit, found: BinaryHeap::new() };
        if limit > 0 {
            walk.visit(&self.root, "").map_err(|error| failure("list", &prefix, error))?;
        }
        let mut entries = Vec::with_capacity(walk.found.len());
        for key in walk.found.into_sorted_vec() {
            // `None`: deleted meanwhile.
            entries.extend(self.head(&BlobKey::parse(&key)?)?);
        }
        Ok(entries)
    }

    fn path(&self, key: &BlobKey) -> PathBuf {
        self.root.join(path::of_key(key))
    }
}

struct Walk<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
    /// The smallest keys so far; the largest of them on top.
    found: BinaryHeap<String>,
}

impl Walk<'_> {
    /// Looks through `directory`, all of whose keys start with `above`.
    fn visit(&mut self, directory: &Path, above: &str) -> io::Result<()> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut below = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            match name.to_str().and_then(path::parse) {
                Some(Name::File(end)) => self.offer(format!("{above}{end}")),
                Some(Name::Directory(part)) => below.push((format!("{above}{part}"), name)),
                None => {}
            }
        }
        // In order, so that later ones can be left out once enough is found.
        below.sort_unstable();
        for (above, name) in below {
            if self.may_hold(&above) {
                self.visit(&directory.join(name), &above)?;
            }
        }
        Ok(())
    }

    fn offer(&mut self, key: String) {
        if !key.starts_with(self.prefix) || self.after.is_some_and(|after| key.as_str() <= after) {
            return;
        }
        // Not one of ours: no key can name it.
        if BlobKey::parse(&key).is_err() {
            return;
        }
        self.found.push(key);
        if self.found.len() > self.limit {
            self.found.pop();
        }
    }

    /// Whether a key that starts with `above` may be wanted.
    fn may_hold(&self, above: &str) -> bool {
        let in_prefix = above.starts_with(self.prefix) || self.prefix.starts_with(above);
        let behind = self.after.is_none_or(|after| above > after || after.starts_with(above));
        let early = self.found.len() < self.limit || self.found.peek().is_some_and(|last| above < last.as_str());
        in_prefix && behind && early
    }
}

/// Makes `path` and what is missing above it, each durably.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directory(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    flush_directory(parent)
}

/// Makes the names in a directory durable. A directory that is gone has none.
fn flush_directory(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match File::open(path) {
        Ok(directory) => directory.sync_all(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A key whose path leads through a file does not exist either.
fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn corrupt(key: &BlobKey, problem: &str) -> BlobError {
    BlobError::new(BlobErrorKind::Corrupt, format!("blob `{key}` is not served: {problem}; restore or delete it"))
}

pub(super) fn failure(what: &str, name: &dyn std::fmt::Display, error: io::Error) -> BlobError {
    let (kind, advice) = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (BlobErrorKind::Full, "; free some space"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            (BlobErrorKind::Unavailable, "; allow this process to write there")
        }
        _ => (BlobErrorKind::Unavailable, ""),
    };
    BlobError::new(kind, format!("cannot {what} `{name}`{advice}")).with_source(error)
}

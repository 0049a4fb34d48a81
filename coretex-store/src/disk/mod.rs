//! The disk as the embedded store sees it: a few operations whose durability is explicit.
//!
//! [`RealDisk`] is the file system. `SimDisk` (feature `testing`) is a disk in memory that does everything a disk
//! may do between two syncs and at a loss of power, so that the store's promises can be tested against it. Nothing
//! here knows what is stored.
//!
//! What callers may rely on: data written is durable after [`DiskFile::sync_data`] of that file, together with its
//! length; names are durable after [`Disk::sync_dir`] of their directory. Anything else may be lost, in any order.

use std::{any::Any, fmt, io, path::Path};

mod real;
mod redb_file;
#[cfg(any(test, feature = "testing"))]
mod sim;

pub use real::RealDisk;
#[doc(hidden)]
pub use redb_file::RedbFile;
#[cfg(any(test, feature = "testing"))]
pub use sim::{Fault, SimDisk, SimStats};

/// A directory tree of files.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens the file at `path` for reading and writing; creates it, empty, when `create`.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when it is not there and `create` is false; otherwise what the disk says.
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>>;

    /// Makes the directory at `path` with its parents; being there already is fine.
    ///
    /// # Errors
    /// What the disk says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Names of the files in the directory at `dir`, in order; none when the directory is not there.
    ///
    /// # Errors
    /// What the disk says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Gives the file at `from` the name `to`, replacing what had it.
    ///
    /// # Errors
    /// What the disk says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the file at `path`.
    ///
    /// # Errors
    /// What the disk says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in the directory at `dir` durable.
    ///
    /// # Errors
    /// What the disk says; what is durable then is unknown.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks the file at `path` for this owner alone until the guard is dropped, creating it when needed. The lock
    /// ends with the process, however that ends.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another owner has it; otherwise what the disk says.
    fn lock(&self, path: &Path) -> io::Result<DiskLock>;
}

/// One open file.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before; otherwise what the disk says.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `data` at `offset`, growing the file when needed.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is no space; otherwise what the disk says. Part of the data may
    /// have been written.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file, or grows it with zeros, to `len` bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes what was written, and the length, durable.
    ///
    /// # Errors
    /// What the disk says. What is durable then is unknown, and a later success says nothing about it.
    fn sync_data(&self) -> io::Result<()>;
}

/// Held for as long as a lock is wanted.
#[must_use]
pub struct DiskLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send + Sync>);

impl DiskLock {
    /// Wraps what releases the lock when it is dropped.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for DiskLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskLock")
    }
}

//! A [`DiskFile`] as the storage of a redb database, so that the same disk faults reach it.

use std::io;

use super::DiskFile;

/// Lets redb live in a file of any [`Disk`](super::Disk).
#[doc(hidden)]
#[derive(Debug)]
pub struct RedbFile(Box<dyn DiskFile>);

impl RedbFile {
    /// Wraps `file`.
    #[must_use]
    pub fn new(file: Box<dyn DiskFile>) -> Self {
        Self(file)
    }
}

impl redb::StorageBackend for RedbFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
}

//! Blobs as files in one directory.
//!
//! A blob is written to a temporary file, flushed, renamed to its place and its directory flushed: what
//! [`put`](Blobs::put) has answered survives the loss of power, and a reader sees the old bytes or the new ones.
//! The file carries the digest of its bytes, which every read checks. One process owns the directory, by a lock
//! that ends with it; what an earlier process left half-written is swept when the directory is opened.

mod disk;
mod format;
mod path;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use coretex_core::ports::{BlobEntry, BlobError, BlobErrorKind, BlobKey, Blobs, Clock};

use self::disk::Disk;

/// Longest page of [`Blobs::list`].
const PAGE: usize = 10_000;

/// Durable [`Blobs`] below one directory. Cloning shares it.
///
/// File work runs on tokio's blocking threads. Listing looks at every key below the prefix for each page; the
/// more slashes the prefix has, the less there is to look at.
#[derive(Clone, Debug)]
pub struct FileBlobs {
    disk: Arc<Disk>,
    clock: Arc<dyn Clock>,
    max_bytes: u64,
}

impl FileBlobs {
    /// Largest blob unless told: 64 MiB.
    pub const MAX_BYTES: u64 = 64 << 20;

    /// Opens `directory`, which is made if it is missing.
    ///
    /// # Errors
    /// [`BlobErrorKind::Unavailable`] when it cannot be made or written, or another process has it open;
    /// [`BlobErrorKind::Full`] when there is no space.
    pub async fn open(directory: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Result<Self, BlobError> {
        let directory = directory.into();
        let disk = blocking(&clock, move || Disk::open(directory)).await?;
        Ok(Self { disk: Arc::new(disk), clock, max_bytes: Self::MAX_BYTES })
    }

    /// Sets the size of the largest blob taken, in bytes. Larger ones written before are still served.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    async fn with_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let disk = self.disk.clone();
        blocking(&self.clock, move || work(&disk)).await
    }
}

/// Runs `work` on a blocking thread; virtual time waits for it.
async fn blocking<T: Send + 'static>(
    clock: &Arc<dyn Clock>,
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    let busy = clock.busy();
    let task = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(busy);
        result
    });
    task.await.unwrap_or_else(|error| {
        Err(BlobError::new(BlobErrorKind::Unavailable, "the file work was ended before its time").with_source(error))
    })
}

#[async_trait::async_trait]
impl Blobs for FileBlobs {
    fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    fn durable(&self) -> bool {
        true
    }

    async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<BlobEntry, BlobError> {
        let size = bytes.len() as u64;
        if size > self.max_bytes {
            return Err(BlobError::new(
                BlobErrorKind::TooLarge,
                format!("blob `{key}` has {size} bytes; at most {} are taken", self.max_bytes),
            ));
        }
        let (key, written_at) = (key.clone(), self.clock.now());
        self.with_disk(move |disk| {
            let entry = BlobEntry { key, size, sha256: format::digest(&bytes), written_at };
            disk.put(&entry, &bytes)?;
            Ok(entry)
        })
        .await
    }

    async fn get(&self, key: &BlobKey) -> Result<Option<Bytes>, BlobError> {
        let key = key.clone();
        self.with_disk(move |disk| disk.get(&key)).await
    }

    async fn head(&self, key: &BlobKey) -> Result<Option<BlobEntry>, BlobError> {
        let key = key.clone();
        self.with_disk(move |disk| disk.head(&key)).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        let key = key.clone();
        self.with_disk(move |disk| disk.delete(&key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&BlobKey>, limit: usize) -> Result<Vec<BlobEntry>, BlobError> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.with_disk(move |disk| disk.list(&prefix, after.as_ref(), limit.min(PAGE))).await
    }
}

//! The blobs port in memory.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::ports::{BlobEntry, BlobError, BlobErrorKind, BlobKey, Blobs, Clock};

/// Longest page of [`Blobs::list`].
const PAGE: usize = 10_000;

/// [`Blobs`] that are lost with the process. Cloning shares them.
#[derive(Clone)]
pub struct MemoryBlobs {
    clock: Arc<dyn Clock>,
    max_bytes: u64,
    blobs: Arc<Mutex<BTreeMap<BlobKey, (BlobEntry, Bytes)>>>,
}

impl MemoryBlobs {
    /// Largest blob unless told: 64 MiB.
    pub const MAX_BYTES: u64 = 64 << 20;

    /// No blobs yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, max_bytes: Self::MAX_BYTES, blobs: Arc::default() }
    }

    /// Sets the size of the largest blob, in bytes.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BlobKey, (BlobEntry, Bytes)>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBlobs").field("blobs", &self.lock().len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    fn durable(&self) -> bool {
        false
    }

    async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<BlobEntry, BlobError> {
        let size = bytes.len() as u64;
        if size > self.max_bytes {
            return Err(BlobError::new(
                BlobErrorKind::TooLarge,
                format!("blob `{key}` has {size} bytes; at most {} are taken", self.max_bytes),
            ));
        }
        let sha256 = Sha256::digest(&bytes).into();
        let entry = BlobEntry { key: key.clone(), size, sha256, written_at: self.clock.now() };
        let replaced = self.lock().insert(key.clone(), (entry.clone(), bytes));
        drop(replaced);
        Ok(entry)
    }

    async fn get(&self, key: &BlobKey) -> Result<Option<Bytes>, BlobError> {
        let Some((entry, bytes)) = self.lock().get(key).cloned() else { return Ok(None) };
        // `Bytes` may be a view of memory that its owner can change.
        if <[u8; 32]>::from(Sha256::digest(&bytes)) != entry.sha256 {
            return Err(BlobError::new(
                BlobErrorKind::Corrupt,
                format!("blob `{key}` no longer has the digest it was written with; write it again"),
            ));
        }
        Ok(Some(bytes))
    }

    async fn head(&self, key: &BlobKey) -> Result<Option<BlobEntry>, BlobError> {
        Ok(self.lock().get(key).map(|(entry, _)| entry.clone()))
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        let removed = self.lock().remove(key);
        drop(removed);
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&BlobKey>, limit: usize) -> Result<Vec<BlobEntry>, BlobError> {
        let blobs = self.lock();
        let from = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        Ok(blobs
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .take(limit.min(PAGE))
            .map(|(_, (entry, _))| entry.clone())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::SystemClock;

    crate::blobs_conformance!(|| async { Arc::new(MemoryBlobs::new(Arc::new(SystemClock)).with_max_bytes(1 << 20)) });
}

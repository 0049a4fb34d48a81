//! The blobs port: payloads too large for a record, by name.
//!
//! # Contract for implementors
//!
//! * [`Blobs::put`] is atomic and durable when it returns: a reader sees the old bytes, the new bytes or nothing,
//!   never a part. Writing the same key twice keeps the last.
//! * [`Blobs::get`] verifies what it returns against the digest recorded at `put`; damaged bytes are
//!   [`BlobErrorKind::Corrupt`], never served.
//! * [`Blobs::list`] walks keys in byte order; a key put or deleted during the walk may or may not be seen.
//! * Deleting an absent key is fine.

use std::{borrow::Borrow, fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

/// Name of a blob: 1 to 512 characters of `A-Z a-z 0-9 . _ - : @ [ ] / +`, no `..`, no leading or trailing `/`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobKey(Arc<str>);

impl BlobKey {
    /// Longest key, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// Checks and wraps `text`.
    ///
    /// # Errors
    /// [`BlobErrorKind::Invalid`], saying what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BlobError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-:@[]/+".contains(c);
        let problem = if text.is_empty() {
            "it is empty"
        } else if text.len() > Self::MAX_BYTES {
            "it is longer than 512 bytes"
        } else if !text.chars().all(legal) {
            "it holds a character other than letters, digits and `._-:@[]/+`"
        } else if text.contains("..") || text.starts_with('/') || text.ends_with('/') || text.contains("//") {
            "it has an empty or relative part"
        } else {
            return Ok(Self(text.into()));
        };
        Err(BlobError::new(
            BlobErrorKind::Invalid,
            format!("blob key `{}` is not legal: {problem}", text.escape_debug()),
        ))
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for BlobKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

/// What is known of a blob without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// Its key.
    pub key: BlobKey,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// When it was written, by the adapter's clock.
    pub written_at: Timestamp,
}

/// Keeps payloads. See the [module page](self) for the contract.
#[async_trait]
pub trait Blobs: fmt::Debug + Send + Sync + 'static {
    /// Largest blob, in bytes.
    fn max_bytes(&self) -> u64;

    /// Whether blobs survive the end of the process.
    fn durable(&self) -> bool;

    /// Writes `bytes` under `key`.
    async fn put(&self, key: &BlobKey, bytes: Bytes) -> Result<BlobEntry, BlobError>;

    /// Reads the blob, or `None`.
    async fn get(&self, key: &BlobKey) -> Result<Option<Bytes>, BlobError>;

    /// What is known of the blob, or `None`.
    async fn head(&self, key: &BlobKey) -> Result<Option<BlobEntry>, BlobError>;

    /// Removes the blob.
    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError>;

    /// Up to `limit` (at most 10,000) entries whose key starts with `prefix` and lies behind `after`.
    async fn list(&self, prefix: &str, after: Option<&BlobKey>, limit: usize) -> Result<Vec<BlobEntry>, BlobError>;
}

/// Why a blob store did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlobErrorKind {
    /// The key is not legal.
    Invalid,
    /// The bytes are more than the store takes.
    TooLarge,
    /// The stored bytes do not match their digest.
    Corrupt,
    /// The disk or quota is full.
    Full,
    /// The backend did not answer.
    Unavailable,
}

impl BlobErrorKind {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => "blob_invalid",
            Self::TooLarge => "blob_too_large",
            Self::Corrupt => "blob_corrupt",
            Self::Full => "blob_full",
            Self::Unavailable => "blob_unavailable",
        }
    }
}

/// An error of the blobs port.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct BlobError {
    kind: BlobErrorKind,
    message: String,
    #[source]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl BlobError {
    /// An error of `kind`; `message` says what happened and what to do.
    pub fn new(kind: BlobErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> BlobErrorKind {
        self.kind
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.kind.code()
    }
}

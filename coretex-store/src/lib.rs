//! Durable stores for coretex.
//!
//! | feature | unlocks |
//! |---|---|
//! | `files` (default) | [`blobs::FileBlobs`]: payloads as files in one directory |

#[cfg(feature = "files")]
pub mod blobs;

//! Durable stores for coretex.
//!
//! | feature | unlocks |
//! |---|---|
//! | `embedded` (default) | [`embedded::EmbeddedStore`]: one directory, one process, no server |
//! | `files` (default) | [`blobs::FileBlobs`]: payloads as files in one directory |
//! | `testing` | `disk::SimDisk`, a disk that tears writes, fills up and loses power |

#[cfg(feature = "files")]
pub mod blobs;
#[cfg(feature = "embedded")]
pub mod disk;
#[cfg(feature = "embedded")]
pub mod embedded;

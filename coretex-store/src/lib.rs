//! Durable stores for coretex.
//!
//! | feature | unlocks |
//! |---|---|
//! | `embedded` (default) | [`embedded::EmbeddedStore`]: one directory, one process, no server |
//! | `testing` | `disk::SimDisk`, a disk that tears writes, fills up and loses power |

#[cfg(feature = "embedded")]
pub mod disk;
#[cfg(feature = "embedded")]
pub mod embedded;

//! Settings of the embedded store.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How an [`EmbeddedStore`](super::EmbeddedStore) uses its directory, its disk and its memory.
///
/// The defaults suit a control plane of one machine: about 50 MiB of memory at most, a second or so of replay
/// after a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Options {
    /// The data directory. It is created when it is not there; its parent directories, too.
    pub path: PathBuf,
    /// A journal file is closed when it is this large, in bytes. At least 4 KiB.
    pub segment_bytes: u64,
    /// The journal is folded into the base when this many bytes were written since the last time: bounds what is
    /// replayed at start.
    pub checkpoint_bytes: u64,
    /// Nor does what was not folded take more memory than this, in bytes, overhead included; twice as much while
    /// a checkpoint runs.
    pub memory_bytes: usize,
    /// Most memory for pages of the base, in bytes.
    pub cache_bytes: usize,
    /// The journal is filled with zeros so far ahead, in bytes: a sync that need not change the length of the file
    /// is much faster on most disks. 0 turns it off.
    pub fill_ahead_bytes: u64,
    /// A base up to this size, in bytes, is checked whole when it is opened (about a second per 400 MiB).
    pub verify_bytes: u64,
    /// A base larger than 32 MiB of which less than this share, in percent, is in use is compacted when it is
    /// opened. 0 turns it off.
    pub compact_below_percent: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path: PathBuf::from(".coretex/data"),
            segment_bytes: 64 << 20,
            checkpoint_bytes: 64 << 20,
            memory_bytes: 12 << 20,
            cache_bytes: 16 << 20,
            fill_ahead_bytes: 1 << 20,
            verify_bytes: 256 << 20,
            compact_below_percent: 30,
        }
    }
}

impl Options {
    /// The defaults, in the directory at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }
}

//! The shared suite, on a real disk and on settings that fold all the time.

use std::sync::Arc;

use coretex_core::{ports::SystemClock, testing::conformance::store::Fixture};

use crate::{
    disk::SimDisk,
    embedded::{EmbeddedStore, Options},
};

mod defaults {
    use super::*;

    async fn fresh() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(dir.path().join("data")).await.unwrap();
        Fixture::from(Arc::new(store)).with_guard(dir)
    }

    coretex_core::store_conformance!(fresh);
}

/// Memtables and segments so small that every few commits one is folded or rotated.
mod folding {
    use super::*;

    async fn fresh() -> Fixture {
        let options = Options {
            segment_bytes: 4 << 10,
            checkpoint_bytes: 64 << 10,
            memory_bytes: 1 << 10,
            fill_ahead_bytes: 2 << 10,
            ..Options::new("/data")
        };
        let store = EmbeddedStore::open_on(options, Arc::new(SimDisk::new(1)), Arc::new(SystemClock)).await.unwrap();
        Fixture::from(Arc::new(store))
    }

    coretex_core::store_conformance!(fresh);
}

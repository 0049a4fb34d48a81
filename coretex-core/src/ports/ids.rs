//! Fresh identities and randomness, injected so that a failing seed can be replayed.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use uuid::Uuid;

use super::Clock;

/// Makes identities and seeds.
pub trait IdSource: fmt::Debug + Send + Sync + 'static {
    /// A fresh UUID, version 7: later ones sort behind earlier ones of the same process.
    fn uuid(&self) -> Uuid;

    /// A number for jitter and other decisions that need no secrecy.
    fn random(&self) -> u64;
}

/// Identities from the system's randomness and clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl IdSource for SystemIds {
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn random(&self) -> u64 {
        Uuid::now_v7().as_u64_pair().1
    }
}

/// Identities that depend on a seed, a counter and an injected clock only.
#[derive(Debug)]
pub struct SeededIds {
    clock: Arc<dyn Clock>,
    seed: u64,
    counter: AtomicU64,
}

impl SeededIds {
    /// Starts the sequence of `seed`.
    pub fn new(seed: u64, clock: Arc<dyn Clock>) -> Self {
        Self { clock, seed, counter: AtomicU64::new(0) }
    }

    fn next(&self) -> (u64, u64) {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        (n, mix(self.seed ^ mix(n)))
    }
}

impl IdSource for SeededIds {
    fn uuid(&self) -> Uuid {
        let (n, random) = self.next();
        let millis = u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0);
        // 48 bits of time, then the counter, so that the order of creation is the order of the ids.
        let high = (millis << 16) | (0x7 << 12) | (n & 0xfff);
        let low = (0b10 << 62) | (((n >> 12) & 0x3fff) << 48) | (random & 0xffff_ffff_ffff);
        Uuid::from_u64_pair(high, low)
    }

    fn random(&self) -> u64 {
        self.next().1
    }
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, 2014).
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

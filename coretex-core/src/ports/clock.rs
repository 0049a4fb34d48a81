//! Time as an argument: now, waking up, and knowing when nobody is working.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::BoxFuture;
use jiff::Timestamp;

/// Tells the time and wakes sleepers.
///
/// Everything that waits, waits here, so that a test can let thirty days pass in a millisecond. A virtual clock
/// moves only when nothing is busy; whoever works on something that may still lead to a wake-up holds a [`Busy`]
/// for as long. On the system clock this costs nothing.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// Completes at `at`, or at once when that has passed.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;

    /// Says that work is going on until the guard is dropped.
    fn busy(&self) -> Busy {
        Busy::default()
    }
}

/// Held while work is going on that time must not overtake.
#[derive(Debug, Default)]
#[must_use]
pub struct Busy(Option<BusyGauge>);

impl Busy {
    /// Whether this guard keeps its clock from moving: false on a clock that nobody can hold.
    #[must_use]
    pub fn holds_time(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(gauge) = self.0.take() {
            gauge.leave();
        }
    }
}

/// Counts the [`Busy`] guards of a virtual clock and tells it when there is none left.
#[derive(Clone)]
pub struct BusyGauge {
    count: Arc<AtomicUsize>,
    idle: Arc<tokio::sync::Notify>,
}

impl Default for BusyGauge {
    fn default() -> Self {
        Self { count: Arc::new(AtomicUsize::new(0)), idle: Arc::new(tokio::sync::Notify::new()) }
    }
}

impl fmt::Debug for BusyGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusyGauge({})", self.count())
    }
}

impl BusyGauge {
    /// A new guard.
    pub fn enter(&self) -> Busy {
        self.count.fetch_add(1, Ordering::AcqRel);
        Busy(Some(self.clone()))
    }

    /// How many guards are held.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Completes when no guard is held.
    pub async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            if self.count() == 0 {
                return;
            }
            notified.await;
        }
    }

    fn leave(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }
}

/// The machine's clock, on the tokio runtime that the caller runs in.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where time enters")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let clock = *self;
        Box::pin(async move {
            // A wall clock can be set back while we sleep; the loop sleeps the rest. One day at most at a time
            // keeps a clock that was set forward from oversleeping for long.
            loop {
                let left = at.duration_since(clock.now());
                if !left.is_positive() {
                    return;
                }
                let left = left.unsigned_abs().min(std::time::Duration::from_secs(24 * 3600));
                tokio::time::sleep(left).await;
            }
        })
    }
}

//! One timer for all jobs of a worker.
//!
//! A job that ends quickly arms nothing: it only compares its first due time with the time the ticker will wake
//! anyway. While no job runs the ticker sleeps without a timer, so that a virtual clock can leap.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::future::{Either, select};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{
    job::{Due, Micros, NEVER, later},
    shared::Shared,
};

/// Two looks at all jobs lie at least so far apart; timers of many jobs are taken together.
const REST: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Ticker {
    armed_for: AtomicI64,
    earlier: Notify,
}

impl Ticker {
    pub(crate) fn new() -> Self {
        Self { armed_for: AtomicI64::new(NEVER), earlier: Notify::new() }
    }

    /// Has the ticker look at `at` or before. The job must be in the registry already.
    pub(crate) fn arm(&self, at: Micros) {
        if self.armed_for.load(Ordering::SeqCst) > at && self.armed_for.fetch_min(at, Ordering::SeqCst) > at {
            self.earlier.notify_one();
        }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(&self, shared: &Arc<Shared>) {
        let mut rested_at = Micros::MIN;
        loop {
            let armed_for = self.armed_for.load(Ordering::SeqCst);
            if armed_for == NEVER {
                self.earlier.notified().await;
                continue;
            }
            // An instant beyond the calendar never comes.
            let Ok(wake_at) = Timestamp::from_microsecond(armed_for.max(rested_at)) else {
                self.earlier.notified().await;
                continue;
            };
            let sleep = shared.clock.sleep_until(wake_at);
            let earlier = std::pin::pin!(self.earlier.notified());
            if let Either::Right(_) = select(sleep, earlier).await {
                continue;
            }
            // Jobs registered before this line are seen below; those registered after it arm anew.
            self.armed_for.store(NEVER, Ordering::SeqCst);
            let now = shared.clock.now();
            let next = look(shared, now);
            rested_at = later(now.as_microsecond(), REST);
            self.arm(next);
        }
    }
}

/// Lets time act on every running job, and says when to look again.
fn look(shared: &Arc<Shared>, now: Timestamp) -> Micros {
    let mut next = NEVER;
    let mut extend = Vec::new();
    let mut announcements = Vec::new();
    for job in shared.registry().jobs() {
        let mut due = Due::default();
        next = next.min(job.tick(now, &mut due));
        extend.append(&mut due.extend);
        announcements.extend(due.announcement);
    }
    let waiting: Vec<_> =
        announcements.into_iter().filter_map(|message| shared.bus.try_publish(message).err()).collect();
    if !extend.is_empty() || !waiting.is_empty() {
        // Off the ticker: a slow bus must not delay a deadline.
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            for delivery in extend {
                if let Err(error) = delivery.in_progress().await {
                    tracing::debug!(%error, subject = &*delivery.message.subject, "a delivery was not extended");
                }
            }
            for message in waiting {
                shared.publish_lossy(message).await;
            }
        });
    }
    next
}

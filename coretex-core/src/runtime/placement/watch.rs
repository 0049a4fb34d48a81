//! Time acts: limits open, jobs that wait are given up, silent workers lose what they have.

use std::{sync::Arc, time::Duration};

use futures::future::{Either, select};
use jiff::Timestamp;

use super::{Desk, Shared};
use crate::job::job_after;

/// How often silent workers are looked for unless `scan_interval_seconds` says otherwise.
const SCAN_INTERVAL: Duration = Duration::from_secs(10);

/// When the watch looks next.
#[derive(Debug, Default)]
pub(super) struct Watch {
    scanned_at: Option<Timestamp>,
    /// When it is going to look; never when nothing waits and nobody has anything.
    looks_at: Option<Timestamp>,
}

impl Desk {
    /// Whether the watch sleeps for too long.
    pub(super) fn is_due_earlier(&self, now: Timestamp) -> bool {
        let is_idle = self.scheduler.backlog() == 0 && self.watch.looks_at.is_some();
        !is_idle && self.due(now).is_some_and(|due| self.watch.looks_at.is_none_or(|looks_at| due < looks_at))
    }

    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let tick = if self.scheduler.backlog() > 0 { self.scheduler.next_due(now) } else { None };
        let scan = self.has_something().then(|| {
            let next = self.watch.scanned_at.map_or(now, |at| job_after(at, self.scan_interval()));
            let missing = self.missing(now).next().is_some();
            // Nothing is found before somebody has been silent for too long.
            if missing { next } else { self.next_silence(now).map_or(next, |silence| next.max(silence)) }
        });
        [tick, scan].into_iter().flatten().min()
    }

    fn scan_interval(&self) -> Duration {
        self.scheduler.routes().timeouts().reconciler().scan_interval.unwrap_or(SCAN_INTERVAL)
    }

    fn has_something(&self) -> bool {
        self.scheduler.running() > 0 || self.bindings.judged().next().is_some()
    }
}

/// Looks whenever something is due, until the control plane ends.
pub(in crate::runtime) async fn run(shared: Arc<Shared>) {
    loop {
        let now = shared.now();
        let due = {
            let mut desk = shared.placement.lock();
            desk.watch.looks_at = desk.due(now);
            desk.watch.looks_at
        };
        let changed = std::pin::pin!(shared.placement.changed.notified());
        match due {
            None => changed.await,
            Some(due) => {
                if let Either::Left(_) = select(changed, shared.clock.sleep_until(due)).await {
                    continue;
                }
                look(&shared);
            }
        }
    }
}

fn look(shared: &Arc<Shared>) {
    let _busy = shared.clock.busy();
    let (now, seed) = (shared.now(), shared.ids.random());
    let (outcome, missing) = {
        let mut desk = shared.placement.lock();
        let outcome = desk.scheduler.tick(now, seed);
        let interval = desk.scan_interval();
        let is_due = desk.watch.scanned_at.is_none_or(|at| job_after(at, interval) <= now);
        let missing: Vec<Arc<str>> = if is_due { desk.missing(now).collect() } else { Vec::new() };
        if is_due {
            desk.watch.scanned_at = Some(now);
        }
        (outcome, missing)
    };
    shared.act_on(outcome);
    for worker in missing {
        let silence =
            shared.placement.look(|desk| desk.scheduler.fleet().rules().beat * desk.scheduler.fleet().rules().missed);
        shared.lose(&worker, &format!("it was not heard of for {} s", silence.as_secs()));
    }
}

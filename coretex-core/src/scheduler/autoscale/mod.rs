//! How many workers a pool should have. Pure: from what was seen and the rule, a number.
//!
//! ```text
//! work    = max(arrivals now, arrivals predicted) * time of a job      slots that new jobs keep busy (Little's law)
//!         + backlog * time of a job / drain_seconds                    slots that clear the backlog in time
//! desired = ceil(work / (slots of a worker * target_utilisation)), at least what runs now, within min and max
//! ```
//!
//! Hysteresis: more workers at once, fewer only when fewer have done for `scale_down_seconds`; then as many as the
//! busiest moment of that time needed. A pool goes to zero when nothing waits, runs or arrives.

mod arrivals;
mod rule;
mod waits;

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;

pub use self::rule::ScaleRule;
use self::{arrivals::Arrivals, waits::Waits};
use super::micros;

/// What is known of a pool at a moment, for an autoscaler and for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Signals {
    /// The pool.
    pub pool: String,
    /// Jobs that wait.
    pub backlog: usize,
    /// Jobs under a lease.
    pub running: u32,
    /// Slots of live workers.
    pub slots: u32,
    /// Live workers.
    pub workers: u32,
    /// The busy part of the slots, 0 to 1; 1 when there are jobs and no slots.
    pub utilisation: f64,
    /// Jobs a second that arrive.
    pub arrivals: f64,
    /// Jobs a second that are expected to arrive after the rule's horizon.
    pub arrivals_predicted: f64,
    /// Seconds that a job takes.
    pub job_seconds: f64,
    /// Seconds that half of the jobs waited at most, over the last five to ten minutes.
    pub wait_p50: f64,
    /// The same for 95 of 100.
    pub wait_p95: f64,
    /// The same for 99 of 100.
    pub wait_p99: f64,
    /// Workers that the pool should have.
    pub desired: u32,
}

/// What a pool looks like to the meter: counted by whoever owns it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PoolNow {
    /// Jobs that wait.
    pub backlog: usize,
    /// Jobs under a lease.
    pub running: u32,
    /// Slots of live workers.
    pub slots: u32,
    /// Live workers.
    pub workers: u32,
}

/// What a pool remembers for its signals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    arrivals: Arrivals,
    waits: Waits,
    /// Smoothed seconds of a job; zero until one ended.
    job_seconds: f64,
    /// Needs of the past, the largest first and each newer than the one before: a monotonic queue, O(1) amortised.
    needs: VecDeque<(i64, u32)>,
}

impl Meter {
    pub(crate) fn arrived(&mut self, now: i64) {
        self.arrivals.arrive(now);
    }

    pub(crate) fn waited(&mut self, waited: i64, now: i64) {
        self.waits.observe(waited, now);
    }

    pub(crate) fn took(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.job_seconds = if self.job_seconds > 0.0 { self.job_seconds * 0.95 + took * 0.05 } else { took };
    }

    /// The signals at `now`; what was needed is remembered for `scale_down_seconds`.
    pub(crate) fn read(&mut self, pool: &str, seen: PoolNow, rule: &ScaleRule, now: i64) -> Signals {
        let (arrivals, predicted) = self.arrivals.rates(now, micros(rule.horizon));
        let need = need(seen, arrivals.max(predicted), self.job_seconds, rule);
        let desired = self.settle(need, rule, now);
        let [wait_p50, wait_p95, wait_p99] = self.waits.percentiles([0.5, 0.95, 0.99], now).map(|at| at as f64 / 1e6);
        let utilisation = match seen.slots {
            0 => f64::from(u8::from(seen.running > 0 || seen.backlog > 0)),
            slots => (f64::from(seen.running) / f64::from(slots)).min(1.0),
        };
        Signals {
            pool: pool.to_owned(),
            backlog: seen.backlog,
            running: seen.running,
            slots: seen.slots,
            workers: seen.workers,
            utilisation,
            arrivals,
            arrivals_predicted: predicted,
            job_seconds: self.job_seconds,
            wait_p50,
            wait_p95,
            wait_p99,
            desired,
        }
    }

    /// The largest need of the time that fewer workers must have done for.
    fn settle(&mut self, need: u32, rule: &ScaleRule, now: i64) -> u32 {
        while self.needs.back().is_some_and(|(_, smaller)| *smaller <= need) {
            self.needs.pop_back();
        }
        self.needs.push_back((now, need));
        let since = now.saturating_sub(micros(rule.down_after));
        while self.needs.len() > 1 && self.needs.front().is_some_and(|(at, _)| *at < since) {
            self.needs.pop_front();
        }
        let largest = self.needs.front().map_or(need, |(_, need)| *need);
        largest.clamp(rule.min_workers, rule.max_workers.max(rule.min_workers))
    }
}

/// Workers that the work of this moment needs.
fn need(seen: PoolNow, arrivals: f64, job_seconds: f64, rule: &ScaleRule) -> u32 {
    let slots = if seen.workers > 0 { f64::from(seen.slots) / f64::from(seen.workers) } else { f64::from(rule.slots) };
    let job_seconds = if job_seconds > 0.0 { job_seconds } else { 1.0 };
    let backlog = seen.backlog as f64;
    let drain = rule.drain.as_secs_f64().max(1.0);
    let work = arrivals * job_seconds + backlog * job_seconds / drain;
    let aimed = work / (slots.max(1.0) * rule.target.max(0.05));
    let running = f64::from(seen.running) / slots.max(1.0);
    // A smoothed rate never quite reaches zero.
    let idle = seen.backlog == 0 && seen.running == 0 && aimed < 0.01;
    let workers = if idle { 0.0 } else { aimed.max(running).ceil().max(1.0) };
    workers.clamp(0.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests;

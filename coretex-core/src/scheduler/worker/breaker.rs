//! A circuit breaker per worker: one that keeps failing is left alone for a while, and comes back by probes.
//!
//! ```text
//! closed --5 faults in a row, or half of the last 20--> open (30 s, doubled each time, at most 10 min)
//!   ^                                                     | the time is over
//!   |--2 probes succeed-- half open (one job at a time) <-|
//!                             | a probe faults --> open, longer
//! ```
//!
//! Only faults of the worker count: a lost lease, a panic, an answer that makes no sense. A job that fails by its own
//! input says nothing about who ran it. Source of the shape: M. Nygard, *Release It!*, 2007.

use std::time::Duration;

/// How the breakers judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// Faults in a row that open it.
    pub faults_in_a_row: u32,
    /// Faults among the last [`WINDOW`] endings that open it.
    pub faults_in_window: u32,
    /// How long it stays open the first time.
    pub first_open: Duration,
    /// How long it stays open at most; each time doubles.
    pub longest_open: Duration,
    /// Probes at once while half open.
    pub probes: u32,
    /// Probes that must succeed in a row to close it.
    pub successes: u32,
}

/// Endings that a breaker remembers.
pub const WINDOW: u32 = 20;

impl Default for BreakerRules {
    fn default() -> Self {
        Self {
            faults_in_a_row: 5,
            faults_in_window: 10,
            first_open: Duration::from_secs(30),
            longest_open: Duration::from_secs(600),
            probes: 1,
            successes: 2,
        }
    }
}

/// Whether a worker gets jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// As any other.
    Closed,
    /// None until this time, in microseconds.
    Open {
        /// When the first probe may go.
        until: i64,
    },
    /// A few, to see whether it is well.
    HalfOpen {
        /// Probes that are out.
        out: u32,
        /// Probes that succeeded.
        succeeded: u32,
    },
}

/// How a lease ended, as far as its worker is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The worker did its part, whatever became of the job.
    Served,
    /// The worker is at fault.
    Fault,
    /// Nobody knows, or nobody is to blame: cancelled, withdrawn.
    Unknown,
}

/// The breaker of one worker. Pure: the time is an argument, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    state: BreakerState,
    in_a_row: u32,
    /// The last endings, newest in bit 0; a set bit is a fault.
    window: u32,
    openings: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: BreakerState::Closed, in_a_row: 0, window: 0, openings: 0 }
    }
}

impl Breaker {
    /// Its state at `now`: an opening whose time is over reads as half open.
    #[must_use]
    pub const fn state(&self, now: i64) -> BreakerState {
        match self.state {
            BreakerState::Open { until } if until <= now => BreakerState::HalfOpen { out: 0, succeeded: 0 },
            state => state,
        }
    }

    /// Whether a job may go to the worker.
    #[must_use]
    pub const fn admits(&self, now: i64, rules: &BreakerRules) -> bool {
        match self.state(now) {
            BreakerState::Closed => true,
            BreakerState::Open { .. } => false,
            BreakerState::HalfOpen { out, .. } => out < rules.probes,
        }
    }

    /// A job goes to the worker.
    pub(crate) const fn sent(&mut self, now: i64) {
        self.state = match self.state(now) {
            BreakerState::HalfOpen { out, succeeded } => {
                BreakerState::HalfOpen { out: out.saturating_add(1), succeeded }
            }
            state => state,
        };
    }

    /// A lease of the worker ended.
    pub(crate) fn ended(&mut self, ending: Ending, now: i64, rules: &BreakerRules) {
        let before = self.state(now);
        self.state = match (before, ending) {
            (BreakerState::HalfOpen { .. }, Ending::Fault) => self.open(now, rules),
            (BreakerState::HalfOpen { succeeded, .. }, Ending::Served) if succeeded + 1 >= rules.successes => {
                *self = Self::default();
                return;
            }
            (BreakerState::HalfOpen { out, succeeded }, ending) => BreakerState::HalfOpen {
                out: out.saturating_sub(1),
                succeeded: succeeded + u32::from(ending == Ending::Served),
            },
            // What was sent before the breaker opened says nothing new.
            (state @ BreakerState::Open { .. }, _) | (state @ BreakerState::Closed, Ending::Unknown) => state,
            (BreakerState::Closed, ending) => {
                let fault = ending == Ending::Fault;
                self.in_a_row = if fault { self.in_a_row + 1 } else { 0 };
                self.window = ((self.window << 1) | u32::from(fault)) & ((1 << WINDOW) - 1);
                if self.in_a_row >= rules.faults_in_a_row || self.window.count_ones() >= rules.faults_in_window {
                    self.open(now, rules)
                } else {
                    BreakerState::Closed
                }
            }
        };
    }

    fn open(&mut self, now: i64, rules: &BreakerRules) -> BreakerState {
        let longer = rules.first_open.saturating_mul(1 << self.openings.min(16)).min(rules.longest_open);
        self.openings = self.openings.saturating_add(1);
        self.in_a_row = 0;
        self.window = 0;
        BreakerState::Open { until: now.saturating_add(super::super::micros(longer)) }
    }
}

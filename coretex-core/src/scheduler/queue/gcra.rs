//! A rate as one number: the generic cell rate algorithm (ITU-T I.371), which is a token bucket without a refill.

use crate::scheduler::{Rate, micros};

/// The theoretical arrival time of the next job, in microseconds; the whole state of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gcra {
    due: i64,
}

impl Default for Gcra {
    fn default() -> Self {
        Self { due: i64::MIN }
    }
}

impl Gcra {
    /// When the next job may start: `now` or later.
    pub(crate) fn opens_at(&self, rate: Rate, now: i64) -> i64 {
        let tolerance = interval(rate).saturating_mul(i64::from(rate.burst) - 1);
        self.due.saturating_sub(tolerance).max(now)
    }

    /// A job starts.
    pub(crate) fn take(&mut self, rate: Rate, now: i64) {
        self.due = self.due.max(now).saturating_add(interval(rate));
    }

    /// When it has forgotten every start.
    pub(crate) const fn idle_at(&self) -> i64 {
        self.due
    }

    /// Whether it has forgotten every start.
    pub(crate) const fn is_idle(&self, now: i64) -> bool {
        self.due <= now
    }
}

/// Microseconds from one start to the next, rounded up so that a rate is never exceeded.
fn interval(rate: Rate) -> i64 {
    let count = i64::from(rate.count.max(1));
    let per = micros(rate.per);
    per / count + i64::from(per % count != 0)
}

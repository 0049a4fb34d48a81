//! Which handlers are quick: their jobs end at the first poll, sooner than a task for them would be spawned and woken.
//!
//! A job of a quick handler runs in the task of whoever publishes it, for as long as it does not wait. Others never do:
//! they would hold up who published them, and each other.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// So many jobs in a row must have been quick before the next one is believed to be.
const STREAK: u32 = 64;
/// The longest that a quick job computes. A handler that blocks its thread until another one answers takes longer.
const QUICK: Duration = Duration::from_micros(10);

/// How long the jobs of one handler have taken of late.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU32);

impl Pace {
    pub(crate) fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= STREAK
    }

    /// The first poll of a job took so long, and `ended` it or not. One that is not quick ends the streak.
    pub(crate) fn note(&self, ended: bool, took: Duration) {
        if !ended || took > QUICK {
            self.0.store(0, Ordering::Relaxed);
        } else if !self.is_quick() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

thread_local! {
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// A job runs in the task of its publisher, on this thread. What its handler publishes gets a task, or a chain of such
/// jobs would grow the stack.
pub(crate) struct Here(());

impl Here {
    /// `None` when a job runs here already.
    pub(crate) fn enter() -> Option<Self> {
        (!HERE.replace(true)).then(|| Self(()))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        HERE.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_quick_after_a_streak_and_not_after_one_job_that_waits_or_computes() {
        let pace = Pace::default();
        for (ended, took) in [(false, Duration::ZERO), (true, QUICK * 2)] {
            for _ in 0..STREAK {
                assert!(!pace.is_quick());
                pace.note(true, QUICK);
            }
            assert!(pace.is_quick());
            pace.note(ended, took);
            assert!(!pace.is_quick());
        }
    }

    #[test]
    fn a_job_inside_of_another_is_not_run_here() {
        let outer = Here::enter();
        assert!(outer.is_some());
        assert!(Here::enter().is_none());
        assert!(Here::enter().is_none());
        drop(outer);
        assert!(Here::enter().is_some());
    }
}

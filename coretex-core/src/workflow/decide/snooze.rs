//! Tries that a worker puts off: it did not fail, there was nothing to do yet.

use std::time::Duration;

use super::{Machine, end::LONGEST_WAIT};
use crate::{
    job::{Failure, MAX_SNOOZES, job_after},
    workflow::{RunEvent, fold::RunMut},
};

/// The wait where a worker named none that reached us.
const USUAL_WAIT: Duration = Duration::from_secs(60);
/// A worker that is asked more often than this is busy with saying no.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

impl Machine<'_> {
    /// Opens the next try of a step when its worker asked for it, which is none of the step's own retries. `false` when the
    /// step was put off as often as it may be, or is not tried again.
    pub(super) fn snooze(&mut self, slot: usize, failure: &Failure) -> bool {
        let snoozed = self.draft.step_at(slot).map_or(u32::MAX, |step| step.snoozed);
        if snoozed >= MAX_SNOOZES || self.is_stopped(slot) {
            return false;
        }
        let wait = failure.retry_after_ms.map_or(USUAL_WAIT, Duration::from_millis).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        let next_at = job_after(self.facts.now, wait);
        let failure = failure.clone();
        self.record_step(slot, |step| RunEvent::StepSnoozed { step, failure, next_at });
        true
    }
}

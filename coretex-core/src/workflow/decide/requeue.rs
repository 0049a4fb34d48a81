//! Attempts whose worker was lost: the next one begins at once, and what the old one says later is noted and no more.

use std::sync::Arc;

use super::Machine;
use crate::{
    job::{Failure, JobId, JobInput, MAX_LOST_LEASES},
    workflow::{RunEvent, fold::RunMut},
};

impl Machine<'_> {
    /// Begins the next attempt of a step whose last one was lost with its worker. Such attempts are none of the step's own
    /// retries, and have a bound of their own. `false` when that is reached, or the step is not tried again.
    pub(super) fn requeue(&mut self, slot: usize, failure: &Failure) -> bool {
        let Some(state) = self.draft.step_at(slot) else { return false };
        let (attempt, times) = (state.attempts, state.lost.as_ref().map_or(0, |lost| lost.times));
        if times >= MAX_LOST_LEASES || self.is_stopped(slot) {
            return false;
        }
        let failure = failure.clone();
        self.record_step(slot, |step| RunEvent::StepRequeued { step, attempt, failure });
        self.open_attempt(slot);
        true
    }

    /// Takes what is said of a job that is not the last attempt of the step run at `slot`: a result of one that was lost
    /// is noted, once.
    pub(super) fn take_late(&mut self, slot: Option<usize>, id: &JobId, input: &JobInput) {
        let (Some(slot), JobInput::Finished { result, .. }) = (slot, input) else { return };
        let Some((_, _, attempt)) = id.step_parts().filter(|_| !self.is_over()) else { return };
        let lost = self.draft.step_at(slot).and_then(|step| step.lost.as_ref());
        if lost.is_some_and(|lost| lost.silent.contains(&attempt)) {
            let worker: Arc<str> = result.worker.clone();
            self.record_step(slot, |step| RunEvent::StepLate { step, attempt, worker });
        }
    }
}

//! The end of a run takes no longer than it may: what undoes and what runs at last is stopped by time, or on request.

use std::sync::Arc;

use jiff::Timestamp;

use super::Machine;
use crate::{
    job::{Failure, codes, job_after},
    workflow::{
        Cause, Phase, RunEvent,
        definition::{FINALLY, MAIN},
        fold::{self, RunMut},
        state::Halt,
    },
};

impl Machine<'_> {
    /// When what the run begins now at its end is given up.
    pub(super) fn end_until(&self) -> Timestamp {
        job_after(self.facts.now, self.workflow.finally_timeout())
    }

    /// Whether nothing follows any more on what is under way.
    pub(super) fn is_halted(&self) -> bool {
        self.draft.core().halt == Some(Halt::Run)
    }

    /// Stops the run on request, whatever it is about. A repeat changes nothing.
    pub(super) fn take_halt(&mut self, by: Arc<str>, reason: Arc<str>) {
        if self.is_over() || self.is_halted() {
            return;
        }
        let cause = Cause::Cancelled { by: by.clone(), reason: reason.clone() };
        let is_idle = self.draft.core().queued || self.ending().is_empty();
        if self.draft.core().phase == Phase::Forward {
            if is_idle {
                return self.end_as(cause);
            }
            self.withdraw_questions(&self.ending());
            self.record(RunEvent::RunUnwinding { cause: Arc::new(cause.clone()) });
        }
        self.halt(cause, &by, &reason);
    }

    /// The time of the phase is over.
    pub(super) fn end_is_late(&mut self) {
        let what = match self.draft.core().phase {
            Phase::Compensating => "undoing what succeeded",
            _ => "the `finally` steps",
        };
        let message = format!("{what} took longer than {} s", self.workflow.finally_timeout().as_secs());
        let failure = Failure::fatal(codes::FINALLY_TIMEOUT, message.clone());
        self.halt(Cause::Failed { step: None, failure, timed_out: true }, &"coretex".into(), &message.into());
    }

    fn halt(&mut self, cause: Cause, by: &Arc<str>, reason: &Arc<str>) {
        let under_way = self.ending();
        self.withdraw_questions(&under_way);
        self.record(RunEvent::RunHalted { cause: Arc::new(cause) });
        self.stop(&under_way, by, reason);
    }

    /// Step runs that are under way in the phase that the run is in.
    fn ending(&self) -> Vec<usize> {
        match self.draft.core().phase {
            Phase::Forward | Phase::Stopping => fold::under_way(&self.draft, MAIN),
            Phase::Finalizing => fold::under_way(&self.draft, FINALLY),
            Phase::Compensating => {
                let undo = self.draft.core().undo.iter().flat_map(|undo| undo.iter());
                let active = |slot: &usize| self.draft.step_at(*slot).is_some_and(|step| step.is_active());
                undo.map(|slot| *slot as usize).filter(active).collect()
            }
        }
    }
}

//! Time has passed.

use super::{Machine, attempt::Attempt};
use crate::{
    job::{self, Failure, JobInput, codes},
    workflow::{Cause, Phase, Step, StepKind, StepStatus, WaitsFor, fold::RunMut},
};

impl Machine<'_> {
    /// Decides everything that is due. A tick that comes early or twice finds nothing due and changes nothing.
    pub(super) fn take_tick(&mut self) {
        let now = self.facts.now;
        if self.is_over() {
            return;
        }
        let core = self.draft.core();
        if core.deadline_at.is_some_and(|deadline| deadline <= now) {
            return if core.phase == Phase::Forward { self.unwind(Cause::TimedOut) } else { self.end_is_late() };
        }
        for slot in self.draft.base().due_by(now) {
            let due = self.draft.step_at(slot).and_then(|step| step.next_due()).is_some_and(|due| due <= now);
            if due && !self.is_over() {
                self.step_due(slot);
            }
        }
    }

    fn step_due(&mut self, slot: usize) {
        let Some((step, state)) = self.step(slot).zip(self.draft.step_at(slot)) else { return };
        match (&step.kind, state.status) {
            (_, StepStatus::Pending) => self.try_next(slot, step),
            (StepKind::Delay(_), StepStatus::Running) => self.succeed(slot, None),
            (_, StepStatus::Waiting) if state.waits_for == Some(WaitsFor::Answer) => {
                let id = self.approval_id(slot);
                self.close(id);
                self.time_out(slot, Failure::fatal(codes::APPROVAL_EXPIRED, "nobody answered in time"));
            }
            (_, StepStatus::Waiting) if matches!(state.waits_for, Some(WaitsFor::Data | WaitsFor::Signal { .. })) => {
                self.time_out(slot, Failure::fatal(codes::TIMEOUT, "what the step waits for did not come in time"));
            }
            (StepKind::Job { .. }, _) => {
                let Some((job, attempt)) = state.job.as_deref().zip(Attempt::of(&self.draft, slot)) else { return };
                let before = job.state;
                // A tick is legal in every state of a job.
                if let Ok(moves) = job::decide(job, &attempt, JobInput::Tick, self.facts) {
                    self.absorb(slot, before, moves);
                }
            }
            (_, StepStatus::Running) if state.group.is_some() => {
                let failure = Failure::fatal(codes::TIMEOUT, "the group was not done in time");
                self.stop_group(slot, Some(failure), true);
            }
            _ => {}
        }
    }

    /// The wait before the next try is over. It waits on where the run has no room for it.
    pub(super) fn try_next(&mut self, slot: usize, step: &Step) {
        if self.may_move(slot, step) {
            self.try_at_once(slot, step);
        }
    }
}

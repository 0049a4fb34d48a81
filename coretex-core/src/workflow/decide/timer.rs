//! Time has passed.

use super::{Machine, attempt::Attempt};
use crate::{
    job::{self, Failure, JobInput, codes},
    workflow::{RunEvent, StepKind, StepStatus, evolve::RunMut},
};

impl Machine<'_> {
    /// Decides everything that is due. A tick that comes early or twice finds nothing due and changes nothing.
    pub(super) fn take_tick(&mut self) {
        let now = self.facts.now;
        if self.is_over() {
            return;
        }
        if self.draft.core().deadline_at.is_some_and(|deadline| deadline <= now) {
            self.stop_open_steps("coretex", "the run was not done in time");
            self.record(RunEvent::RunTimedOut);
            return;
        }
        for position in 0..self.draft.workflow().steps().len() {
            let due = self.draft.step_at(position).and_then(|step| step.next_due()).is_some_and(|due| due <= now);
            if due && !self.is_over() {
                self.step_due(position);
            }
        }
        self.advance();
    }

    fn step_due(&mut self, position: usize) {
        let workflow = self.draft.workflow().clone();
        let Some((step, state)) = workflow.steps().get(position).zip(self.draft.step_at(position)) else { return };
        match (&step.kind, state.status) {
            (StepKind::Job { .. }, StepStatus::Pending) => self.open_attempt(position),
            (StepKind::Job { .. }, _) => {
                let Some((job, attempt)) = state.job.as_deref().zip(Attempt::of(&self.draft, position)) else { return };
                let before = job.state;
                // A tick is legal in every state of a job.
                if let Ok(moves) = job::decide(job, &attempt, JobInput::Tick, self.facts) {
                    self.absorb(position, before, moves);
                }
            }
            (StepKind::Delay { .. }, StepStatus::Running) => self.succeed(position, None),
            (StepKind::Approval, StepStatus::Waiting) => {
                self.close(self.approval_id(&step.id));
                let failure = Failure::fatal(codes::APPROVAL_EXPIRED, "nobody answered in time");
                self.record(RunEvent::StepTimedOut { step: step.id.clone(), failure: failure.clone() });
                self.fail_run(position, failure);
            }
            _ => {}
        }
    }
}

//! Stopping what is under way: questions are withdrawn, workers and other runs are told and waited for.

use std::sync::Arc;

use super::{Machine, RunEffect, Todo};
use crate::{
    job::{self, Effect, JobInput, JobState, job_after},
    workflow::{ChildEffect, Phase, Role, RunEvent, StepStatus, WaitsFor, fold::RunMut, state::Halt},
};

impl Machine<'_> {
    /// Whether the step run at `slot` was told to stop, with its run or with a group that it is in. It is not tried again.
    pub(super) fn is_stopped(&self, slot: usize) -> bool {
        if self.draft.core().phase == Phase::Stopping || self.draft.core().halt.is_some() {
            return true;
        }
        // What undoes a step lies in the group of the step, which has ended by then.
        if self.step(slot).is_some_and(|step| step.role == Role::Compensation) {
            return false;
        }
        let block_of = |slot: usize| self.draft.step_at(slot).map(|step| step.block as usize);
        let mut around = block_of(slot);
        while let Some(holder) = around.and_then(|block| self.draft.block_at(block)?.holder) {
            let group = self.draft.step_at(holder as usize).and_then(|step| step.group.as_deref());
            if group.is_some_and(|group| group.ending.is_some()) {
                return true;
            }
            around = block_of(holder as usize);
        }
        false
    }

    /// Withdraws the questions of `slots`, before the event that cancels them.
    pub(super) fn withdraw_questions(&mut self, slots: &[usize]) {
        for slot in slots {
            let Some(state) = self.draft.step_at(*slot) else { continue };
            match (&state.waits_for, state.job.as_ref().map(|job| (job.state, job.id.to_string()))) {
                (Some(WaitsFor::Answer), _) => {
                    let id = self.approval_id(*slot);
                    self.close(id);
                }
                (_, Some((JobState::ApprovalRequired, id))) if state.status == StepStatus::Waiting => self.close(id),
                _ => {}
            }
        }
    }

    /// Tells whoever has a part of `slots` to stop. What this very decision was about to send stays here.
    pub(super) fn stop(&mut self, slots: &[usize], by: &Arc<str>, reason: &Arc<str>) {
        let until = job_after(self.facts.now, self.facts.stop_grace);
        let force = self.draft.core().halt == Some(Halt::Run);
        for slot in slots {
            let slot = *slot;
            if let Some(block) = self.draft.step_at(slot).map(|step| step.block as usize) {
                self.todo.push_back(Todo::Check(block));
            }
            if self.status(slot).is_terminal() {
                // A question to a remote kernel, or an alert, that is not needed any more.
                self.take_back(slot);
                // It ended with its block: the timeline tells it of each.
                self.record_step(slot, |step| RunEvent::StepCancelled { step });
                continue;
            }
            let Some(state) = self.draft.step_at(slot) else { continue };
            if state.group.is_some() {
                self.todo.push_back(Todo::Settle(slot));
                continue;
            }
            let child = match &state.waits_for {
                Some(WaitsFor::Child { run }) => Some(run.clone()),
                _ => None,
            };
            let is_job = state.job.as_ref().is_some_and(|job| job.state.is_in_flight());
            if self.take_back(slot) {
                if is_job {
                    self.drop_job(slot, by, reason);
                } else {
                    self.cancelled(slot);
                }
            } else if let Some(run) = child {
                self.record_step(slot, |step| RunEvent::ChildStopping { step });
                let effect = ChildEffect::StopChild { run, by: by.clone(), reason: reason.clone(), force };
                self.effects.push(RunEffect::Child(effect));
            } else if is_job {
                let stop = JobInput::Stop { by: by.clone(), reason: reason.clone(), until };
                let Some(attempt) = super::Attempt::of(&self.draft, slot) else { continue };
                let Some(job) = self.draft.step_at(slot).and_then(|step| step.job.as_deref()) else { continue };
                let before = job.state;
                // A stop is legal in every state of a job.
                if let Ok(moves) = job::decide(job, &attempt, stop, self.facts) {
                    self.absorb(slot, before, moves);
                }
            }
        }
    }

    /// Takes back what this very decision was about to send for the step run at `slot`. `false` when there is nothing.
    fn take_back(&mut self, slot: usize) -> bool {
        let step = self.draft.run_id(slot);
        let before = self.effects.len();
        self.effects.retain(|effect| {
            let sent_first = match effect {
                RunEffect::Job(Effect::Dispatch { spec, .. } | Effect::AskPolicy { spec, .. }) => spec.step.as_ref(),
                RunEffect::Notify { step, .. } | RunEffect::Store { step, .. } => Some(step),
                RunEffect::Child(ChildEffect::StartChild(start)) => Some(&start.parent.step),
                _ => None,
            };
            sent_first.is_none() || sent_first != step.as_ref()
        });
        self.effects.len() < before
    }
}

//! What every input leads to: steps that may go, groups that are done, and the turns that a run takes at its end.

use super::{Machine, Todo};
use crate::{
    job::Failure,
    workflow::{
        Cause, Phase, Role, RunEvent, SkipReason, StepStatus,
        definition::{FINALLY, MAIN},
        fold::{RunMut, of_step, slots_of},
    },
};

impl Machine<'_> {
    /// Decides everything that has become possible, and what becomes possible by that, until nothing is left.
    pub(super) fn advance(&mut self) {
        loop {
            while let Some(todo) = self.todo.pop_front() {
                if self.is_over() || self.away.is_waiting() {
                    return;
                }
                match todo {
                    Todo::Begin(slot) => self.begin_if_ready(slot),
                    Todo::Check(block) => self.check_group(block),
                    Todo::Settle(holder) => self.end_group_if_done(holder),
                }
            }
            if self.is_over() || self.away.is_waiting() {
                return;
            }
            if !self.begin_held() && !self.turn() {
                return;
            }
        }
    }

    /// The step run at `slot` has ended: those that wait for it may go, and what holds it may be done.
    pub(super) fn ended(&mut self, slot: usize) {
        let Some(step) = self.step(slot) else { return };
        for edge in &step.dependents {
            let Some(waiting) = of_step(&self.draft, slot, edge.to) else { continue };
            if self.draft.step_at(waiting).is_some_and(|step| step.open_edges == 0) {
                self.todo.push_back(Todo::Begin(waiting));
            }
        }
        if let Some(block) = self.draft.step_at(slot).map(|step| step.block as usize) {
            self.todo.push_back(Todo::Check(block));
        }
    }

    fn begin_if_ready(&mut self, slot: usize) {
        let Some(state) = self.draft.step_at(slot) else { return };
        if state.status != StepStatus::Pending || state.open_edges > 0 || state.due_at.is_some() {
            return;
        }
        let (is_taken, is_broken, is_tried) = (state.is_taken, state.is_broken, state.attempts > 0);
        let Some(step) = self.step(slot) else { return };
        if is_tried {
            // A further try that was held back.
            return self.try_next(slot, step);
        }
        if is_broken {
            return self.skip(slot, SkipReason::Broken);
        }
        if step.incoming > 0 && !is_taken {
            return self.skip(slot, SkipReason::NotTaken);
        }
        if !self.has_room(slot, step) {
            return;
        }
        if let Some(gate) = &step.gate {
            match self.seen(slot, |scope| gate.evaluate_bool(scope)) {
                Ok(true) => {}
                Ok(false) => return self.skip(slot, SkipReason::Gate),
                Err(error) => return self.fail(slot, Failure::fatal(error.code(), error.to_string())),
            }
        }
        self.begin(slot, step);
    }

    fn skip(&mut self, slot: usize, reason: SkipReason) {
        self.record_step(slot, |step| RunEvent::StepSkipped { step, reason });
        self.ended(slot);
    }

    /// What the run as a whole does next. `false` when it has to wait.
    fn turn(&mut self) -> bool {
        let open = |machine: &Self, block: usize| machine.draft.block_at(block).map_or(0, |block| block.open);
        match self.draft.core().phase {
            Phase::Forward => {
                if let Some(failed) = self.draft.block_at(MAIN).and_then(|block| block.failed) {
                    let cause = self.failure_of(failed as usize);
                    self.unwind(cause);
                    return true;
                }
                if open(self, MAIN) > 0 || self.draft.core().info.is_none() {
                    return false;
                }
                if let Err(failure) = self.output() {
                    self.unwind(Cause::Failed { step: None, failure, timed_out: false });
                    return true;
                }
                self.finalize()
            }
            Phase::Stopping => {
                if open(self, MAIN) > 0 {
                    return false;
                }
                if self.undoes_something() && !self.is_halted() {
                    let until = Some(self.end_until());
                    self.record(RunEvent::RunCompensating { until });
                    return true;
                }
                self.finalize()
            }
            Phase::Compensating => self.undo_next(),
            Phase::Finalizing => {
                if open(self, FINALLY) > 0 {
                    return false;
                }
                self.end_run();
                true
            }
        }
    }

    /// Why the run fails when the step run at `slot` did.
    fn failure_of(&self, slot: usize) -> Cause {
        let state = self.draft.step_at(slot);
        let failure = state.and_then(|step| step.failure.clone());
        Cause::Failed {
            step: self.draft.run_id(slot),
            failure: failure.unwrap_or_else(|| Failure::fatal("unknown", "no reason was recorded")),
            timed_out: state.is_some_and(|step| step.status == StepStatus::TimedOut),
        }
    }

    /// Turns the run round. Where there is nothing to stop, to undo or to do at last, it ends at once.
    pub(super) fn unwind(&mut self, cause: Cause) {
        let (by, reason) = match &cause {
            Cause::Cancelled { by, reason } => (by.clone(), reason.clone()),
            Cause::TimedOut => ("coretex".into(), "the run was not done in time".into()),
            Cause::Failed { step: Some(step), .. } => ("coretex".into(), format!("step `{step}` failed").into()),
            Cause::Failed { step: None, .. } => ("coretex".into(), "the run failed".into()),
        };
        let under_way = crate::workflow::fold::under_way(&self.draft, MAIN);
        if self.draft.core().queued || (under_way.is_empty() && !self.has_finally() && !self.undoes_something()) {
            return self.end_as(cause);
        }
        self.withdraw_questions(&under_way);
        self.record(RunEvent::RunUnwinding { cause: std::sync::Arc::new(cause) });
        self.stop(&under_way, &by, &reason);
    }

    fn has_finally(&self) -> bool {
        self.workflow.scopes().get(FINALLY).is_some_and(|scope| scope.len > 0)
    }

    /// Whether a step that can be undone may have succeeded. O(1) where no step can be undone.
    fn undoes_something(&self) -> bool {
        self.workflow.steps().iter().any(|step| step.role == Role::Compensation)
            && (0..self.draft.step_count()).any(|slot| {
                self.draft.step_at(slot).is_some_and(|step| step.status == StepStatus::Succeeded && step.done_at > 0)
            })
    }

    /// Begins the next compensation, one at a time.
    fn undo_next(&mut self) -> bool {
        let Some(undo) = self.draft.core().undo.clone() else { return self.finalize() };
        // They go in order, so those that have ended are the first.
        let next = undo.partition_point(|slot| self.status(*slot as usize).is_terminal());
        let Some(slot) = undo.get(next).map(|slot| *slot as usize) else { return self.finalize() };
        if self.draft.step_at(slot).is_some_and(|step| step.started_at.is_some()) {
            return false;
        }
        self.todo.push_back(Todo::Begin(slot));
        true
    }

    fn finalize(&mut self) -> bool {
        if !self.has_finally() || self.is_halted() {
            self.end_run();
            return true;
        }
        let until = Some(self.end_until());
        self.record(RunEvent::RunFinalizing { until });
        let base = slots_of(&self.draft, FINALLY).start;
        if let Some(scope) = self.workflow.scopes().get(FINALLY) {
            let roots = scope.roots.iter().map(|root| Todo::Begin(base + root - scope.first));
            self.todo.extend(roots);
        }
        true
    }

    /// What the run makes.
    fn output(&mut self) -> Result<Option<std::sync::Arc<crate::value::Value>>, Failure> {
        let Some(template) = self.workflow.output() else { return Ok(None) };
        let output = self
            .seen_in(MAIN, |scope| template.render_shared(scope))
            .map_err(|error| Failure::fatal(error.code(), format!("the output of the run: {error}")))?;
        if let Some(value) = &output {
            self.facts.payload_limits.check(value).map_err(|error| {
                Failure::fatal(crate::job::codes::PAYLOAD_TOO_LARGE, format!("the output of the run: {error}"))
            })?;
        }
        Ok(output)
    }

    fn end_run(&mut self) {
        if let Some(cause) = self.draft.core().cause.clone() {
            return self.end_as((*cause).clone());
        }
        let failed = slots_of(&self.draft, FINALLY).find(|slot| {
            let step = self.step(*slot).is_some_and(|step| !step.handled && !step.continue_on_error);
            step && matches!(self.status(*slot), StepStatus::Failed | StepStatus::TimedOut)
        });
        if let Some(slot) = failed {
            return self.end_as(self.failure_of(slot));
        }
        match self.output() {
            Ok(output) => {
                self.record(RunEvent::RunSucceeded { output });
                self.tell_parent();
            }
            Err(failure) => self.end_as(Cause::Failed { step: None, failure, timed_out: false }),
        }
    }

    pub(super) fn end_as(&mut self, cause: Cause) {
        let event = match cause {
            Cause::Failed { step, failure, timed_out } => {
                let slot = step.as_ref().and_then(|step| crate::workflow::fold::locate(&self.draft, step.as_str()));
                self.draft.record(slot, RunEvent::RunFailed { step, failure, timed_out });
                return self.tell_parent();
            }
            Cause::Cancelled { by, reason } => RunEvent::RunCancelled { by, reason },
            Cause::TimedOut => RunEvent::RunTimedOut {},
        };
        self.record(event);
        self.tell_parent();
    }
}

//! Groups: when the next block begins, when a group is done, and when what is left of it is stopped.

use super::{Machine, Todo};
use crate::{
    job::{Failure, codes},
    value::Value,
    workflow::{
        Joins, RunEvent, Step, StepKind, StepStatus,
        definition::MAIN,
        fold::{self, RunMut, slots_of},
        scope::RunScope,
    },
};

/// Most step runs of one run: it must fit in memory as a whole.
pub(in crate::workflow) const MAX_STEP_RUNS: usize = 200_000;

impl Machine<'_> {
    /// A step of `block` has ended: what does that mean for the group that the block is of?
    pub(super) fn check_group(&mut self, block: usize) {
        let Some(holder) = self.draft.block_at(block).and_then(|block| block.holder) else { return };
        let holder = holder as usize;
        if self.status(holder) != StepStatus::Running {
            return;
        }
        let Some(step) = self.step(holder) else { return };
        if self.draft.step_at(holder).and_then(|step| step.group.as_ref()).is_some_and(|group| group.ending.is_none()) {
            match &step.kind {
                StepKind::ForEach { .. } => self.check_items(holder, step, block),
                StepKind::Loop { .. } => self.check_iteration(holder, step, block),
                StepKind::Parallel(joins) => self.check_branches(holder, *joins, block),
                _ => {}
            }
        }
        self.end_group_if_done(holder);
    }

    /// Begins as many items as may be under way.
    pub(super) fn begin_items(&mut self, holder: usize, max_parallel: u32) {
        loop {
            let Some(group) = self.draft.step_at(holder).and_then(|step| step.group.as_deref()) else { return };
            let has_room = max_parallel == 0 || group.active < max_parallel;
            if group.begun >= group.total || group.ending.is_some() || !has_room {
                return;
            }
            let index = group.begun;
            if !self.begin_block(holder, index, None) {
                return;
            }
        }
    }

    /// Begins a block, and the steps of it that wait for nothing. `false` when the run would become too large.
    pub(super) fn begin_block(
        &mut self,
        holder: usize,
        index: u32,
        carry: Option<std::sync::Arc<crate::value::Value>>,
    ) -> bool {
        if self.is_too_large(holder, 1) {
            return false;
        }
        self.record_step(holder, |step| RunEvent::BlockBegun { step, index, carry });
        self.begin_roots(holder);
        true
    }

    /// The steps of the block begun last that wait for nothing may go.
    pub(super) fn begin_roots(&mut self, holder: usize) {
        let Some(group) = self.draft.step_at(holder).and_then(|step| step.group.as_deref()) else { return };
        let base = slots_of(&self.draft, group.last_block as usize).start;
        let Some(scope) = self.step(holder).and_then(|step| self.workflow.scopes().get(step.body?)) else { return };
        self.todo.extend(scope.roots.iter().map(|root| Todo::Begin(base + root - scope.first)));
    }

    /// Whether `blocks` more blocks are more than a run may have; the step has failed then.
    pub(super) fn is_too_large(&mut self, holder: usize, blocks: usize) -> bool {
        let body = self.step(holder).and_then(|step| step.body).map_or(0, |body| match blocks {
            // What is in it was counted when its group began.
            1 => self.workflow.scopes().get(body).map_or(0, |body| body.len),
            _ => self.least_steps(body),
        });
        if self.draft.step_count().saturating_add(blocks.saturating_mul(body)) <= MAX_STEP_RUNS {
            return false;
        }
        let message =
            format!("the run would have more than {MAX_STEP_RUNS} step runs; move a part into a workflow of its own");
        let failure = Failure::fatal("run_too_large", message);
        if self.draft.step_at(holder).is_some_and(|step| step.group.is_some()) {
            self.stop_group(holder, Some(failure), false);
        } else {
            self.fail(holder, failure);
        }
        true
    }

    /// Step runs that one block of `scope` has at least: those of groups in it that certainly begin are counted where
    /// their number of items follows from the run's input alone.
    fn least_steps(&self, scope: usize) -> usize {
        let Some(scope) = self.workflow.scopes().get(scope) else { return 0 };
        let inner = scope.roots.iter().filter_map(|root| {
            let step = self.workflow.steps().get(*root).filter(|step| step.gate.is_none())?;
            let blocks = match &step.kind {
                StepKind::Parallel(_) => 1,
                StepKind::ForEach { over, .. } if over.references().roots().all(|root| root == "input") => {
                    match over.evaluate(&RunScope { state: &self.draft, block: MAIN }) {
                        Ok(Some(Value::Array(items))) => items.len(),
                        _ => 0,
                    }
                }
                _ => 0,
            };
            if blocks == 0 {
                return None;
            }
            Some(blocks.saturating_mul(self.least_steps(step.body?)))
        });
        inner.fold(scope.len, usize::saturating_add)
    }

    fn check_items(&mut self, holder: usize, step: &Step, block: usize) {
        let StepKind::ForEach { max_parallel, tolerance, .. } = &step.kind else { return };
        let Some(group) = self.draft.step_at(holder).and_then(|step| step.group.as_deref()) else { return };
        if tolerance.is_exceeded(group.failed, group.total) {
            let failure = self.failure_in(block).unwrap_or_else(|| Failure::fatal("unknown", "no reason was recorded"));
            return self.stop_group(holder, Some(failure), false);
        }
        self.begin_items(holder, *max_parallel);
    }

    fn check_iteration(&mut self, holder: usize, step: &Step, block: usize) {
        if let Some(failure) = self.failure_in(block) {
            return self.stop_group(holder, Some(failure), false);
        }
        // Several steps of an iteration may end in one decision; it is over once.
        let last =
            self.draft.step_at(holder).and_then(|step| step.group.as_deref()).map(|group| group.last_block as usize);
        if last != Some(block) || self.draft.block_at(block).is_none_or(|block| block.open > 0) {
            return;
        }
        let StepKind::Loop { until, next, .. } = &step.kind else { return };
        let is_done = match until.as_ref().map(|until| self.seen_in(block, |scope| until.evaluate_bool(scope))) {
            None => false,
            Some(Ok(is_done)) => is_done,
            Some(Err(error)) => {
                let failure = Failure::fatal(error.code(), format!("`until`: {error}"));
                return self.stop_group(holder, Some(failure), false);
            }
        };
        let carry = match next.as_ref().map(|next| self.seen_in(block, |scope| next.render_shared(scope))) {
            None => self.draft.block_at(block).and_then(|block| block.carry.clone()),
            Some(Ok(carry)) => Some(carry.unwrap_or_default()),
            Some(Err(error)) => {
                let failure = Failure::fatal(error.code(), format!("`next`: {error}"));
                return self.stop_group(holder, Some(failure), false);
            }
        };
        if let Some(Err(error)) = carry.as_ref().map(|carry| self.facts.payload_limits.check(carry)) {
            let failure = Failure::fatal(codes::PAYLOAD_TOO_LARGE, format!("what the loop carries: {error}"));
            return self.stop_group(holder, Some(failure), false);
        }
        if is_done {
            return self.succeed_group(holder, carry);
        }
        self.iterate(holder, step, block, carry);
    }

    /// Begins the next iteration of a loop, or ends it. `block` is the iteration before, or what the loop is in.
    pub(super) fn iterate(
        &mut self,
        holder: usize,
        step: &Step,
        block: usize,
        carry: Option<std::sync::Arc<crate::value::Value>>,
    ) {
        let StepKind::Loop { goes_on, until, most, .. } = &step.kind else { return };
        let begun = self.draft.step_at(holder).and_then(|step| step.group.as_deref()).map_or(0, |group| group.begun);
        if let Some(goes_on) = goes_on {
            let (held, index) = (carry.as_deref(), begun);
            match self.seen_in(block, |inner| goes_on.evaluate_bool(&NextIteration { inner, carry: held, index })) {
                Ok(true) => {}
                Ok(false) => return self.succeed_group(holder, carry),
                Err(error) => {
                    let failure = Failure::fatal(error.code(), format!("`while`: {error}"));
                    return self.stop_group(holder, Some(failure), false);
                }
            }
        }
        if begun >= *most {
            // A loop that only counts is done; one that waits for something has not got it.
            if goes_on.is_none() && until.is_none() {
                return self.succeed_group(holder, carry);
            }
            let failure = Failure::fatal("loop_exhausted", format!("the loop is not done after {most} iterations"));
            return self.stop_group(holder, Some(failure), false);
        }
        self.begin_block(holder, begun, carry);
    }

    fn check_branches(&mut self, holder: usize, joins: Joins, block: usize) {
        match joins {
            Joins::Settled => {}
            Joins::All => {
                if let Some(failure) = self.failure_in(block) {
                    self.stop_group(holder, Some(failure), false);
                }
            }
            Joins::AtLeast(wanted) => {
                let Some(scope) = self.step(holder).and_then(|step| self.workflow.scopes().get(step.body?)) else {
                    return;
                };
                let base = slots_of(&self.draft, block).start;
                let ends = || scope.sinks.iter().map(|sink| self.status(base + sink - scope.first));
                let done = ends().filter(|status| *status == StepStatus::Succeeded).count();
                let possible = done + ends().filter(|status| !status.is_terminal()).count();
                if done >= wanted as usize {
                    self.stop_group(holder, None, false);
                } else if possible < wanted as usize {
                    let message = format!("{done} of {wanted} branches succeeded, and no more can");
                    self.stop_group(holder, Some(Failure::fatal("join_impossible", message)), false);
                }
            }
        }
    }

    /// Why `block` has failed, if it has.
    fn failure_in(&self, block: usize) -> Option<Failure> {
        let failed = self.draft.block_at(block)?.failed? as usize;
        let failure = self.draft.step_at(failed)?.failure.clone()?;
        let step = self.draft.run_id(failed)?;
        Some(Failure { message: format!("step `{step}`: {}", failure.message).into(), ..failure })
    }

    /// Settles how a group ends, and stops what is under way in it.
    pub(super) fn stop_group(&mut self, holder: usize, failure: Option<Failure>, timed_out: bool) {
        let under_way = self.under_way_in(holder);
        let reason: std::sync::Arc<str> = match (&failure, self.draft.run_id(holder)) {
            (Some(_), Some(step)) => format!("group `{step}` failed").into(),
            (_, Some(step)) => format!("group `{step}` is done").into(),
            _ => "the group is done".into(),
        };
        self.withdraw_questions(&under_way);
        self.record_step(holder, |step| RunEvent::GroupStopping { step, failure, timed_out });
        self.stop(&under_way, &"coretex".into(), &reason);
        self.end_group_if_done(holder);
    }

    /// Step runs of the group that have begun and not ended.
    fn under_way_in(&self, holder: usize) -> Vec<usize> {
        let Some(block) = self.draft.step_at(holder).map(|step| step.block as usize) else { return Vec::new() };
        let inside = |slot: &usize| {
            let mut around = self.draft.step_at(*slot).map(|step| step.block as usize);
            while let Some(here) = around.and_then(|block| self.draft.block_at(block)) {
                match here.holder {
                    Some(found) if found as usize == holder => return true,
                    Some(found) => around = self.draft.step_at(found as usize).map(|step| step.block as usize),
                    None => return false,
                }
            }
            false
        };
        fold::under_way(&self.draft, block).into_iter().filter(inside).collect()
    }

    pub(super) fn end_group_if_done(&mut self, holder: usize) {
        let Some(state) = self.draft.step_at(holder).filter(|step| step.status == StepStatus::Running) else { return };
        let Some(group) = state.group.as_deref().filter(|group| group.active == 0) else { return };
        match group.ending.clone() {
            Some(ending) => match (&ending.failure, ending.timed_out, ending.cancelled) {
                (_, _, true) => self.cancelled(holder),
                (Some(failure), true, _) => self.time_out(holder, failure.clone()),
                (Some(failure), false, _) => self.fail(holder, failure.clone()),
                (None, ..) => self.succeed_group(holder, None),
            },
            // A loop says by itself when it is done.
            None if self.step(holder).is_some_and(|step| matches!(step.kind, StepKind::Loop { .. })) => {}
            None if group.begun >= group.total => self.succeed_group(holder, None),
            None => {}
        }
    }

    fn succeed_group(&mut self, holder: usize, carry: Option<std::sync::Arc<crate::value::Value>>) {
        let output = fold::group_output(&self.draft, holder, carry.as_ref()).unwrap_or_default();
        if let Err(error) = self.facts.payload_limits.check(&output) {
            let message = format!("the outputs of the group: {error}");
            return self.fail(holder, Failure::fatal(codes::PAYLOAD_TOO_LARGE, message));
        }
        if let Err(failure) = self.judge(holder, &output) {
            return self.fail(holder, failure);
        }
        self.record_step(holder, |step| RunEvent::GroupSucceeded { step, carry });
        self.ended(holder);
    }
}

/// What `while` sees: the iteration before, and what the next one would start with.
struct NextIteration<'a> {
    inner: &'a dyn crate::value::Scope,
    carry: Option<&'a crate::value::Value>,
    index: u32,
}

impl crate::value::Scope for NextIteration<'_> {
    fn variable(&self, name: &str) -> Option<crate::value::Node<'_>> {
        match name {
            "carry" => self.carry.map(crate::value::Node::Json),
            "index" => Some(crate::value::Node::Int(i64::from(self.index))),
            _ => self.inner.variable(name),
        }
    }
}

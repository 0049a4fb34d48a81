//! Going on from another run: which of its steps keep what they made, and which run anew.

use std::collections::BTreeSet;

use super::{Machine, Todo};
use crate::{
    job::StepRunId,
    workflow::{
        RestoredState, Role, Run, StepKind, StepRun, StepStatus,
        definition::{EdgeKind, FINALLY},
        fold::{self, RunMut, of_step, slots_of},
    },
};

/// Why a run cannot go on from another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The run has no such step.
    #[error("run `{run}` has no step `{step}` that has begun")]
    UnknownStep {
        /// The run.
        run: String,
        /// The step.
        step: String,
    },
    /// Steps that the step needs did not end well.
    #[error("step `{step}` waits for `{missing}`, which is {}; begin there, or earlier", status.as_str())]
    Missing {
        /// The step to begin with.
        step: String,
        /// The step that it waits for.
        missing: String,
        /// The state of that step.
        status: StepStatus,
    },
}

impl RestoreError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownStep { .. } => "step_not_found",
            Self::Missing { .. } => "rerun_impossible",
        }
    }
}

impl Run {
    /// The state for a run that goes on from this one: everything that ended well is kept, but for `from` and all that
    /// waits for it; everything else runs anew. Inside of a loop or a `for_each`, `from` is one item or iteration, and
    /// later iterations of the same loop are forgotten. O(steps).
    ///
    /// # Errors
    /// [`RestoreError`] when `from` has not begun here, or what it waits for did not end well.
    pub fn restore_from(&self, from: Option<&StepRunId>) -> Result<RestoredState, RestoreError> {
        let mut state = self.clone();
        let mut again: BTreeSet<usize> = BTreeSet::new();
        if let Some(from) = from {
            let slot = fold::locate(self, from).ok_or_else(|| RestoreError::UnknownStep {
                run: self.id().map(ToString::to_string).unwrap_or_default(),
                step: from.to_string(),
            })?;
            self.check_needs(slot, from)?;
            let mut around = Some(slot);
            // The step and all that waits for it, in its group, then the group and all that waits for that.
            while let Some(slot) = around {
                again.extend(self.downstream(slot));
                around = self.step_at(slot).and_then(|step| self.block_at(step.block as usize)?.holder).map(|slot| slot as usize);
            }
            state.forget_later_iterations(slot);
        }
        let holders: BTreeSet<usize> = from.and_then(|from| fold::locate(self, from)).map(|slot| self.holders(slot)).unwrap_or_default();
        for slot in 0..state.steps.len() {
            let Some(step) = state.steps.get(slot) else { continue };
            let is_finally = state.blocks.get(step.block as usize).is_some_and(|block| block.scope as usize == FINALLY);
            let kept = matches!(step.status, StepStatus::Succeeded | StepStatus::Skipped)
                && !again.contains(&slot)
                && !is_finally
                && !state.is_inside_of_reset(slot, &again, &holders);
            if holders.contains(&slot) {
                state.reopen(slot);
            } else if !kept {
                state.reset(slot);
            }
        }
        state.settle_blocks();
        Ok(RestoredState {
            context: state.core.context.clone(),
            signals: state.core.signals.clone(),
            steps: state.steps,
            blocks: state.blocks,
        })
    }

    /// The step runs of the groups around the one at `slot`.
    fn holders(&self, slot: usize) -> BTreeSet<usize> {
        let outer = |slot: &usize| {
            let block = self.steps.get(*slot)?.block as usize;
            Some(self.blocks.get(block)?.holder? as usize)
        };
        std::iter::successors(outer(&slot), outer).collect()
    }

    fn check_needs(&self, slot: usize, from: &StepRunId) -> Result<(), RestoreError> {
        let Some(step) = self.steps.get(slot).and_then(|step| self.workflow.steps().get(step.position())) else {
            return Ok(());
        };
        for dep in &step.depends_on {
            let Some(needed) = of_step(self, slot, *dep) else { continue };
            let Some(state) = self.steps.get(needed) else { continue };
            let tolerated = self.workflow.steps().get(*dep).is_some_and(|dep| dep.continue_on_error || dep.handled);
            if !matches!(state.status, StepStatus::Succeeded | StepStatus::Skipped) && !tolerated {
                return Err(RestoreError::Missing {
                    step: from.to_string(),
                    missing: fold::run_id(self, needed).map(|id| id.to_string()).unwrap_or_default(),
                    status: state.status,
                });
            }
        }
        Ok(())
    }

    /// The step run at `slot` and all of its block that wait for it, directly or not.
    fn downstream(&self, slot: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![slot];
        while let Some(slot) = open.pop() {
            if !found.insert(slot) {
                continue;
            }
            let Some(step) = self.steps.get(slot).and_then(|step| self.workflow.steps().get(step.position())) else {
                continue;
            };
            open.extend(step.dependents.iter().filter_map(|edge| of_step(self, slot, edge.to)));
        }
        found
    }

    /// Iterations behind those that the step run at `slot` is in never happened.
    fn forget_later_iterations(&mut self, slot: usize) {
        let mut around = self.steps.get(slot).map(|step| step.block as usize);
        while let Some(block) = around {
            let Some(here) = self.blocks.get(block).cloned() else { return };
            let Some(holder) = here.holder.map(|holder| holder as usize) else { return };
            let kind = self.steps.get(holder).and_then(|step| self.workflow.steps().get(step.position()));
            let is_loop = kind.is_some_and(|step| matches!(step.kind, StepKind::Loop { .. }));
            if let Some(group) = self.steps.get_mut(holder).and_then(|step| step.group.as_deref_mut())
                && is_loop
            {
                group.last_block = u32::try_from(block).unwrap_or(u32::MAX);
                group.begun = here.index + 1;
                group.total = group.begun;
            }
            around = self.steps.get(holder).map(|step| step.block as usize);
        }
    }

    /// Whether a group around the step run runs anew as a whole.
    fn is_inside_of_reset(&self, slot: usize, again: &BTreeSet<usize>, holders: &BTreeSet<usize>) -> bool {
        self.holders(slot).iter().any(|holder| {
            !holders.contains(holder)
                && (again.contains(holder)
                    || self.steps.get(*holder).is_some_and(|step| step.status != StepStatus::Succeeded))
        })
    }

    /// As if nothing had happened to the step run.
    fn reset(&mut self, slot: usize) {
        let Some(step) = self.steps.get_mut(slot) else { return };
        let incoming = self.workflow.steps().get(step.position()).map_or(0, |step| step.incoming);
        *step = StepRun {
            position: step.position,
            block: step.block,
            open_edges: incoming,
            ..StepRun::default()
        };
    }

    /// A group that goes on with what it has.
    fn reopen(&mut self, slot: usize) {
        let Some(step) = self.steps.get_mut(slot) else { return };
        step.status = StepStatus::Running;
        step.completed_at = None;
        step.output = None;
        step.failure = None;
        step.due_at = None;
        step.waits_for = None;
        if let Some(group) = step.group.as_deref_mut() {
            group.ending = None;
        }
    }

    /// Counts anew what follows from the step runs: edges, blocks and groups.
    fn settle_blocks(&mut self) {
        for slot in 0..self.steps.len() {
            self.settle_edges(slot);
        }
        let mut counted: Vec<(u32, u32, bool)> = Vec::new();
        for block in 0..self.blocks.len() {
            let open = slots_of(self, block)
                .filter(|slot| {
                    let Some(step) = self.steps.get(*slot) else { return false };
                    let role = self.workflow.steps().get(step.position()).map(|step| step.role);
                    !step.status.is_terminal() && role != Some(Role::Compensation)
                })
                .count();
            let Some(here) = self.blocks.get_mut(block) else { continue };
            here.failed = None;
            if here.base.is_some() {
                here.open = u32::try_from(open).unwrap_or(u32::MAX);
            }
            if let Some((holder, _)) = here.holder.zip(here.base) {
                counted.push((holder, u32::try_from(block).unwrap_or(u32::MAX), here.open == 0));
            }
        }
        let mut groups: std::collections::BTreeMap<u32, (u32, u32)> = std::collections::BTreeMap::new();
        for (holder, block, is_done) in counted {
            let last = self.steps.get(holder as usize).and_then(|step| step.group.as_deref()).map(|group| group.last_block);
            let is_loop = self.is_loop(holder as usize);
            // Forgotten iterations do not count.
            if is_loop && last.is_some_and(|last| block > last) {
                continue;
            }
            let (done, open) = groups.entry(holder).or_default();
            *(if is_done { done } else { open }) += 1;
        }
        for (holder, (done, open)) in groups {
            if let Some(group) = self.steps.get_mut(holder as usize).and_then(|step| step.group.as_deref_mut()) {
                group.succeeded = done;
                group.failed = 0;
                group.active = open;
            }
        }
    }

    fn is_loop(&self, slot: usize) -> bool {
        let step = self.steps.get(slot).and_then(|step| self.workflow.steps().get(step.position()));
        step.is_some_and(|step| matches!(step.kind, StepKind::Loop { .. }))
    }

    /// Counts the edges that lead to a step run that has not ended.
    fn settle_edges(&mut self, slot: usize) {
        let workflow = self.workflow.clone();
        let Some(state) = self.steps.get(slot).filter(|step| step.status == StepStatus::Pending) else { return };
        let Some((step, scope)) = workflow.at(state.position()) else { return };
        let (mut open, mut is_taken) = (0, false);
        for from in scope.first..scope.first + scope.len {
            let Some(source) = workflow.steps().get(from) else { continue };
            for edge in source.dependents.iter().filter(|edge| edge.to == state.position()) {
                let Some(from) = of_step(self, slot, from).and_then(|slot| self.steps.get(slot)) else { continue };
                if !from.status.is_terminal() {
                    open += 1;
                    continue;
                }
                let output = from.output.as_ref().and_then(|output| output.value.as_deref());
                let chosen = || {
                    output.and_then(|output| output.get("taken")?.as_array()).is_some_and(|taken| {
                        taken.iter().any(|id| id.as_str() == Some(step.id.as_str()))
                    })
                };
                is_taken |= match edge.kind {
                    EdgeKind::Success => step.role != Role::Handler,
                    EdgeKind::Choice => chosen(),
                    EdgeKind::Failure => false,
                };
            }
        }
        if let Some(state) = self.steps.get_mut(slot) {
            state.open_edges = open;
            state.is_taken = is_taken;
            state.is_broken = false;
        }
    }
}

impl Machine<'_> {
    /// Lets everything go that a restored state allows.
    pub(super) fn resume(&mut self) {
        let mut holders = Vec::new();
        for slot in 0..self.draft.step_count() {
            let Some(state) = self.draft.step_at(slot) else { continue };
            let Some(step) = self.workflow.steps().get(state.position()) else { continue };
            let in_finally = self.draft.block_at(state.block as usize).is_some_and(|block| block.scope as usize == FINALLY);
            let is_open = self.draft.block_at(state.block as usize).is_some_and(|block| {
                block.holder.is_none_or(|holder| self.status(holder as usize) == StepStatus::Running)
            });
            if step.role == Role::Compensation || in_finally || !is_open {
                continue;
            }
            if state.status == StepStatus::Pending && state.open_edges == 0 {
                self.todo.push_back(Todo::Begin(slot));
            } else if state.status == StepStatus::Running && state.group.is_some() {
                holders.push(slot);
            }
        }
        // Innermost first, so that a group finds those in it settled.
        for holder in holders.into_iter().rev() {
            let Some(step) = self.step(holder) else { continue };
            if let StepKind::ForEach { max_parallel, .. } = &step.kind {
                self.begin_items(holder, *max_parallel);
            }
            let last = self.draft.step_at(holder).and_then(|step| step.group.as_deref()).map(|group| group.last_block);
            self.todo.extend(last.map(|block| Todo::Check(block as usize)));
        }
    }
}

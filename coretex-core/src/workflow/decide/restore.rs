//! Going on from another run: which of its step runs keep what they made, and which run anew.

use super::{
    Machine, Todo,
    cut::{Cut, Fate},
};
use crate::{
    job::StepRunId,
    workflow::{
        RestoredState, Role, Run, StepKind, StepRun, StepStatus,
        definition::{FINALLY, MAIN},
        fold::{self, RunMut, how_ended, of_step, passes, slots_of, taken},
        state::{Block, Group},
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
    /// The state for a run that goes on from this one: what ended well is kept, and failures that the run had dealt with;
    /// `from`, what was undone and everything else run anew, with all that waits for them. Groups that had begun go on
    /// with the items and iterations that ended well. Inside of a loop, iterations behind one that runs anew are
    /// forgotten. O(steps + dependencies).
    ///
    /// # Errors
    /// [`RestoreError`] when `from` has not begun here, or what it waits for did not end well.
    pub fn restore_from(&self, from: Option<&StepRunId>) -> Result<RestoredState, RestoreError> {
        let mut begin = None;
        if let Some(from) = from {
            let slot = fold::locate(self, from.as_str()).ok_or_else(|| RestoreError::UnknownStep {
                run: self.id().map(ToString::to_string).unwrap_or_default(),
                step: from.to_string(),
            })?;
            self.check_needs(slot, from)?;
            begin = Some(slot);
        }
        let mut copy = Copy { old: self, cut: Cut::of(self, begin), steps: Vec::new(), blocks: Vec::new() };
        for block in [MAIN, FINALLY] {
            copy.blocks.extend(self.blocks.get(block).cloned());
        }
        for block in [MAIN, FINALLY] {
            copy.block(block, block, block == FINALLY);
        }
        copy.groups(MAIN);
        copy.renumber();
        let mut run = self.clone();
        (run.steps, run.blocks) = (copy.steps, copy.blocks);
        for slot in 0..run.steps.len() {
            run.settle_edges(slot);
        }
        Ok(RestoredState {
            context: run.core.context.clone(),
            signals: run.core.signals.clone(),
            steps: run.steps,
            blocks: run.blocks,
        })
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

    /// Counts the edges that lead to a step run that runs anew.
    fn settle_edges(&mut self, slot: usize) {
        let workflow = self.workflow.clone();
        let Some(state) = self.steps.get(slot).filter(|step| step.status == StepStatus::Pending) else { return };
        let Some((step, scope)) = workflow.at(state.position()) else { return };
        let (mut open, mut is_taken, mut is_broken) = (0, false, false);
        for from in scope.first..scope.first + scope.len {
            let Some(source) = workflow.steps().get(from) else { continue };
            for edge in source.dependents.iter().filter(|edge| edge.to == state.position()) {
                let Some(before) = of_step(self, slot, from).and_then(|slot| self.steps.get(slot)) else { continue };
                let chosen = taken(before);
                let Some(how) = how_ended(source, before, &chosen) else {
                    open += 1;
                    continue;
                };
                let (is_open, broken) = passes(how, edge.kind, source, step);
                is_taken |= is_open;
                is_broken |= broken;
            }
        }
        if let Some(state) = self.steps.get_mut(slot) {
            state.open_edges = open;
            state.is_taken = is_taken;
            state.is_broken = is_broken;
        }
    }
}

/// A copy of the step runs and blocks that are kept, without those that are forgotten.
struct Copy<'a> {
    old: &'a Run,
    cut: Cut<'a>,
    steps: Vec<StepRun>,
    blocks: Vec<Block>,
}

impl Copy<'_> {
    /// Copies the step runs of the block `old` into the block `new`, which is there. `anew` forgets all of them.
    fn block(&mut self, old: usize, new: usize, anew: bool) {
        let base = u32::try_from(self.steps.len()).ok();
        let mut open = 0;
        for slot in slots_of(self.old, old) {
            let Some(step) = self.old.steps.get(slot) else { continue };
            let role = self.old.workflow.steps().get(step.position()).map(|step| step.role);
            let is_undo = role == Some(Role::Compensation);
            let mut copy = match self.cut.fate(slot, step) {
                _ if anew || is_undo => self.fresh(step),
                Fate::Keep => StepRun { job: None, ..step.clone() },
                Fate::Again => self.fresh(step),
                Fate::Open => StepRun {
                    status: StepStatus::Running,
                    completed_at: None,
                    output: None,
                    failure: None,
                    due_at: None,
                    ..step.clone()
                },
            };
            copy.block = u32::try_from(new).unwrap_or(u32::MAX);
            open += u32::from(!copy.status.is_terminal() && !is_undo);
            self.steps.push(copy);
        }
        if let Some(block) = self.blocks.get_mut(new) {
            block.base = base;
            block.open = open;
            block.failed = None;
        }
    }

    /// Copies the groups of the block `new`, and what is in them.
    fn groups(&mut self, new: usize) {
        let Some(base) = self.blocks.get(new).and_then(|block| block.base) else { return };
        let scope = self.blocks.get(new).and_then(|block| self.old.workflow.scopes().get(block.scope as usize));
        let len = scope.map_or(0, |scope| scope.len);
        for slot in base as usize..base as usize + len {
            if self.steps.get(slot).is_some_and(|step| step.group.is_some()) {
                self.group(slot);
            }
        }
    }

    fn group(&mut self, holder: usize) {
        let Some(group) = self.steps.get(holder).and_then(|step| step.group.as_deref().cloned()) else { return };
        let is_kept = self.steps.get(holder).is_some_and(|step| step.status.is_terminal());
        let first = self.blocks.len();
        let mut copies = Vec::new();
        for old in self.blocks_of(holder, &group) {
            let Some(block) = self.old.blocks.get(old) else { continue };
            let at = self.blocks.len();
            copies.push((old, at, block.base.is_some()));
            self.blocks.push(Block {
                holder: u32::try_from(holder).ok(),
                previous: block.previous.and_then(|_| u32::try_from(at.checked_sub(1)?).ok()),
                ..block.clone()
            });
        }
        let mut counts = Group { succeeded: 0, failed: 0, active: 0, begun: 0, ..group.clone() };
        for (old, at, has_begun) in copies {
            if !has_begun {
                continue;
            }
            let before = self.old.blocks.get(old).map(|block| (block.open, block.failed));
            self.block(old, at, false);
            if is_kept && let Some((block, (open, failed))) = self.blocks.get_mut(at).zip(before) {
                // What was tolerated stays tolerated.
                (block.open, block.failed) = (open, failed.map(|_| block.base.unwrap_or_default()));
            }
            counts.begun += 1;
            counts.last_block = u32::try_from(at).unwrap_or(u32::MAX);
            match self.blocks.get(at) {
                Some(block) if block.open > 0 => counts.active += 1,
                Some(block) if block.failed.is_some() => counts.failed += 1,
                _ => counts.succeeded += 1,
            }
            self.groups(at);
        }
        counts.first_block = u32::try_from(first).unwrap_or(u32::MAX);
        counts.ending = if is_kept { group.ending } else { None };
        if !matches!(self.kind_of(holder), Some(StepKind::ForEach { .. })) {
            counts.total = counts.begun;
        }
        if let Some(step) = self.steps.get_mut(holder) {
            step.group = Some(Box::new(counts));
        }
    }

    /// The old blocks of a copied group, in order; of a loop only up to the iteration where the past ends.
    fn blocks_of(&self, holder: usize, group: &Group) -> Vec<usize> {
        let last = group.last_block as usize;
        match self.kind_of(holder) {
            Some(StepKind::ForEach { .. }) => {
                (group.first_block as usize..(group.first_block + group.total) as usize).collect()
            }
            _ if group.begun == 0 => Vec::new(),
            Some(StepKind::Loop { .. }) => {
                let before = |block: &usize| Some(self.old.blocks.get(*block)?.previous? as usize);
                let mut chain: Vec<usize> = std::iter::successors(Some(last), before).collect();
                chain.reverse();
                let cut = chain.iter().position(|block| self.cut.blocks.contains(block));
                chain.truncate(cut.map_or(chain.len(), |cut| cut + 1));
                chain
            }
            _ => vec![last],
        }
    }

    /// The kind of a step run of the copy.
    fn kind_of(&self, slot: usize) -> Option<&StepKind> {
        let step = self.steps.get(slot)?;
        self.old.workflow.steps().get(step.position()).map(|step| &step.kind)
    }

    /// What is kept was done before anything that is done now, in the order in which it was.
    fn renumber(&mut self) {
        let mut done: Vec<&mut StepRun> = self.steps.iter_mut().filter(|step| step.done_at > 0).collect();
        done.sort_by_key(|step| step.done_at);
        for (n, step) in done.into_iter().enumerate() {
            step.done_at = 1 + n as u64;
        }
    }

    /// As if nothing had happened to the step run.
    fn fresh(&self, step: &StepRun) -> StepRun {
        let incoming = self.old.workflow.steps().get(step.position()).map_or(0, |step| step.incoming);
        StepRun { position: step.position, open_edges: incoming, ..StepRun::default() }
    }
}

impl Machine<'_> {
    /// Lets everything go that a restored state allows.
    pub(super) fn resume(&mut self) {
        let mut holders = Vec::new();
        for slot in 0..self.draft.step_count() {
            let Some(state) = self.draft.step_at(slot) else { continue };
            let Some(step) = self.workflow.steps().get(state.position()) else { continue };
            let block = self.draft.block_at(state.block as usize);
            let is_open = block.is_some_and(|block| {
                block.scope as usize != FINALLY
                    && block.holder.is_none_or(|holder| self.status(holder as usize) == StepStatus::Running)
            });
            if step.role == Role::Compensation || !is_open {
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
            if let Some(StepKind::ForEach { max_parallel, .. }) = self.step(holder).map(|step| &step.kind) {
                self.begin_items(holder, *max_parallel);
            }
            let last = self.draft.step_at(holder).and_then(|step| step.group.as_deref()).map(|group| group.last_block);
            self.todo.extend(last.map(|block| Todo::Check(block as usize)));
        }
    }
}

//! Where the past of a run ends that another one goes on from: what keeps what it made, what runs anew, and which groups
//! are gone into again.
//!
//! What runs anew takes along all that waits for it, within its block and around the groups that it is in: nothing is kept
//! that was made of something that is made again.

use std::collections::BTreeSet;

use crate::workflow::{Run, Step, StepRun, StepStatus, definition::EdgeKind, fold::of_step};

/// What becomes of a step run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays as it ended.
    Keep,
    /// It runs anew.
    Again,
    /// A group that goes on with what is in it.
    Open,
}

/// Where the past ends.
#[derive(Debug)]
pub(super) struct Cut<'a> {
    run: &'a Run,
    /// Step runs that run anew, whatever they made.
    again: BTreeSet<usize>,
    /// Groups around them, which go on.
    path: BTreeSet<usize>,
    /// The blocks of those groups that they are in.
    pub(super) blocks: BTreeSet<usize>,
}

impl<'a> Cut<'a> {
    /// Cuts at `from`, where it is given, at what was undone, and at what did not end well. O(steps + dependencies), for
    /// each failure that a step behind it had dealt with once more.
    pub(super) fn of(run: &'a Run, from: Option<usize>) -> Self {
        let mut cut = Self { run, again: BTreeSet::new(), path: BTreeSet::new(), blocks: BTreeSet::new() };
        let undone = (0..run.steps.len()).filter(|slot| cut.is_undone(*slot));
        let seeds: Vec<usize> = from.into_iter().chain(undone).collect();
        cut.run_anew(seeds);
        loop {
            let before = cut.again.len();
            let anew = |(slot, step): (usize, &StepRun)| (cut.fate(slot, step) == Fate::Again).then_some(slot);
            let seeds: Vec<usize> = run.steps.iter().enumerate().filter_map(anew).collect();
            cut.run_anew(seeds);
            if cut.again.len() == before {
                return cut;
            }
        }
    }

    /// What becomes of the step run at `slot`.
    pub(super) fn fate(&self, slot: usize, step: &StepRun) -> Fate {
        if self.again.contains(&slot) {
            return Fate::Again;
        }
        let begun = step.group.as_ref().is_some_and(|group| group.begun > 0);
        match step.status {
            _ if self.path.contains(&slot) => Fate::Open,
            StepStatus::Succeeded | StepStatus::Skipped => Fate::Keep,
            status if status.is_terminal() && (self.is_dealt_with(slot) || self.is_in_kept_group(step)) => Fate::Keep,
            _ if begun => Fate::Open,
            _ => Fate::Again,
        }
    }

    /// The step runs at `slots` run anew, and all that waits for them.
    fn run_anew(&mut self, slots: Vec<usize>) {
        let mut open = slots;
        while let Some(slot) = open.pop() {
            if !self.again.insert(slot) {
                continue;
            }
            self.path.remove(&slot);
            open.extend(self.waiting_for(slot));
            let mut inner = slot;
            while let Some((block, holder)) = self.around(inner) {
                self.blocks.insert(block);
                if self.again.contains(&holder) || !self.path.insert(holder) {
                    break;
                }
                open.extend(self.waiting_for(holder));
                inner = holder;
            }
        }
    }

    /// The step runs that wait for the one at `slot`.
    fn waiting_for(&self, slot: usize) -> impl Iterator<Item = usize> + use<'a> {
        let run = self.run;
        let edges = self.step(slot).map(|step| step.dependents.as_slice()).unwrap_or_default();
        edges.iter().filter_map(move |edge| of_step(run, slot, edge.to))
    }

    /// The block that the step run at `slot` is in, and the group that the block is of.
    fn around(&self, slot: usize) -> Option<(usize, usize)> {
        let block = self.run.steps.get(slot)?.block as usize;
        Some((block, self.run.blocks.get(block)?.holder? as usize))
    }

    fn step(&self, slot: usize) -> Option<&'a Step> {
        self.run.workflow.steps().get(self.run.steps.get(slot)?.position())
    }

    /// Whether what the step run made was taken back, or is being so. What could not be taken back still stands.
    fn is_undone(&self, slot: usize) -> bool {
        let undo = self.step(slot).and_then(|step| step.compensation);
        let undo = undo.and_then(|undo| of_step(self.run, slot, undo)).and_then(|undo| self.run.steps.get(undo));
        undo.is_some_and(|undo| {
            undo.started_at.is_some()
                && !matches!(undo.status, StepStatus::Failed | StepStatus::TimedOut | StepStatus::Cancelled)
        })
    }

    /// Whether the run had dealt with the failure of the step run: it was tolerated, or left to a handler that did not
    /// fail itself, or with which the past ends.
    fn is_dealt_with(&self, slot: usize) -> bool {
        let mut slot = slot;
        loop {
            let Some((step, state)) = self.step(slot).zip(self.run.steps.get(slot)) else { return false };
            if !matches!(state.status, StepStatus::Failed | StepStatus::TimedOut) {
                return state.status != StepStatus::Cancelled;
            }
            if step.continue_on_error {
                return true;
            }
            let handler = step.dependents.iter().find(|edge| edge.kind == EdgeKind::Failure);
            let Some(handler) = handler.and_then(|edge| of_step(self.run, slot, edge.to)) else { return false };
            if self.again.contains(&handler) {
                return true;
            }
            // Handlers wait for what they handle, so they never go round.
            slot = handler;
        }
    }

    /// Whether one of the groups around the step run is kept, and what was tolerated in it with it.
    fn is_in_kept_group(&self, step: &StepRun) -> bool {
        let around = |step: &StepRun| {
            let holder = self.run.blocks.get(step.block as usize)?.holder? as usize;
            Some((holder, self.run.steps.get(holder)?))
        };
        std::iter::successors(around(step), |(_, holder)| around(holder)).any(|(slot, holder)| {
            let is_gone_into = self.path.contains(&slot) || self.again.contains(&slot);
            !is_gone_into && (holder.status == StepStatus::Succeeded || self.is_kept_failure(slot, holder))
        })
    }

    fn is_kept_failure(&self, slot: usize, step: &StepRun) -> bool {
        matches!(step.status, StepStatus::Failed | StepStatus::TimedOut) && self.is_dealt_with(slot)
    }
}

//! A state in the making: reads through to the state it was opened on, keeps changes beside it.
//!
//! Deciding one input touches few steps; copying a run of 10,000 to change one would make a fan-out quadratic. What was
//! changed is then taken over by the state as it is, which is the same as folding the events once more.

use std::sync::Arc;

use super::{
    RestoredState, Run, RunEvent, StepRun, StoredEvent, Workflow,
    fold::{self, RunMut},
    state::{Block, Place, RunCore},
    touched::Touched,
};
use crate::job::StepRunId;

/// What a decision changed.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    /// The state as it moved onto another definition, which everything else is a change of.
    pub(super) moved: Option<Box<Run>>,
    pub(super) core: RunCore,
    pub(super) steps: Touched<StepRun>,
    pub(super) new_steps: Vec<StepRun>,
    pub(super) blocks: Touched<Block>,
    pub(super) new_blocks: Vec<Block>,
    pub(super) events: u64,
}

/// Decisions are compared by their events; what changed follows from those.
impl PartialEq for Changes {
    fn eq(&self, other: &Self) -> bool {
        self.events == other.events && self.core == other.core
    }
}

pub(super) struct Draft<'a> {
    base: &'a Run,
    /// Boxed from the beginning: it is large, and handed on.
    changes: Box<Changes>,
    at: jiff::Timestamp,
    events: Vec<StoredEvent>,
    /// Bytes that the events added to what the run holds.
    made: u64,
}

impl<'a> Draft<'a> {
    pub(super) fn new(base: &'a Run, at: jiff::Timestamp) -> Self {
        let changes = Changes {
            moved: None,
            core: base.core.clone(),
            steps: Touched::default(),
            new_steps: Vec::new(),
            blocks: Touched::default(),
            new_blocks: Vec::new(),
            events: 0,
        };
        // A step that ends and the one that begins.
        Self { base, changes: Box::new(changes), at, events: Vec::with_capacity(2), made: 0 }
    }

    /// The definition, for as long as the run is borrowed.
    pub(super) fn definition(&self) -> &'a Workflow {
        &self.base.workflow
    }

    /// The state that the draft was opened on.
    pub(super) const fn base(&self) -> &'a Run {
        self.base
    }

    /// Records an event and folds it in: the only way in which a draft changes. `slot` is the place of the step run that
    /// it is about.
    pub(super) fn record(&mut self, slot: Option<usize>, event: RunEvent) {
        let held = self.changes.core.bytes;
        fold::evolve_at(self, self.at, &event, slot);
        self.made += match (slot.and_then(|slot| self.step_at(slot)), event.step_input()) {
            // Also of a further try, which adds nothing to what the run holds.
            (Some(step), Some(_)) => step.bytes,
            _ => self.changes.core.bytes.saturating_sub(held),
        };
        self.events.push(StoredEvent { at: self.at, event });
    }

    /// Number of events recorded so far.
    pub(super) const fn recorded(&self) -> usize {
        self.events.len()
    }

    /// Bytes of values that the recorded events made.
    pub(super) const fn made(&self) -> u64 {
        self.made
    }

    /// How the step run at `slot` is called.
    pub(super) fn run_id(&self, slot: usize) -> Option<StepRunId> {
        fold::run_id(self, slot)
    }

    /// What was recorded, and what that changed.
    pub(super) fn finish(mut self) -> (Vec<StoredEvent>, Box<Changes>) {
        self.changes.events = self.events.len() as u64;
        (self.events, self.changes)
    }
}

impl RunMut for Draft<'_> {
    fn workflow(&self) -> &Arc<Workflow> {
        &self.base.workflow
    }
    #[inline]
    fn core(&self) -> &RunCore {
        &self.changes.core
    }
    fn core_mut(&mut self) -> &mut RunCore {
        &mut self.changes.core
    }
    #[inline]
    fn step_at(&self, slot: usize) -> Option<&StepRun> {
        match slot.checked_sub(self.base.steps.len()) {
            Some(new) => self.changes.new_steps.get(new),
            None => self.changes.steps.get(slot).or_else(|| self.base.steps.get(slot)),
        }
    }
    #[inline]
    fn step_at_mut(&mut self, slot: usize) -> Option<&mut StepRun> {
        match slot.checked_sub(self.base.steps.len()) {
            Some(new) => self.changes.new_steps.get_mut(new),
            None => {
                let base = self.base.steps.get(slot)?;
                self.changes.steps.get_or_insert_with(slot, || base.clone())
            }
        }
    }
    fn step_count(&self) -> usize {
        self.base.steps.len() + self.changes.new_steps.len()
    }
    fn event_number(&self) -> u64 {
        self.base.head + self.events.len() as u64 + 1
    }
    fn push_step(&mut self, step: StepRun) {
        self.changes.new_steps.push(step);
    }
    #[inline]
    fn block_at(&self, block: usize) -> Option<&Block> {
        match block.checked_sub(self.base.blocks.len()) {
            Some(new) => self.changes.new_blocks.get(new),
            None => self.changes.blocks.get(block).or_else(|| self.base.blocks.get(block)),
        }
    }
    fn block_at_mut(&mut self, block: usize) -> Option<&mut Block> {
        match block.checked_sub(self.base.blocks.len()) {
            Some(new) => self.changes.new_blocks.get_mut(new),
            None => {
                let base = self.base.blocks.get(block)?;
                self.changes.blocks.get_or_insert_with(block, || base.clone())
            }
        }
    }
    fn block_count(&self) -> usize {
        self.base.blocks.len() + self.changes.new_blocks.len()
    }
    fn push_block(&mut self, block: Block) {
        self.changes.new_blocks.push(block);
    }
    /// Times and signals are looked up in the state that the draft was opened on.
    fn reindex(&mut self, _slot: usize, _before: &Place) {}
    fn restore(&mut self, state: &RestoredState) {
        let known = self.base.steps.len();
        self.changes.steps = state.steps.iter().take(known).cloned().enumerate().collect();
        self.changes.new_steps = state.steps.iter().skip(known).cloned().collect();
        let known = self.base.blocks.len();
        self.changes.blocks = state.blocks.iter().take(known).cloned().enumerate().collect();
        self.changes.new_blocks = state.blocks.iter().skip(known).cloned().collect();
    }
}

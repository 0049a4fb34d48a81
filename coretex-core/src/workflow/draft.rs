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
    core: RunCore,
    steps: Touched<StepRun>,
    new_steps: Vec<StepRun>,
    blocks: Touched<Block>,
    new_blocks: Vec<Block>,
    at: jiff::Timestamp,
    events: Vec<StoredEvent>,
    /// Bytes that the events added to what the run holds.
    made: u64,
}

impl<'a> Draft<'a> {
    pub(super) fn new(base: &'a Run, at: jiff::Timestamp) -> Self {
        Self {
            base,
            core: base.core.clone(),
            steps: Touched::default(),
            new_steps: Vec::new(),
            blocks: Touched::default(),
            new_blocks: Vec::new(),
            at,
            events: Vec::new(),
            made: 0,
        }
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
        if super::event::joins(self.events.last().map(|last| &last.event), &event) {
            // Two that are stored as one count as one.
            self.core.seq = self.core.seq.saturating_sub(1);
        }
        let held = self.core.bytes;
        fold::evolve_at(self, self.at, &event, slot);
        self.made += match (slot.and_then(|slot| self.step_at(slot)), event.step_input()) {
            // Also of a further try, which adds nothing to what the run holds.
            (Some(step), Some(_)) => step.bytes,
            _ => self.core.bytes.saturating_sub(held),
        };
        super::event::push_joined(&mut self.events, self.at, event);
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
    pub(super) fn finish(self) -> (Vec<StoredEvent>, Changes) {
        let changes = Changes {
            moved: None,
            core: self.core,
            steps: self.steps,
            new_steps: self.new_steps,
            blocks: self.blocks,
            new_blocks: self.new_blocks,
            events: self.events.len() as u64,
        };
        (self.events, changes)
    }
}

impl RunMut for Draft<'_> {
    fn workflow(&self) -> &Arc<Workflow> {
        &self.base.workflow
    }
    fn core(&self) -> &RunCore {
        &self.core
    }
    fn core_mut(&mut self) -> &mut RunCore {
        &mut self.core
    }
    fn step_at(&self, slot: usize) -> Option<&StepRun> {
        match slot.checked_sub(self.base.steps.len()) {
            Some(new) => self.new_steps.get(new),
            None => self.steps.get(slot).or_else(|| self.base.steps.get(slot)),
        }
    }
    fn step_at_mut(&mut self, slot: usize) -> Option<&mut StepRun> {
        match slot.checked_sub(self.base.steps.len()) {
            Some(new) => self.new_steps.get_mut(new),
            None => {
                let base = self.base.steps.get(slot)?;
                self.steps.get_or_insert_with(slot, || base.clone())
            }
        }
    }
    fn step_count(&self) -> usize {
        self.base.steps.len() + self.new_steps.len()
    }
    fn event_number(&self) -> u64 {
        self.base.head + self.events.len() as u64 + 1
    }
    fn push_step(&mut self, step: StepRun) {
        self.new_steps.push(step);
    }
    fn block_at(&self, block: usize) -> Option<&Block> {
        match block.checked_sub(self.base.blocks.len()) {
            Some(new) => self.new_blocks.get(new),
            None => self.blocks.get(block).or_else(|| self.base.blocks.get(block)),
        }
    }
    fn block_at_mut(&mut self, block: usize) -> Option<&mut Block> {
        match block.checked_sub(self.base.blocks.len()) {
            Some(new) => self.new_blocks.get_mut(new),
            None => {
                let base = self.base.blocks.get(block)?;
                self.blocks.get_or_insert_with(block, || base.clone())
            }
        }
    }
    fn block_count(&self) -> usize {
        self.base.blocks.len() + self.new_blocks.len()
    }
    fn push_block(&mut self, block: Block) {
        self.new_blocks.push(block);
    }
    /// Times and signals are looked up in the state that the draft was opened on.
    fn reindex(&mut self, _slot: usize, _before: &Place) {}
    fn restore(&mut self, state: &RestoredState) {
        let known = self.base.steps.len();
        self.steps = state.steps.iter().take(known).cloned().enumerate().collect();
        self.new_steps = state.steps.iter().skip(known).cloned().collect();
        let known = self.base.blocks.len();
        self.blocks = state.blocks.iter().take(known).cloned().enumerate().collect();
        self.new_blocks = state.blocks.iter().skip(known).cloned().collect();
    }
}

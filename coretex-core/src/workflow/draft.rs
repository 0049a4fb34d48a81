//! A state in the making: reads through to the state it was opened on, keeps changes beside it.
//!
//! Deciding one input touches few steps; copying a run of 10,000 to change one would make a fan-out quadratic.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use super::{Run, RunEvent, StepRun, Workflow, evolve::RunMut, state::RunCore};

pub(super) struct Draft<'a> {
    base: &'a Run,
    core: RunCore,
    steps: HashMap<usize, StepRun, BuildHasherDefault<Position>>,
    at: jiff::Timestamp,
    pub(super) events: Vec<RunEvent>,
}

/// Positions are small, dense and not chosen by anyone: spreading their bits is all that a table needs.
#[derive(Default)]
struct Position(u64);

impl Hasher for Position {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, position: usize) {
        self.0 = (self.0 ^ position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(base: &'a Run, at: jiff::Timestamp) -> Self {
        Self { base, core: base.core.clone(), steps: HashMap::default(), at, events: Vec::new() }
    }

    /// Records an event and folds it in: the only way in which a draft changes.
    pub(super) fn record(&mut self, event: RunEvent) {
        super::evolve::evolve(self, self.at, &event);
        super::event::push_joined(&mut self.events, event);
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
    fn step_at(&self, position: usize) -> Option<&StepRun> {
        self.steps.get(&position).or_else(|| self.base.steps.get(position))
    }
    fn step_at_mut(&mut self, position: usize) -> Option<&mut StepRun> {
        let base = self.base.steps.get(position)?;
        Some(self.steps.entry(position).or_insert_with(|| base.clone()))
    }
}

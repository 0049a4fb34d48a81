//! A state in the making: reads through to the state it was opened on, keeps changes beside it.
//!
//! Deciding one input touches few steps; copying a run of 10,000 to change one would make a fan-out quadratic.

use std::{collections::HashMap, sync::Arc};

use super::{Run, RunEvent, StepRun, Workflow, evolve::RunMut, state::RunCore};

pub(super) struct Draft<'a> {
    base: &'a Run,
    core: RunCore,
    steps: HashMap<usize, StepRun>,
    at: jiff::Timestamp,
    pub(super) events: Vec<RunEvent>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(base: &'a Run, at: jiff::Timestamp) -> Self {
        Self { base, core: base.core.clone(), steps: HashMap::new(), at, events: Vec::new() }
    }

    /// Records an event and folds it in: the only way in which a draft changes.
    pub(super) fn record(&mut self, event: RunEvent) {
        super::evolve::evolve(self, self.at, &event);
        self.events.push(event);
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

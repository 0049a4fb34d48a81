//! Where a run comes from: the step that it is carried out for, or the run that it goes on from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::state::{Block, Signals, StepRun};
use crate::{
    job::{Output, RunId, StepRunId},
    value::Value,
};

/// The step of another run that a run is carried out for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentRun {
    /// The run.
    pub run: RunId,
    /// Its step.
    pub step: StepRunId,
    /// Which try of it.
    pub attempt: u32,
    /// Runs above it, the first included.
    pub depth: u32,
}

/// The run that another one goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The run.
    pub run: RunId,
    /// The event whose state was taken over.
    pub at: u64,
    /// The step from which on it runs anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepRunId>,
}

/// The state that a run begins with when it goes on from another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoredState {
    pub(super) context: Arc<Value>,
    pub(super) signals: Arc<Signals>,
    pub(super) steps: Vec<StepRun>,
    pub(super) blocks: Vec<Block>,
}

impl RestoredState {
    /// What the steps made that are kept.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.steps.iter().filter_map(|step| step.output.as_ref())
    }
}

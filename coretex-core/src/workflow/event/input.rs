//! Which events hold the input of a step run.

use std::sync::Arc;

use super::{Resolution, RunEvent};
use crate::value::Value;

impl RunEvent {
    /// The input that a step run has from this event on, where it is one of its own.
    #[must_use]
    pub const fn step_input(&self) -> Option<&Arc<Value>> {
        match self {
            Self::StepAttempted { input, .. }
            | Self::StepDispatched { input, .. }
            | Self::StepWaiting { input, .. }
            | Self::StepAsked { input, .. }
            | Self::ChildStarted { input, .. }
            | Self::StepSimulated { input, .. }
            | Self::StepResolved { resolution: Resolution::Retry { input }, .. }
            | Self::StepStoring { value: input, .. } => input.as_ref(),
            Self::StepNotified { payload, .. } => Some(payload),
            _ => None,
        }
    }
}

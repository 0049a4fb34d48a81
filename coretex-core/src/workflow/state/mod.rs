//! A run, folded from its events.
//!
//! Step runs lie in one list. The first of them are those of the workflow's own steps, at the positions of the steps;
//! those of a group are added when a block of it begins. A [block](Block) says which step runs belong together and what
//! holds them.

mod core;
mod run;
mod status;
mod step_run;

pub use self::{
    core::Phase,
    run::{Run, Wake},
    status::{RunStatus, StepStatus},
    step_run::{Group, StepRun, WaitsFor},
};
pub(super) use self::{
    core::{Halt, RunCore, RunInfo, Signals},
    run::Place,
    step_run::{Block, Ending},
};

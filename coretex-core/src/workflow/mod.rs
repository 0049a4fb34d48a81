//! Workflows and their runs: the definition, its checks, and the machine that advances a run.
//!
//! The room knows neither clock nor disk. [`Workflow::compile`] turns a definition into a checked graph with compiled
//! expressions; [`decide`] says what an input means for a [`Run`]; [`Run::apply`] folds the resulting events. A run
//! keeps the definition it started with, so that a later edit never changes what is under way.
//!
//! # The run machine
//!
//! A step becomes ready when all steps that it depends on have succeeded or were skipped. Ready steps are decided at
//! once, inside the same transition: a condition is evaluated, a gate that is false skips, a job is judged by policy,
//! routed and recorded for dispatch. So one input (a result, an answer, a timer) leads to everything that follows
//! from it, in one batch.
//!
//! | step | becomes ready | ends |
//! |---|---|---|
//! | `worker` (`llm`, `http`, `container`, `script`) | opens attempt 1 of a job | with the job; a retryable failure opens the next attempt after its backoff |
//! | `approval` | `waiting` | with a human's answer, or at its timeout |
//! | `delay` | `running` | at its time |
//! | `condition` | evaluates at once | `succeeded`, the value as output |
//! | `notify` | `running` | when the alert was published |
//!
//! The first step that fails for good fails the run; steps that have not ended are cancelled, and jobs that a worker
//! may have are told to stop. Invariants: terminal states never change; at most one attempt of a step is open; the
//! counters of [`Run`] equal what a walk over its steps would count; a run that has not ended has a wake source
//! ([`Run::wake`]).

mod check;
mod concurrency;
mod decide;
mod definition;
mod diff;
mod draft;
mod event;
mod fold;
mod lineage;
mod migration;
mod next_time;
mod plan;
mod scope;
pub(crate) mod shape;
mod spec;
mod state;
mod step_input;
#[cfg(test)]
mod tests;
mod timeline;
mod touched;
mod trigger;
mod view;
mod why;

pub use check::{DefinitionError, Problem};
pub use concurrency::{Claim, Concurrency, ConcurrencyPolicy, ConcurrencySpec, Slot};
pub use decide::{
    ChildEffect, ChildEnd, Records, Rejected, RestoreError, RunEffect, RunInput, StartChild, StartRun, Transition,
    decide, outstanding, start,
};
pub use definition::{Case, Delay, ItemTolerance, Joins, Role, Step, StepKind, Workflow};
pub use diff::{DefinitionDiff, Edge, FieldChange, Rename, RunImpact, StepChange, diff};
pub(crate) use draft::Changes;
pub use event::{Cause, Resolution, RunEvent, SkipReason, StoredEvent};
pub use lineage::{Origin, ParentRun, RestoredState};
pub use migration::{Refusal, RefusalReason};
pub use next_time::NextTimeSpec;
pub use plan::{BranchPlan, Plan, Starter, StepPlan, plan};
pub use spec::{
    CaseMatch, CaseSpec, Join, JoinRule, OnExhausted, OnItemError, RetrySpec, StepSpec, StepType, StorageOp,
    StorageSpec, TimeoutCounts, Tolerance, WorkflowSpec,
};
pub use state::{Group, Phase, Run, RunStatus, StepRun, StepStatus, WaitsFor, Wake};
pub use timeline::{TimelineEvent, timeline};
pub use trigger::{Trigger, TriggerSpec};
pub use view::{RunSummary, RunView, StepRunView};
pub use why::{Wait, WaitCause};

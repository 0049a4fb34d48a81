//! What the safety kernel is asked and what it answers. No rules here: those are a [`crate::ports::PolicyEngine`].
//!
//! Invariant: a decision always carries the snapshot that made it, and a job reaches a worker only with one that
//! [permits](Outcome::permits) it.

mod decision;
mod facts;
mod fixed;
mod labels;
mod request;

pub use decision::{
    BudgetLimits, Constraints, Decision, DiffLimits, Obligation, Outcome, Remediation, Sandbox, Toolchain,
};
pub use facts::RunFacts;
pub use fixed::{FixedPolicy, fixed};
pub use labels::Labels;
pub use request::{ActorType, JobMeta, PolicyRequest};

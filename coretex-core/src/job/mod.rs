//! One unit of work sent to a topic: its states, its attempts, and what ends it.
//!
//! The room is a machine without I/O: [`open`] starts an attempt and [`decide`] says what an input means for it; both
//! return the events to store and the effects to run once those are durable. [`Job::apply`] is the fold.
//!
//! ```text
//!              +-> DENIED
//! PENDING -----+-> APPROVAL_REQUIRED --+        SUCCEEDED
//!    ^  |      |          |            |      / FAILED
//!    |  |      +----------+--> DISPATCHED -> RUNNING -- CANCELLED
//!    +--+ throttled, asked                            \ TIMEOUT
//! ```
//!
//! Invariants: the state never goes back within an attempt, except between PENDING and APPROVAL_REQUIRED while no
//! worker has seen the job; a terminal state never changes; nothing is dispatched without a decision that permits
//! it. Delivery is at least once, so every input may repeat or come late: a repeat changes nothing.
//!
//! Retries are not this room's business: a step opens the next attempt as a new job.

mod approval;
mod dead_letter;
mod decide;
mod event;
mod facts;
mod fingerprint;
mod grant;
mod id;
mod outputs;
mod spec;
mod state;
#[cfg(test)]
mod tests;

pub use approval::{Answer, ApprovalRequest, Subject};
pub use dead_letter::{DeadLetter, codes};
pub use decide::{Effect, JobInput, Moves, Rejected, SpecSource, decide, open};
pub(crate) use decide::{job_after, whole_micros};
pub use event::JobEvent;
pub use facts::{Facts, GateLimits, RunBounds};
pub use fingerprint::{Fingerprint, pattern};
pub use grant::{ApprovalGrant, GrantLapse};
pub use id::{IdError, JobId, RunId, StepId, StepRunId, TenantId, Topic, WorkflowId};
pub use outputs::{LoadedOutputs, OutputNeeded};
pub use spec::{JobSpec, Priority};
pub use state::{Asking, Failure, Job, JobResult, JobState, JobStatusReport, MAX_SNOOZES, Output, Stop};

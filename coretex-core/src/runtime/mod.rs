//! The control plane: joins ports and machines, and is the only room that awaits.
//!
//! ```text
//! caller, bus, timers -> executor (decide) -> commit pipeline (store) -> executor (act) -> bus, caller
//! ```
//!
//! * An [`executor`] owns a share of the aggregates and decides their inputs one at a time, ahead of durability.
//! * The commit pipeline groups the batches of all executors under one flush.
//! * When a batch is durable its effects run, its caller is answered, its delivery acknowledged.
//! * Every run that has not ended has one durable wake source: `hot/…` while a worker has one of its jobs, `timers/…`
//!   while it waits for time, `approvals/…` while it waits for a human. Recovery reads the first, the timer service the
//!   second; nothing scans runs.
//!
//! [`executor`]: ControlPlane

mod batch;
mod blob_refs;
mod builder;
mod commit;
mod compare;
mod definitions;
mod error;
mod executor;
mod inbound;
mod index;
mod keys;
mod load;
mod options;
mod outbound;
mod plane;
mod query;
mod removal;
mod requests;
mod restart;
mod retention;
mod search;
mod shared;
mod sweep;
mod timers;
mod versions;
mod watch;
mod workers;

pub use builder::{Builder, RecoveryReport};
pub use compare::{AffectedRun, VersionDiff};
pub use error::{PlaneError, PlaneErrorKind};
pub use options::Options;
pub use plane::ControlPlane;
pub use query::{JobView, ListPage};
pub use requests::{JobRequest, StartRequest};
pub use restart::RESTART_OF;
pub use retention::{Age, PruneReport, Pruned, PrunedClass, Retention};
pub use search::{RunQuery, TimeRange};
pub use versions::{StoredWorkflow, VersionRef, WorkflowVersion};
pub use watch::RunWatch;
pub use workers::WorkerStatus;

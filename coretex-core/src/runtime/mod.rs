//! The control plane: joins ports and machines, and is the only room that awaits.
//!
//! ```text
//! caller, bus, timers -> executor (decide) -> store (commit) -> executor (act) -> bus, caller
//! ```
//!
//! * An [`executor`] owns a share of the aggregates and decides their inputs one at a time, ahead of durability.
//! * What it decides in one round goes to the store in one call; the store puts the calls that wait under one flush.
//! * When a batch is durable its effects run, its caller is answered, its delivery acknowledged.
//! * Every run that has not ended has one durable wake source: `hot/…` while a worker has one of its jobs, `timers/…`
//!   while it waits for time, `approvals/…` while it waits for a human, `queues/…` while it waits for a place under its
//!   concurrency key. Recovery reads the first and the last, the timer service the second; nothing scans runs.
//!
//! [`executor`]: ControlPlane

mod artifacts;
mod batch;
mod blob_refs;
mod builder;
mod children;
mod clients;
mod compare;
mod concurrency;
mod dead_letters;
mod definitions;
mod error;
mod executor;
mod history;
mod inbound;
mod index;
mod inputs;
mod keepers;
mod keys;
mod load;
mod migrate;
mod options;
mod order;
mod outbound;
mod outputs;
mod plane;
mod query;
mod refusals;
mod removal;
mod repeat;
mod requests;
mod restart;
mod retention;
mod schedules;
mod search;
mod shared;
mod start;
mod steps;
mod submit;
mod sweep;
mod timers;
mod triggers;
mod turns;
mod versions;
mod watch;
mod workers;

pub use builder::{Builder, RecoveryReport};
pub use compare::{AffectedRun, VersionDiff};
pub use concurrency::{QueuedQuery, QueuedStart, SlotHolder};
pub use dead_letters::{
    BulkRetry, DeadLetterCount, DeadLetterGroup, DeadLetterQuery, Retried, RetryOutcome, RetryRequest, RetryWay,
};
pub use error::{PlaneError, PlaneErrorKind};
pub use history::{ReplayReport, RerunRequest};
pub use migrate::{MigrationOutcome, MigrationQuery, MigrationRequest, RunMigration};
pub use options::Options;
pub use plane::ControlPlane;
pub use query::{JobView, ListPage};
pub use requests::{JobRequest, StartRequest};
pub use restart::RESTART_OF;
pub use retention::{Age, PruneReport, Pruned, PrunedClass, Retention};
pub use schedules::{BackfillRequest, ScheduleStatus};
pub use search::{RunQuery, TimeRange};
pub use triggers::{BucketStatus, TriggerReceipt, TriggerRequest};
pub use versions::{StoredWorkflow, VersionRef, WorkflowVersion};
pub use watch::RunWatch;
pub use workers::WorkerStatus;

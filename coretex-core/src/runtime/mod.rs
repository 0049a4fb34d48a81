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
//!   while it waits for time, `approvals/…` while it waits for a human. Recovery reads the first, the timer service the
//!   second; nothing scans runs.
//!
//! [`executor`]: ControlPlane

mod batch;
mod builder;
mod definitions;
mod error;
mod executor;
mod inbound;
mod keys;
mod load;
mod options;
mod order;
mod outbound;
mod plane;
mod query;
mod requests;
mod shared;
mod timers;
mod watch;
mod workers;

pub use builder::{Builder, RecoveryReport};
pub use error::{PlaneError, PlaneErrorKind};
pub use options::Options;
pub use plane::ControlPlane;
pub use query::{JobView, ListPage, RunQuery};
pub use requests::{JobRequest, StartRequest};
pub use watch::RunWatch;
pub use workers::WorkerStatus;

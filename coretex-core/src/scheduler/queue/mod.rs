//! The queue of a pool: jobs that have been let in and wait for a worker.
//!
//! ```text
//! level: critical, interactive, batch      a waiting job rises one level each `ageing_seconds`
//!   ring of tenants                        deficit round robin, by weight
//!     flows of a tenant                    the oldest job first
//!       jobs that meet the same gates and fit the same workers, in order
//! ```
//!
//! - **Priority.** A level is served when the levels above have nothing that can go. **No starvation:** after two
//!   `ageing_seconds` every job stands in the top level, where each round of the ring serves its tenant, the oldest
//!   job first.
//! - **Fairness.** Deficit round robin (Shreedhar and Varghese, 1995): each visit credits a tenant its weight; a job takes
//!   its cost, 1 unless told and at most [`MAX_COST`](super::placement::MAX_COST).
//! - **Nobody blocks another.** Jobs that share gates and placement constraints form a flow. A flow whose head cannot go is
//!   parked at what stops it, a gate or the lack of a fitting slot, and comes back to the front of its ring when that
//!   ends: it had its turn.
//!
//! Cost: O(log n) for a job that comes, goes or is served, amortised over its cost and levels; a freed slot costs one
//! look at each distinct set of placement constraints that waits.

mod fair;
mod flow;
mod gates;
mod gcra;
mod slab;

pub use self::gates::LimitReached;
pub(crate) use self::{
    fair::{Attempt, FairQueue, QueueRules, Served},
    flow::{FlowRef, Ticket, Waits},
    gates::{GateId, Gates, Pass},
};

/// Levels of priority, the highest first.
pub(crate) const LEVELS: usize = 3;

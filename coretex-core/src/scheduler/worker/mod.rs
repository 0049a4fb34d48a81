//! Workers, as their heartbeats and handshakes describe them and as their leases count them.
//!
//! Invariant: how many jobs a worker has is counted from leases, at once and here, and never taken from what it says a
//! heartbeat later. What it says adds only jobs that are not ours.

mod breaker;
mod fleet;
mod view;

pub(crate) use self::fleet::WorkerIndex;
pub use self::{
    breaker::{Breaker, BreakerRules, BreakerState, Ending, WINDOW},
    fleet::{Fleet, FleetRules},
    view::{Load, Price, WorkerState, WorkerView},
};

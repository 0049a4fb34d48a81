//! What the pure rooms may know of the world, handed in as an argument.

use jiff::Timestamp;

use crate::{ports::PolicySnapshot, scheduler::Routes, value::Limits};

/// The world at the moment of a decision. Equal facts, state and input give an equal transition.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The time of the decision; never read from a clock inside a room.
    pub now: Timestamp,
    /// Source of jitter; recorded nowhere, because what follows from it is.
    pub seed: u64,
    /// The policy in force.
    pub policy: &'a dyn PolicySnapshot,
    /// Topics and pools in force.
    pub routes: &'a Routes,
    /// Longest time an attempt may take when nothing else says so.
    pub default_job_timeout: std::time::Duration,
    /// How long a worker has to say that it stopped.
    pub stop_grace: std::time::Duration,
    /// How large and how deep a rendered input may be.
    pub payload_limits: Limits,
}

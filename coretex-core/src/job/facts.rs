//! What the pure rooms may know of the world, handed in as an argument.

use std::time::Duration;

use jiff::Timestamp;

use super::LoadedOutputs;
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
    pub default_job_timeout: Duration,
    /// How long a worker has to say that it stopped.
    pub stop_grace: Duration,
    /// How large and how deep a rendered input may be.
    pub payload_limits: Limits,
    /// How long questions stay open and answers hold.
    pub gate: GateLimits,
    /// How many bytes a run may move and hold.
    pub bounds: RunBounds,
    /// Outputs kept by pointer that were read for this decision; `None` where nobody could read any.
    pub outputs: Option<&'a LoadedOutputs>,
}

/// How many bytes of inputs and outputs a run may move and hold, so that no run takes more memory than there is. At least
/// one step is always begun, however large its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunBounds {
    /// What one decision makes before it leaves the rest to the next one.
    pub decision_bytes: u64,
    /// What workers and others outside have of the run before its next step begins.
    pub in_flight_bytes: u64,
    /// What the run holds in all before a step of it fails with `run_too_large`.
    pub run_bytes: u64,
}

impl Default for RunBounds {
    /// 16 MiB, 64 MiB and 256 MiB.
    fn default() -> Self {
        Self { decision_bytes: 16 << 20, in_flight_bytes: 64 << 20, run_bytes: 256 << 20 }
    }
}

/// How long questions about a job stay open and answers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateLimits {
    /// How long a remote policy kernel has to answer before it is asked again. It has twice as long every time, up to
    /// [`GateLimits::LONGEST_ASK`] times as long.
    pub ask_timeout: Duration,
    /// How long a human's yes covers the tries of a step.
    pub approval_ttl: Duration,
}

impl GateLimits {
    /// The most by which `ask_timeout` grows.
    pub const LONGEST_ASK: u32 = 16;
}

impl Default for GateLimits {
    /// Half a minute to answer, and a yes that holds for a day.
    fn default() -> Self {
        Self { ask_timeout: Duration::from_secs(30), approval_ttl: Duration::from_secs(24 * 3_600) }
    }
}

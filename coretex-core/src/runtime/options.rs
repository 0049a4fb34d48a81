//! Settings of a control plane, judged once when it is built.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{PlaneError, PlaneErrorKind, Retention};
use crate::{
    governance::Principal,
    job::{GateLimits, RunBounds, Topic},
    value::Limits,
    workflow::StepType,
};

/// Settings. The defaults suit one process on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Options {
    /// How the control plane calls itself on the bus.
    pub sender_id: String,
    /// Shard executors; 0 = one per processor, at most eight.
    pub executors: usize,
    /// Memory for idle runs that are kept at hand, in bytes, per executor.
    pub cache_bytes: usize,
    /// Longest time of an attempt when nothing else says so.
    pub default_job_timeout: Duration,
    /// How long a worker has to say that it stopped, before its job counts as cancelled.
    pub stop_grace: Duration,
    /// How long a remote policy kernel has to answer before it is asked again; twice as long every time, up to sixteen
    /// times as long. A job that got no answer within its own time fails.
    pub ask_timeout: Duration,
    /// How long a human's yes covers the tries of a step.
    pub approval_ttl: Duration,
    /// On whose authority clients on the bus submit jobs and stop them; nobody is served unless it is set. A message on
    /// the bus proves nothing about its sender: whoever may publish there acts as this principal. With it, jobs that are
    /// given up are announced on `sys.job.dlq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus_clients: Option<Principal>,
    /// Topics for jobs of steps that name none, by type of step; `job.workflow.<workflow id>` where there is none. They are
    /// written into a definition when it is stored.
    pub default_topics: BTreeMap<StepType, Topic>,
    /// Outputs above this many bytes are kept in the blob store instead of the record.
    pub inline_bytes: usize,
    /// Largest input of a run or job, in bytes of JSON.
    pub max_input_bytes: usize,
    /// Deepest nesting of an input.
    pub max_input_depth: usize,
    /// Inputs and outputs that one decision of a run makes before the rest is left to the next one, in bytes.
    pub decision_bytes: u64,
    /// Inputs that workers and others outside have of one run before its next step begins, in bytes.
    pub in_flight_bytes: u64,
    /// Inputs and outputs that a run holds in all before a step of it fails with `run_too_large`, in bytes.
    pub run_bytes: u64,
    /// Inputs that wait for an executor before callers have to.
    pub inbox: usize,
    /// What is kept for how long. Nothing is removed by itself unless `sweep_every` is set.
    pub retention: Retention,
    /// How often what is older than that is removed in the background; never, unless set.
    pub sweep_every: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sender_id: "coretex".into(),
            executors: 0,
            cache_bytes: 4 << 20,
            default_job_timeout: Duration::from_secs(9_000),
            stop_grace: Duration::from_secs(10),
            ask_timeout: GateLimits::default().ask_timeout,
            approval_ttl: GateLimits::default().approval_ttl,
            bus_clients: None,
            default_topics: BTreeMap::new(),
            inline_bytes: 256 << 10,
            max_input_bytes: 1 << 20,
            max_input_depth: 64,
            decision_bytes: RunBounds::default().decision_bytes,
            in_flight_bytes: RunBounds::default().in_flight_bytes,
            run_bytes: RunBounds::default().run_bytes,
            inbox: 1_024,
            retention: Retention::default(),
            sweep_every: None,
        }
    }
}

impl Options {
    pub(super) fn judge(&self) -> Result<(), PlaneError> {
        let wrong = |what: &str| Err(PlaneError::new(PlaneErrorKind::Invalid, "options_invalid", what));
        if self.sender_id.is_empty() || self.sender_id.len() > 128 {
            return wrong("`sender_id` has 1 to 128 characters");
        }
        if self.default_job_timeout < Duration::from_secs(1) {
            return wrong("`default_job_timeout` is at least a second");
        }
        if self.ask_timeout < Duration::from_millis(100) || self.approval_ttl < Duration::from_secs(1) {
            return wrong("`ask_timeout` is at least a tenth of a second and `approval_ttl` at least a second");
        }
        if self.inbox == 0 || self.executors > 256 {
            return wrong("`inbox` is at least 1 and `executors` at most 256");
        }
        if self.decision_bytes == 0 || self.in_flight_bytes == 0 || self.run_bytes == 0 {
            return wrong("`decision_bytes`, `in_flight_bytes` and `run_bytes` are at least 1");
        }
        if self.sweep_every.is_some_and(|every| every < Duration::from_secs(1)) {
            return wrong("`sweep_every` is at least a second");
        }
        if self.inline_bytes > crate::ports::limits::VALUE_BYTES / 4
            || self.max_input_bytes > crate::ports::limits::VALUE_BYTES / 4
        {
            return wrong("`inline_bytes` and `max_input_bytes` are at most 4 MiB");
        }
        Ok(())
    }

    pub(super) fn payload_limits(&self) -> Limits {
        Limits { max_bytes: self.max_input_bytes, max_depth: self.max_input_depth, ..Limits::default() }
    }

    pub(super) const fn gate_limits(&self) -> GateLimits {
        GateLimits { ask_timeout: self.ask_timeout, approval_ttl: self.approval_ttl }
    }

    pub(super) const fn run_bounds(&self) -> RunBounds {
        RunBounds {
            decision_bytes: self.decision_bytes,
            in_flight_bytes: self.in_flight_bytes,
            run_bytes: self.run_bytes,
        }
    }

    pub(super) fn executor_count(&self) -> usize {
        match self.executors {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(8),
            count => count,
        }
    }
}

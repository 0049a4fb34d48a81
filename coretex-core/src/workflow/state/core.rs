//! What is known of a run besides its steps.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RunStatus;
use crate::{
    job::{Failure, Priority, RunId, TenantId},
    value::Value,
    workflow::{Cause, Origin, ParentRun, Slot},
};

/// What is fixed when a run starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::workflow) struct RunInfo {
    pub(in crate::workflow) id: RunId,
    pub(in crate::workflow) tenant: TenantId,
    pub(in crate::workflow) team: Arc<str>,
    pub(in crate::workflow) principal: Arc<str>,
    pub(in crate::workflow) priority: Priority,
    pub(in crate::workflow) memory_id: Arc<str>,
    pub(in crate::workflow) input: Arc<Value>,
    pub(in crate::workflow) labels: Arc<BTreeMap<String, String>>,
    pub(in crate::workflow) idempotency_key: Option<Arc<str>>,
    pub(in crate::workflow) created_at: Timestamp,
    /// `created_at` as a text, which is how expressions read it.
    pub(in crate::workflow) started_at: Arc<str>,
    #[serde(default)]
    pub(in crate::workflow) dry_run: bool,
    #[serde(default)]
    pub(in crate::workflow) parent: Option<Arc<ParentRun>>,
    #[serde(default)]
    pub(in crate::workflow) origin: Option<Arc<Origin>>,
    /// What it claims under its workflow's rule of concurrency.
    #[serde(default)]
    pub(in crate::workflow) slot: Option<Slot>,
}

/// What a run does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its steps are on their way.
    #[default]
    Forward,
    /// It is going to end; what is under way is stopped.
    Stopping,
    /// What succeeded is undone, the last first.
    Compensating,
    /// The `finally` steps run.
    Finalizing,
}

/// How much of the end of a run is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::workflow) enum Halt {
    /// The phase that it is in.
    Phase,
    /// That, and those that would follow.
    Run,
}

impl Phase {
    /// The name in views.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Stopping => "stopping",
            Self::Compensating => "compensating",
            Self::Finalizing => "finalizing",
        }
    }
}

/// Everything about a run but its steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::workflow) struct RunCore {
    /// `None` before it started.
    pub(in crate::workflow) info: Option<Arc<RunInfo>>,
    pub(in crate::workflow) status: RunStatus,
    pub(in crate::workflow) phase: Phase,
    /// Its end is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::workflow) halt: Option<Halt>,
    /// It waits for a place under its workflow's rule of concurrency.
    #[serde(default)]
    pub(in crate::workflow) queued: bool,
    /// When it got one after waiting.
    #[serde(default)]
    pub(in crate::workflow) admitted_at: Option<Timestamp>,
    pub(in crate::workflow) context: Arc<Value>,
    #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
    pub(in crate::workflow) output: Option<Arc<Value>>,
    /// Why it is going to end, or ended, before its steps did.
    pub(in crate::workflow) cause: Option<Arc<Cause>>,
    pub(in crate::workflow) failure: Option<Failure>,
    pub(in crate::workflow) failed_step: Option<Arc<str>>,
    /// Why undoing something failed: the first time.
    pub(in crate::workflow) undo_failure: Option<Failure>,
    pub(in crate::workflow) completed_at: Option<Timestamp>,
    pub(in crate::workflow) updated_at: Timestamp,
    pub(in crate::workflow) deadline_at: Option<Timestamp>,
    /// Time left while the clock of the deadline stands still, in microseconds.
    pub(in crate::workflow) time_left: Option<i64>,
    pub(in crate::workflow) signals: Arc<Signals>,
    /// What is to be undone, in order: step runs of compensations.
    pub(in crate::workflow) undo: Option<Arc<[u32]>>,
    /// How many of those have been begun.
    pub(in crate::workflow) undone: u32,
    /// Steps that wait for somebody outside.
    pub(in crate::workflow) waiting: u32,
    /// Jobs that a worker may have.
    pub(in crate::workflow) in_flight: u32,
    /// Alerts and artifacts that are not confirmed, and questions to a remote kernel.
    pub(in crate::workflow) asking: u32,
    /// Runs that are carried out for it.
    pub(in crate::workflow) children: u32,
    /// Steps that were held back.
    #[serde(default)]
    pub(in crate::workflow) held: u32,
    /// Bytes of inputs that workers and others outside have.
    #[serde(default)]
    pub(in crate::workflow) in_flight_bytes: u64,
    /// Bytes of inputs, outputs, items and carried values that it holds, its own input aside.
    #[serde(default)]
    pub(in crate::workflow) bytes: u64,
    /// Events folded in.
    pub(in crate::workflow) seq: u64,
    /// Digests of the definitions that it was under before, each once: its events are folded under them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::workflow) past: Option<Arc<[Arc<str>]>>,
}

/// Signals that arrived and that no step has taken yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::workflow) struct Signals {
    pub(in crate::workflow) kept: BTreeMap<Arc<str>, VecDeque<Arc<Value>>>,
    /// Identities of those that arrived, so that a repeat is known.
    pub(in crate::workflow) seen: BTreeSet<Arc<str>>,
    pub(in crate::workflow) received: u32,
}

impl RunCore {
    pub(in crate::workflow) fn id(&self) -> Option<&RunId> {
        self.info.as_ref().map(|info| &info.id)
    }

    /// The run's input; null before it started.
    pub(in crate::workflow) fn input(&self) -> Arc<Value> {
        self.info.as_ref().map(|info| info.input.clone()).unwrap_or_default()
    }

    pub(in crate::workflow) fn is_dry_run(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.dry_run)
    }

    /// Whether nothing of it is on its way: it waits for people, data, signals and times only.
    pub(in crate::workflow) const fn is_passive(&self) -> bool {
        self.in_flight == 0 && self.asking == 0 && self.children == 0
    }
}

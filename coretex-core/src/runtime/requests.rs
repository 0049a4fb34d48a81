//! What callers ask for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::VersionRef;
use crate::{
    job::{JobId, Priority, RunId, Topic, WorkflowId},
    policy::JobMeta,
    scheduler::Placement,
    value::Value,
};

/// A run to start.
#[derive(Clone, Debug)]
#[must_use]
pub struct StartRequest {
    pub(super) workflow: WorkflowId,
    pub(super) input: Arc<Value>,
    pub(super) version: Option<VersionRef>,
    pub(super) run: Option<RunId>,
    pub(super) team: Arc<str>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) idempotency_key: Option<Arc<str>>,
    pub(super) dry_run: bool,
    pub(super) priority: Option<Priority>,
}

impl StartRequest {
    /// A run of `workflow` with `input`, an object.
    pub fn new(workflow: WorkflowId, input: impl Into<Arc<Value>>) -> Self {
        Self {
            workflow,
            input: input.into(),
            version: None,
            run: None,
            team: "".into(),
            labels: BTreeMap::new(),
            idempotency_key: None,
            dry_run: false,
            priority: None,
        }
    }

    /// Pins this version instead of the current one.
    pub fn version(mut self, version: impl Into<VersionRef>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Gives the run an id of your own. Starting it twice with the same input starts it once.
    pub fn run_id(mut self, run: RunId) -> Self {
        self.run = Some(run);
        self
    }

    /// Starts at most one run under `key` within seven days, per tenant: a repeat is answered with the first run. Another
    /// workflow, input, labels or kind of start under the key is refused (`idempotency_key_reused`).
    pub fn idempotency_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Decides everything as ever, and lets nothing leave the process: no job, no alert, no artifact. What workers and
    /// people would say is made up from the schemas of the steps.
    pub const fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Sets how urgent it is: its jobs carry it, and it goes before less urgent ones where starts wait in line. Unless
    /// told, what the input's `priority` names, or `batch`.
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Names the team within the tenant.
    pub fn team(mut self, team: impl Into<Arc<str>>) -> Self {
        self.team = team.into();
        self
    }

    /// Adds a label, one of 64 at most; its jobs carry it too, and runs are found by it.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }
}

/// A job to submit by itself.
#[derive(Clone, Debug)]
#[must_use]
pub struct JobRequest {
    pub(super) id: Option<JobId>,
    pub(super) topic: Topic,
    pub(super) input: Arc<Value>,
    pub(super) meta: JobMeta,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) priority: Priority,
    pub(super) team: Arc<str>,
    pub(super) memory_id: Option<Arc<str>>,
    pub(super) adapter_id: Option<Arc<str>>,
    pub(super) trace_id: Option<Arc<str>>,
    pub(super) timeout: Option<Duration>,
    pub(super) placement: Option<Placement>,
}

impl JobRequest {
    /// A job on `topic` with `input`.
    pub fn new(topic: Topic, input: impl Into<Arc<Value>>) -> Self {
        Self {
            id: None,
            topic,
            input: input.into(),
            meta: JobMeta::default(),
            labels: BTreeMap::new(),
            priority: Priority::default(),
            team: "".into(),
            memory_id: None,
            adapter_id: None,
            trace_id: None,
            timeout: None,
            placement: None,
        }
    }

    /// Gives the job an id of your own, without `@`. Submitting it twice submits it once.
    pub fn id(mut self, id: JobId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the structured identity.
    pub fn meta(mut self, meta: JobMeta) -> Self {
        self.meta = meta;
        self
    }

    /// Adds a label.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Sets how urgent it is; `batch` unless told.
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Names the team within the tenant.
    pub fn team(mut self, team: impl Into<Arc<str>>) -> Self {
        self.team = team.into();
        self
    }

    /// Names the corpus of workers that keep memory; `mem:<job id>` unless told.
    pub fn memory_id(mut self, memory: impl Into<Arc<str>>) -> Self {
        self.memory_id = Some(memory.into());
        self
    }

    /// Names the adapter of the worker.
    pub fn adapter_id(mut self, adapter: impl Into<Arc<str>>) -> Self {
        self.adapter_id = Some(adapter.into());
        self
    }

    /// Sets the trace that it belongs to; its own unless told.
    pub fn trace_id(mut self, trace: impl Into<Arc<str>>) -> Self {
        self.trace_id = Some(trace.into());
        self
    }

    /// Says which workers may do it, and which it would like. Its priority counts before [`JobRequest::priority`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = Some(placement);
        self
    }

    /// Sets the longest time from dispatch to result.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

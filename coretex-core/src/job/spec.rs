//! What a job is, apart from how far it has come.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{JobId, RunId, StepRunId, TenantId, Topic, WorkflowId};
use crate::{
    policy::{JobMeta, Labels, PolicyRequest},
    value::Value,
};

/// How urgent a job is. Established names; `batch` unless told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// When there is room.
    #[default]
    Batch,
    /// Somebody waits.
    Interactive,
    /// Before everything else.
    Critical,
}

impl Priority {
    /// Reads the established name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "batch" => Some(Self::Batch),
            "interactive" => Some(Self::Interactive),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }

    /// The established name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Interactive => "interactive",
            Self::Critical => "critical",
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn wire(self) -> i32 {
        match self {
            Self::Interactive => 1,
            Self::Batch => 2,
            Self::Critical => 3,
        }
    }
}

/// What a job is. Fixed when it is opened; every attempt of a step has the same but for the id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Its identity, attempt included.
    pub id: JobId,
    /// 1 for the first try.
    pub attempt: u32,
    /// The kind of work.
    pub topic: Topic,
    /// Who owns it.
    pub tenant: TenantId,
    /// The team within the tenant; may be empty.
    #[serde(default)]
    pub team: Arc<str>,
    /// On whose authority; may be empty.
    #[serde(default)]
    pub principal: Arc<str>,
    /// The structured identity.
    #[serde(default)]
    pub meta: Arc<JobMeta>,
    /// Free labels.
    #[serde(default)]
    pub labels: Labels,
    /// How urgent.
    #[serde(default)]
    pub priority: Priority,
    /// Names a corpus for workers that keep memory.
    #[serde(default)]
    pub memory_id: Arc<str>,
    /// Which adapter of the worker to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_id: Option<Arc<str>>,
    /// Follows the whole tree of jobs.
    pub trace_id: Arc<str>,
    /// The workflow it is a step of, or comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowId>,
    /// The run it is a step of, or comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The step it is an attempt of, with its indices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepRunId>,
    /// The item of a `for_each` that it works on.
    #[serde(default, deserialize_with = "crate::value::json::present", skip_serializing_if = "Option::is_none")]
    pub item: Option<Arc<Value>>,
    /// Its place among the items of a `for_each`, or among the iterations of a loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Longest time from dispatch to result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What the worker works on.
    pub input: Arc<Value>,
}

impl JobSpec {
    /// What policy is asked about it.
    #[must_use]
    pub fn question(&self) -> PolicyRequest<'_> {
        PolicyRequest {
            job_id: self.id.as_str(),
            topic: self.topic.as_str(),
            tenant: self.tenant.as_str(),
            principal_id: &self.principal,
            meta: &self.meta,
            labels: &self.labels,
            workflow_id: self.workflow.as_ref().map(AsRef::as_ref),
            run_id: self.run.as_ref().map(AsRef::as_ref),
            step_id: self.step.as_ref().map(StepRunId::step),
            attempt: self.attempt,
            input: Some(&self.input),
            now: None,
            facts: None,
        }
    }

    /// The run that it is an attempt of. A job that was given up and is tried again by itself names the run that it comes
    /// from, and is an attempt of none.
    #[must_use]
    pub fn attempt_of(&self) -> Option<&RunId> {
        let run = self.run.as_ref()?;
        self.id.as_str().strip_prefix(run.as_str())?.starts_with(':').then_some(run)
    }

    /// Digest of everything that an approval binds: who, what, how, with which input. Only the attempt is left out, so
    /// that a retry of the same work is the same question.
    #[must_use]
    pub fn hash(&self) -> String {
        let bound = serde_json::json!({
            "topic": self.topic, "tenant": self.tenant, "team": self.team, "principal": self.principal,
            "meta": self.meta, "labels": self.labels, "priority": self.priority, "memory_id": self.memory_id,
            "adapter_id": self.adapter_id, "trace_id": self.trace_id, "workflow": self.workflow, "run": self.run,
            "step": self.step, "item": self.item, "index": self.index, "timeout": self.timeout, "input": self.input,
        });
        crate::value::json::digest(&bound)
    }
}

//! A human's answer, bound to what was asked.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{GrantLapse, JobId, RunId, StepRunId, TenantId, WorkflowId};
use crate::{policy::Decision, value::Value};

/// What an approval is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A job that policy holds back.
    Job {
        /// The job.
        job_id: JobId,
    },
    /// A step of kind `approval`.
    Step {
        /// The run.
        run_id: RunId,
        /// The step, with its indices.
        step_id: StepRunId,
    },
}

impl Subject {
    /// The text under which people refer to it: the job id, or `<run>:<step>`.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Job { job_id } => job_id.to_string(),
            Self::Step { run_id, step_id } => format!("{run_id}:{step_id}"),
        }
    }
}

/// A question that waits for a human. Exists exactly as long as it waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalRequest {
    /// What it is about.
    pub subject: Subject,
    /// Who owns it.
    pub tenant: TenantId,
    /// The workflow, if it is part of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<WorkflowId>,
    /// A line for the human.
    pub title: Arc<str>,
    /// What they decide on: the job's input, or the approval step's.
    pub input: Arc<Value>,
    /// Policy's decision, when policy asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// What the answer binds, when policy asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Arc<str>>,
    /// The job, when policy asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Arc<super::JobSpec>>,
    /// Why an earlier yes does not cover it, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_again: Option<GrantLapse>,
    /// Since when it waits.
    pub requested_at: Timestamp,
    /// When the question lapses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A human's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Yes or no.
    pub approved: bool,
    /// Who says so.
    pub by: Arc<str>,
    /// In which role; may be empty.
    #[serde(default)]
    pub role: Arc<str>,
    /// Why; may be empty.
    #[serde(default)]
    pub reason: Arc<str>,
    /// Anything else; may be empty.
    #[serde(default)]
    pub note: Arc<str>,
}

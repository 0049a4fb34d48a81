//! The definition as written: established field names, YAML or JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ConcurrencySpec, TriggerSpec};
use crate::{policy::JobMeta, value::Value};

/// A workflow as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkflowSpec {
    /// Its name in the catalog.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The tenant that owns it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub org_id: String,
    /// The team within the tenant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub team_id: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Free text, not interpreted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Longest time of a run in seconds; 0 = no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout_sec: i64,
    /// How many runs may be under way at once; no limit when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencySpec>,
    /// Ways to start it by events that are gathered, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub triggers: BTreeMap<String, TriggerSpec>,
    /// The steps by id.
    pub steps: BTreeMap<String, StepSpec>,
    /// Free settings, handed out with the definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// What a run's input must look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// Describes the input to people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Value>,
    /// Who made it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// When it was first stored (RFC 3339); set by the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// When it was last stored (RFC 3339); set by the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
}

/// What a step does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepType {
    /// A job on a topic.
    #[default]
    Worker,
    /// A job on a topic, for a worker that serves language models.
    Llm,
    /// A job on a topic, for a worker that calls HTTP.
    Http,
    /// A job on a topic, for a worker that runs containers.
    Container,
    /// A job on a topic, for a worker that runs scripts.
    Script,
    /// Waits for a human's answer.
    Approval,
    /// Evaluates an expression.
    Condition,
    /// Waits for a time.
    Delay,
    /// Publishes an alert.
    Notify,
}

impl StepType {
    /// All names, in the order in which messages list them.
    pub const NAMES: [&'static str; 9] =
        ["worker", "llm", "http", "container", "script", "approval", "condition", "delay", "notify"];

    /// The established name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Llm => "llm",
            Self::Http => "http",
            Self::Container => "container",
            Self::Script => "script",
            Self::Approval => "approval",
            Self::Condition => "condition",
            Self::Delay => "delay",
            Self::Notify => "notify",
        }
    }
}

/// A step as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepSpec {
    /// Repeats its key in `steps`; the key wins.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it does.
    #[serde(rename = "type")]
    pub kind: StepType,
    /// Handed to the worker as `adapter_id`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub worker_id: String,
    /// Where its jobs go; `job.workflow.<workflow id>` when absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub topic: String,
    /// Steps that must have succeeded or been skipped first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// Gate: false skips the step. For `condition` steps, what is evaluated.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub condition: String,
    /// Templates; the run's whole input when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// What the rendered input must look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// Where in the run's context the output is written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output_path: String,
    /// What the output must look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// The structured identity of its jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<JobMeta>,
    /// When to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// Longest time of an attempt, or of waiting for an answer, in seconds; 0 = the default.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout_sec: i64,
    /// How long a delay lasts, in seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub delay_sec: i64,
    /// When a delay ends (RFC 3339, or a template that gives it).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub delay_until: String,
    /// Labels added to its jobs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub route_labels: BTreeMap<String, String>,
}

/// When a step is tried again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySpec {
    /// Tries after the first.
    pub max_retries: u32,
    /// Wait before the second try, in seconds; 1 when 0.
    pub initial_backoff_sec: f64,
    /// Longest wait, in seconds; 0 = no limit.
    pub max_backoff_sec: f64,
    /// Growth of the wait; 2 when 1 or less.
    pub multiplier: f64,
    /// Share of the wait that is random, 0 to 1; 0.1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

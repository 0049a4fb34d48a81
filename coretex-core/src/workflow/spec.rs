//! The definition as written: established field names, YAML or JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ConcurrencySpec, NextTimeSpec, TriggerSpec};
use crate::{job::Topic, policy::JobMeta, scheduler::Placement, value::Value};

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
    /// Whether the time that a run only waits counts towards `timeout_sec`.
    #[serde(skip_serializing_if = "is_default")]
    pub timeout_counts: TimeoutCounts,
    /// Longest time of undoing, and of the `finally` steps, each in seconds; 0 = one hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub finally_timeout_sec: i64,
    /// How many runs may be under way at once; no limit when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencySpec>,
    /// Ways to start it by events that are gathered, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub triggers: BTreeMap<String, TriggerSpec>,
    /// The steps by id.
    pub steps: BTreeMap<String, StepSpec>,
    /// Steps that run when everything else has ended, however it ended.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub finally: BTreeMap<String, StepSpec>,
    /// What the run makes: a template, rendered when it succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
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

impl WorkflowSpec {
    /// Writes the topics of `defaults` into the steps that name none.
    pub fn fill_topics(&mut self, defaults: &BTreeMap<StepType, Topic>) {
        fn fill(steps: &mut BTreeMap<String, StepSpec>, defaults: &BTreeMap<StepType, Topic>) {
            for step in steps.values_mut() {
                fill_one(step, defaults);
            }
        }
        fn fill_one(step: &mut StepSpec, defaults: &BTreeMap<StepType, Topic>) {
            if step.kind.is_job()
                && step.topic.is_empty()
                && let Some(topic) = defaults.get(&step.kind)
            {
                topic.as_str().clone_into(&mut step.topic);
            }
            fill(&mut step.steps, defaults);
            if let Some(undo) = &mut step.compensate {
                fill_one(undo, defaults);
            }
        }
        if !defaults.is_empty() {
            fill(&mut self.steps, defaults);
            fill(&mut self.finally, defaults);
        }
    }
}

/// What a step does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// Waits for data from outside.
    Input,
    /// Waits for a signal.
    Signal,
    /// Evaluates an expression.
    Condition,
    /// Chooses which of its dependents go on.
    Switch,
    /// Runs a group of steps.
    Parallel,
    /// Runs a group of steps again and again.
    Loop,
    /// Waits for a time.
    Delay,
    /// Publishes an alert.
    Notify,
    /// Makes a value from values.
    Transform,
    /// Keeps, reads or removes an artifact.
    Storage,
    /// Starts a run of another workflow and waits for it.
    Subworkflow,
}

impl StepType {
    /// All names, in the order in which messages list them.
    pub const NAMES: [&'static str; 17] = [
        "worker",
        "llm",
        "http",
        "container",
        "script",
        "approval",
        "input",
        "signal",
        "condition",
        "switch",
        "parallel",
        "loop",
        "delay",
        "notify",
        "transform",
        "storage",
        "subworkflow",
    ];

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
            Self::Input => "input",
            Self::Signal => "signal",
            Self::Condition => "condition",
            Self::Switch => "switch",
            Self::Parallel => "parallel",
            Self::Loop => "loop",
            Self::Delay => "delay",
            Self::Notify => "notify",
            Self::Transform => "transform",
            Self::Storage => "storage",
            Self::Subworkflow => "subworkflow",
        }
    }

    /// Whether it is carried out by a worker.
    #[must_use]
    pub const fn is_job(self) -> bool {
        matches!(self, Self::Worker | Self::Llm | Self::Http | Self::Container | Self::Script)
    }

    /// Whether it holds steps of its own.
    #[must_use]
    pub const fn is_group(self) -> bool {
        matches!(self, Self::Parallel | Self::Loop)
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
    /// Steps of the same group that must have ended well first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// The step of the same group that runs when this one has failed for good.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub on_error: String,
    /// Lets the steps behind it go on although it failed for good.
    #[serde(skip_serializing_if = "is_default")]
    pub continue_on_error: bool,
    /// Undoes the step when the run fails or is cancelled after it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Box<StepSpec>>,
    /// Runs the step once for each element of the list that the expression gives.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub for_each: String,
    /// Items under way at once; 0 = no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub max_parallel: u32,
    /// What a failed item means for the others; the first one fails the step when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_item_error: Option<OnItemError>,
    /// Of `parallel` and `loop`: the steps of the group.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub steps: BTreeMap<String, StepSpec>,
    /// Of `parallel`: when the group is done; `all` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// Of `loop`: goes on as long as this is true, asked before each iteration.
    #[serde(rename = "while", skip_serializing_if = "String::is_empty")]
    pub while_: String,
    /// Of `loop`: goes on until this is true, asked after each iteration.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub until: String,
    /// Of `loop`: most iterations; 100 when 0.
    #[serde(skip_serializing_if = "is_default")]
    pub max_iterations: u32,
    /// Of `loop`: the value that the first iteration starts with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carry: Option<Value>,
    /// Of `loop`: the value that an iteration hands to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Value>,
    /// Of `switch`: the branches, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<CaseSpec>,
    /// Of `switch`: whether the first matching case counts, or all; `first` when absent.
    #[serde(rename = "match", skip_serializing_if = "is_default")]
    pub matches: CaseMatch,
    /// Of `switch`: the steps that go on when no case matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default: Vec<String>,
    /// Of `signal`: the name of the signal, or a template that gives it; the id of the step when absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signal: String,
    /// Of `transform`: the value, a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Of `storage`: what to do with which artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,
    /// Of `subworkflow`: which one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workflow: String,
    /// Of `subworkflow`: the digest of the definition to use; the current one when absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workflow_digest: String,
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
    /// How long a delay lasts: `90s`, `1h 30m`, `PT1H`, or a template that gives that or a number of seconds.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub delay: String,
    /// How long a delay lasts, in seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub delay_sec: i64,
    /// When a delay ends (RFC 3339, or a template that gives it).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub delay_until: String,
    /// A delay ends at the next time of a calendar; beside none of the three above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_next: Option<NextTimeSpec>,
    /// Labels added to its jobs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub route_labels: BTreeMap<String, String>,
    /// Which workers may do its jobs, and which they would like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
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
    /// Codes of failures that another try does not mend.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub non_retryable: Vec<String>,
    /// What happens when no try is left; the step fails when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub on_exhausted: OnExhausted,
}

/// Whether the time that a run only waits counts towards its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutCounts {
    /// All time counts.
    #[default]
    All,
    /// The clock stands still while the run waits for nothing but people, signals, other data and delays.
    Active,
}

/// What happens to a step that has no try left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// It has failed.
    #[default]
    Fail,
    /// It waits for an operator, who retries, skips, completes or fails it.
    Park,
}

/// What a failed item of a `for_each` means for the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnItemError {
    /// The first failure fails the step.
    FailFast,
    /// Failures are collected; the step succeeds.
    Collect,
    /// So many may fail: a number, or a share such as `10%`.
    Tolerate(Tolerance),
}

/// How many items may fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tolerance {
    /// A number of items.
    Count(u32),
    /// A share of all, such as `10%`.
    Share(String),
}

/// When a group is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Join {
    /// By a rule.
    Rule(JoinRule),
    /// When so many branches have succeeded; the others are cancelled.
    Count(u32),
}

/// When a group is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinRule {
    /// When every step has ended well; the first failure fails the group.
    #[default]
    All,
    /// When one branch has succeeded; the others are cancelled.
    Any,
    /// When every step has ended, however; the group succeeds.
    Settled,
}

/// A branch of a `switch`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaseSpec {
    /// For people, and in the output of the step.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The condition.
    pub when: String,
    /// The steps that go on.
    pub then: Vec<String>,
}

/// Which cases of a `switch` count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseMatch {
    /// The first that matches.
    #[default]
    First,
    /// All that match.
    All,
}

/// What a `storage` step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSpec {
    /// The operation.
    pub op: StorageOp,
    /// The name of the artifact within its tenant, or a template that gives it.
    pub key: String,
    /// Of `put`: the value, a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// An operation on an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageOp {
    /// Keeps a value; the output is its pointer, digest and size.
    Put,
    /// Reads a value; the output is the value.
    Get,
    /// Removes a value; there may be none.
    Delete,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

//! The answer: an outcome with its reasons, limits and duties.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// Go ahead.
    Allow,
    /// Never.
    Deny,
    /// Only when a human agrees.
    RequireApproval,
    /// Go ahead within limits.
    AllowWithConstraints,
    /// Ask again later.
    Throttle,
}

impl Outcome {
    /// Whether the job may go to a worker now.
    #[must_use]
    pub const fn permits(self) -> bool {
        matches!(self, Self::Allow | Self::AllowWithConstraints)
    }

    /// The established name in records and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::RequireApproval => "REQUIRE_APPROVAL",
            Self::AllowWithConstraints => "ALLOW_WITH_CONSTRAINTS",
            Self::Throttle => "THROTTLE",
        }
    }
}

/// An outcome and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What is decided.
    pub outcome: Outcome,
    /// The rule that decided; empty for a default.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub rule_id: Arc<str>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub reason: Arc<str>,
    /// The policy that was in force.
    pub snapshot: Arc<str>,
    /// Limits put on the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraints: Option<Arc<Constraints>>,
    /// Duties of whoever enforces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obligations: Vec<Obligation>,
    /// Safer alternatives offered with a denial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remediations: Vec<Remediation>,
    /// How long to wait before asking again, with [`Outcome::Throttle`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// No rules stood behind it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ungoverned: bool,
}

impl Decision {
    /// A decision without limits or duties.
    pub fn new(
        outcome: Outcome,
        rule_id: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
        snapshot: Arc<str>,
    ) -> Self {
        Self {
            outcome,
            rule_id: rule_id.into(),
            reason: reason.into(),
            snapshot,
            constraints: None,
            obligations: Vec::new(),
            remediations: Vec::new(),
            retry_after: None,
            ungoverned: false,
        }
    }

    /// Digest of what a human agrees to besides the job: the outcome, the rule and its reason, limits and duties. Two
    /// snapshots that say the same give the same terms.
    #[must_use]
    pub fn terms(&self) -> String {
        crate::value::json::digest(&serde_json::json!({
            "outcome": self.outcome, "rule": self.rule_id, "reason": self.reason,
            "constraints": self.constraints, "obligations": self.obligations,
        }))
    }
}

/// Limits put on a job. Established names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Constraints {
    /// What may be spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budgets: Option<BudgetLimits>,
    /// Where it may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// What it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toolchain: Option<Toolchain>,
    /// How much it may change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<DiffLimits>,
    /// How much must be redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redaction_level: Option<String>,
}

/// What a job may spend; 0 means no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetLimits {
    /// Longest run time of an attempt, in milliseconds.
    pub max_runtime_ms: u64,
    /// Most retries.
    pub max_retries: u32,
    /// Largest artifact, in bytes.
    pub max_artifact_bytes: u64,
    /// Most jobs of the tenant at once.
    pub max_concurrent_jobs: u32,
}

/// Where a job may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    /// Apart from everything else.
    pub isolated: bool,
    /// Hosts it may reach.
    pub network_allowlist: Vec<String>,
    /// Paths it may read.
    pub fs_read_only: Vec<String>,
    /// Paths it may write.
    pub fs_read_write: Vec<String>,
}

/// What a job may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Toolchain {
    /// Tools by name.
    pub allowed_tools: Vec<String>,
    /// Commands by name.
    pub allowed_commands: Vec<String>,
}

/// How much a job may change; 0 means no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffLimits {
    /// Most files.
    pub max_files: u32,
    /// Most lines.
    pub max_lines: u32,
    /// Paths it may not touch.
    pub deny_path_globs: Vec<String>,
}

/// A duty of whoever enforces a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obligation {
    /// What to do: `redact`, `audit`, `notify`.
    pub kind: String,
    /// How.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// A safer alternative. Established names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Remediation {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// A line for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// A paragraph for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// The topic to use instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub replacement_topic: String,
    /// The capability to use instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub replacement_capability: String,
    /// Labels to add.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add_labels: BTreeMap<String, String>,
    /// Labels to remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove_labels: Vec<String>,
}

fn str_is_empty(text: &Arc<str>) -> bool {
    text.is_empty()
}

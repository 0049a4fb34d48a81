//! The questions to a safety kernel and its answers.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Budget, IdentityBinding, JobMetadata, ResourceRef};
use crate::protocol::enums::{DecisionType, JobPriority};

/// May this job run?
#[derive(Clone, PartialEq, prost::Message)]
pub struct PolicyCheckRequest {
    /// The job.
    #[prost(string, tag = "1")]
    pub job_id: String,
    /// Its kind of work.
    #[prost(string, tag = "2")]
    pub topic: String,
    /// Who owns it.
    #[prost(string, tag = "3")]
    pub tenant: String,
    /// Its place in the queue.
    #[prost(enumeration = "JobPriority", tag = "4")]
    pub priority: i32,
    /// What it may cost; the unit is the deployment's.
    #[prost(double, tag = "5")]
    pub estimated_cost: f64,
    /// Limits it asks for.
    #[prost(message, optional, tag = "6")]
    pub budget: Option<Budget>,
    /// On whose authority.
    #[prost(string, tag = "7")]
    pub principal_id: String,
    /// Its labels.
    #[prost(btree_map = "string, string", tag = "8")]
    pub labels: BTreeMap<String, String>,
    /// The corpus it reads.
    #[prost(string, tag = "9")]
    pub memory_id: String,
    /// The configuration in force, serialized; CAP defines no format.
    #[prost(bytes = "bytes", tag = "10")]
    pub effective_config: Bytes,
    /// Structured identity and capability set.
    #[prost(message, optional, tag = "11")]
    pub meta: Option<JobMetadata>,
    /// On whose behalf; production profile only.
    #[prost(message, optional, tag = "12")]
    pub identity: Option<IdentityBinding>,
    /// The input as a verifiable reference; production profile only.
    #[prost(message, optional, tag = "13")]
    pub input_ref: Option<ResourceRef>,
    /// The input itself, or its beginning.
    #[prost(bytes = "bytes", tag = "20")]
    pub input_content: Bytes,
    /// Media type of `input_content`.
    #[prost(string, tag = "21")]
    pub input_content_type: String,
    /// Size of the whole input in bytes.
    #[prost(int64, tag = "22")]
    pub input_size_bytes: i64,
}

/// The kernel's answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PolicyCheckResponse {
    /// What is decided; a missing or unknown decision means no.
    #[prost(enumeration = "DecisionType", tag = "1")]
    pub decision: i32,
    /// Why, for people.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// Use this input instead.
    #[prost(string, tag = "3")]
    pub redacted_context_ptr: String,
    /// The policy in force.
    #[prost(string, tag = "4")]
    pub policy_snapshot: String,
    /// The rule that decided.
    #[prost(string, tag = "5")]
    pub rule_id: String,
    /// Limits under which the job may run.
    #[prost(message, optional, tag = "6")]
    pub constraints: Option<PolicyConstraints>,
    /// A person must agree first.
    #[prost(bool, tag = "7")]
    pub approval_required: bool,
    /// Names the approval.
    #[prost(string, tag = "8")]
    pub approval_ref: String,
    /// Safer alternatives.
    #[prost(message, repeated, tag = "9")]
    pub remediations: Vec<PolicyRemediation>,
    /// The redacted input as a verifiable reference; production profile only.
    #[prost(message, optional, tag = "10")]
    pub redacted_context_ref: Option<ResourceRef>,
    /// On whose behalf; production profile only.
    #[prost(message, optional, tag = "11")]
    pub identity: Option<IdentityBinding>,
}

/// Limits put on a job.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PolicyConstraints {
    /// Time, retries, artifacts, concurrency.
    #[prost(message, optional, tag = "1")]
    pub budgets: Option<BudgetConstraints>,
    /// Network and files.
    #[prost(message, optional, tag = "2")]
    pub sandbox: Option<SandboxProfile>,
    /// Tools and commands.
    #[prost(message, optional, tag = "3")]
    pub toolchain: Option<ToolchainConstraints>,
    /// Size and paths of a change.
    #[prost(message, optional, tag = "4")]
    pub diff: Option<DiffConstraints>,
    /// How much to redact.
    #[prost(string, tag = "5")]
    pub redaction_level: String,
}

/// Limits on time and amount; zero means no limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct BudgetConstraints {
    /// Run time in milliseconds.
    #[prost(int64, tag = "1")]
    pub max_runtime_ms: i64,
    /// Retries.
    #[prost(int32, tag = "2")]
    pub max_retries: i32,
    /// Bytes of artifacts.
    #[prost(int64, tag = "3")]
    pub max_artifact_bytes: i64,
    /// Jobs at once.
    #[prost(int32, tag = "4")]
    pub max_concurrent_jobs: i32,
}

/// What a job may reach.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct SandboxProfile {
    /// It runs isolated.
    #[prost(bool, tag = "1")]
    pub isolated: bool,
    /// Hosts it may talk to.
    #[prost(string, repeated, tag = "2")]
    pub network_allowlist: Vec<String>,
    /// Paths it may read.
    #[prost(string, repeated, tag = "3")]
    pub fs_read_only: Vec<String>,
    /// Paths it may write.
    #[prost(string, repeated, tag = "4")]
    pub fs_read_write: Vec<String>,
}

/// What a job may run.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ToolchainConstraints {
    /// Tools.
    #[prost(string, repeated, tag = "1")]
    pub allowed_tools: Vec<String>,
    /// Commands.
    #[prost(string, repeated, tag = "2")]
    pub allowed_commands: Vec<String>,
}

/// How much a job may change; zero means no limit.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct DiffConstraints {
    /// Files.
    #[prost(int32, tag = "1")]
    pub max_files: i32,
    /// Lines.
    #[prost(int32, tag = "2")]
    pub max_lines: i32,
    /// Paths it must not touch.
    #[prost(string, repeated, tag = "3")]
    pub deny_path_globs: Vec<String>,
}

/// A safer alternative to a job that was refused.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PolicyRemediation {
    /// Names the alternative.
    #[prost(string, tag = "1")]
    pub id: String,
    /// A heading.
    #[prost(string, tag = "2")]
    pub title: String,
    /// What it does.
    #[prost(string, tag = "3")]
    pub summary: String,
    /// Use this topic instead.
    #[prost(string, tag = "4")]
    pub replacement_topic: String,
    /// Use this capability instead.
    #[prost(string, tag = "5")]
    pub replacement_capability: String,
    /// Add these labels.
    #[prost(btree_map = "string, string", tag = "6")]
    pub add_labels: BTreeMap<String, String>,
    /// Remove these labels.
    #[prost(string, repeated, tag = "7")]
    pub remove_labels: Vec<String>,
}

/// Asks for the policy snapshots a kernel knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct ListSnapshotsRequest {}

/// The policy snapshots a kernel knows.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ListSnapshotsResponse {
    /// Their names.
    #[prost(string, repeated, tag = "1")]
    pub snapshots: Vec<String>,
}

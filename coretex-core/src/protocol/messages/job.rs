//! Jobs: the request, what comes back, and the records they share.

use std::collections::BTreeMap;

use super::WireTimestamp;
use crate::protocol::enums::{ActorType, ErrorCode, JobPriority, JobStatus};

/// A job to do. The payload itself never travels here, only a pointer to it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobRequest {
    /// Unique and immutable; the key of deduplication.
    #[prost(string, tag = "1")]
    pub job_id: String,
    /// The kind of work, and the subject workers listen on.
    #[prost(string, tag = "2")]
    pub topic: String,
    /// A hint for ordering.
    #[prost(enumeration = "JobPriority", tag = "3")]
    pub priority: i32,
    /// Pointer to the input.
    #[prost(string, tag = "4")]
    pub context_ptr: String,
    /// Which adapter of the worker to use.
    #[prost(string, tag = "5")]
    pub adapter_id: String,
    /// Short ASCII settings for the worker.
    #[prost(btree_map = "string, string", tag = "6")]
    pub env: BTreeMap<String, String>,
    /// The job that submitted this one.
    #[prost(string, tag = "7")]
    pub parent_job_id: String,
    /// The workflow it belongs to.
    #[prost(string, tag = "8")]
    pub workflow_id: String,
    /// Its place among the workflow's steps.
    #[prost(int32, tag = "9")]
    pub step_index: i32,
    /// Names a corpus, such as `repo:a/b`.
    #[prost(string, tag = "10")]
    pub memory_id: String,
    /// What the worker may do to its context.
    #[prost(message, optional, tag = "11")]
    pub context_hints: Option<ContextHints>,
    /// Limits on tokens and time.
    #[prost(message, optional, tag = "12")]
    pub budget: Option<Budget>,
    /// Who owns the job.
    #[prost(string, tag = "13")]
    pub tenant_id: String,
    /// On whose authority it runs.
    #[prost(string, tag = "14")]
    pub principal_id: String,
    /// Free key and value pairs for routing, policy and audit.
    #[prost(btree_map = "string, string", tag = "15")]
    pub labels: BTreeMap<String, String>,
    /// Structured identity and capability set.
    #[prost(message, optional, tag = "16")]
    pub meta: Option<JobMetadata>,
    /// The job that undoes this one.
    #[prost(message, optional, boxed, tag = "17")]
    pub compensation: Option<Box<Compensation>>,
    /// On whose behalf; production profile only.
    #[prost(message, optional, tag = "18")]
    pub identity: Option<IdentityBinding>,
    /// Which dispatch this is; production profile only.
    #[prost(message, optional, tag = "19")]
    pub dispatch: Option<DispatchIdentity>,
    /// The input as a verifiable reference; production profile only.
    #[prost(message, optional, tag = "20")]
    pub context_ref: Option<ResourceRef>,
}

/// How an attempt ended, from a worker or from the control plane.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobResult {
    /// The job that ended.
    #[prost(string, tag = "1")]
    pub job_id: String,
    /// How it ended.
    #[prost(enumeration = "JobStatus", tag = "2")]
    pub status: i32,
    /// Pointer to the output; may be empty, unreadable or of any scheme.
    #[prost(string, tag = "3")]
    pub result_ptr: String,
    /// Who ran it.
    #[prost(string, tag = "4")]
    pub worker_id: String,
    /// How long it ran, in milliseconds; zero when not measured.
    #[prost(int64, tag = "5")]
    pub execution_ms: i64,
    /// Error code as text; see `error_code_enum`.
    #[prost(string, tag = "6")]
    pub error_code: String,
    /// What went wrong, for people.
    #[prost(string, tag = "7")]
    pub error_message: String,
    /// Pointers to kept outputs.
    #[prost(string, repeated, tag = "8")]
    pub artifact_ptrs: Vec<String>,
    /// What kind of error it was.
    #[prost(enumeration = "ErrorCode", tag = "9")]
    pub error_code_enum: i32,
    /// The dispatch answered; production profile only.
    #[prost(message, optional, tag = "10")]
    pub dispatch: Option<DispatchIdentity>,
    /// On whose behalf; production profile only.
    #[prost(message, optional, tag = "11")]
    pub identity: Option<IdentityBinding>,
    /// The output as a verifiable reference; production profile only.
    #[prost(message, optional, tag = "12")]
    pub result_ref: Option<ResourceRef>,
    /// Kept outputs as verifiable references; production profile only.
    #[prost(message, repeated, tag = "13")]
    pub artifact_refs: Vec<ResourceRef>,
}

/// How far a running job is. Also the only way a worker says that it started.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobProgress {
    /// The job that runs.
    #[prost(string, tag = "1")]
    pub job_id: String,
    /// What the worker is at.
    #[prost(string, tag = "2")]
    pub step_id: String,
    /// 0 to 100.
    #[prost(int32, tag = "3")]
    pub percent: i32,
    /// A note for people.
    #[prost(string, tag = "4")]
    pub message: String,
    /// Pointer to an output so far.
    #[prost(string, tag = "5")]
    pub result_ptr: String,
    /// Pointers to kept outputs so far.
    #[prost(string, repeated, tag = "6")]
    pub artifact_ptrs: Vec<String>,
    /// The state the worker is in.
    #[prost(enumeration = "JobStatus", tag = "7")]
    pub status: i32,
    /// The dispatch it belongs to; production profile only.
    #[prost(message, optional, tag = "8")]
    pub dispatch: Option<DispatchIdentity>,
    /// On whose behalf; production profile only.
    #[prost(message, optional, tag = "9")]
    pub identity: Option<IdentityBinding>,
    /// Output so far as a verifiable reference; production profile only.
    #[prost(message, optional, tag = "10")]
    pub result_ref: Option<ResourceRef>,
    /// Kept outputs so far as verifiable references; production profile only.
    #[prost(message, repeated, tag = "11")]
    pub artifact_refs: Vec<ResourceRef>,
}

/// Please stop a job. A broadcast that a worker may ignore.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobCancel {
    /// The job to stop.
    #[prost(string, tag = "1")]
    pub job_id: String,
    /// Why.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// Who asked.
    #[prost(string, tag = "3")]
    pub requested_by: String,
    /// The dispatch to stop; production profile only.
    #[prost(message, optional, tag = "4")]
    pub dispatch: Option<DispatchIdentity>,
    /// On whose behalf; production profile only.
    #[prost(message, optional, tag = "5")]
    pub identity: Option<IdentityBinding>,
}

/// What a worker may do to the context it is given.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContextHints {
    /// Tokens the context may take.
    #[prost(int32, tag = "1")]
    pub max_input_tokens: i32,
    /// It may be summarised.
    #[prost(bool, tag = "2")]
    pub allow_summarization: bool,
    /// More may be fetched from memory.
    #[prost(bool, tag = "3")]
    pub allow_retrieval: bool,
    /// Free tags.
    #[prost(string, repeated, tag = "4")]
    pub tags: Vec<String>,
}

/// Limits on one job; zero means no limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Budget {
    /// Input tokens.
    #[prost(int64, tag = "1")]
    pub max_input_tokens: i64,
    /// Output tokens.
    #[prost(int64, tag = "2")]
    pub max_output_tokens: i64,
    /// Input and output tokens together.
    #[prost(int64, tag = "3")]
    pub max_total_tokens: i64,
    /// A duration in milliseconds, not a point in time.
    #[prost(int64, tag = "4")]
    pub deadline_ms: i64,
}

/// Structured identity and capability set of a job.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobMetadata {
    /// Who owns the job.
    #[prost(string, tag = "1")]
    pub tenant_id: String,
    /// Who caused it.
    #[prost(string, tag = "2")]
    pub actor_id: String,
    /// Whether that is a person or a service.
    #[prost(enumeration = "ActorType", tag = "3")]
    pub actor_type: i32,
    /// A second submit with this key is the same job.
    #[prost(string, tag = "4")]
    pub idempotency_key: String,
    /// What the job does.
    #[prost(string, tag = "5")]
    pub capability: String,
    /// What policy should weigh.
    #[prost(string, repeated, tag = "6")]
    pub risk_tags: Vec<String>,
    /// What a pool must offer.
    #[prost(string, repeated, tag = "7")]
    pub requires: Vec<String>,
    /// The pack it comes from.
    #[prost(string, tag = "8")]
    pub pack_id: String,
    /// Free key and value pairs.
    #[prost(btree_map = "string, string", tag = "9")]
    pub labels: BTreeMap<String, String>,
}

/// The job that undoes another. Empty fields inherit from the job it belongs to.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Compensation {
    /// The kind of work.
    #[prost(string, tag = "1")]
    pub topic: String,
    /// Pointer to the input.
    #[prost(string, tag = "2")]
    pub context_ptr: String,
    /// A hint for ordering.
    #[prost(enumeration = "JobPriority", tag = "3")]
    pub priority: i32,
    /// Which adapter of the worker to use.
    #[prost(string, tag = "4")]
    pub adapter_id: String,
    /// Short ASCII settings for the worker.
    #[prost(btree_map = "string, string", tag = "5")]
    pub env: BTreeMap<String, String>,
    /// Names a corpus.
    #[prost(string, tag = "6")]
    pub memory_id: String,
    /// What the worker may do to its context.
    #[prost(message, optional, tag = "7")]
    pub context_hints: Option<ContextHints>,
    /// Limits on tokens and time.
    #[prost(message, optional, tag = "8")]
    pub budget: Option<Budget>,
    /// Who owns the job.
    #[prost(string, tag = "9")]
    pub tenant_id: String,
    /// On whose authority it runs.
    #[prost(string, tag = "10")]
    pub principal_id: String,
    /// Free key and value pairs.
    #[prost(btree_map = "string, string", tag = "11")]
    pub labels: BTreeMap<String, String>,
    /// Structured identity and capability set; give it an idempotency key of its own.
    #[prost(message, optional, tag = "12")]
    pub meta: Option<JobMetadata>,
    /// On whose behalf; production profile only.
    #[prost(message, optional, tag = "13")]
    pub identity: Option<IdentityBinding>,
    /// Which dispatch; production profile only.
    #[prost(message, optional, tag = "14")]
    pub dispatch: Option<DispatchIdentity>,
    /// The input as a verifiable reference; production profile only.
    #[prost(message, optional, tag = "15")]
    pub context_ref: Option<ResourceRef>,
}

/// On whose behalf something is sent.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct IdentityBinding {
    /// The tenant.
    #[prost(string, tag = "1")]
    pub tenant_id: String,
    /// The principal.
    #[prost(string, tag = "2")]
    pub principal_id: String,
    /// The human or service behind it.
    #[prost(string, tag = "3")]
    pub actor_id: String,
    /// The delegation that allows it.
    #[prost(string, tag = "4")]
    pub delegation_id: String,
}

/// Names one dispatch of a job, so that results of an older one can be told apart.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct DispatchIdentity {
    /// Unpredictable and unique per dispatch.
    #[prost(string, tag = "1")]
    pub dispatch_id: String,
    /// Counts from 1.
    #[prost(uint64, tag = "2")]
    pub attempt: u64,
    /// The worker it was sent to.
    #[prost(string, tag = "3")]
    pub assigned_worker_id: String,
}

/// A pointer that can be verified: where, how large, with which digest, until when.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ResourceRef {
    /// Which resolver of the receiver reads it.
    #[prost(string, tag = "1")]
    pub resolver_id: String,
    /// Where it is.
    #[prost(string, tag = "2")]
    pub uri: String,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub sha256: Vec<u8>,
    /// Media type without parameters.
    #[prost(string, tag = "4")]
    pub media_type: String,
    /// Size in bytes.
    #[prost(uint64, tag = "5")]
    pub size_bytes: u64,
    /// Not to be read after this instant.
    #[prost(message, optional, tag = "6")]
    pub expires_at: Option<WireTimestamp>,
    /// What it is for.
    #[prost(string, tag = "7")]
    pub purpose: String,
}

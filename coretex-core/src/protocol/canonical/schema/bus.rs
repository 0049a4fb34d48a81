//! The messages of the bus.

use super::{Kind, MessageType, TIMESTAMP, choice, many, map, one};

/// `BusPacket`.
pub static BUS_PACKET: MessageType = MessageType::new(
    "BusPacket",
    &[
        one(1, "trace_id", Kind::String),
        one(2, "sender_id", Kind::String),
        one(3, "created_at", Kind::Message(&TIMESTAMP)),
        one(4, "protocol_version", Kind::Int32),
        one(5, "signature_metadata", Kind::Message(&SIGNATURE_METADATA)),
        one(6, "identity", Kind::Message(&IDENTITY_BINDING)),
        choice(10, "job_request", Kind::Message(&JOB_REQUEST)),
        choice(11, "job_result", Kind::Message(&JOB_RESULT)),
        choice(12, "heartbeat", Kind::Message(&HEARTBEAT)),
        choice(13, "alert", Kind::Message(&SYSTEM_ALERT)),
        one(14, "signature", Kind::Bytes),
        choice(15, "job_progress", Kind::Message(&JOB_PROGRESS)),
        choice(16, "job_cancel", Kind::Message(&JOB_CANCEL)),
        choice(17, "handshake", Kind::Message(&HANDSHAKE)),
        one(18, "auth_token", Kind::String),
        choice(19, "worker_handshake_challenge_request", Kind::Message(&WORKER_HANDSHAKE_CHALLENGE_REQUEST)),
        choice(20, "worker_handshake_challenge", Kind::Message(&WORKER_HANDSHAKE_CHALLENGE)),
        choice(21, "worker_handshake_authenticate", Kind::Message(&WORKER_HANDSHAKE_AUTHENTICATE)),
        choice(22, "worker_handshake_result", Kind::Message(&WORKER_HANDSHAKE_RESULT)),
    ],
);

/// `SignatureMetadata`.
pub static SIGNATURE_METADATA: MessageType = MessageType::new(
    "SignatureMetadata",
    &[
        one(1, "profile_version", Kind::String),
        one(2, "algorithm", Kind::String),
        one(3, "message_id", Kind::Bytes),
        one(4, "audience", Kind::String),
        one(5, "expires_at", Kind::Message(&TIMESTAMP)),
        one(6, "key_id", Kind::String),
    ],
);

/// `IdentityBinding`.
pub static IDENTITY_BINDING: MessageType = MessageType::new(
    "IdentityBinding",
    &[
        one(1, "tenant_id", Kind::String),
        one(2, "principal_id", Kind::String),
        one(3, "actor_id", Kind::String),
        one(4, "delegation_id", Kind::String),
    ],
);

/// `DispatchIdentity`.
pub static DISPATCH_IDENTITY: MessageType = MessageType::new(
    "DispatchIdentity",
    &[one(1, "dispatch_id", Kind::String), one(2, "attempt", Kind::Uint64), one(3, "assigned_worker_id", Kind::String)],
);

/// `ResourceRef`.
pub static RESOURCE_REF: MessageType = MessageType::new(
    "ResourceRef",
    &[
        one(1, "resolver_id", Kind::String),
        one(2, "uri", Kind::String),
        one(3, "sha256", Kind::Bytes),
        one(4, "media_type", Kind::String),
        one(5, "size_bytes", Kind::Uint64),
        one(6, "expires_at", Kind::Message(&TIMESTAMP)),
        one(7, "purpose", Kind::String),
    ],
);

/// `ContextHints`.
pub static CONTEXT_HINTS: MessageType = MessageType::new(
    "ContextHints",
    &[
        one(1, "max_input_tokens", Kind::Int32),
        one(2, "allow_summarization", Kind::Bool),
        one(3, "allow_retrieval", Kind::Bool),
        many(4, "tags", Kind::String),
    ],
);

/// `Budget`.
pub static BUDGET: MessageType = MessageType::new(
    "Budget",
    &[
        one(1, "max_input_tokens", Kind::Int64),
        one(2, "max_output_tokens", Kind::Int64),
        one(3, "max_total_tokens", Kind::Int64),
        one(4, "deadline_ms", Kind::Int64),
    ],
);

/// `JobMetadata`.
pub static JOB_METADATA: MessageType = MessageType::new(
    "JobMetadata",
    &[
        one(1, "tenant_id", Kind::String),
        one(2, "actor_id", Kind::String),
        one(3, "actor_type", Kind::Enum),
        one(4, "idempotency_key", Kind::String),
        one(5, "capability", Kind::String),
        many(6, "risk_tags", Kind::String),
        many(7, "requires", Kind::String),
        one(8, "pack_id", Kind::String),
        map(9, "labels", Kind::String),
    ],
);

/// `Compensation`.
pub static COMPENSATION: MessageType = MessageType::new(
    "Compensation",
    &[
        one(1, "topic", Kind::String),
        one(2, "context_ptr", Kind::String),
        one(3, "priority", Kind::Enum),
        one(4, "adapter_id", Kind::String),
        map(5, "env", Kind::String),
        one(6, "memory_id", Kind::String),
        one(7, "context_hints", Kind::Message(&CONTEXT_HINTS)),
        one(8, "budget", Kind::Message(&BUDGET)),
        one(9, "tenant_id", Kind::String),
        one(10, "principal_id", Kind::String),
        map(11, "labels", Kind::String),
        one(12, "meta", Kind::Message(&JOB_METADATA)),
        one(13, "identity", Kind::Message(&IDENTITY_BINDING)),
        one(14, "dispatch", Kind::Message(&DISPATCH_IDENTITY)),
        one(15, "context_ref", Kind::Message(&RESOURCE_REF)),
    ],
);

/// `JobRequest`.
pub static JOB_REQUEST: MessageType = MessageType::new(
    "JobRequest",
    &[
        one(1, "job_id", Kind::String),
        one(2, "topic", Kind::String),
        one(3, "priority", Kind::Enum),
        one(4, "context_ptr", Kind::String),
        one(5, "adapter_id", Kind::String),
        map(6, "env", Kind::String),
        one(7, "parent_job_id", Kind::String),
        one(8, "workflow_id", Kind::String),
        one(9, "step_index", Kind::Int32),
        one(10, "memory_id", Kind::String),
        one(11, "context_hints", Kind::Message(&CONTEXT_HINTS)),
        one(12, "budget", Kind::Message(&BUDGET)),
        one(13, "tenant_id", Kind::String),
        one(14, "principal_id", Kind::String),
        map(15, "labels", Kind::String),
        one(16, "meta", Kind::Message(&JOB_METADATA)),
        one(17, "compensation", Kind::Message(&COMPENSATION)),
        one(18, "identity", Kind::Message(&IDENTITY_BINDING)),
        one(19, "dispatch", Kind::Message(&DISPATCH_IDENTITY)),
        one(20, "context_ref", Kind::Message(&RESOURCE_REF)),
    ],
);

/// `JobResult`.
pub static JOB_RESULT: MessageType = MessageType::new(
    "JobResult",
    &[
        one(1, "job_id", Kind::String),
        one(2, "status", Kind::Enum),
        one(3, "result_ptr", Kind::String),
        one(4, "worker_id", Kind::String),
        one(5, "execution_ms", Kind::Int64),
        one(6, "error_code", Kind::String),
        one(7, "error_message", Kind::String),
        many(8, "artifact_ptrs", Kind::String),
        one(9, "error_code_enum", Kind::Enum),
        one(10, "dispatch", Kind::Message(&DISPATCH_IDENTITY)),
        one(11, "identity", Kind::Message(&IDENTITY_BINDING)),
        one(12, "result_ref", Kind::Message(&RESOURCE_REF)),
        many(13, "artifact_refs", Kind::Message(&RESOURCE_REF)),
    ],
);

/// `JobProgress`.
pub static JOB_PROGRESS: MessageType = MessageType::new(
    "JobProgress",
    &[
        one(1, "job_id", Kind::String),
        one(2, "step_id", Kind::String),
        one(3, "percent", Kind::Int32),
        one(4, "message", Kind::String),
        one(5, "result_ptr", Kind::String),
        many(6, "artifact_ptrs", Kind::String),
        one(7, "status", Kind::Enum),
        one(8, "dispatch", Kind::Message(&DISPATCH_IDENTITY)),
        one(9, "identity", Kind::Message(&IDENTITY_BINDING)),
        one(10, "result_ref", Kind::Message(&RESOURCE_REF)),
        many(11, "artifact_refs", Kind::Message(&RESOURCE_REF)),
    ],
);

/// `JobCancel`.
pub static JOB_CANCEL: MessageType = MessageType::new(
    "JobCancel",
    &[
        one(1, "job_id", Kind::String),
        one(2, "reason", Kind::String),
        one(3, "requested_by", Kind::String),
        one(4, "dispatch", Kind::Message(&DISPATCH_IDENTITY)),
        one(5, "identity", Kind::Message(&IDENTITY_BINDING)),
    ],
);

/// `Heartbeat`.
pub static HEARTBEAT: MessageType = MessageType::new(
    "Heartbeat",
    &[
        one(1, "worker_id", Kind::String),
        one(2, "region", Kind::String),
        one(3, "type", Kind::String),
        one(4, "cpu_load", Kind::Float),
        one(5, "gpu_utilization", Kind::Float),
        one(6, "active_jobs", Kind::Int32),
        many(7, "capabilities", Kind::String),
        one(11, "pool", Kind::String),
        one(12, "max_parallel_jobs", Kind::Int32),
        map(13, "labels", Kind::String),
        one(14, "memory_load", Kind::Float),
        one(15, "progress_pct", Kind::Int32),
        one(16, "last_memo", Kind::String),
        one(18, "auth_token", Kind::String),
        one(19, "agent_name", Kind::String),
    ],
);

/// `SystemAlert`.
pub static SYSTEM_ALERT: MessageType = MessageType::new(
    "SystemAlert",
    &[
        one(1, "level", Kind::String),
        one(2, "message", Kind::String),
        one(3, "component", Kind::String),
        one(4, "code", Kind::String),
        one(5, "severity", Kind::Enum),
        one(6, "error_code_enum", Kind::Enum),
        one(7, "source_component", Kind::String),
        map(8, "details", Kind::String),
        one(9, "trace_id", Kind::String),
    ],
);

/// `Handshake`.
pub static HANDSHAKE: MessageType = MessageType::new(
    "Handshake",
    &[
        one(1, "component_id", Kind::String),
        one(2, "role", Kind::Enum),
        many(3, "supported_versions", Kind::Int32),
        map(4, "capabilities", Kind::Bool),
        one(5, "sdk_version", Kind::String),
        many(6, "ready_topics", Kind::String),
        one(7, "agent_name", Kind::String),
    ],
);

/// `WorkerHandshakeChallengeRequest`.
pub static WORKER_HANDSHAKE_CHALLENGE_REQUEST: MessageType = MessageType::new(
    "WorkerHandshakeChallengeRequest",
    &[
        one(1, "request_id", Kind::String),
        one(2, "trace_id", Kind::String),
        one(3, "worker_id", Kind::String),
        one(4, "proof_key_id", Kind::String),
        one(5, "proof_algorithm", Kind::Enum),
        one(6, "audience", Kind::String),
        one(7, "purpose", Kind::Enum),
        one(8, "client_nonce", Kind::Bytes),
        one(9, "protocol_version", Kind::Int32),
        one(10, "sdk_version", Kind::String),
    ],
);

/// `WorkerHandshakeChallenge`.
pub static WORKER_HANDSHAKE_CHALLENGE: MessageType = MessageType::new(
    "WorkerHandshakeChallenge",
    &[
        one(1, "request_id", Kind::String),
        one(2, "challenge_id", Kind::String),
        one(3, "trace_id", Kind::String),
        one(4, "worker_id", Kind::String),
        one(5, "agent_id", Kind::String),
        one(6, "tenant_id", Kind::String),
        one(7, "proof_key_id", Kind::String),
        one(8, "proof_algorithm", Kind::Enum),
        one(9, "server_key_id", Kind::String),
        one(10, "audience", Kind::String),
        one(11, "purpose", Kind::Enum),
        one(12, "client_nonce", Kind::Bytes),
        one(13, "server_nonce", Kind::Bytes),
        one(14, "protocol_version", Kind::Int32),
        one(15, "sdk_version", Kind::String),
        one(16, "issued_at", Kind::Message(&TIMESTAMP)),
        one(17, "expires_at", Kind::Message(&TIMESTAMP)),
    ],
);

/// `WorkerHandshakeAuthenticate`.
pub static WORKER_HANDSHAKE_AUTHENTICATE: MessageType = MessageType::new(
    "WorkerHandshakeAuthenticate",
    &[
        one(1, "challenge", Kind::Message(&WORKER_HANDSHAKE_CHALLENGE)),
        one(2, "capability_handshake", Kind::Message(&HANDSHAKE)),
    ],
);

/// `WorkerHandshakeResult`.
pub static WORKER_HANDSHAKE_RESULT: MessageType = MessageType::new(
    "WorkerHandshakeResult",
    &[
        one(1, "challenge", Kind::Message(&WORKER_HANDSHAKE_CHALLENGE)),
        one(2, "accepted", Kind::Bool),
        one(3, "rejection_reason", Kind::Enum),
        one(4, "token_expires_at", Kind::Message(&TIMESTAMP)),
        one(5, "issued_at", Kind::Message(&TIMESTAMP)),
    ],
);

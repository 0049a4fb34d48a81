//! The messages of the safety kernel.

use super::{BUDGET, IDENTITY_BINDING, JOB_METADATA, Kind, MessageType, RESOURCE_REF, many, map, one};

/// `PolicyCheckRequest`.
pub static POLICY_CHECK_REQUEST: MessageType = MessageType::new(
    "PolicyCheckRequest",
    &[
        one(1, "job_id", Kind::String),
        one(2, "topic", Kind::String),
        one(3, "tenant", Kind::String),
        one(4, "priority", Kind::Enum),
        one(5, "estimated_cost", Kind::Double),
        one(6, "budget", Kind::Message(&BUDGET)),
        one(7, "principal_id", Kind::String),
        map(8, "labels", Kind::String),
        one(9, "memory_id", Kind::String),
        one(10, "effective_config", Kind::Bytes),
        one(11, "meta", Kind::Message(&JOB_METADATA)),
        one(12, "identity", Kind::Message(&IDENTITY_BINDING)),
        one(13, "input_ref", Kind::Message(&RESOURCE_REF)),
        one(20, "input_content", Kind::Bytes),
        one(21, "input_content_type", Kind::String),
        one(22, "input_size_bytes", Kind::Int64),
    ],
);

/// `BudgetConstraints`.
pub static BUDGET_CONSTRAINTS: MessageType = MessageType::new(
    "BudgetConstraints",
    &[
        one(1, "max_runtime_ms", Kind::Int64),
        one(2, "max_retries", Kind::Int32),
        one(3, "max_artifact_bytes", Kind::Int64),
        one(4, "max_concurrent_jobs", Kind::Int32),
    ],
);

/// `SandboxProfile`.
pub static SANDBOX_PROFILE: MessageType = MessageType::new(
    "SandboxProfile",
    &[
        one(1, "isolated", Kind::Bool),
        many(2, "network_allowlist", Kind::String),
        many(3, "fs_read_only", Kind::String),
        many(4, "fs_read_write", Kind::String),
    ],
);

/// `ToolchainConstraints`.
pub static TOOLCHAIN_CONSTRAINTS: MessageType = MessageType::new(
    "ToolchainConstraints",
    &[many(1, "allowed_tools", Kind::String), many(2, "allowed_commands", Kind::String)],
);

/// `DiffConstraints`.
pub static DIFF_CONSTRAINTS: MessageType = MessageType::new(
    "DiffConstraints",
    &[one(1, "max_files", Kind::Int32), one(2, "max_lines", Kind::Int32), many(3, "deny_path_globs", Kind::String)],
);

/// `PolicyConstraints`.
pub static POLICY_CONSTRAINTS: MessageType = MessageType::new(
    "PolicyConstraints",
    &[
        one(1, "budgets", Kind::Message(&BUDGET_CONSTRAINTS)),
        one(2, "sandbox", Kind::Message(&SANDBOX_PROFILE)),
        one(3, "toolchain", Kind::Message(&TOOLCHAIN_CONSTRAINTS)),
        one(4, "diff", Kind::Message(&DIFF_CONSTRAINTS)),
        one(5, "redaction_level", Kind::String),
    ],
);

/// `PolicyRemediation`.
pub static POLICY_REMEDIATION: MessageType = MessageType::new(
    "PolicyRemediation",
    &[
        one(1, "id", Kind::String),
        one(2, "title", Kind::String),
        one(3, "summary", Kind::String),
        one(4, "replacement_topic", Kind::String),
        one(5, "replacement_capability", Kind::String),
        map(6, "add_labels", Kind::String),
        many(7, "remove_labels", Kind::String),
    ],
);

/// `PolicyCheckResponse`.
pub static POLICY_CHECK_RESPONSE: MessageType = MessageType::new(
    "PolicyCheckResponse",
    &[
        one(1, "decision", Kind::Enum),
        one(2, "reason", Kind::String),
        one(3, "redacted_context_ptr", Kind::String),
        one(4, "policy_snapshot", Kind::String),
        one(5, "rule_id", Kind::String),
        one(6, "constraints", Kind::Message(&POLICY_CONSTRAINTS)),
        one(7, "approval_required", Kind::Bool),
        one(8, "approval_ref", Kind::String),
        many(9, "remediations", Kind::Message(&POLICY_REMEDIATION)),
        one(10, "redacted_context_ref", Kind::Message(&RESOURCE_REF)),
        one(11, "identity", Kind::Message(&IDENTITY_BINDING)),
    ],
);

/// `ListSnapshotsRequest`.
pub static LIST_SNAPSHOTS_REQUEST: MessageType = MessageType::new("ListSnapshotsRequest", &[]);

/// `ListSnapshotsResponse`.
pub static LIST_SNAPSHOTS_RESPONSE: MessageType =
    MessageType::new("ListSnapshotsResponse", &[many(1, "snapshots", Kind::String)]);

//! The policy-studio messages: no bus payloads, kept so that the table is complete.

use super::{Kind, MessageType, STRUCT, TIMESTAMP, many, map, one};

/// `RuleScope`.
pub static RULE_SCOPE: MessageType =
    MessageType::new("RuleScope", &[one(1, "kind", Kind::Enum), one(2, "value", Kind::String)]);

/// `AuditMetadata`.
pub static AUDIT_METADATA: MessageType = MessageType::new(
    "AuditMetadata",
    &[
        one(1, "created_at", Kind::Message(&TIMESTAMP)),
        one(2, "created_by", Kind::String),
        one(3, "updated_at", Kind::Message(&TIMESTAMP)),
        one(4, "updated_by", Kind::String),
    ],
);

/// `Rule`.
pub static RULE: MessageType = MessageType::new(
    "Rule",
    &[
        one(1, "id", Kind::String),
        one(2, "name", Kind::String),
        one(3, "type", Kind::Enum),
        one(4, "scope", Kind::Message(&RULE_SCOPE)),
        one(5, "status", Kind::Enum),
        one(6, "version", Kind::String),
        one(7, "audit", Kind::Message(&AUDIT_METADATA)),
        one(8, "match", Kind::Message(&STRUCT)),
        one(9, "decide", Kind::Message(&STRUCT)),
        one(10, "description", Kind::String),
    ],
);

/// `TraceStep`.
pub static TRACE_STEP: MessageType = MessageType::new(
    "TraceStep",
    &[
        one(1, "rule_id", Kind::String),
        one(2, "bundle_id", Kind::String),
        one(3, "decision_type", Kind::Enum),
        one(4, "reason", Kind::String),
        one(5, "timestamp", Kind::Message(&TIMESTAMP)),
        one(6, "constraints", Kind::Message(&STRUCT)),
    ],
);

/// `Decision`.
pub static DECISION: MessageType = MessageType::new(
    "Decision",
    &[
        one(1, "source", Kind::Enum),
        one(2, "rule_id", Kind::String),
        one(3, "bundle_id", Kind::String),
        one(4, "bundle_version", Kind::String),
        one(5, "type", Kind::Enum),
        many(6, "trace", Kind::Message(&TRACE_STEP)),
        one(7, "input_ref", Kind::String),
        one(8, "output_ref", Kind::String),
        one(9, "audit_hash", Kind::String),
        one(10, "timestamp", Kind::Message(&TIMESTAMP)),
    ],
);

/// `BundleMetadata`.
pub static BUNDLE_METADATA: MessageType = MessageType::new("BundleMetadata", &[one(1, "edge_mode", Kind::Enum)]);

/// `BundleVersion`.
pub static BUNDLE_VERSION: MessageType = MessageType::new(
    "BundleVersion",
    &[
        one(1, "version", Kind::String),
        many(2, "rule_snapshot", Kind::Message(&RULE)),
        one(3, "deployed_at", Kind::Message(&TIMESTAMP)),
        one(4, "audit_hash", Kind::String),
    ],
);

/// `Bundle`.
pub static BUNDLE: MessageType = MessageType::new(
    "Bundle",
    &[
        one(1, "id", Kind::String),
        one(2, "name", Kind::String),
        many(3, "rule_ids", Kind::String),
        one(4, "scope_binding", Kind::Message(&RULE_SCOPE)),
        many(5, "versions", Kind::Message(&BUNDLE_VERSION)),
        one(6, "metadata", Kind::Message(&BUNDLE_METADATA)),
    ],
);

/// `JobEvaluationContext`.
pub static JOB_EVALUATION_CONTEXT: MessageType = MessageType::new(
    "JobEvaluationContext",
    &[
        one(1, "tenant_id", Kind::String),
        one(2, "job_id", Kind::String),
        one(3, "workflow_id", Kind::String),
        one(4, "topic", Kind::String),
        one(5, "principal_id", Kind::String),
        map(6, "labels", Kind::String),
        one(7, "memory_id", Kind::String),
        one(8, "capability", Kind::String),
        many(9, "risk_tags", Kind::String),
        one(20, "input_content", Kind::Bytes),
        one(21, "input_content_type", Kind::String),
        one(22, "input_size_bytes", Kind::Int64),
    ],
);

/// `EdgeEvaluationContext`.
pub static EDGE_EVALUATION_CONTEXT: MessageType = MessageType::new(
    "EdgeEvaluationContext",
    &[
        one(1, "tenant_id", Kind::String),
        one(2, "principal_id", Kind::String),
        one(3, "session_id", Kind::String),
        one(4, "execution_id", Kind::String),
        one(5, "agent_product", Kind::String),
        one(6, "tool_name", Kind::String),
        one(7, "tool_input_redacted", Kind::Message(&STRUCT)),
        one(8, "input_hash", Kind::String),
        one(9, "tool_input_hash", Kind::String),
        map(10, "labels", Kind::String),
        many(11, "risk_tags", Kind::String),
    ],
);

/// `PolicyEvaluateRequest`.
pub static POLICY_EVALUATE_REQUEST: MessageType = MessageType::new(
    "PolicyEvaluateRequest",
    &[
        one(1, "rule", Kind::Message(&RULE)),
        one(2, "bundle_id", Kind::String),
        one(3, "scope", Kind::Message(&RULE_SCOPE)),
        one(10, "job_context", Kind::Message(&JOB_EVALUATION_CONTEXT)),
        one(11, "edge_context", Kind::Message(&EDGE_EVALUATION_CONTEXT)),
    ],
);

/// `PolicyEvaluateResponse`.
pub static POLICY_EVALUATE_RESPONSE: MessageType =
    MessageType::new("PolicyEvaluateResponse", &[one(1, "decision", Kind::Message(&DECISION))]);

//! The well-known types that the schema uses, and the list of all types.

use super::{
    AUDIT_METADATA, BUDGET, BUDGET_CONSTRAINTS, BUNDLE, BUNDLE_METADATA, BUNDLE_VERSION, BUS_PACKET, COMPENSATION,
    CONTEXT_HINTS, DECISION, DIFF_CONSTRAINTS, DISPATCH_IDENTITY, EDGE_EVALUATION_CONTEXT, HANDSHAKE, HEARTBEAT,
    IDENTITY_BINDING, JOB_CANCEL, JOB_EVALUATION_CONTEXT, JOB_METADATA, JOB_PROGRESS, JOB_REQUEST, JOB_RESULT, Kind,
    LIST_SNAPSHOTS_REQUEST, LIST_SNAPSHOTS_RESPONSE, MessageType, POLICY_CHECK_REQUEST, POLICY_CHECK_RESPONSE,
    POLICY_CONSTRAINTS, POLICY_EVALUATE_REQUEST, POLICY_EVALUATE_RESPONSE, POLICY_REMEDIATION, RESOURCE_REF, RULE,
    RULE_SCOPE, SANDBOX_PROFILE, SIGNATURE_METADATA, SYSTEM_ALERT, TOOLCHAIN_CONSTRAINTS, TRACE_STEP,
    WORKER_HANDSHAKE_AUTHENTICATE, WORKER_HANDSHAKE_CHALLENGE, WORKER_HANDSHAKE_CHALLENGE_REQUEST,
    WORKER_HANDSHAKE_RESULT, choice, many, map, one,
};

/// `google.protobuf.Timestamp`.
pub static TIMESTAMP: MessageType =
    MessageType::new("google.protobuf.Timestamp", &[one(1, "seconds", Kind::Int64), one(2, "nanos", Kind::Int32)]);

/// `google.protobuf.Struct`.
pub static STRUCT: MessageType = MessageType::new("google.protobuf.Struct", &[map(1, "fields", Kind::Message(&VALUE))]);

/// `google.protobuf.Value`.
pub static VALUE: MessageType = MessageType::new(
    "google.protobuf.Value",
    &[
        choice(1, "null_value", Kind::Enum),
        choice(2, "number_value", Kind::Double),
        choice(3, "string_value", Kind::String),
        choice(4, "bool_value", Kind::Bool),
        choice(5, "struct_value", Kind::Message(&STRUCT)),
        choice(6, "list_value", Kind::Message(&LIST_VALUE)),
    ],
);

/// `google.protobuf.ListValue`.
pub static LIST_VALUE: MessageType =
    MessageType::new("google.protobuf.ListValue", &[many(1, "values", Kind::Message(&VALUE))]);

/// Every type of the table.
pub(super) static ALL: &[&MessageType] = &[
    &BUS_PACKET,
    &SIGNATURE_METADATA,
    &IDENTITY_BINDING,
    &DISPATCH_IDENTITY,
    &RESOURCE_REF,
    &CONTEXT_HINTS,
    &BUDGET,
    &JOB_METADATA,
    &COMPENSATION,
    &JOB_REQUEST,
    &JOB_RESULT,
    &JOB_PROGRESS,
    &JOB_CANCEL,
    &HEARTBEAT,
    &SYSTEM_ALERT,
    &HANDSHAKE,
    &WORKER_HANDSHAKE_CHALLENGE_REQUEST,
    &WORKER_HANDSHAKE_CHALLENGE,
    &WORKER_HANDSHAKE_AUTHENTICATE,
    &WORKER_HANDSHAKE_RESULT,
    &POLICY_CHECK_REQUEST,
    &BUDGET_CONSTRAINTS,
    &SANDBOX_PROFILE,
    &TOOLCHAIN_CONSTRAINTS,
    &DIFF_CONSTRAINTS,
    &POLICY_CONSTRAINTS,
    &POLICY_REMEDIATION,
    &POLICY_CHECK_RESPONSE,
    &LIST_SNAPSHOTS_REQUEST,
    &LIST_SNAPSHOTS_RESPONSE,
    &RULE_SCOPE,
    &AUDIT_METADATA,
    &RULE,
    &TRACE_STEP,
    &DECISION,
    &BUNDLE_METADATA,
    &BUNDLE_VERSION,
    &BUNDLE,
    &JOB_EVALUATION_CONTEXT,
    &EDGE_EVALUATION_CONTEXT,
    &POLICY_EVALUATE_REQUEST,
    &POLICY_EVALUATE_RESPONSE,
    &TIMESTAMP,
    &STRUCT,
    &VALUE,
    &LIST_VALUE,
];

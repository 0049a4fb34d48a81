//! The CAP v2 wire contract.
//!
//! Owns what travels on the bus between clients, control plane and workers of any language: the messages, the rules of
//! their envelope, subjects, pointers, wire job ids, and the exact bytes that are signed.
//!
//! Nothing here reads a clock, opens a socket or decides anything about a job; hostile bytes give an error, never a
//! panic.

pub mod enums;
pub mod messages;
pub mod subjects;

pub use self::{
    enums::{
        ActorType, AlertSeverity, ComponentRole, DecisionType, ErrorCode, JobPriority, JobStatus,
        WorkerHandshakeProofAlgorithm, WorkerHandshakePurpose, WorkerHandshakeRejectionReason,
    },
    messages::{
        Budget, BusPacket, Compensation, ContextHints, DispatchIdentity, Handshake, Heartbeat,
        IdentityBinding, JobCancel, JobMetadata, JobProgress, JobRequest, JobResult, Payload,
        ResourceRef, SystemAlert, WireTimestamp,
    },
};

/// The only protocol version there is; the number in every packet.
pub const PROTOCOL_VERSION: i32 = 1;

//! The CAP v2 wire contract.
//!
//! Owns what travels on the bus between clients, control plane and workers of any language: the messages, the rules of
//! their envelope, subjects, pointers, wire job ids, and the exact bytes that are signed.
//!
//! | module | owns |
//! |---|---|
//! | [`messages`], [`enums`] | the schema as types, and what the values mean |
//! | [`envelope`] | building, taking in, judging and forwarding packets |
//! | [`subjects`], [`pointer`](mod@pointer), [`job_id`] | the three kinds of names |
//! | [`canonical`], [`signing`] | the bytes that are signed, and their digests |
//! | [`wire`] | the protobuf wire format without a schema |
//!
//! Nothing here reads a clock, opens a socket or decides anything about a job; hostile bytes give an error, never a
//! panic. Structs forget unknown fields, bytes do not: what is forwarded, stored for dispatch or verified is always the
//! received bytes.
//!
//! ```
//! use coretex_core::protocol::{BusPacket, JobRequest, envelope::{Mode, Received}, subjects};
//!
//! let job = JobRequest { job_id: "job-1".into(), topic: "job.mail.send".into(), ..JobRequest::default() };
//! subjects::check_topic(&job.topic)?;
//! let packet = BusPacket::new("trace-1", "gateway-1", "2026-01-01T00:00:00Z".parse()?, job);
//! // Published on `subjects::JOB_SUBMIT`, and on the other side:
//! let received = Received::decode(packet.to_wire())?;
//! received.validate(Mode::Tolerant)?;
//! assert_eq!(received.packet().job_request().map(|job| job.job_id.as_str()), Some("job-1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod canonical;
pub mod enums;
pub mod envelope;
pub mod job_id;
pub mod messages;
pub mod pointer;
pub mod signing;
pub mod subjects;
pub mod wire;

pub use self::{
    enums::{
        ActorType, AlertSeverity, ComponentRole, DecisionType, ErrorCode, JobPriority, JobStatus,
        WorkerHandshakeProofAlgorithm, WorkerHandshakePurpose, WorkerHandshakeRejectionReason,
    },
    envelope::{DecodeError, DecodeLimits, Envelope, Mode, RawJobRequest, Received, Violation, Violations, validate},
    job_id::{JobId, JobIdError},
    messages::{
        Budget, BusPacket, Compensation, ContextHints, DispatchIdentity, Handshake, Heartbeat, IdentityBinding,
        JobCancel, JobMetadata, JobProgress, JobRequest, JobResult, Payload, ResourceRef, SystemAlert, WireTimestamp,
    },
    pointer::{Pointer, PointerError},
    subjects::{SubjectError, SubjectFilter},
};

/// The only protocol version there is; the number in every packet.
pub const PROTOCOL_VERSION: i32 = 1;

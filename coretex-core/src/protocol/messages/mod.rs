//! The messages of CAP v2, by field number.
//!
//! Hand-written structs for prost: the numbers and types are the wire contract and never change, new fields only
//! get added. Every field is optional in the proto3 sense; an empty string, a zero or an empty list means "not
//! given". Enumerations are open: a field holds the number as `i32`, so a value from a newer peer survives, and
//! `field_name()` gives the typed form (the zero value for a number this version does not know).
//!
//! Invariant: a struct has every field that the published schema has, with the same number and type; a test
//! compares them. Unknown fields are *not* kept by these structs: code that forwards a message works on the
//! received bytes, see [`envelope`](super::envelope). Policy-studio messages of the later schema are no bus
//! payloads and have no structs here.

mod job;
mod packet;
mod safety;
mod timestamp;
mod trust;
mod worker;

pub use self::{
    job::{
        Budget, Compensation, ContextHints, DispatchIdentity, IdentityBinding, JobCancel,
        JobMetadata, JobProgress, JobRequest, JobResult, ResourceRef,
    },
    packet::{BusPacket, Payload, SignatureMetadata},
    safety::{
        BudgetConstraints, DiffConstraints, ListSnapshotsRequest, ListSnapshotsResponse,
        PolicyCheckRequest, PolicyCheckResponse, PolicyConstraints, PolicyRemediation,
        SandboxProfile, ToolchainConstraints,
    },
    timestamp::{TimestampError, WireTimestamp},
    trust::{
        WorkerHandshakeAuthenticate, WorkerHandshakeChallenge, WorkerHandshakeChallengeRequest,
        WorkerHandshakeResult,
    },
    worker::{Handshake, Heartbeat, SystemAlert},
};

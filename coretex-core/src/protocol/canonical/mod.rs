//! Canonical bytes: the one encoding of a message that signatures and digests are made over.
//!
//! Peers verify a generic signature by parsing the packet and encoding it again, so what is signed must be exactly
//! what their encoder writes. The rules are those of the reference encoder in its deterministic mode:
//!
//! 1. Fields in ascending number, a member of a oneof at its own number.
//! 2. Defaults are left out; a message that is present is written even when empty, and so is -0.0. Repeated numbers
//!    are packed.
//! 3. A map entry always has key and value, and entries are ordered by [`map_key_order`].
//! 4. Unknown fields follow the known ones, in the order of arrival, at every level.
//!
//! The encoder works on bytes rather than on structs (split by the [`schema`] table, normalise, write again), so
//! unknown fields and signs of zero survive. The same pass lays the unknown fields of a received message under an
//! edited one, which is how messages are forwarded. Time and memory are linear in the size of the message, with a
//! logarithm for sorting maps.
//!
//! One rule of the reference is kept on purpose: a map entry with an unknown field inside counts as an unknown field
//! as a whole.

mod encode;
mod node;
pub mod schema;

pub use self::{encode::map_key_order, schema::MessageType};

use self::encode::Pass;
use super::{
    messages::{self as m},
    wire::WireError,
};

/// A message whose type is in the [`schema`] table.
pub trait Described: prost::Message {
    /// Its entry in the table.
    const TYPE: &'static MessageType;
}

/// The canonical form of an encoded message of type `message`.
///
/// # Errors
/// The bytes are no such message, or nest deeper than [`RECURSION_LIMIT`](super::wire::RECURSION_LIMIT).
pub fn encode(message: &'static MessageType, bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    Pass::default().message(message, &[bytes], bytes.len())
}

/// Like [`encode`], without the top-level field `number`, such as the signature.
///
/// # Errors
/// As for [`encode`].
pub fn encode_without(message: &'static MessageType, bytes: &[u8], number: u32) -> Result<Vec<u8>, WireError> {
    Pass { without: Some(number), ..Pass::default() }.message(message, &[bytes], bytes.len())
}

/// The canonical form of a message built here. A -0.0 in it counts as zero.
///
/// # Errors
/// A `Struct` nests too deeply; other messages do not fail.
pub fn to_vec<M: Described>(message: &M) -> Result<Vec<u8>, WireError> {
    encode(M::TYPE, &message.encode_to_vec())
}

/// Whether the message has a field, at any depth, that the schema does not know or that has another wire type.
///
/// # Errors
/// As for [`encode`].
pub fn has_unknown_fields(message: &'static MessageType, bytes: &[u8]) -> Result<bool, WireError> {
    let mut pass = Pass::default();
    pass.message(message, &[bytes], bytes.len())?;
    Ok(pass.saw_unknown)
}

/// The canonical form of `edited`, with the unknown fields of `received` laid under it at every depth where both have
/// the message. Lists of messages are paired by position when they have the same length.
///
/// A field whose number the schema knows is never taken from `received`, not even when it arrived in an odd form:
/// what the edit removed stays removed.
///
/// # Errors
/// As for [`encode`], for either of the two.
pub fn with_unknown_fields_of(
    message: &'static MessageType,
    edited: &[u8],
    received: &[u8],
) -> Result<Vec<u8>, WireError> {
    let size = edited.len().saturating_add(received.len());
    Pass::default().merged(message, &[edited], &[received], size)
}

macro_rules! described {
    ($($message:ident => $entry:ident),+ $(,)?) => {
        $(impl Described for m::$message {
            const TYPE: &'static MessageType = &schema::$entry;
        })+
    };
}

described! {
    BusPacket => BUS_PACKET,
    SignatureMetadata => SIGNATURE_METADATA,
    IdentityBinding => IDENTITY_BINDING,
    DispatchIdentity => DISPATCH_IDENTITY,
    ResourceRef => RESOURCE_REF,
    ContextHints => CONTEXT_HINTS,
    Budget => BUDGET,
    JobMetadata => JOB_METADATA,
    Compensation => COMPENSATION,
    JobRequest => JOB_REQUEST,
    JobResult => JOB_RESULT,
    JobProgress => JOB_PROGRESS,
    JobCancel => JOB_CANCEL,
    Heartbeat => HEARTBEAT,
    SystemAlert => SYSTEM_ALERT,
    Handshake => HANDSHAKE,
    WorkerHandshakeChallengeRequest => WORKER_HANDSHAKE_CHALLENGE_REQUEST,
    WorkerHandshakeChallenge => WORKER_HANDSHAKE_CHALLENGE,
    WorkerHandshakeAuthenticate => WORKER_HANDSHAKE_AUTHENTICATE,
    WorkerHandshakeResult => WORKER_HANDSHAKE_RESULT,
    PolicyCheckRequest => POLICY_CHECK_REQUEST,
    PolicyCheckResponse => POLICY_CHECK_RESPONSE,
    PolicyConstraints => POLICY_CONSTRAINTS,
    BudgetConstraints => BUDGET_CONSTRAINTS,
    SandboxProfile => SANDBOX_PROFILE,
    ToolchainConstraints => TOOLCHAIN_CONSTRAINTS,
    DiffConstraints => DIFF_CONSTRAINTS,
    PolicyRemediation => POLICY_REMEDIATION,
    ListSnapshotsRequest => LIST_SNAPSHOTS_REQUEST,
    ListSnapshotsResponse => LIST_SNAPSHOTS_RESPONSE,
    WireTimestamp => TIMESTAMP,
}

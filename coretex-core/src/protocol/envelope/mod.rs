//! The envelope: building packets, taking them in, judging them, and forwarding a job without losing a byte of it.
//!
//! - [`BusPacket::new`] builds a valid envelope; the creation time is an argument.
//! - [`Received::decode`] takes bytes in within limits and keeps them beside the decoded form.
//! - [`validate()`] judges a packet: [`Mode::Strict`] is what peers enforce on everything they receive, so everything sent
//!   must pass it; [`Mode::Tolerant`] is for packets of older peers.
//! - [`Envelope::wrap`] puts a received job into a fresh envelope and keeps what this version does not know.
//!
//! What is done with a refused packet (an alert, a result, silence) is decided by the caller;
//! [`Violation::error_code`] says which protocol error it is.

mod forward;
mod received;
mod rules;
mod trust_rules;

use jiff::Timestamp;
use prost::Message as _;

pub use self::{
    forward::{Envelope, RawJobRequest},
    received::{DecodeError, DecodeLimits, MAX_PACKET_BYTES, MAX_TRUST_PACKET_BYTES, Received},
    rules::{MAX_LIST_ENTRIES, MAX_TOKENS, Mode, Violation, ViolationCode, Violations, validate},
    trust_rules::{MAX_CHALLENGE_LIFETIME, MAX_SESSION_TOKEN_BYTES, NONCE_BYTES},
};
use super::{BusPacket, PROTOCOL_VERSION, Payload, WireTimestamp};

impl BusPacket {
    /// A packet of the current protocol version.
    #[must_use]
    pub fn new(
        trace_id: impl Into<String>,
        sender_id: impl Into<String>,
        created_at: Timestamp,
        payload: impl Into<Payload>,
    ) -> Self {
        Self {
            trace_id: trace_id.into(),
            sender_id: sender_id.into(),
            created_at: Some(WireTimestamp::from(created_at)),
            protocol_version: PROTOCOL_VERSION,
            payload: Some(payload.into()),
            ..Self::default()
        }
    }

    /// The packet's bytes as they go on the bus. What is to be signed must be canonical instead, see
    /// [`canonical::to_vec`](super::canonical::to_vec).
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

#[cfg(test)]
mod tests;

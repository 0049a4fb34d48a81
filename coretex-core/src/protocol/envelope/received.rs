//! Taking bytes in from the bus.

use bytes::Bytes;
use prost::Message as _;

use super::{Mode, RawJobRequest, Violations, rules};
use crate::protocol::{
    BusPacket, ErrorCode,
    canonical::{self, Described as _, schema},
    wire::{WireError, WireValue, fields},
};

/// Largest packet accepted by default, in bytes: what a broker takes unless told otherwise.
pub const MAX_PACKET_BYTES: usize = 1 << 20;

/// Largest packet of the authenticated worker handshake, in bytes.
pub const MAX_TRUST_PACKET_BYTES: usize = 1 << 16;

/// How large a packet may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Any packet, in bytes.
    pub max_packet_bytes: usize,
    /// A packet of the authenticated worker handshake, in bytes.
    pub max_trust_packet_bytes: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_packet_bytes: MAX_PACKET_BYTES, max_trust_packet_bytes: MAX_TRUST_PACKET_BYTES }
    }
}

/// Why bytes from the bus are no packet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// More bytes than allowed.
    #[error("the packet has {size} bytes, at most {limit} are allowed; pass large data by pointer")]
    TooLarge {
        /// Bytes received.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The bytes are no message of this type.
    #[error("the packet cannot be read; check that the sender speaks CAP v2")]
    Malformed(#[from] prost::DecodeError),
    /// The bytes break the wire format.
    #[error("the packet cannot be read; check that the sender speaks CAP v2")]
    Wire(#[from] WireError),
}

impl DecodeError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "packet_too_large",
            Self::Malformed(_) | Self::Wire(_) => "packet_malformed",
        }
    }

    /// The protocol error to announce.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        ErrorCode::ProtocolMalformedPacket
    }
}

/// A packet as it came in: decoded, together with its bytes.
///
/// The bytes are the truth. They hold fields this version does not know, and signatures are made over them.
#[derive(Debug, Clone)]
pub struct Received {
    packet: BusPacket,
    raw: Bytes,
}

impl Received {
    /// Reads a packet within the default limits. The rules of the envelope are not judged yet, see
    /// [`validate`](Self::validate).
    ///
    /// # Errors
    /// The bytes are too many or no packet.
    pub fn decode(raw: impl Into<Bytes>) -> Result<Self, DecodeError> {
        Self::decode_within(raw, &DecodeLimits::default())
    }

    /// Reads a packet within `limits`.
    ///
    /// # Errors
    /// The bytes are too many or no packet.
    pub fn decode_within(raw: impl Into<Bytes>, limits: &DecodeLimits) -> Result<Self, DecodeError> {
        let raw = raw.into();
        let size = raw.len();
        if size > limits.max_packet_bytes {
            return Err(DecodeError::TooLarge { size, limit: limits.max_packet_bytes });
        }
        let packet = BusPacket::decode(raw.clone())?;
        let limit = limits.max_trust_packet_bytes;
        if size > limit && packet.payload.as_ref().is_some_and(|payload| payload.is_trust_phase()) {
            return Err(DecodeError::TooLarge { size, limit });
        }
        Ok(Self { packet, raw })
    }

    /// The decoded packet.
    #[must_use]
    pub fn packet(&self) -> &BusPacket {
        &self.packet
    }

    /// The bytes as received.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The decoded packet; the bytes are dropped.
    #[must_use]
    pub fn into_packet(self) -> BusPacket {
        self.packet
    }

    /// Judges the packet, see [`validate`](super::validate()). Beyond that, a packet of the authenticated worker
    /// handshake may have no unknown field at any depth.
    ///
    /// # Errors
    /// Every rule that is broken.
    pub fn validate(&self, mode: Mode) -> Result<(), Violations> {
        let mut violations = rules::collect(&self.packet, mode);
        if self.packet.payload.as_ref().is_some_and(|payload| payload.is_trust_phase())
            && canonical::has_unknown_fields(BusPacket::TYPE, &self.raw).unwrap_or(true)
        {
            violations.push(rules::Violation::unknown_fields());
        }
        Violations::or_ok(violations)
    }

    /// The number of a payload this version does not know: the packet has none that it knows, and a message-like
    /// field where payloads live. Such a packet must not be executed.
    #[must_use]
    pub fn unknown_payload(&self) -> Option<u32> {
        if self.packet.payload.is_some() {
            return None;
        }
        fields(&self.raw).map_while(Result::ok).find_map(|field| {
            let payload_like = field.number >= 10
                && matches!(field.value, WireValue::Bytes(_))
                && schema::BUS_PACKET.field(field.number).is_none();
            payload_like.then_some(field.number)
        })
    }

    /// The job request with its bytes, if that is the payload. Copies nothing unless the request came in parts.
    #[must_use]
    pub fn job_request(&self) -> Option<RawJobRequest> {
        let request = self.packet.job_request()?.clone();
        let mut parts: Vec<&[u8]> = Vec::new();
        for field in fields(&self.raw).map_while(Result::ok) {
            match field.value {
                WireValue::Bytes(part) if field.number == JOB_REQUEST => parts.push(part),
                // Another payload in between replaces what came before it.
                _ if is_payload(field.number) => parts.clear(),
                _ => {}
            }
        }
        let raw = match parts.as_slice() {
            [] => Bytes::new(),
            [part] => self.raw.slice_ref(part),
            parts => Bytes::from(parts.concat()),
        };
        Some(RawJobRequest::from_parts(request, raw))
    }
}

/// Number of the job request among the payloads.
const JOB_REQUEST: u32 = 10;

fn is_payload(number: u32) -> bool {
    schema::BUS_PACKET.field(number).is_some_and(|(_, field)| field.label() == schema::Label::Choice)
}

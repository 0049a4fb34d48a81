//! The production profile: signatures over the received bytes, after a parse that leaves nothing to interpretation.

use super::{SIGNATURE_FIELD, Sha256Digest, sha256};
use crate::protocol::{
    canonical::schema::{BUS_PACKET, Kind, Label},
    envelope::MAX_PACKET_BYTES,
    wire::{WireError, WireValue, fields},
};

/// The domain of production signatures.
pub const DOMAIN: &str = "CAP-PRODUCTION-SIGNATURE-V1";
/// `signature_metadata.profile_version` of a production packet.
pub const PROFILE_VERSION: &str = "cap-production-v1";
/// `signature_metadata.algorithm` of a production packet.
pub const ALGORITHM: &str = "ECDSA-P256-SHA256";
/// Length of `signature_metadata.message_id` in bytes.
pub const MESSAGE_ID_BYTES: usize = 16;

/// A production packet taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// The packet without its signature, byte for byte as received.
    pub unsigned: Vec<u8>,
    /// The signature, not yet verified.
    pub signature: Vec<u8>,
    /// What the signature is made over: SHA-256 of the domain, a zero byte and `unsigned`.
    pub digest: Sha256Digest,
    /// SHA-256 of `unsigned`: what a replay store compares.
    pub body_digest: Sha256Digest,
}

/// Why bytes are no production packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// No bytes, or more than a packet may have.
    #[error("a production packet has 1 to 1048576 bytes")]
    Size,
    /// The bytes break the wire format.
    #[error("the packet cannot be read: {0}")]
    Wire(#[from] WireError),
    /// A number could have been written with fewer bytes.
    #[error("a number in the packet is not written in its shortest form")]
    NonMinimal,
    /// A field that the profile does not know.
    #[error("the packet has the unknown field {0}; production packets have none")]
    UnknownField(u32),
    /// A known field with another wire type.
    #[error("field {0} of the packet has the wrong wire type")]
    WrongWireType(u32),
    /// A field stands twice.
    #[error("field {0} of the packet occurs more than once")]
    DuplicateField(u32),
    /// Two payloads.
    #[error("the packet has more than one payload")]
    SeveralPayloads,
    /// No payload.
    #[error("the packet has no payload")]
    NoPayload,
    /// The protocol version is missing or not 1.
    #[error("the packet must be of protocol version 1")]
    Version,
    /// No signature, or an empty one.
    #[error("the packet is not signed")]
    NoSignature,
}

impl ExtractError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Size => "production_size",
            Self::Wire(_) => "production_malformed",
            Self::NonMinimal => "production_non_minimal",
            Self::UnknownField(_) => "production_unknown_field",
            Self::WrongWireType(_) => "production_wire_type",
            Self::DuplicateField(_) => "production_duplicate_field",
            Self::SeveralPayloads => "production_several_payloads",
            Self::NoPayload => "production_no_payload",
            Self::Version => "production_version",
            Self::NoSignature => "production_no_signature",
        }
    }
}

/// Reads the top level of a production packet strictly and cuts out its signature. The order of fields is free.
///
/// Judges neither nested fields nor the signature metadata, and does not verify.
///
/// # Errors
/// The first rule that is broken.
pub fn extract(packet: &[u8]) -> Result<Extracted, ExtractError> {
    if packet.is_empty() || packet.len() > MAX_PACKET_BYTES {
        return Err(ExtractError::Size);
    }
    // Numbers of known fields are below 64: one bit each.
    let mut seen = 0u64;
    let mut payload = false;
    let mut version = false;
    let mut signature = None;
    let mut unsigned = Vec::with_capacity(packet.len());
    for field in fields(packet) {
        let field = field?;
        if !field.minimal {
            return Err(ExtractError::NonMinimal);
        }
        let number = field.number;
        let (_, known) = BUS_PACKET.field(number).ok_or(ExtractError::UnknownField(number))?;
        let bit = 1u64.checked_shl(number).ok_or(ExtractError::UnknownField(number))?;
        match (known.kind(), field.value) {
            (Kind::Int32, WireValue::Varint(_)) => {}
            (Kind::Int32, _) => return Err(ExtractError::WrongWireType(number)),
            (_, WireValue::Bytes(_)) => {}
            _ => return Err(ExtractError::WrongWireType(number)),
        }
        if seen & bit != 0 {
            return Err(ExtractError::DuplicateField(number));
        }
        seen |= bit;
        if known.label() == Label::Choice {
            if payload {
                return Err(ExtractError::SeveralPayloads);
            }
            payload = true;
        }
        match field.value {
            WireValue::Varint(1) => version = true,
            WireValue::Varint(_) => return Err(ExtractError::Version),
            WireValue::Bytes(bytes) if number == SIGNATURE_FIELD => {
                signature = Some(bytes.to_vec());
                continue;
            }
            _ => {}
        }
        unsigned.extend_from_slice(field.raw);
    }
    if !version {
        return Err(ExtractError::Version);
    }
    if !payload {
        return Err(ExtractError::NoPayload);
    }
    let signature = signature.filter(|bytes| !bytes.is_empty()).ok_or(ExtractError::NoSignature)?;
    let digest = sha256(&[DOMAIN.as_bytes(), &[0], &unsigned]);
    let body_digest = sha256(&[&unsigned]);
    Ok(Extracted { unsigned, signature, digest, body_digest })
}

//! The exact bytes that signatures are made over, and their digests.
//!
//! Three kinds of signature exist, all ECDSA with SHA-256 in field 14 of the packet:
//!
//! - **generic**: over the packet without field 14. Signers sign the canonical bytes ([`canonical_unsigned`]); a verifier
//!   takes the received bytes with field 14 cut out ([`split`]), which accepts signers with any field order.
//! - **worker handshake**: [`trust_digest`], a domain for each phase, canonical bytes, no unknown fields.
//! - **production**: [`production::extract`], a domain of its own, received bytes after a strict parse.
//!
//! This module makes transcripts and digests; it holds no key and does not verify.

pub mod production;

use sha2::{Digest as _, Sha256};

use super::{
    BusPacket, Payload,
    canonical::{self, Described as _},
    wire::{WireError, WireValue, fields},
};

/// Field number of the signature in a packet.
pub const SIGNATURE_FIELD: u32 = 14;

/// A SHA-256 digest.
pub type Sha256Digest = [u8; 32];

/// SHA-256 of `parts`, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> Sha256Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// A received packet cut into what was signed and the signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    unsigned: Vec<u8>,
    signatures: Vec<Vec<u8>>,
}

impl Split {
    /// The packet without any field 14, otherwise byte for byte as received.
    #[must_use]
    pub fn unsigned(&self) -> &[u8] {
        &self.unsigned
    }

    /// The signature.
    ///
    /// # Errors
    /// There is none, or an empty one, or more than one.
    pub fn signature(&self) -> Result<&[u8], SignatureError> {
        match self.signatures.as_slice() {
            [] => Err(SignatureError::Missing),
            [signature] if signature.is_empty() => Err(SignatureError::Missing),
            [signature] => Ok(signature),
            _ => Err(SignatureError::Several),
        }
    }

    /// SHA-256 of the unsigned bytes: what a generic signature is checked against.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        sha256(&[&self.unsigned])
    }
}

/// Cuts the signatures out of a received packet. Linear, keeps the order of everything else.
///
/// # Errors
/// The bytes break the wire format.
pub fn split(packet: &[u8]) -> Result<Split, SignatureError> {
    let mut unsigned = Vec::with_capacity(packet.len());
    let mut signatures = Vec::new();
    for field in fields(packet) {
        let field = field?;
        match field.value {
            WireValue::Bytes(signature) if field.number == SIGNATURE_FIELD => signatures.push(signature.to_vec()),
            _ => unsigned.extend_from_slice(field.raw),
        }
    }
    Ok(Split { unsigned, signatures })
}

/// The canonical bytes of an encoded packet without its signature: what a generic signature must be made over.
///
/// # Errors
/// The bytes are no packet.
pub fn canonical_unsigned(packet: &[u8]) -> Result<Vec<u8>, WireError> {
    canonical::encode_without(BusPacket::TYPE, packet, SIGNATURE_FIELD)
}

/// The domain of a phase of the authenticated worker handshake.
#[must_use]
pub fn trust_domain(payload: &Payload) -> Option<&'static str> {
    match payload {
        Payload::WorkerHandshakeChallengeRequest(_) => Some("CAP-WORKER-HANDSHAKE-CHALLENGE-REQUEST-V1"),
        Payload::WorkerHandshakeChallenge(_) => Some("CAP-WORKER-HANDSHAKE-CHALLENGE-V1"),
        Payload::WorkerHandshakeAuthenticate(_) => Some("CAP-WORKER-HANDSHAKE-AUTHENTICATE-V1"),
        Payload::WorkerHandshakeResult(_) => Some("CAP-WORKER-HANDSHAKE-RESULT-V1"),
        _ => None,
    }
}

/// What a phase of the authenticated worker handshake is signed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustTranscript {
    /// The canonical packet without its signature.
    pub unsigned: Vec<u8>,
    /// SHA-256 of the phase's domain, a zero byte and `unsigned`.
    pub digest: Sha256Digest,
}

/// The transcript of an encoded handshake packet.
///
/// # Errors
/// The packet is no phase of the handshake, has unknown fields, or cannot be read.
pub fn trust_digest(packet: &super::envelope::Received) -> Result<TrustTranscript, SignatureError> {
    let domain = packet.packet().payload.as_ref().and_then(trust_domain).ok_or(SignatureError::NotAHandshake)?;
    if canonical::has_unknown_fields(BusPacket::TYPE, packet.raw())? {
        return Err(SignatureError::UnknownFields);
    }
    let unsigned = canonical_unsigned(packet.raw())?;
    let digest = sha256(&[domain.as_bytes(), &[0], &unsigned]);
    Ok(TrustTranscript { unsigned, digest })
}

/// Why a packet has no transcript or no usable signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// There is no signature.
    #[error("the packet is not signed; configure the sender with its key")]
    Missing,
    /// There is more than one.
    #[error("the packet has more than one signature; drop it")]
    Several,
    /// A handshake phase was expected.
    #[error("the packet is no phase of the worker handshake")]
    NotAHandshake,
    /// A handshake packet may have no unknown fields.
    #[error("the handshake packet has unknown fields; use a peer of the same protocol version")]
    UnknownFields,
    /// The bytes cannot be read.
    #[error("the packet cannot be read")]
    Wire(#[from] WireError),
}

impl SignatureError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::Several => "signature_several",
            Self::NotAHandshake => "signature_not_a_handshake",
            Self::UnknownFields => "unknown_fields",
            Self::Wire(_) => "packet_malformed",
        }
    }
}

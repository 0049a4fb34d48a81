//! The rules of the four phases of the authenticated worker handshake, as far as they need no key and no clock.

use super::rules::{Violation, ViolationCode};
use crate::protocol::{
    BusPacket, ComponentRole, Handshake, PROTOCOL_VERSION, Payload, WireTimestamp, WorkerHandshakeProofAlgorithm,
    WorkerHandshakePurpose, WorkerHandshakeRejectionReason,
    messages::{
        WorkerHandshakeAuthenticate, WorkerHandshakeChallenge, WorkerHandshakeChallengeRequest, WorkerHandshakeResult,
    },
};

/// Length of a nonce in bytes.
pub const NONCE_BYTES: usize = 32;

/// Longest session token in bytes; visible ASCII without spaces.
pub const MAX_SESSION_TOKEN_BYTES: usize = 16 * 1024;

/// Longest life of a challenge.
pub const MAX_CHALLENGE_LIFETIME: std::time::Duration = std::time::Duration::from_secs(60);

type Judged = Result<(), Violation>;

/// The first broken rule. The envelope's own rules are judged elsewhere.
pub(super) fn check(packet: &BusPacket) -> Option<Violation> {
    let judged = match &packet.payload {
        Some(Payload::WorkerHandshakeChallengeRequest(request)) => challenge_request(packet, request),
        Some(Payload::WorkerHandshakeChallenge(own)) => challenge(packet, own, true),
        Some(Payload::WorkerHandshakeAuthenticate(proof)) => authenticate(packet, proof),
        Some(Payload::WorkerHandshakeResult(answer)) => result(packet, answer),
        _ => Ok(()),
    };
    created_at(packet).and(judged).err()
}

fn created_at(packet: &BusPacket) -> Judged {
    match packet.created_at {
        Some(at) if !at.is_legal() => broken(ViolationCode::TimeInvalid, "created_at", "must be a valid time"),
        _ => Ok(()),
    }
}

fn challenge_request(packet: &BusPacket, request: &WorkerHandshakeChallengeRequest) -> Judged {
    const PATH: &str = "worker_handshake_challenge_request";
    let required = [
        &request.request_id,
        &request.trace_id,
        &request.worker_id,
        &request.proof_key_id,
        &request.audience,
        &request.sdk_version,
    ];
    all_given(PATH, &required)?;
    rule(
        packet.trace_id == request.trace_id && packet.sender_id == request.worker_id,
        ViolationCode::ValueMismatch,
        PATH,
        "must name the trace and the sender of its envelope",
    )?;
    version_and_purpose(PATH, request.protocol_version, request.purpose)?;
    algorithm(PATH, request.proof_algorithm)?;
    nonce("worker_handshake_challenge_request.client_nonce", &request.client_nonce)?;
    no_token(packet)?;
    signed(packet)
}

fn challenge(packet: &BusPacket, challenge: &WorkerHandshakeChallenge, outermost: bool) -> Judged {
    const PATH: &str = "worker_handshake_challenge";
    let required = [
        &challenge.request_id,
        &challenge.challenge_id,
        &challenge.trace_id,
        &challenge.worker_id,
        &challenge.agent_id,
        &challenge.tenant_id,
        &challenge.proof_key_id,
        &challenge.server_key_id,
        &challenge.audience,
        &challenge.sdk_version,
    ];
    all_given(PATH, &required)?;
    rule(
        packet.trace_id == challenge.trace_id,
        ViolationCode::ValueMismatch,
        "worker_handshake_challenge.trace_id",
        "must equal the trace of its envelope",
    )?;
    if outermost {
        no_token(packet)?;
    }
    version_and_purpose(PATH, challenge.protocol_version, challenge.purpose)?;
    algorithm(PATH, challenge.proof_algorithm)?;
    nonce("worker_handshake_challenge.client_nonce", &challenge.client_nonce)?;
    nonce("worker_handshake_challenge.server_nonce", &challenge.server_nonce)?;
    let issued = instant("worker_handshake_challenge.issued_at", challenge.issued_at)?;
    let expires = instant("worker_handshake_challenge.expires_at", challenge.expires_at)?;
    let longest = i128::try_from(MAX_CHALLENGE_LIFETIME.as_nanos()).unwrap_or(i128::MAX);
    rule(
        (1..=longest).contains(&expires.saturating_sub(issued)),
        ViolationCode::TimeInvalid,
        "worker_handshake_challenge.expires_at",
        "must be at most 60 s after `issued_at`",
    )?;
    if outermost { signed(packet) } else { Ok(()) }
}

fn authenticate(packet: &BusPacket, proof: &WorkerHandshakeAuthenticate) -> Judged {
    let (Some(own), Some(capability)) = (&proof.challenge, &proof.capability_handshake) else {
        return broken(
            ViolationCode::FieldMissing,
            "worker_handshake_authenticate",
            "must have a challenge and a capability handshake",
        );
    };
    challenge(packet, own, false)?;
    rule(
        packet.sender_id == own.worker_id,
        ViolationCode::ValueMismatch,
        "worker_handshake_authenticate.challenge.worker_id",
        "must equal `sender_id`",
    )?;
    signed(packet)?;
    capabilities(capability, own)?;
    match WorkerHandshakePurpose::try_from(own.purpose) {
        Ok(WorkerHandshakePurpose::Issue) => no_token(packet),
        _ => token(packet),
    }
}

fn capabilities(capability: &Handshake, challenge: &WorkerHandshakeChallenge) -> Judged {
    rule(
        capability.component_id == challenge.worker_id
            && capability.role == i32::from(ComponentRole::Worker)
            && capability.sdk_version == challenge.sdk_version,
        ViolationCode::ValueMismatch,
        "worker_handshake_authenticate.capability_handshake",
        "must be of the challenged worker",
    )?;
    rule(
        capability.supported_versions == [PROTOCOL_VERSION],
        ViolationCode::VersionUnsupported,
        "worker_handshake_authenticate.capability_handshake.supported_versions",
        "must be exactly 1",
    )?;
    rule(
        capability.capabilities.iter().all(|(key, enabled)| *enabled && is_capability_key(key)),
        ViolationCode::ValueMalformed,
        "worker_handshake_authenticate.capability_handshake.capabilities",
        "must have lower-case keys of at most 64 characters, all enabled",
    )?;
    let topics = &capability.ready_topics;
    let distinct: std::collections::BTreeSet<&str> = topics.iter().map(String::as_str).collect();
    rule(
        distinct.len() == topics.len() && topics.iter().all(|topic| !topic.trim().is_empty()),
        ViolationCode::ValueMalformed,
        "worker_handshake_authenticate.capability_handshake.ready_topics",
        "must have no empty or repeated topic",
    )
}

fn result(packet: &BusPacket, answer: &WorkerHandshakeResult) -> Judged {
    let Some(own) = &answer.challenge else {
        return broken(ViolationCode::FieldMissing, "worker_handshake_result.challenge", "must be given");
    };
    signed(packet)?;
    challenge(packet, own, false)?;
    let issued = instant("worker_handshake_result.issued_at", answer.issued_at)?;
    let reason = WorkerHandshakeRejectionReason::try_from(answer.rejection_reason);
    if answer.accepted {
        token(packet)?;
        let expires = instant("worker_handshake_result.token_expires_at", answer.token_expires_at)?;
        rule(
            expires > issued,
            ViolationCode::TimeInvalid,
            "worker_handshake_result.token_expires_at",
            "must be after `issued_at`",
        )?;
        return rule(
            reason == Ok(WorkerHandshakeRejectionReason::Unspecified),
            ViolationCode::FieldNotAllowed,
            "worker_handshake_result.rejection_reason",
            "must be empty when accepted",
        );
    }
    no_token(packet)?;
    rule(
        reason.is_ok_and(|reason| reason != WorkerHandshakeRejectionReason::Unspecified),
        ViolationCode::ValueUnknown,
        "worker_handshake_result.rejection_reason",
        "must be a known reason",
    )?;
    rule(
        answer.token_expires_at.is_none(),
        ViolationCode::FieldNotAllowed,
        "worker_handshake_result.token_expires_at",
        "must be empty when rejected",
    )
}

fn version_and_purpose(path: &'static str, version: i32, purpose: i32) -> Judged {
    rule(version == PROTOCOL_VERSION, ViolationCode::VersionUnsupported, path, "must be of protocol version 1")?;
    rule(
        WorkerHandshakePurpose::try_from(purpose).is_ok_and(|known| known != WorkerHandshakePurpose::Unspecified),
        ViolationCode::ValueUnknown,
        path,
        "must have a known purpose",
    )
}

fn algorithm(path: &'static str, algorithm: i32) -> Judged {
    rule(
        algorithm == i32::from(WorkerHandshakeProofAlgorithm::EcdsaP256Sha256),
        ViolationCode::ValueUnknown,
        path,
        "must use ECDSA with P-256 and SHA-256",
    )
}

fn nonce(path: &'static str, nonce: &[u8]) -> Judged {
    rule(nonce.len() == NONCE_BYTES, ViolationCode::ValueMalformed, path, "must have 32 bytes")
}

fn signed(packet: &BusPacket) -> Judged {
    rule(!packet.signature.is_empty(), ViolationCode::FieldMissing, "signature", "must not be empty")
}

fn no_token(packet: &BusPacket) -> Judged {
    rule(packet.auth_token.is_empty(), ViolationCode::FieldNotAllowed, "auth_token", "must be empty in this phase")
}

fn token(packet: &BusPacket) -> Judged {
    let token = packet.auth_token.as_bytes();
    rule(!token.is_empty(), ViolationCode::FieldMissing, "auth_token", "must not be empty")?;
    rule(
        token.len() <= MAX_SESSION_TOKEN_BYTES && token.iter().all(u8::is_ascii_graphic),
        ViolationCode::ValueMalformed,
        "auth_token",
        "must be visible ASCII of at most 16384 characters",
    )
}

fn all_given(path: &'static str, texts: &[&String]) -> Judged {
    rule(
        texts.iter().all(|text| !text.trim().is_empty()),
        ViolationCode::FieldMissing,
        path,
        "must have all its text fields",
    )
}

/// Nanoseconds since the epoch. An absent time counts as the epoch, as peers read it.
fn instant(path: &'static str, at: Option<WireTimestamp>) -> Result<i128, Violation> {
    let at = at.unwrap_or_default();
    rule(at.is_legal(), ViolationCode::TimeInvalid, path, "must be a valid time")?;
    Ok(i128::from(at.seconds).saturating_mul(1_000_000_000).saturating_add(at.nanos.into()))
}

/// A lower-case letter, then at most 63 lower-case letters, digits, `_`, `.` or `-`.
fn is_capability_key(key: &str) -> bool {
    let bytes = key.as_bytes();
    bytes.len() <= 64
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(byte))
}

fn rule(holds: bool, code: ViolationCode, path: &'static str, hint: &'static str) -> Judged {
    if holds { Ok(()) } else { broken(code, path, hint) }
}

fn broken(code: ViolationCode, path: &'static str, hint: &'static str) -> Judged {
    Err(Violation::new(code, path, hint))
}

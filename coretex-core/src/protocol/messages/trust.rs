//! The four phases of the authenticated worker handshake. `Debug` of the two nonce carriers shows no nonce.

use std::fmt;

use super::{Handshake, WireTimestamp, packet::Hidden};
use crate::protocol::enums::{
    WorkerHandshakeProofAlgorithm, WorkerHandshakePurpose, WorkerHandshakeRejectionReason,
};

/// A worker asks for a challenge.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct WorkerHandshakeChallengeRequest {
    /// Names this exchange.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// The envelope's trace.
    #[prost(string, tag = "2")]
    pub trace_id: String,
    /// The worker, also the envelope's sender.
    #[prost(string, tag = "3")]
    pub worker_id: String,
    /// The enrolled key the worker will prove.
    #[prost(string, tag = "4")]
    pub proof_key_id: String,
    /// How it will prove it.
    #[prost(enumeration = "WorkerHandshakeProofAlgorithm", tag = "5")]
    pub proof_algorithm: i32,
    /// Who is asked.
    #[prost(string, tag = "6")]
    pub audience: String,
    /// A new session or the renewal of one.
    #[prost(enumeration = "WorkerHandshakePurpose", tag = "7")]
    pub purpose: i32,
    /// 32 random bytes of the worker.
    #[prost(bytes = "vec", tag = "8")]
    pub client_nonce: Vec<u8>,
    /// Protocol version, 1.
    #[prost(int32, tag = "9")]
    pub protocol_version: i32,
    /// The worker's library and version.
    #[prost(string, tag = "10")]
    pub sdk_version: String,
}

/// The scheduler's challenge; later phases echo it.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct WorkerHandshakeChallenge {
    /// Names the exchange.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// Names this challenge.
    #[prost(string, tag = "2")]
    pub challenge_id: String,
    /// The envelope's trace.
    #[prost(string, tag = "3")]
    pub trace_id: String,
    /// The worker challenged.
    #[prost(string, tag = "4")]
    pub worker_id: String,
    /// The agent the scheduler has on record for the worker.
    #[prost(string, tag = "5")]
    pub agent_id: String,
    /// The tenant the scheduler has on record for the worker.
    #[prost(string, tag = "6")]
    pub tenant_id: String,
    /// The worker's key.
    #[prost(string, tag = "7")]
    pub proof_key_id: String,
    /// How the worker proves it.
    #[prost(enumeration = "WorkerHandshakeProofAlgorithm", tag = "8")]
    pub proof_algorithm: i32,
    /// The scheduler's key.
    #[prost(string, tag = "9")]
    pub server_key_id: String,
    /// Who was asked.
    #[prost(string, tag = "10")]
    pub audience: String,
    /// A new session or the renewal of one.
    #[prost(enumeration = "WorkerHandshakePurpose", tag = "11")]
    pub purpose: i32,
    /// The worker's 32 random bytes.
    #[prost(bytes = "vec", tag = "12")]
    pub client_nonce: Vec<u8>,
    /// The scheduler's 32 random bytes.
    #[prost(bytes = "vec", tag = "13")]
    pub server_nonce: Vec<u8>,
    /// Protocol version, 1.
    #[prost(int32, tag = "14")]
    pub protocol_version: i32,
    /// The worker's library and version.
    #[prost(string, tag = "15")]
    pub sdk_version: String,
    /// When the challenge was made.
    #[prost(message, optional, tag = "16")]
    pub issued_at: Option<WireTimestamp>,
    /// Until when it can be answered; at most 60 s after `issued_at`.
    #[prost(message, optional, tag = "17")]
    pub expires_at: Option<WireTimestamp>,
}

/// The worker's proof: the challenge unchanged, and what the worker can do.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkerHandshakeAuthenticate {
    /// The challenge as received.
    #[prost(message, optional, tag = "1")]
    pub challenge: Option<WorkerHandshakeChallenge>,
    /// The worker's introduction, bound to the session.
    #[prost(message, optional, tag = "2")]
    pub capability_handshake: Option<Handshake>,
}

/// The scheduler's answer. On acceptance the envelope carries the session token.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkerHandshakeResult {
    /// The challenge that was answered.
    #[prost(message, optional, tag = "1")]
    pub challenge: Option<WorkerHandshakeChallenge>,
    /// Whether the worker has a session now.
    #[prost(bool, tag = "2")]
    pub accepted: bool,
    /// Why not.
    #[prost(enumeration = "WorkerHandshakeRejectionReason", tag = "3")]
    pub rejection_reason: i32,
    /// When the session ends.
    #[prost(message, optional, tag = "4")]
    pub token_expires_at: Option<WireTimestamp>,
    /// When the answer was made.
    #[prost(message, optional, tag = "5")]
    pub issued_at: Option<WireTimestamp>,
}

impl fmt::Debug for WorkerHandshakeChallengeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerHandshakeChallengeRequest")
            .field("request_id", &self.request_id)
            .field("trace_id", &self.trace_id)
            .field("worker_id", &self.worker_id)
            .field("proof_key_id", &self.proof_key_id)
            .field("proof_algorithm", &self.proof_algorithm)
            .field("audience", &self.audience)
            .field("purpose", &self.purpose)
            .field("client_nonce", &Hidden(self.client_nonce.len()))
            .field("protocol_version", &self.protocol_version)
            .field("sdk_version", &self.sdk_version)
            .finish()
    }
}

impl fmt::Debug for WorkerHandshakeChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerHandshakeChallenge")
            .field("request_id", &self.request_id)
            .field("challenge_id", &self.challenge_id)
            .field("trace_id", &self.trace_id)
            .field("worker_id", &self.worker_id)
            .field("agent_id", &self.agent_id)
            .field("tenant_id", &self.tenant_id)
            .field("proof_key_id", &self.proof_key_id)
            .field("proof_algorithm", &self.proof_algorithm)
            .field("server_key_id", &self.server_key_id)
            .field("audience", &self.audience)
            .field("purpose", &self.purpose)
            .field("client_nonce", &Hidden(self.client_nonce.len()))
            .field("server_nonce", &Hidden(self.server_nonce.len()))
            .field("protocol_version", &self.protocol_version)
            .field("sdk_version", &self.sdk_version)
            .field("issued_at", &self.issued_at)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

//! The envelope of every bus message.

use std::fmt;

use super::{
    Handshake, Heartbeat, IdentityBinding, JobCancel, JobProgress, JobRequest, JobResult,
    SystemAlert, WireTimestamp, WorkerHandshakeAuthenticate, WorkerHandshakeChallenge,
    WorkerHandshakeChallengeRequest, WorkerHandshakeResult,
};

/// One bus message: who sent it, when, and one payload.
///
/// `Debug` shows neither the session token nor the signature.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct BusPacket {
    /// Correlates all packets of one tree of jobs.
    #[prost(string, tag = "1")]
    pub trace_id: String,
    /// The component that published the packet.
    #[prost(string, tag = "2")]
    pub sender_id: String,
    /// When the packet was made, by the sender's clock.
    #[prost(message, optional, tag = "3")]
    pub created_at: Option<WireTimestamp>,
    /// [`PROTOCOL_VERSION`](crate::protocol::PROTOCOL_VERSION), the only one there is.
    #[prost(int32, tag = "4")]
    pub protocol_version: i32,
    /// How and for whom the packet is signed; production profile only.
    #[prost(message, optional, tag = "5")]
    pub signature_metadata: Option<SignatureMetadata>,
    /// On whose behalf the packet is sent; production profile only.
    #[prost(message, optional, tag = "6")]
    pub identity: Option<IdentityBinding>,
    /// What the packet says.
    #[prost(oneof = "Payload", tags = "10, 11, 12, 13, 15, 16, 17, 19, 20, 21, 22")]
    pub payload: Option<Payload>,
    /// ECDSA signature over the packet without this field, ASN.1 DER.
    #[prost(bytes = "vec", tag = "14")]
    pub signature: Vec<u8>,
    /// Session token of an authenticated worker; a secret.
    #[prost(string, tag = "18")]
    pub auth_token: String,
}

/// What a packet carries.
#[expect(
    clippy::large_enum_variant,
    reason = "a packet is built, encoded and dropped; boxing the common payload costs more"
)]
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Payload {
    /// A job to do.
    #[prost(message, tag = "10")]
    JobRequest(JobRequest),
    /// How an attempt ended.
    #[prost(message, tag = "11")]
    JobResult(JobResult),
    /// A worker is alive, with this load.
    #[prost(message, tag = "12")]
    Heartbeat(Heartbeat),
    /// Something an operator should know.
    #[prost(message, tag = "13")]
    Alert(SystemAlert),
    /// How far a running job is.
    #[prost(message, tag = "15")]
    JobProgress(JobProgress),
    /// Please stop a job.
    #[prost(message, tag = "16")]
    JobCancel(JobCancel),
    /// A component connected and says what it can do.
    #[prost(message, tag = "17")]
    Handshake(Handshake),
    /// Authenticated session, first phase: a worker asks for a challenge.
    #[prost(message, tag = "19")]
    WorkerHandshakeChallengeRequest(WorkerHandshakeChallengeRequest),
    /// Authenticated session, second phase: the scheduler's challenge.
    #[prost(message, tag = "20")]
    WorkerHandshakeChallenge(WorkerHandshakeChallenge),
    /// Authenticated session, third phase: the worker proves its key.
    #[prost(message, tag = "21")]
    WorkerHandshakeAuthenticate(WorkerHandshakeAuthenticate),
    /// Authenticated session, last phase: accepted or not.
    #[prost(message, tag = "22")]
    WorkerHandshakeResult(WorkerHandshakeResult),
}

/// Profile, key and audience of a production signature.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SignatureMetadata {
    /// Name and version of the signature profile.
    #[prost(string, tag = "1")]
    pub profile_version: String,
    /// Name of the algorithm.
    #[prost(string, tag = "2")]
    pub algorithm: String,
    /// 16 random bytes that make the packet unique.
    #[prost(bytes = "vec", tag = "3")]
    pub message_id: Vec<u8>,
    /// The subject the packet is meant for.
    #[prost(string, tag = "4")]
    pub audience: String,
    /// After this instant the packet must not be accepted.
    #[prost(message, optional, tag = "5")]
    pub expires_at: Option<WireTimestamp>,
    /// Names the key that verifies the signature.
    #[prost(string, tag = "6")]
    pub key_id: String,
}

impl Payload {
    /// The field name on the wire, for logs and errors: `job_request`, `heartbeat`, ...
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::JobRequest(_) => "job_request",
            Self::JobResult(_) => "job_result",
            Self::Heartbeat(_) => "heartbeat",
            Self::Alert(_) => "alert",
            Self::JobProgress(_) => "job_progress",
            Self::JobCancel(_) => "job_cancel",
            Self::Handshake(_) => "handshake",
            Self::WorkerHandshakeChallengeRequest(_) => "worker_handshake_challenge_request",
            Self::WorkerHandshakeChallenge(_) => "worker_handshake_challenge",
            Self::WorkerHandshakeAuthenticate(_) => "worker_handshake_authenticate",
            Self::WorkerHandshakeResult(_) => "worker_handshake_result",
        }
    }

    /// Whether this is a phase of the authenticated worker handshake, which follows stricter rules.
    #[must_use]
    pub fn is_trust_phase(&self) -> bool {
        matches!(
            self,
            Self::WorkerHandshakeChallengeRequest(_)
                | Self::WorkerHandshakeChallenge(_)
                | Self::WorkerHandshakeAuthenticate(_)
                | Self::WorkerHandshakeResult(_)
        )
    }
}

macro_rules! payloads {
    ($($variant:ident($message:ty) $accessor:ident $into:ident),+ $(,)?) => {
        $(impl From<$message> for Payload {
            fn from(message: $message) -> Self {
                Self::$variant(message)
            }
        })+

        impl BusPacket {
            $(
                #[doc = concat!("The [`", stringify!($message), "`] this packet carries, if that is its payload.")]
                #[must_use]
                pub fn $accessor(&self) -> Option<&$message> {
                    match &self.payload {
                        Some(Payload::$variant(message)) => Some(message),
                        _ => None,
                    }
                }

                #[doc = concat!("Takes the [`", stringify!($message), "`] out, if that is the payload.")]
                #[must_use]
                pub fn $into(self) -> Option<$message> {
                    match self.payload {
                        Some(Payload::$variant(message)) => Some(message),
                        _ => None,
                    }
                }
            )+
        }
    };
}

payloads! {
    JobRequest(JobRequest) job_request into_job_request,
    JobResult(JobResult) job_result into_job_result,
    Heartbeat(Heartbeat) heartbeat into_heartbeat,
    Alert(SystemAlert) alert into_alert,
    JobProgress(JobProgress) job_progress into_job_progress,
    JobCancel(JobCancel) job_cancel into_job_cancel,
    Handshake(Handshake) handshake into_handshake,
    WorkerHandshakeChallengeRequest(WorkerHandshakeChallengeRequest)
        worker_handshake_challenge_request into_worker_handshake_challenge_request,
    WorkerHandshakeChallenge(WorkerHandshakeChallenge)
        worker_handshake_challenge into_worker_handshake_challenge,
    WorkerHandshakeAuthenticate(WorkerHandshakeAuthenticate)
        worker_handshake_authenticate into_worker_handshake_authenticate,
    WorkerHandshakeResult(WorkerHandshakeResult)
        worker_handshake_result into_worker_handshake_result,
}

impl fmt::Debug for BusPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusPacket")
            .field("trace_id", &self.trace_id)
            .field("sender_id", &self.sender_id)
            .field("created_at", &self.created_at)
            .field("protocol_version", &self.protocol_version)
            .field("signature_metadata", &self.signature_metadata)
            .field("identity", &self.identity)
            .field("payload", &self.payload)
            .field("signature", &Hidden(self.signature.len()))
            .field("auth_token", &Hidden(self.auth_token.len()))
            .finish()
    }
}

/// Shows only that a secret is there, and its length in bytes.
pub(super) struct Hidden(pub(super) usize);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none"),
            length => write!(f, "<{length} bytes>"),
        }
    }
}

//! The enumerations of CAP v2 and their names.
//!
//! Message fields hold the plain number, because enumerations are open: a number from a newer peer must survive.
//! `JobStatus::try_from(number)` and the accessors of a message give the typed form. `as_wire_name` is the full
//! name of the schema (`JOB_STATUS_TIMEOUT`), `as_name` the short form that people see (`TIMEOUT`), and
//! `from_name` reads both, in any case.
//!
//! What the numbers mean for a job's life (which status ends it, which error text stands for which code) is here
//! too; what to do about it is decided in the `job` room.

mod meaning;

/// Defines an open wire enumeration together with its names.
macro_rules! wire_enum {
    (
        $(#[$doc:meta])*
        $name:ident, $prefix:literal { $( $(#[$vdoc:meta])* $variant:ident = $number:literal $text:literal, )+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
        #[repr(i32)]
        pub enum $name {
            $( $(#[$vdoc])* $variant = $number, )+
        }

        impl $name {
            /// Every value this version knows, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The full name of the schema.
            #[must_use]
            pub fn as_wire_name(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($prefix, $text),)+
                }
            }

            /// The name without the prefix of the enumeration.
            #[must_use]
            pub fn as_name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The value of that name, with or without the prefix, in any case.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                let short = strip_prefix_any_case(name, $prefix).unwrap_or(name);
                Self::ALL.iter().copied().find(|value| value.as_name().eq_ignore_ascii_case(short))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_name())
            }
        }
    };
}

fn strip_prefix_any_case<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = name.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

wire_enum! {
    /// A hint for ordering jobs.
    JobPriority, "JOB_PRIORITY_" {
        /// Not given.
        Unspecified = 0 "UNSPECIFIED",
        /// Somebody is waiting.
        Interactive = 1 "INTERACTIVE",
        /// Whenever there is room.
        Batch = 2 "BATCH",
        /// Before everything else.
        Critical = 3 "CRITICAL",
    }
}

wire_enum! {
    /// Where a job stands.
    JobStatus, "JOB_STATUS_" {
        /// Not given.
        Unspecified = 0 "UNSPECIFIED",
        /// Accepted, nothing decided yet.
        Pending = 1 "PENDING",
        /// Allowed and routed.
        Scheduled = 2 "SCHEDULED",
        /// Handed over to a worker.
        Dispatched = 3 "DISPATCHED",
        /// The worker has started.
        Running = 4 "RUNNING",
        /// Done.
        Succeeded = 5 "SUCCEEDED",
        /// Ended with an error.
        Failed = 6 "FAILED",
        /// Stopped on request.
        Cancelled = 7 "CANCELLED",
        /// Refused by policy.
        Denied = 8 "DENIED",
        /// No result in time.
        Timeout = 9 "TIMEOUT",
        /// Ended with an error; another attempt may succeed.
        FailedRetryable = 10 "FAILED_RETRYABLE",
        /// Ended with an error; another attempt is pointless.
        FailedFatal = 11 "FAILED_FATAL",
    }
}

wire_enum! {
    /// Who caused a job.
    ActorType, "ACTOR_TYPE_" {
        /// Not given.
        Unspecified = 0 "UNSPECIFIED",
        /// A person.
        Human = 1 "HUMAN",
        /// A program.
        Service = 2 "SERVICE",
    }
}

wire_enum! {
    /// What kind of error. 1 to 99 and 500 to 999 are reserved; 1000 to 9999 belong to applications.
    ErrorCode, "ERROR_CODE_" {
        /// Not given.
        Unspecified = 0 "UNSPECIFIED",
        /// The packet is of a protocol version the receiver does not speak.
        ProtocolVersionMismatch = 100 "PROTOCOL_VERSION_MISMATCH",
        /// The packet cannot be read or breaks a rule.
        ProtocolMalformedPacket = 101 "PROTOCOL_MALFORMED_PACKET",
        /// The packet carries a payload the receiver does not know.
        ProtocolUnknownPayload = 102 "PROTOCOL_UNKNOWN_PAYLOAD",
        /// The signature does not verify.
        ProtocolSignatureInvalid = 103 "PROTOCOL_SIGNATURE_INVALID",
        /// A signature is required and there is none.
        ProtocolSignatureMissing = 104 "PROTOCOL_SIGNATURE_MISSING",
        /// No result in time.
        JobTimeout = 200 "JOB_TIMEOUT",
        /// A budget or a limit is used up.
        JobResourceExhausted = 201 "JOB_RESOURCE_EXHAUSTED",
        /// The job may not do what it tried.
        JobPermissionDenied = 202 "JOB_PERMISSION_DENIED",
        /// The input is wrong.
        JobInvalidInput = 203 "JOB_INVALID_INPUT",
        /// There is no such job.
        JobNotFound = 204 "JOB_NOT_FOUND",
        /// The job was submitted before.
        JobDuplicate = 205 "JOB_DUPLICATE",
        /// Nobody can run it.
        JobWorkerUnavailable = 206 "JOB_WORKER_UNAVAILABLE",
        /// Policy says no.
        SafetyDenied = 300 "SAFETY_DENIED",
        /// A policy was violated.
        SafetyPolicyViolation = 301 "SAFETY_POLICY_VIOLATION",
        /// One of the job's risk tags is blocked.
        SafetyRiskTagBlocked = 302 "SAFETY_RISK_TAG_BLOCKED",
        /// Publishing failed.
        TransportPublishFailed = 400 "TRANSPORT_PUBLISH_FAILED",
        /// Subscribing failed.
        TransportSubscribeFailed = 401 "TRANSPORT_SUBSCRIBE_FAILED",
        /// The connection is gone.
        TransportConnectionLost = 402 "TRANSPORT_CONNECTION_LOST",
    }
}

wire_enum! {
    /// How bad an alert is.
    AlertSeverity, "ALERT_SEVERITY_" {
        /// Not given.
        Unspecified = 0 "UNSPECIFIED",
        /// Good to know.
        Info = 1 "INFO",
        /// Look at it.
        Warning = 2 "WARNING",
        /// Something failed.
        Error = 3 "ERROR",
        /// Look at it now.
        Critical = 4 "CRITICAL",
    }
}

wire_enum! {
    /// A component's part in the system.
    ComponentRole, "COMPONENT_ROLE_" {
        /// Not given.
        Unspecified = 0 "UNSPECIFIED",
        /// Takes requests from outside.
        Gateway = 1 "GATEWAY",
        /// Decides what runs where.
        Scheduler = 2 "SCHEDULER",
        /// Runs jobs.
        Worker = 3 "WORKER",
        /// Runs jobs that submit jobs.
        Orchestrator = 4 "ORCHESTRATOR",
        /// Watches and repairs.
        Controller = 5 "CONTROLLER",
    }
}

wire_enum! {
    /// What a worker wants from an authenticated handshake.
    WorkerHandshakePurpose, "WORKER_HANDSHAKE_PURPOSE_" {
        /// Not given.
        Unspecified = 0 "UNSPECIFIED",
        /// A new session.
        Issue = 1 "ISSUE",
        /// The renewal of its session.
        Renew = 2 "RENEW",
    }
}

wire_enum! {
    /// How a worker proves its key.
    WorkerHandshakeProofAlgorithm, "WORKER_HANDSHAKE_PROOF_ALGORITHM_" {
        /// Not given.
        Unspecified = 0 "UNSPECIFIED",
        /// ECDSA with P-256 and SHA-256.
        EcdsaP256Sha256 = 1 "ECDSA_P256_SHA256",
    }
}

wire_enum! {
    /// Why a worker got no session.
    WorkerHandshakeRejectionReason, "WORKER_HANDSHAKE_REJECTION_REASON_" {
        /// Not given; the only value of an accepted handshake.
        Unspecified = 0 "UNSPECIFIED",
        /// The request breaks a rule.
        InvalidRequest = 1 "INVALID_REQUEST",
        /// The proof failed.
        AuthenticationFailed = 2 "AUTHENTICATION_FAILED",
        /// The request was seen before.
        ReplayDetected = 3 "REPLAY_DETECTED",
        /// The clocks differ too much.
        ClockSkew = 4 "CLOCK_SKEW",
        /// The challenge was answered too late.
        ChallengeExpired = 5 "CHALLENGE_EXPIRED",
        /// A renewal needs a session.
        SessionRequired = 6 "SESSION_REQUIRED",
        /// The session to renew is not valid.
        SessionInvalid = 7 "SESSION_INVALID",
        /// The version is not spoken here.
        UnsupportedVersion = 8 "UNSUPPORTED_VERSION",
        /// Something failed on the other side.
        InternalError = 9 "INTERNAL_ERROR",
    }
}

wire_enum! {
    /// What a safety kernel decides.
    DecisionType, "DECISION_TYPE_" {
        /// Not given; counts as no.
        Unspecified = 0 "UNSPECIFIED",
        /// Go ahead.
        Allow = 1 "ALLOW",
        /// No.
        Deny = 2 "DENY",
        /// A person must agree first.
        RequireHuman = 3 "REQUIRE_HUMAN",
        /// Ask again later.
        Throttle = 4 "THROTTLE",
        /// Go ahead within limits.
        AllowWithConstraints = 5 "ALLOW_WITH_CONSTRAINTS",
        /// Keep the output back.
        Quarantine = 6 "QUARANTINE",
        /// Redact the output.
        Redact = 7 "REDACT",
    }
}

//! The rules of the envelope and of every payload.

use std::fmt;

use super::trust_rules;
use crate::protocol::{
    AlertSeverity, Budget, BusPacket, ErrorCode, Heartbeat, JobCancel, JobPriority, JobProgress, JobRequest, JobResult,
    JobStatus, PROTOCOL_VERSION, Payload, SystemAlert,
};

/// Most entries of `labels`, `meta.risk_tags` and `meta.requires`.
pub const MAX_LIST_ENTRIES: usize = 1000;

/// Largest token limit in a budget.
pub const MAX_TOKENS: i64 = 10_000_000_000;

/// How strictly a packet is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// What current peers enforce on everything they receive: the rule for what is sent.
    Strict,
    /// For what older peers send. Accepted as well: an empty trace id; a heartbeat without creation time; a worker,
    /// component or source that is not the sender, and a result that names no worker; error codes of applications in
    /// an alert. The handshake of authenticated workers is always judged strictly.
    Tolerant,
}

/// Which rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ViolationCode {
    /// A required field is empty.
    FieldMissing,
    /// There is no payload, or only one that this version does not know.
    PayloadMissing,
    /// The protocol version is not 1.
    VersionUnsupported,
    /// A number is below zero.
    ValueNegative,
    /// A number is above its limit.
    ValueTooLarge,
    /// A number is outside of its range.
    ValueOutOfRange,
    /// A value is none of those allowed.
    ValueUnknown,
    /// A list or map has too many entries.
    TooManyEntries,
    /// Two fields that must agree do not.
    ValueMismatch,
    /// A field must be empty here.
    FieldNotAllowed,
    /// Bytes or text have a wrong length or wrong characters.
    ValueMalformed,
    /// An instant is out of range, or two are in the wrong order or too far apart.
    TimeInvalid,
    /// There are unknown fields where none are allowed.
    UnknownFields,
}

impl ViolationCode {
    /// The stable code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FieldMissing => "field_missing",
            Self::PayloadMissing => "payload_missing",
            Self::VersionUnsupported => "version_unsupported",
            Self::ValueNegative => "value_negative",
            Self::ValueTooLarge => "value_too_large",
            Self::ValueOutOfRange => "value_out_of_range",
            Self::ValueUnknown => "value_unknown",
            Self::TooManyEntries => "too_many_entries",
            Self::ValueMismatch => "value_mismatch",
            Self::FieldNotAllowed => "field_not_allowed",
            Self::ValueMalformed => "value_malformed",
            Self::TimeInvalid => "time_invalid",
            Self::UnknownFields => "unknown_fields",
        }
    }
}

/// One broken rule: which, and at which field. The text never repeats what the packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Violation {
    code: ViolationCode,
    path: &'static str,
    hint: &'static str,
}

impl Violation {
    pub(super) fn new(code: ViolationCode, path: &'static str, hint: &'static str) -> Self {
        Self { code, path, hint }
    }

    pub(super) fn unknown_fields() -> Self {
        Self::new(ViolationCode::UnknownFields, "packet", "must have no unknown fields")
    }

    /// Which rule.
    #[must_use]
    pub fn code(&self) -> ViolationCode {
        self.code
    }

    /// The field, from the packet down: `job_request.budget.deadline_ms`.
    #[must_use]
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// The protocol error this is.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self.code {
            ViolationCode::VersionUnsupported => ErrorCode::ProtocolVersionMismatch,
            ViolationCode::PayloadMissing => ErrorCode::ProtocolUnknownPayload,
            _ => ErrorCode::ProtocolMalformedPacket,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.path, self.hint)
    }
}

/// Every rule a packet breaks; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    pub(super) fn or_ok(violations: Vec<Violation>) -> Result<(), Self> {
        if violations.is_empty() { Ok(()) } else { Err(Self(violations)) }
    }

    /// The broken rules, envelope first.
    pub fn iter(&self) -> std::slice::Iter<'_, Violation> {
        self.0.iter()
    }

    /// The stable code of the first.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.first().map_or("packet_invalid", |violation| violation.code.as_str())
    }

    /// The protocol error to announce: a wrong version before anything else, then that of the first broken rule.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        let version = self.0.iter().find(|violation| violation.code == ViolationCode::VersionUnsupported);
        version.or(self.0.first()).map_or(ErrorCode::ProtocolMalformedPacket, Violation::error_code)
    }
}

impl<'a> IntoIterator for &'a Violations {
    type Item = &'a Violation;
    type IntoIter = std::slice::Iter<'a, Violation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the packet breaks the protocol: ")?;
        for (index, violation) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            violation.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// Judges a packet. Does not read a clock and does not verify signatures. Unknown fields, which matter for the
/// authenticated worker handshake only, are judged by [`Received::validate`](super::Received::validate).
///
/// # Errors
/// Every rule that is broken. Of a phase of the authenticated worker handshake only the first.
pub fn validate(packet: &BusPacket, mode: Mode) -> Result<(), Violations> {
    Violations::or_ok(collect(packet, mode))
}

pub(super) fn collect(packet: &BusPacket, mode: Mode) -> Vec<Violation> {
    let mut judge = Judge { broken: Vec::new(), strict: mode == Mode::Strict };
    judge.packet(packet);
    judge.broken
}

struct Judge {
    broken: Vec<Violation>,
    strict: bool,
}

impl Judge {
    fn packet(&mut self, packet: &BusPacket) {
        let heartbeat = matches!(packet.payload, Some(Payload::Heartbeat(_)));
        let trust = packet.payload.as_ref().is_some_and(Payload::is_trust_phase);
        if self.strict || trust {
            self.present("trace_id", &packet.trace_id);
        }
        self.present("sender_id", &packet.sender_id);
        if packet.protocol_version != PROTOCOL_VERSION {
            self.broken(ViolationCode::VersionUnsupported, "protocol_version", "must be 1");
        }
        if packet.created_at.is_none() && (self.strict || !heartbeat) {
            self.broken(ViolationCode::FieldMissing, "created_at", "must be given");
        }
        match &packet.payload {
            None => self.broken(ViolationCode::PayloadMissing, "payload", "must be one this version knows"),
            Some(Payload::JobRequest(request)) => self.job_request(request),
            Some(Payload::JobResult(result)) => self.job_result(result, &packet.sender_id),
            Some(Payload::Heartbeat(heartbeat)) => self.heartbeat(heartbeat, &packet.sender_id),
            Some(Payload::Alert(alert)) => self.alert(alert, &packet.sender_id),
            Some(Payload::JobProgress(progress)) => self.job_progress(progress),
            Some(Payload::JobCancel(cancel)) => self.job_cancel(cancel),
            Some(Payload::Handshake(handshake)) => {
                self.same_sender("handshake.component_id", &handshake.component_id, &packet.sender_id);
            }
            Some(_) => self.broken.extend(trust_rules::check(packet)),
        }
    }

    fn job_request(&mut self, request: &JobRequest) {
        self.present("job_request.job_id", &request.job_id);
        self.present("job_request.topic", &request.topic);
        if JobPriority::try_from(request.priority).is_err() {
            self.broken(ViolationCode::ValueUnknown, "job_request.priority", "must be 0 to 3");
        }
        self.not_negative("job_request.step_index", request.step_index.into());
        if let Some(meta) = &request.meta {
            self.bounded("job_request.meta.risk_tags", meta.risk_tags.len());
            self.bounded("job_request.meta.requires", meta.requires.len());
        }
        self.bounded("job_request.labels", request.labels.len());
        if let Some(budget) = &request.budget {
            self.budget(budget);
        }
    }

    fn budget(&mut self, budget: &Budget) {
        for (path, tokens) in [
            ("job_request.budget.max_input_tokens", budget.max_input_tokens),
            ("job_request.budget.max_output_tokens", budget.max_output_tokens),
            ("job_request.budget.max_total_tokens", budget.max_total_tokens),
        ] {
            self.not_negative(path, tokens);
            if tokens > MAX_TOKENS {
                self.broken(ViolationCode::ValueTooLarge, path, "must be at most 10000000000");
            }
        }
        self.not_negative("job_request.budget.deadline_ms", budget.deadline_ms);
    }

    fn job_result(&mut self, result: &JobResult, sender_id: &str) {
        self.present("job_result.job_id", &result.job_id);
        if result.status == i32::from(JobStatus::Unspecified) {
            self.broken(ViolationCode::FieldMissing, "job_result.status", "must be given");
        }
        if self.strict {
            self.present("job_result.worker_id", &result.worker_id);
        }
        self.not_negative("job_result.execution_ms", result.execution_ms);
        if self.strict && result.worker_id != sender_id {
            self.broken(ViolationCode::ValueMismatch, "job_result.worker_id", "must equal `sender_id`");
        }
    }

    fn heartbeat(&mut self, heartbeat: &Heartbeat, sender_id: &str) {
        self.same_sender("heartbeat.worker_id", &heartbeat.worker_id, sender_id);
    }

    fn job_progress(&mut self, progress: &JobProgress) {
        self.present("job_progress.job_id", &progress.job_id);
        if !(0..=100).contains(&progress.percent) {
            self.broken(ViolationCode::ValueOutOfRange, "job_progress.percent", "must be 0 to 100");
        }
        if JobStatus::try_from(progress.status).is_err() {
            self.broken(ViolationCode::ValueUnknown, "job_progress.status", "must be a known status");
        }
    }

    fn job_cancel(&mut self, cancel: &JobCancel) {
        self.present("job_cancel.job_id", &cancel.job_id);
        self.present("job_cancel.requested_by", &cancel.requested_by);
    }

    /// An alert has the legacy fields, or severity, listed code and source together.
    fn alert(&mut self, alert: &SystemAlert, sender_id: &str) {
        self.present("alert.message", &alert.message);
        if alert.severity == 0 && alert.error_code_enum == 0 && alert.source_component.is_empty() {
            self.present("alert.level", &alert.level);
            self.present("alert.component", &alert.component);
            self.present("alert.code", &alert.code);
            return;
        }
        if !AlertSeverity::try_from(alert.severity).is_ok_and(|known| known != AlertSeverity::Unspecified) {
            self.broken(ViolationCode::ValueUnknown, "alert.severity", "must be a known severity");
        }
        let listed = ErrorCode::try_from(alert.error_code_enum).is_ok_and(|known| known != ErrorCode::Unspecified);
        let application = ErrorCode::APPLICATION_RANGE.contains(&alert.error_code_enum);
        if !(listed || application && !self.strict) {
            self.broken(ViolationCode::ValueUnknown, "alert.error_code_enum", "must be a listed error code");
        }
        self.same_sender("alert.source_component", &alert.source_component, sender_id);
    }

    /// Strict: equals the sender. Tolerant: is given.
    fn same_sender(&mut self, path: &'static str, id: &str, sender_id: &str) {
        if !self.strict {
            self.present(path, id);
        } else if id != sender_id {
            self.broken(ViolationCode::ValueMismatch, path, "must equal `sender_id`");
        }
    }

    fn present(&mut self, path: &'static str, text: &str) {
        if text.is_empty() {
            self.broken(ViolationCode::FieldMissing, path, "must not be empty");
        }
    }

    fn not_negative(&mut self, path: &'static str, number: i64) {
        if number < 0 {
            self.broken(ViolationCode::ValueNegative, path, "must not be negative");
        }
    }

    fn bounded(&mut self, path: &'static str, entries: usize) {
        if entries > MAX_LIST_ENTRIES {
            self.broken(ViolationCode::TooManyEntries, path, "must have at most 1000 entries");
        }
    }

    fn broken(&mut self, code: ViolationCode, path: &'static str, hint: &'static str) {
        self.broken.push(Violation::new(code, path, hint));
    }
}

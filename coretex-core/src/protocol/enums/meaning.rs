//! What statuses, priorities and error codes mean.

use super::{AlertSeverity, DecisionType, ErrorCode, JobPriority, JobStatus};
use crate::protocol::messages::{JobResult, PolicyCheckResponse};

impl JobStatus {
    /// Whether the status ends a job. `FailedRetryable` ends an attempt, not the job.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Succeeded
                | Self::Failed
                | Self::Cancelled
                | Self::Denied
                | Self::Timeout
                | Self::FailedFatal
        )
    }

    /// Whether a result with this status ends the attempt it belongs to.
    #[must_use]
    pub fn ends_attempt(self) -> bool {
        self.is_terminal() || self == Self::FailedRetryable
    }

    /// Whether the attempt did not do its work, for whatever reason.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Denied | Self::Timeout | Self::FailedRetryable | Self::FailedFatal
        )
    }
}

impl JobResult {
    /// The status to act on: a number this version does not know, or none at all, counts as failed.
    /// `self.status` keeps the number.
    #[must_use]
    pub fn effective_status(&self) -> JobStatus {
        match JobStatus::try_from(self.status) {
            Ok(JobStatus::Unspecified) | Err(_) => JobStatus::Failed,
            Ok(status) => status,
        }
    }

    /// The error code number: the enumeration if set, else what the text is known to mean, else zero.
    /// Numbers of applications (1000 to 9999) pass through.
    #[must_use]
    pub fn effective_error_code(&self) -> i32 {
        match self.error_code_enum {
            0 => ErrorCode::from_text(&self.error_code).map_or(0, i32::from),
            number => number,
        }
    }
}

impl PolicyCheckResponse {
    /// The decision to act on: a missing or unknown one is a denial.
    #[must_use]
    pub fn effective_decision(&self) -> DecisionType {
        match DecisionType::try_from(self.decision) {
            Ok(DecisionType::Unspecified) | Err(_) => DecisionType::Deny,
            Ok(decision) => decision,
        }
    }
}

impl JobPriority {
    /// Reads `critical`, `interactive` or `batch` in any case, or a full wire name.
    /// `unspecified` is no choice somebody makes and is not read.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::from_name(text.trim()).filter(|priority| *priority != Self::Unspecified)
    }

    /// `critical`, `interactive`, `batch` or `unspecified`, as files and HTTP show it.
    #[must_use]
    pub fn as_text(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Interactive => "interactive",
            Self::Batch => "batch",
            Self::Critical => "critical",
        }
    }
}

impl ErrorCode {
    /// Numbers that applications may use for themselves.
    pub const APPLICATION_RANGE: std::ops::RangeInclusive<i32> = 1000..=9999;

    /// The code an error text of older peers stands for: `TIMEOUT`, `DENIED` and `PERMISSION_DENIED`, or the name
    /// of a code with or without its prefix.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("TIMEOUT") {
            Some(Self::JobTimeout)
        } else if text.eq_ignore_ascii_case("DENIED") {
            Some(Self::SafetyDenied)
        } else if text.eq_ignore_ascii_case("PERMISSION_DENIED") {
            Some(Self::JobPermissionDenied)
        } else {
            Self::from_name(text).filter(|code| *code != Self::Unspecified)
        }
    }

    /// The text older peers expect in `error_code`.
    #[must_use]
    pub fn as_text(self) -> &'static str {
        match self {
            Self::JobTimeout => "TIMEOUT",
            Self::SafetyDenied => "DENIED",
            Self::JobPermissionDenied => "PERMISSION_DENIED",
            other => other.as_name(),
        }
    }

    /// How bad an alert about a protocol error is; other codes are errors.
    #[must_use]
    pub fn severity(self) -> AlertSeverity {
        match self {
            Self::ProtocolUnknownPayload => AlertSeverity::Warning,
            Self::ProtocolSignatureInvalid | Self::ProtocolSignatureMissing => {
                AlertSeverity::Critical
            }
            _ => AlertSeverity::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_and_without_prefix_in_any_case() {
        for status in JobStatus::ALL.iter().copied() {
            assert_eq!(JobStatus::from_name(status.as_wire_name()), Some(status));
            assert_eq!(
                JobStatus::from_name(&status.as_name().to_lowercase()),
                Some(status)
            );
            assert_eq!(JobStatus::try_from(i32::from(status)).ok(), Some(status));
        }
        assert_eq!(JobStatus::Timeout.as_wire_name(), "JOB_STATUS_TIMEOUT");
        assert_eq!(JobStatus::from_name("JOB_STATUS_"), None);
        assert_eq!(JobStatus::from_name("é"), None);
    }

    #[test]
    fn a_retryable_failure_ends_the_attempt_but_not_the_job() {
        assert!(!JobStatus::FailedRetryable.is_terminal());
        assert!(JobStatus::FailedRetryable.ends_attempt());
        assert!(JobStatus::FailedFatal.is_terminal());
        assert!(!JobStatus::Running.ends_attempt());
    }

    #[test]
    fn an_unknown_status_counts_as_failed_and_keeps_its_number() {
        let result = JobResult {
            status: 99,
            ..JobResult::default()
        };
        assert_eq!(result.effective_status(), JobStatus::Failed);
        assert_eq!(result.status, 99);
    }

    #[test]
    fn the_error_enum_wins_over_the_text() {
        let mut result = JobResult {
            error_code: "TIMEOUT".into(),
            error_code_enum: 4242,
            ..JobResult::default()
        };
        assert_eq!(result.effective_error_code(), 4242);
        result.error_code_enum = 0;
        assert_eq!(result.effective_error_code(), 200);
        result.error_code = "no such thing".into();
        assert_eq!(result.effective_error_code(), 0);
        for code in ErrorCode::ALL.iter().copied().skip(1) {
            assert_eq!(ErrorCode::from_text(code.as_text()), Some(code));
        }
    }

    #[test]
    fn priorities_are_read_from_text() {
        assert_eq!(
            JobPriority::from_text(" Critical "),
            Some(JobPriority::Critical)
        );
        assert_eq!(
            JobPriority::from_text("JOB_PRIORITY_BATCH"),
            Some(JobPriority::Batch)
        );
        assert_eq!(JobPriority::from_text("unspecified"), None);
        assert_eq!(JobPriority::from_text("urgent"), None);
    }

    #[test]
    fn a_missing_decision_is_a_denial() {
        let mut response = PolicyCheckResponse::default();
        assert_eq!(response.effective_decision(), DecisionType::Deny);
        response.decision = 42;
        assert_eq!(response.effective_decision(), DecisionType::Deny);
        response.decision = DecisionType::Throttle.into();
        assert_eq!(response.effective_decision(), DecisionType::Throttle);
    }
}

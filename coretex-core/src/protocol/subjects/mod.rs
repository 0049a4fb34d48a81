//! Bus addresses: the fixed subjects, the address of one worker, topics, and subscription filters.
//!
//! A subject is a list of tokens joined by `.`. One that is published to has no wildcard; a filter may use `*` for
//! one token and, at its end, `>` for one or more. Subjects are case-sensitive and never rewritten.

mod filter;

pub use self::filter::{SubjectFilter, matches};

/// Clients submit jobs here; all schedulers share one queue group.
pub const JOB_SUBMIT: &str = "sys.job.submit";
/// Results of workers and of the control plane. Clients listen here too: never consume it so that they miss one.
pub const JOB_RESULT: &str = "sys.job.result";
/// Progress of running jobs.
pub const JOB_PROGRESS: &str = "sys.job.progress";
/// Requests to stop a job.
pub const JOB_CANCEL: &str = "sys.job.cancel";
/// Jobs given up.
pub const JOB_DLQ: &str = "sys.job.dlq";
/// Heartbeats; every scheduler must see each one, so no queue group.
pub const HEARTBEAT: &str = "sys.heartbeat";
/// Introductions of components that connect.
pub const HANDSHAKE: &str = "sys.handshake";
/// Alerts for operators.
pub const ALERT: &str = "sys.alert";
/// Events of workflows.
pub const WORKFLOW_EVENT: &str = "sys.workflow.event";
/// Authenticated worker sessions: request a challenge (request and reply).
pub const WORKER_HANDSHAKE_CHALLENGE: &str = "sys.worker.handshake.challenge";
/// Authenticated worker sessions: prove the key (request and reply). Answers carry session tokens: never store them.
pub const WORKER_HANDSHAKE_AUTHENTICATE: &str = "sys.worker.handshake.authenticate";

/// What topics start with by convention.
pub const TOPIC_PREFIX: &str = "job.";
/// Subjects of the system itself; no topic may start so.
pub const SYSTEM_PREFIX: &str = "sys.";
/// Matches the direct subject of every worker whose id is one token.
pub const ALL_WORKERS: &str = "worker.*.jobs";

/// Longest subject accepted, in bytes. Brokers bound the protocol line, not the subject; this leaves ample room.
pub const MAX_SUBJECT_BYTES: usize = 512;

/// What is wrong with a subject, topic or filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// There is nothing.
    #[error("the subject is empty; give a topic such as `job.billing.invoice`")]
    Empty,
    /// It is longer than [`MAX_SUBJECT_BYTES`].
    #[error("the subject has {length} bytes; at most {MAX_SUBJECT_BYTES} are allowed")]
    TooLong {
        /// Bytes found.
        length: usize,
    },
    /// Two dots in a row, or a dot at either end.
    #[error("subject `{subject}` has an empty token; remove the extra dot")]
    EmptyToken {
        /// The subject.
        subject: String,
    },
    /// A space, a control character or another character that no subject may have.
    #[error("subject `{}` has a character that is not allowed; use visible characters without spaces", .subject.escape_debug())]
    IllegalCharacter {
        /// The subject.
        subject: String,
    },
    /// A wildcard where one subject is meant, or `>` not at the end.
    #[error("subject `{subject}` has a wildcard where none is allowed; name one subject")]
    Wildcard {
        /// The subject.
        subject: String,
    },
    /// A topic in the name space of the system or of worker addresses.
    #[error("topic `{subject}` is reserved; topics start with `job.` by convention")]
    Reserved {
        /// The topic.
        subject: String,
    },
}

impl SubjectError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "subject_empty",
            Self::TooLong { .. } => "subject_too_long",
            Self::EmptyToken { .. } => "subject_empty_token",
            Self::IllegalCharacter { .. } => "subject_illegal_character",
            Self::Wildcard { .. } => "subject_wildcard",
            Self::Reserved { .. } => "subject_reserved",
        }
    }
}

/// The address of one worker: `worker.<id>.jobs`. Only workers known to listen there may be addressed so.
///
/// # Errors
/// The id is empty or has a space, a wildcard or an empty token. An id with a dot is legal, but
/// [`ALL_WORKERS`] does not match its address.
pub fn worker_jobs(worker_id: &str) -> Result<String, SubjectError> {
    check_publish(worker_id)?;
    let subject = format!("worker.{worker_id}.jobs");
    check_length(&subject)?;
    Ok(subject)
}

/// The worker id in `worker.<id>.jobs`, dots included.
#[must_use]
pub fn worker_of(subject: &str) -> Option<&str> {
    subject
        .strip_prefix("worker.")?
        .strip_suffix(".jobs")
        .filter(|id| !id.is_empty())
}

/// Judges a subject to publish to: tokens not empty, no wildcard, no space or control character.
///
/// # Errors
/// See [`SubjectError`].
pub fn check_publish(subject: &str) -> Result<(), SubjectError> {
    check_tokens(subject, |_, _| {
        Err(SubjectError::Wildcard {
            subject: subject.to_owned(),
        })
    })
}

/// Judges a topic: a subject to publish to, outside of the reserved name spaces `sys.` and `worker.`.
/// The prefix `job.` is a convention, see [`is_job_topic`].
///
/// # Errors
/// See [`SubjectError`].
pub fn check_topic(topic: &str) -> Result<(), SubjectError> {
    check_publish(topic)?;
    let first = topic.split('.').next().unwrap_or(topic);
    // `_INBOX` and `$JS`, `$SYS` belong to the broker.
    if first == "sys" || first == "worker" || first.starts_with('$') || first.starts_with('_') {
        return Err(SubjectError::Reserved {
            subject: topic.to_owned(),
        });
    }
    Ok(())
}

/// Whether a topic follows the convention `job.<...>`.
#[must_use]
pub fn is_job_topic(topic: &str) -> bool {
    topic
        .strip_prefix(TOPIC_PREFIX)
        .is_some_and(|rest| !rest.is_empty())
}

/// Judges a filter to subscribe to: like a subject, but `*` may stand for a token and `>` for the rest.
///
/// # Errors
/// See [`SubjectError`].
pub fn check_filter(filter: &str) -> Result<(), SubjectError> {
    check_tokens(filter, |token, last| match token {
        "*" => Ok(()),
        ">" if last => Ok(()),
        _ => Err(SubjectError::Wildcard {
            subject: filter.to_owned(),
        }),
    })
}

fn check_length(subject: &str) -> Result<(), SubjectError> {
    match subject.len() {
        0 => Err(SubjectError::Empty),
        length if length > MAX_SUBJECT_BYTES => Err(SubjectError::TooLong { length }),
        _ => Ok(()),
    }
}

fn check_tokens(
    subject: &str,
    wildcard: impl Fn(&str, bool) -> Result<(), SubjectError>,
) -> Result<(), SubjectError> {
    check_length(subject)?;
    if subject.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(SubjectError::IllegalCharacter {
            subject: subject.to_owned(),
        });
    }
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token.is_empty() {
            return Err(SubjectError::EmptyToken {
                subject: subject.to_owned(),
            });
        }
        if token.contains(['*', '>']) {
            wildcard(token, tokens.peek().is_none())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

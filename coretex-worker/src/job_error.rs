//! What a handler answers when it has no output.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use coretex_core::{
    ports::{BlobError, BlobErrorKind, BusError},
    protocol::ErrorCode,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// The longest error text that is sent, in bytes; the rest is cut off.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// Key under which a retryable failure carries the delay it asks for, see [`JobError::retry_after`].
pub const RETRY_AFTER_KEY: &str = "retry_after_ms";

/// The code of a job that is put off, see [`JobError::snooze`].
pub const SNOOZED: &str = "snoozed";

/// Which way a job failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobErrorKind {
    /// Another attempt may succeed (`FAILED_RETRYABLE`).
    Retryable,
    /// Failed, and the handler does not know whether trying again helps (`FAILED`); the step's retry policy decides.
    Failed,
    /// Another attempt is pointless (`FAILED_FATAL`).
    Fatal,
    /// Not now: tried again later, and none of the job's tries (`FAILED_RETRYABLE` with the code `snoozed`).
    Snoozed,
    /// Stopped on request (`CANCELLED`).
    Cancelled,
}

/// Why a job has no output, and whether trying again may help.
///
/// ```
/// use std::time::Duration;
/// use coretex_worker::{JobError, JobErrorKind};
///
/// async fn fetch() -> Result<String, JobError> {
///     let text = std::fs::read_to_string("/does/not/exist")?; // io errors convert, see below
///     let number: u32 = text.parse().map_err(|e| JobError::fatal("number_malformed", e))?;
///     if number == 0 {
///         return Err(JobError::retry_after("the feed is not ready", Duration::from_secs(30)));
///     }
///     Ok(text)
/// }
/// assert_eq!(JobError::retry("busy").kind(), JobErrorKind::Retryable);
/// ```
///
/// `?` converts the errors whose meaning is known: I/O errors are retryable except where the path, the permission
/// or the data is at fault; malformed JSON, text and numbers are fatal; errors of the bus and blobs ports are
/// retryable when they say so. Everything else takes one of the constructors: `.map_err(JobError::retry)`.
pub struct JobError(Box<Inner>);

struct Inner {
    kind: JobErrorKind,
    code: Cow<'static, str>,
    number: i32,
    message: String,
    retry_after: Option<Duration>,
    source: Option<BoxError>,
}

impl JobError {
    /// Another attempt may succeed. Code `handler_failed` unless [`JobError::with_code`] says otherwise.
    pub fn retry(error: impl Into<BoxError>) -> Self {
        Self::from_error(JobErrorKind::Retryable, error.into())
    }

    /// Another attempt may succeed, but not before `delay` has passed.
    ///
    /// CAP has no field for the delay, so it travels where the output of a success would: as the object
    /// `{"retry_after_ms": ..}` beside the packet in process, as the blob behind `result_ptr` on the wire. A control
    /// plane that does not know it retries by its own schedule.
    pub fn retry_after(error: impl Into<BoxError>, delay: Duration) -> Self {
        let mut this = Self::retry(error);
        this.0.retry_after = Some(delay);
        this
    }

    /// Not now: there is nothing to do yet, try again when `delay` has passed. It is no failure and uses up none of the
    /// step's retries; a step is put off 1,000 times at most.
    ///
    /// The delay travels as that of [`JobError::retry_after`] does, and is a second at least. Where it does not arrive it is a
    /// minute; a control plane that does not know the code `snoozed` retries by its own schedule. A job that is no step's
    /// has no next try and ends so.
    pub fn snooze(reason: impl Into<BoxError>, delay: Duration) -> Self {
        let mut this = Self::from_error(JobErrorKind::Snoozed, reason.into()).with_code(SNOOZED);
        this.0.retry_after = Some(delay);
        this
    }

    /// Failed, without an opinion on trying again. Code `handler_failed` unless [`JobError::with_code`] says otherwise.
    pub fn failed(error: impl Into<BoxError>) -> Self {
        Self::from_error(JobErrorKind::Failed, error.into())
    }

    /// Another attempt is pointless. `code` is stable and in snake case; `message` says what to do next.
    pub fn fatal(code: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Self {
        Self::new(JobErrorKind::Fatal, code, message.to_string())
    }

    /// The handler stopped because it was asked to.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(JobErrorKind::Cancelled, "cancelled", "the job was cancelled".to_owned())
    }

    /// Replaces the code; a job that is put off keeps its own.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = if self.0.kind == JobErrorKind::Snoozed { SNOOZED.into() } else { code.into() };
        self
    }

    /// Sets the CAP error number: an [`ErrorCode`], or 1000 to 9999 for your own.
    #[must_use]
    pub fn with_number(mut self, number: impl Into<i32>) -> Self {
        self.0.number = number.into();
        self
    }

    /// Which way the job failed.
    #[must_use]
    pub fn kind(&self) -> JobErrorKind {
        self.0.kind
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The CAP error number; zero when there is none.
    #[must_use]
    pub fn number(&self) -> i32 {
        self.0.number
    }

    /// What went wrong, for people, causes included.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The shortest wait before the next attempt, if one was asked for.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The error with another text. Its source goes, since it may repeat the old one.
    #[cfg(feature = "endpoint")]
    pub(crate) fn map_message(mut self, map: impl FnOnce(String) -> String) -> Self {
        self.0.message = bounded(map(std::mem::take(&mut self.0.message)));
        self.0.source = None;
        self
    }

    pub(crate) fn new(kind: JobErrorKind, code: impl Into<Cow<'static, str>>, message: String) -> Self {
        let message = bounded(message);
        Self(Box::new(Inner { kind, code: code.into(), number: 0, message, retry_after: None, source: None }))
    }

    fn from_error(kind: JobErrorKind, error: BoxError) -> Self {
        let mut this = Self::new(kind, "handler_failed", chain(&*error));
        this.0.source = Some(error);
        this
    }

    fn sourced(kind: JobErrorKind, code: impl Into<Cow<'static, str>>, error: impl Into<BoxError>) -> Self {
        Self::from_error(kind, error.into()).with_code(code)
    }
}

/// The error and its causes in one line, none of them twice.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

fn bounded(mut text: String) -> String {
    if text.len() > MAX_MESSAGE_BYTES {
        const MARK: &str = "...";
        text.truncate(text.floor_char_boundary(MAX_MESSAGE_BYTES - MARK.len()));
        text.push_str(MARK);
    }
    text
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobError")
            .field("kind", &self.0.kind)
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("retry_after", &self.0.retry_after)
            .finish_non_exhaustive()
    }
}

impl Error for JobError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<std::io::Error> for JobError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let (kind, code) = match error.kind() {
            K::NotFound => (JobErrorKind::Fatal, "io_not_found"),
            K::PermissionDenied => (JobErrorKind::Fatal, "io_permission_denied"),
            K::InvalidInput | K::InvalidData | K::Unsupported | K::AlreadyExists => (JobErrorKind::Fatal, "io_invalid"),
            _ => (JobErrorKind::Retryable, "io_failed"),
        };
        Self::sourced(kind, code, error)
    }
}

impl From<serde_json::Error> for JobError {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() {
            return Self::sourced(JobErrorKind::Retryable, "io_failed", error);
        }
        Self::sourced(JobErrorKind::Fatal, "json_malformed", error)
    }
}

macro_rules! malformed {
    ($($error:ty => $code:literal),+ $(,)?) => {
        $(impl From<$error> for JobError {
            fn from(error: $error) -> Self {
                Self::sourced(JobErrorKind::Fatal, $code, error)
            }
        })+
    };
}

malformed! {
    std::str::Utf8Error => "text_malformed",
    std::string::FromUtf8Error => "text_malformed",
    std::num::ParseIntError => "number_malformed",
    std::num::ParseFloatError => "number_malformed",
    std::num::TryFromIntError => "number_out_of_range",
    std::fmt::Error => "text_malformed",
}

impl From<BusError> for JobError {
    fn from(error: BusError) -> Self {
        let kind = if error.is_retryable() { JobErrorKind::Retryable } else { JobErrorKind::Failed };
        Self::sourced(kind, error.code(), error)
    }
}

impl From<BlobError> for JobError {
    fn from(error: BlobError) -> Self {
        let kind = match error.kind() {
            BlobErrorKind::Full | BlobErrorKind::Unavailable => JobErrorKind::Retryable,
            _ => JobErrorKind::Fatal,
        };
        Self::sourced(kind, error.code(), error)
    }
}

/// Why an extractor could not be taken from a job. It ends the job: no other attempt would find other data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    code: Cow<'static, str>,
    message: String,
    number: i32,
}

impl Rejection {
    /// A rejection with a stable code in snake case and a text that says what to do next.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), number: i32::from(ErrorCode::JobInvalidInput) }
    }

    /// The stable code, `input_invalid` where the input does not have the shape the handler asked for.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }
}

impl From<Rejection> for JobError {
    fn from(rejection: Rejection) -> Self {
        let Rejection { code, message, number } = rejection;
        Self::new(JobErrorKind::Fatal, code, message).with_number(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the feed did not answer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_message_tells_the_causes_once() {
        let error = JobError::retry(Outer(std::io::Error::other("connection reset")));
        assert_eq!(error.message(), "the feed did not answer: connection reset");
        assert_eq!(error.code(), "handler_failed");
        assert!(error.source().is_some());
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let error = JobError::fatal("x", "é".repeat(MAX_MESSAGE_BYTES));
        assert!(error.message().len() <= MAX_MESSAGE_BYTES);
        assert!(error.message().ends_with("é..."));
    }

    #[test]
    fn standard_errors_convert_by_what_they_mean() {
        use std::io::{Error, ErrorKind};
        let cases: Vec<(JobError, JobErrorKind, &str)> = vec![
            (Error::new(ErrorKind::ConnectionReset, "x").into(), JobErrorKind::Retryable, "io_failed"),
            (Error::new(ErrorKind::NotFound, "x").into(), JobErrorKind::Fatal, "io_not_found"),
            ("x".parse::<u8>().unwrap_err().into(), JobErrorKind::Fatal, "number_malformed"),
            (serde_json::from_str::<u8>("{").unwrap_err().into(), JobErrorKind::Fatal, "json_malformed"),
        ];
        for (error, kind, code) in cases {
            assert_eq!((error.kind(), error.code()), (kind, code), "{error}");
        }
    }
}

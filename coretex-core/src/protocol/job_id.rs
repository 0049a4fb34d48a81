//! Wire job ids.
//!
//! The job of a workflow step is named `<run>:<step>@<attempt>`, the one of an item of a loop
//! `<run>:<step>[<item>]@<attempt>`. The attempt is part of the id, so a result fences itself: one of an older attempt
//! names another job. The run is everything before the last `:`, so a run id may have colons and a step id may not.
//!
//! Ids of jobs that clients submit are free text and do not parse; [`check`] judges them.

use std::{fmt, num::NonZeroU32, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest job id, in bytes. Keys and subjects made from it stay within the limits of stores and brokers.
pub const MAX_JOB_ID_BYTES: usize = 512;

/// The wire job id of an attempt at a workflow step.
///
/// Invariant: the parts are legal, so [`Display`](fmt::Display) and [`FromStr`] are inverse to each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct JobId {
    run: String,
    step: String,
    index: Option<u32>,
    attempt: NonZeroU32,
}

/// Why a text is no wire job id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobIdError {
    /// It is empty.
    #[error("the job id is empty; give one")]
    Empty,
    /// It is longer than [`MAX_JOB_ID_BYTES`].
    #[error("the job id has {length} bytes; at most {MAX_JOB_ID_BYTES} are allowed")]
    TooLong {
        /// Bytes found.
        length: usize,
    },
    /// It is not of the form `<run>:<step>@<attempt>`.
    #[error("`{0}` is no id of a workflow job; the form is `<run>:<step>@<attempt>`")]
    Form(String),
    /// The attempt is no number from 1 on, written without leading zeros.
    #[error("`{0}` is no attempt; attempts count from 1")]
    Attempt(String),
    /// The item is no number from 0 on, written without leading zeros.
    #[error("`{0}` is no item of a loop; items count from 0")]
    Index(String),
    /// The id, or the run or step in it, has a character that is not allowed.
    #[error("`{}` has a character that is not allowed; use visible characters without spaces, and no `:@[]` in a step", .0.escape_debug())]
    IllegalCharacter(String),
}

impl JobIdError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "job_id_empty",
            Self::TooLong { .. } => "job_id_too_long",
            Self::Form(_) => "job_id_form",
            Self::Attempt(_) => "job_id_attempt",
            Self::Index(_) => "job_id_index",
            Self::IllegalCharacter(_) => "job_id_illegal_character",
        }
    }
}

impl JobId {
    /// The first or a later attempt at a step.
    ///
    /// # Errors
    /// Run or step is empty or has characters that are not allowed, the attempt is zero, or the whole is too long.
    pub fn new(run: impl Into<String>, step: impl Into<String>, attempt: u32) -> Result<Self, JobIdError> {
        Self::build(run.into(), step.into(), None, attempt)
    }

    /// An attempt at one item of a loop; items count from 0.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn item(run: impl Into<String>, step: impl Into<String>, index: u32, attempt: u32) -> Result<Self, JobIdError> {
        Self::build(run.into(), step.into(), Some(index), attempt)
    }

    fn build(run: String, step: String, index: Option<u32>, attempt: u32) -> Result<Self, JobIdError> {
        if run.is_empty() || step.is_empty() {
            return Err(JobIdError::Form(format!("{run}:{step}")));
        }
        if !is_plain(&run) {
            return Err(JobIdError::IllegalCharacter(run));
        }
        if !is_plain(&step) || step.contains([':', '@', '[', ']']) {
            return Err(JobIdError::IllegalCharacter(step));
        }
        let attempt = NonZeroU32::new(attempt).ok_or_else(|| JobIdError::Attempt(attempt.to_string()))?;
        let id = Self { run, step, index, attempt };
        match id.to_string().len() {
            length if length > MAX_JOB_ID_BYTES => Err(JobIdError::TooLong { length }),
            _ => Ok(id),
        }
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The step within the workflow.
    #[must_use]
    pub fn step(&self) -> &str {
        &self.step
    }

    /// The item of a loop, from 0.
    #[must_use]
    pub fn index(&self) -> Option<u32> {
        self.index
    }

    /// The attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt.get()
    }

    /// The same step or item, another attempt.
    ///
    /// # Errors
    /// The attempt is zero, or the id becomes too long.
    pub fn with_attempt(&self, attempt: u32) -> Result<Self, JobIdError> {
        Self::build(self.run.clone(), self.step.clone(), self.index, attempt)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.run, self.step)?;
        if let Some(index) = self.index {
            write!(f, "[{index}]")?;
        }
        write!(f, "@{}", self.attempt)
    }
}

impl FromStr for JobId {
    type Err = JobIdError;

    fn from_str(text: &str) -> Result<Self, JobIdError> {
        check(text)?;
        let form = || JobIdError::Form(text.to_owned());
        let (run, rest) = text.rsplit_once(':').ok_or_else(form)?;
        let (step, attempt) = rest.split_once('@').ok_or_else(form)?;
        let attempt = number(attempt).ok_or_else(|| JobIdError::Attempt(attempt.to_owned()))?;
        let (step, index) = match step.split_once('[') {
            None => (step, None),
            Some((step, index)) => {
                let index = index.strip_suffix(']').ok_or_else(form)?;
                (step, Some(number(index).ok_or_else(|| JobIdError::Index(index.to_owned()))?))
            }
        };
        Self::build(run.to_owned(), step.to_owned(), index, attempt)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for JobId {
    type Error = JobIdError;

    fn try_from(text: String) -> Result<Self, JobIdError> {
        text.parse()
    }
}

/// The run that a wire job id belongs to, without judging the rest; nothing for an id of another form. Any node finds
/// the owner of a job by this, without a read.
#[must_use]
pub fn run_of(job_id: &str) -> Option<&str> {
    let (run, rest) = job_id.rsplit_once(':')?;
    (!run.is_empty() && rest.contains('@')).then_some(run)
}

/// Judges any job id, also one that a client made up: not empty, not too long, no space, no control character.
///
/// # Errors
/// See [`JobIdError`].
pub fn check(job_id: &str) -> Result<(), JobIdError> {
    match job_id.len() {
        0 => Err(JobIdError::Empty),
        length if length > MAX_JOB_ID_BYTES => Err(JobIdError::TooLong { length }),
        _ if !is_plain(job_id) => Err(JobIdError::IllegalCharacter(job_id.to_owned())),
        _ => Ok(()),
    }
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// A decimal number in its only form: no sign, no leading zeros. Two texts of one id would be two jobs.
fn number(text: &str) -> Option<u32> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && digits).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_round_trip(
            run in "[a-zA-Z0-9:@_.\\[\\]-]{1,40}",
            step in "[a-zA-Z0-9_./é-]{1,40}",
            index in prop::option::of(any::<u32>()),
            attempt in 1u32..,
        ) {
            let id = match index {
                Some(index) => JobId::item(&run, &step, index, attempt),
                None => JobId::new(&run, &step, attempt),
            }.unwrap();
            prop_assert_eq!(id.to_string().parse::<JobId>().unwrap(), id.clone());
            let text = id.to_string();
            prop_assert_eq!(run_of(&text), Some(id.run()));
            prop_assert_eq!((id.run(), id.step(), id.index(), id.attempt()), (&*run, &*step, index, attempt));
        }

        #[test]
        fn what_parses_prints_the_same(text in "[ab:@\\[\\]0-9 ]{0,16}") {
            if let Ok(id) = text.parse::<JobId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn the_forms_of_the_platform_are_read() {
        let id: JobId = "run-1:fetch@1".parse().unwrap();
        assert_eq!((id.run(), id.step(), id.index(), id.attempt()), ("run-1", "fetch", None, 1));
        let id: JobId = "a:b:each[12]@3".parse().unwrap();
        assert_eq!((id.run(), id.step(), id.index(), id.attempt()), ("a:b", "each", Some(12), 3));
        assert_eq!(id.with_attempt(4).unwrap().to_string(), "a:b:each[12]@4");
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        for (text, code) in [
            ("", "job_id_empty"),
            ("job-1", "job_id_form"),
            ("run:step", "job_id_form"),
            (":step@1", "job_id_form"),
            ("run:@1", "job_id_form"),
            ("run:step[1@1", "job_id_form"),
            ("run:step@0", "job_id_attempt"),
            ("run:step@01", "job_id_attempt"),
            ("run:step@+1", "job_id_attempt"),
            ("run:step@1@2", "job_id_attempt"),
            ("run:step@4294967296", "job_id_attempt"),
            ("run:step[x]@1", "job_id_index"),
            ("run:step[01]@1", "job_id_index"),
            ("run:step[]@1", "job_id_index"),
            ("run:s tep@1", "job_id_illegal_character"),
            ("run:step]@1", "job_id_illegal_character"),
            ("run\n:step@1", "job_id_illegal_character"),
        ] {
            assert_eq!(text.parse::<JobId>().unwrap_err().code(), code, "{text:?}");
        }
        let long = format!("{}:step@1", "r".repeat(MAX_JOB_ID_BYTES));
        assert_eq!(long.parse::<JobId>().unwrap_err().code(), "job_id_too_long");
        assert!(JobId::new("r", "a:b", 1).is_err());
        assert!(JobId::new("r", "a", 0).is_err());
    }
}

//! What the exit code of a program means.

use std::collections::BTreeMap;

use super::{
    problem::Problems,
    spec::{ExitAs, ExitMeaning},
};
use crate::job_error::{JobError, JobErrorKind};

/// Meanings by exit code; 0 is success, and what is not named failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExitCodes(BTreeMap<i64, ExitMeaning>);

impl ExitCodes {
    pub(crate) fn judge(place: &str, spec: &BTreeMap<String, ExitMeaning>, problems: &mut Problems) -> Self {
        let mut codes = BTreeMap::new();
        for (text, meaning) in spec {
            match text.parse::<i64>() {
                Ok(code @ 1..=255) => drop(codes.insert(code, meaning.clone())),
                _ => problems.note(format!("{place}.{text}"), "this is no exit code of a failure; use 1 to 255"),
            }
            if let Some(code) = &meaning.code
                && !is_code(code)
            {
                let what = "codes are 1 to 64 lower case letters, digits and `_`";
                problems.note(format!("{place}.{text}.code"), what);
            }
        }
        Self(codes)
    }

    /// Whether the document says what `code` means.
    #[cfg(feature = "container")]
    pub(crate) fn names(&self, code: i64) -> bool {
        self.0.contains_key(&code)
    }

    /// The error for an exit with `code`. `otherwise` is the code of the error that nobody named.
    pub(crate) fn error(&self, code: i64, otherwise: &'static str, stderr: &str) -> JobError {
        let text = if stderr.is_empty() {
            format!("the program ended with {code} and said nothing on its error stream")
        } else {
            format!("the program ended with {code}: {stderr}")
        };
        let meaning = self.0.get(&code);
        let kind = match meaning.map(|meaning| meaning.r#as) {
            Some(ExitAs::Retry) => JobErrorKind::Retryable,
            Some(ExitAs::Fatal) => JobErrorKind::Fatal,
            Some(ExitAs::Failed) | None => JobErrorKind::Failed,
        };
        match meaning.and_then(|meaning| meaning.code.clone()) {
            Some(own) => JobError::new(kind, own, text),
            None => JobError::new(kind, otherwise, text),
        }
    }
}

fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

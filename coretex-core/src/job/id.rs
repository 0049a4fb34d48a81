//! Identities, parsed at the edge and trusted behind it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// An identity that is not legal, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{text}` is not legal: {reason}")]
pub struct IdError {
    kind: &'static str,
    text: String,
    reason: &'static str,
}

impl IdError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "id_invalid"
    }
}

fn check(
    kind: &'static str,
    text: &str,
    most: usize,
    legal: fn(char) -> bool,
    hint: &'static str,
) -> Result<(), IdError> {
    let reason = if text.is_empty() {
        "it is empty"
    } else if text.len() > most {
        "it is too long"
    } else if !text.chars().all(legal) {
        hint
    } else {
        return Ok(());
    };
    Err(IdError { kind, text: text.chars().take(80).collect(), reason })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $most:literal, $legal:expr, $hint:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps `text`.
            ///
            /// # Errors
            #[doc = concat!("When it is empty, longer than ", $most, " bytes, or holds a character that is not allowed.")]
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check($kind, text, $most, $legal, $hint)?;
                Ok(Self(text.into()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The shared text.
            #[must_use]
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{}`", self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

id!(
    /// Names a workflow: letters, digits, `-`, `_`, `.`.
    WorkflowId, "workflow id", 128, plain, "use letters, digits, `-`, `_` and `.`"
);
id!(
    /// Names a run: letters, digits, `-`, `_`, `.`.
    RunId, "run id", 128, plain, "use letters, digits, `-`, `_` and `.`"
);
id!(
    /// Names a step: letters, digits, `-`, `_`.
    ///
    /// The wire job id puts `:`, `@` and `[` behind it, and an expression reads it as one part of a path, so none
    /// of those, nor a dot, may occur.
    StepId, "step id", 128, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'), "use letters, digits, `-` and `_`"
);
id!(
    /// Names one execution of a step within its run: the step's id, and an index for each loop and `for_each` that the
    /// step is inside of, outermost first, as in `scan[2][0]`.
    StepRunId,
    "step run id",
    200,
    |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '[' | ']'),
    "use the step's id, and `[n]` for each loop and `for_each` around it"
);
id!(
    /// Names a tenant: letters, digits, `-`, `_`, `.`.
    TenantId, "tenant", 64, plain, "use letters, digits, `-`, `_` and `.`"
);
id!(
    /// Names a job: `<run>:<step>@<attempt>` for a step's attempt, or what the client chose.
    JobId,
    "job id",
    360,
    |c| plain(c) || matches!(c, ':' | '@' | '[' | ']'),
    "use letters, digits and `-_.:@[]`"
);
id!(
    /// The kind of work, and the subject that its workers listen on: `job.` and dot-separated words.
    Topic, "topic", 200, plain, "use `job.` and words of letters, digits, `-` and `_`, separated by dots"
);

impl Default for TenantId {
    fn default() -> Self {
        Self("default".into())
    }
}

impl Topic {
    /// Checks and wraps `text`, which must start with `job.` and have no empty word.
    ///
    /// # Errors
    /// When it is not a legal topic.
    pub fn parse_job(text: &str) -> Result<Self, IdError> {
        let topic = Self::parse(text)?;
        let reason = if !text.starts_with("job.") {
            "it does not start with `job.`"
        } else if text.split('.').any(str::is_empty) {
            "it has an empty word between dots"
        } else {
            return Ok(topic);
        };
        Err(IdError { kind: "topic", text: text.to_owned(), reason })
    }
}

impl StepRunId {
    /// The id of the only execution of a step that is inside of no loop and no `for_each`.
    #[must_use]
    pub fn of_step(step: &StepId) -> Self {
        Self(step.shared())
    }

    /// The id of the execution of `step` with `indices`, outermost first.
    #[must_use]
    pub fn indexed(step: &StepId, indices: &[u32]) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(step.as_str().len() + indices.len() * 4);
        text.push_str(step.as_str());
        for index in indices {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "[{index}]");
        }
        Self(text.into())
    }

    /// The step's id, without indices.
    #[must_use]
    pub fn step(&self) -> &str {
        self.0.split('[').next().unwrap_or_default()
    }

    /// The indices, outermost first; `None` where the text is not of that form.
    #[must_use]
    pub fn indices(&self) -> Option<Vec<u32>> {
        Self::split(&self.0).map(|(_, indices)| indices)
    }

    /// The step's id and the indices of a text; `None` where it is not of that form.
    pub(crate) fn split(text: &str) -> Option<(&str, Vec<u32>)> {
        let Some((step, rest)) = text.split_once('[') else { return Some((text, Vec::new())) };
        let inner = rest.strip_suffix(']')?;
        // One text for one index: `[01]` and `[+1]` are not `[1]`.
        let number = |digits: &str| {
            let number: u32 = digits.parse().ok()?;
            (digits == number.to_string()).then_some(number)
        };
        Some((step, inner.split("][").map(number).collect::<Option<_>>()?))
    }
}

/// What lies before and behind the last `mark`, an ASCII character.
fn split_last(text: &str, mark: u8) -> Option<(&str, &str)> {
    let at = text.bytes().rposition(|byte| byte == mark)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

impl From<StepId> for StepRunId {
    fn from(step: StepId) -> Self {
        Self::of_step(&step)
    }
}

impl JobId {
    /// The id of a step's attempt.
    #[must_use]
    pub fn of_step(run: &RunId, step: &StepRunId, attempt: u32) -> Self {
        // Once per attempt, so that a format string would be felt.
        let mut digits = [0; 4];
        let attempt: &str = match char::from_digit(attempt, 10) {
            Some(digit) => digit.encode_utf8(&mut digits),
            None => &attempt.to_string(),
        };
        Self([run.as_str(), ":", step.as_str(), "@", attempt].concat().into())
    }

    /// Run, step and attempt, when the id is of that form.
    #[must_use]
    pub fn step_parts(&self) -> Option<(&str, &str, u32)> {
        // Both are near the end, where a search by bytes finds them sooner than one for a text.
        let (run, rest) = split_last(&self.0, b':')?;
        let (step, attempt) = split_last(rest, b'@')?;
        Some((run, step, attempt.parse().ok()?))
    }
}

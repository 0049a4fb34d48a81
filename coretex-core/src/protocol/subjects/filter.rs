//! Matching a subject against a filter.

use std::{fmt, str::FromStr, sync::Arc};

use super::{SubjectError, check_filter};

/// Whether `filter` covers `subject`: `*` stands for exactly one token, `>` at the end for one or more.
///
/// Takes one pass over both and allocates nothing. Both must be well formed; an ill-formed one simply does not
/// match what somebody may have meant.
#[must_use]
pub fn matches(filter: &str, subject: &str) -> bool {
    let mut filter = filter.as_bytes();
    let mut subject = subject.as_bytes();
    loop {
        let (wanted, wanted_rest) = next_token(filter);
        let (found, found_rest) = next_token(subject);
        if found.is_empty() {
            return false;
        }
        match wanted {
            b">" if wanted_rest.is_none() => return true,
            b"*" => {}
            exact if exact == found => {}
            _ => return false,
        }
        match (wanted_rest, found_rest) {
            (None, None) => return true,
            (Some(next_filter), Some(next_subject)) => {
                filter = next_filter;
                subject = next_subject;
            }
            _ => return false,
        }
    }
}

/// The first token, and what follows its dot.
fn next_token(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => {
            let (token, rest) = text.split_at_checked(dot).unwrap_or((text, &[]));
            (token, Some(rest.get(1..).unwrap_or_default()))
        }
        None => (text, None),
    }
}

/// A filter that was judged once and can be matched many times. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectFilter {
    text: Arc<str>,
    exact: bool,
}

impl SubjectFilter {
    /// Judges and takes a filter.
    ///
    /// # Errors
    /// A token is empty, has a space, or a wildcard stands where it means nothing (`a*`, `>.a`).
    pub fn new(filter: &str) -> Result<Self, SubjectError> {
        check_filter(filter)?;
        Ok(Self {
            text: filter.into(),
            exact: !filter.contains(['*', '>']),
        })
    }

    /// The filter as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names a single subject.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Whether it covers `subject`.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        if self.exact {
            &*self.text == subject
        } else {
            matches(&self.text, subject)
        }
    }
}

impl FromStr for SubjectFilter {
    type Err = SubjectError;

    fn from_str(filter: &str) -> Result<Self, SubjectError> {
        Self::new(filter)
    }
}

impl fmt::Debug for SubjectFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectFilter({:?})", &*self.text)
    }
}

impl fmt::Display for SubjectFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

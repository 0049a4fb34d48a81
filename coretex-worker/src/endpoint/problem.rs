//! What is wrong with a document of endpoints: everything, each with its place.

use std::fmt;

use coretex_core::value::DocumentError;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    place: String,
    text: String,
}

impl Problem {
    pub(crate) fn new(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { place: place.into(), text: text.into() }
    }

    /// The dotted path of the field, such as `endpoints.scan.script.argv`.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is wrong, and what to do.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// A document of endpoints that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointsError {
    /// It is not YAML or JSON.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// It is, but not a usable document of endpoints.
    #[error("{name}: {}", listed(.problems))]
    Invalid {
        /// The file.
        name: String,
        /// Everything that was found, in the order of the document's names.
        problems: Vec<Problem>,
    },
}

impl EndpointsError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Document(error) => error.code(),
            Self::Invalid { .. } => "endpoints_invalid",
        }
    }

    /// Everything that was found; empty when the text is no document at all.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Document(_) => &[],
            Self::Invalid { problems, .. } => problems,
        }
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Gathers problems below a place.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn note(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem::new(place, text));
    }

    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

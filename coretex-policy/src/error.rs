//! What can be wrong with a policy, told with its place and what to do next.

use std::{fmt, sync::Arc};

/// What kind of mistake it is. [`ErrorCode::as_str`] is stable and has a page in `docs/errors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// Not YAML, or not a mapping.
    Syntax,
    /// Larger, deeper or more repetitive than a policy may be.
    TooLarge,
    /// A key that no rule language of ours has.
    UnknownKey,
    /// The same key twice in one mapping.
    DuplicateKey,
    /// A list where a text belongs, a word where a number belongs.
    WrongType,
    /// A key of a related product whose meaning is not enforced here.
    Unsupported,
    /// A decision word that means nothing.
    UnknownDecision,
    /// A rule that does not say what it decides.
    MissingDecision,
    /// A pattern list or a pattern that is empty.
    EmptyPattern,
    /// A topic pattern that is not a glob.
    BadGlob,
    /// Two rules of one document with the same id.
    DuplicateId,
    /// A group of names that the document does not have.
    UnknownGroup,
    /// A `when` that is no expression, or reads what a request does not have.
    BadCondition,
    /// A key that has no effect where it stands.
    Misplaced,
    /// Two bundles with the same id.
    DuplicateBundle,
    /// A bundle that speaks about what is not its own.
    OutOfScope,
    /// A bundle without the signature that it needs.
    Unsigned,
    /// A signature that no trusted key made, or a key that is none.
    BadSignature,
    /// A change of what is live without author or reason.
    Unexplained,
    /// A draft, bundle or publication that is not there.
    UnknownVersion,
    /// A file or directory that cannot be read.
    Unreadable,
}

impl ErrorCode {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 21] = [
        Self::Syntax,
        Self::TooLarge,
        Self::UnknownKey,
        Self::DuplicateKey,
        Self::WrongType,
        Self::Unsupported,
        Self::UnknownDecision,
        Self::MissingDecision,
        Self::EmptyPattern,
        Self::BadGlob,
        Self::DuplicateId,
        Self::UnknownGroup,
        Self::BadCondition,
        Self::Misplaced,
        Self::DuplicateBundle,
        Self::OutOfScope,
        Self::Unsigned,
        Self::BadSignature,
        Self::Unexplained,
        Self::UnknownVersion,
        Self::Unreadable,
    ];

    /// The stable name, `policy_…`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "policy_syntax",
            Self::TooLarge => "policy_too_large",
            Self::UnknownKey => "policy_unknown_key",
            Self::DuplicateKey => "policy_duplicate_key",
            Self::WrongType => "policy_wrong_type",
            Self::Unsupported => "policy_unsupported",
            Self::UnknownDecision => "policy_unknown_decision",
            Self::MissingDecision => "policy_missing_decision",
            Self::EmptyPattern => "policy_empty_pattern",
            Self::BadGlob => "policy_bad_glob",
            Self::DuplicateId => "policy_duplicate_id",
            Self::UnknownGroup => "policy_unknown_group",
            Self::BadCondition => "policy_bad_condition",
            Self::Misplaced => "policy_misplaced",
            Self::DuplicateBundle => "policy_duplicate_bundle",
            Self::OutOfScope => "policy_out_of_scope",
            Self::Unsigned => "policy_unsigned",
            Self::BadSignature => "policy_bad_signature",
            Self::Unexplained => "policy_unexplained",
            Self::UnknownVersion => "policy_unknown_version",
            Self::Unreadable => "policy_unreadable",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where in a document something stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file or bundle.
    pub source: Arc<str>,
    /// Line, from 1; 0 when only the document as a whole is meant.
    pub line: u32,
    /// Column in characters, from 1; 0 like `line`.
    pub column: u32,
    /// The way to the value, `rules[2].match.topics[0]`; empty for the document.
    pub path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, " at {}", self.path)?;
        }
        Ok(())
    }
}

/// One mistake in one bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}; {hint}")]
pub struct BundleError {
    /// What kind of mistake.
    pub code: ErrorCode,
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl BundleError {
    pub(crate) fn new(code: ErrorCode, place: Place, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, place, message: message.into(), hint: hint.into() }
    }

    /// The stable code, `policy_…`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code.as_str()
    }
}

/// Every mistake that was found, in document order. Shown one per line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundleErrors(pub Vec<BundleError>);

impl BundleErrors {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mistakes.
    pub fn iter(&self) -> std::slice::Iter<'_, BundleError> {
        self.0.iter()
    }
}

impl fmt::Display for BundleErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BundleErrors {}

impl From<BundleError> for BundleErrors {
    fn from(error: BundleError) -> Self {
        Self(vec![error])
    }
}

impl IntoIterator for BundleErrors {
    type Item = BundleError;
    type IntoIter = std::vec::IntoIter<BundleError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a BundleErrors {
    type Item = &'a BundleError;
    type IntoIter = std::slice::Iter<'a, BundleError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

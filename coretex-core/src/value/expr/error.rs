//! Errors of the expression language: at compile time with a position, at run time with the
//! expression and the reason.

use std::fmt;

/// A text is not a valid expression. Code `expression_invalid`.
///
/// `Display` is one line; [`excerpt`](Self::excerpt) shows the place with a caret.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub struct ExprError(Box<Details>);

#[derive(Clone, PartialEq, Eq)]
struct Details {
    text: String,
    offset: usize,
    reason: String,
    hint: Option<String>,
}

impl ExprError {
    pub(super) fn new(text: &str, offset: usize, reason: impl Into<String>) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        Self(Box::new(Details { text: text.to_owned(), offset, reason: reason.into(), hint: None }))
    }

    pub(super) fn with_hint(mut self, hint: Option<String>) -> Self {
        self.0.hint = hint;
        self
    }

    /// The stable code, `expression_invalid`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "expression_invalid"
    }

    /// What is wrong, without position and hint.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// What to do about it, when that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The line of the problem within the expression, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        position(&self.0.text, self.0.offset).0
    }

    /// The column of the problem in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        position(&self.0.text, self.0.offset).1
    }

    /// The byte offset of the problem within the expression.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.0.offset
    }

    /// The line of the problem, and under it a caret.
    #[must_use]
    pub fn excerpt(&self) -> String {
        excerpt(&self.0.text, self.0.offset)
    }
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expression `{}` is not valid at {}:{}: {}",
            shorten(&self.0.text),
            self.line(),
            self.column(),
            self.0.reason
        )?;
        match &self.0.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}\n{}", self.excerpt())
    }
}

/// An expression could not be evaluated. Code `expression_failed`, or `output_by_pointer` where a value that it reads is
/// kept elsewhere.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub struct EvalError(Box<Evaluation>);

#[derive(Clone, PartialEq, Eq)]
struct Evaluation {
    kind: EvalErrorKind,
    text: String,
    offset: usize,
    reason: String,
    template_path: Option<String>,
}

/// The nature of an [`EvalError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvalErrorKind {
    /// An operand has a type that the operation does not take, or is missing.
    Operand,
    /// Overflow, division by zero or a number that JSON cannot hold.
    Number,
    /// A value does not convert, or a pattern does not compile.
    Conversion,
    /// The evaluation is larger than allowed: its work, a list or the result.
    Limit,
    /// A value is kept elsewhere, such as an output behind a pointer.
    Elsewhere,
}

/// A failure on its way up, before the expression's text is attached.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: EvalErrorKind,
    pub(super) offset: Option<usize>,
    pub(super) reason: String,
}

impl Failure {
    pub(super) fn boxed(kind: EvalErrorKind, reason: impl Into<String>) -> Box<Self> {
        Box::new(Self { kind, offset: None, reason: reason.into() })
    }

    pub(super) fn operand(reason: impl Into<String>) -> Box<Self> {
        Self::boxed(EvalErrorKind::Operand, reason)
    }

    pub(super) fn attach(self, text: &str) -> EvalError {
        EvalError(Box::new(Evaluation {
            kind: self.kind,
            text: text.to_owned(),
            offset: self.offset.unwrap_or(0),
            reason: self.reason,
            template_path: None,
        }))
    }
}

impl EvalError {
    pub(in crate::value) fn at_template_path(mut self, path: &str) -> Self {
        self.0.template_path = Some(path.to_owned());
        self
    }

    /// The stable code: `output_by_pointer` for [`EvalErrorKind::Elsewhere`], else `expression_failed`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.0.kind {
            EvalErrorKind::Elsewhere => "output_by_pointer",
            _ => "expression_failed",
        }
    }

    /// The nature of the failure.
    #[must_use]
    pub fn kind(&self) -> EvalErrorKind {
        self.0.kind
    }

    /// The text of the expression that failed.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.0.text
    }

    /// Why, without the expression.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The column of the operation that failed, in characters from 1, on its line.
    #[must_use]
    pub fn column(&self) -> usize {
        position(&self.0.text, self.0.offset).1
    }

    /// Where the expression stands inside its template, as a dotted path; `None` outside of one.
    #[must_use]
    pub fn template_path(&self) -> Option<&str> {
        self.0.template_path.as_deref()
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.template_path() {
            Some("") => write!(f, "template: ")?,
            Some(path) => write!(f, "template at `{path}`: ")?,
            None => {}
        }
        let (line, column) = position(&self.0.text, self.0.offset);
        write!(f, "expression `{}` failed at {line}:{column}: {}", shorten(&self.0.text), self.0.reason)
    }
}

impl fmt::Debug for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?})", self.0.kind)
    }
}

/// Line and column of `offset`, both from 1, the column in characters.
pub(in crate::value) fn position(text: &str, offset: usize) -> (usize, usize) {
    let head = text.get(..offset).unwrap_or(text);
    let line_start = head.rfind('\n').map_or(0, |at| at + 1);
    let column = head.get(line_start..).unwrap_or_default().chars().count() + 1;
    (head.matches('\n').count() + 1, column)
}

/// The line around `offset`, at most 80 characters of it, with a caret below.
pub(in crate::value) fn excerpt(text: &str, offset: usize) -> String {
    let (line, column) = position(text, offset);
    let line = text.lines().nth(line - 1).unwrap_or_default();
    let skip = column.saturating_sub(60);
    let shown: String = line.chars().skip(skip).take(80).map(|ch| if ch == '\t' { ' ' } else { ch }).collect();
    format!("{shown}\n{}^", " ".repeat(column - 1 - skip))
}

/// At most 120 characters of an expression, on one line.
fn shorten(text: &str) -> String {
    let text = text.trim();
    let mut out: String = text.chars().take(120).map(|ch| if ch.is_control() { ' ' } else { ch }).collect();
    if text.chars().nth(120).is_some() {
        out.push('…');
    }
    out
}

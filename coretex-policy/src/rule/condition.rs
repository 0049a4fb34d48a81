//! `when`: an expression over the request, compiled once.

use std::sync::LazyLock;

use coretex_core::value::{CompileOptions, EvalError, Expr, ExprError, Scope};
use serde::{Serialize, Serializer};

/// What an expression may name.
pub(crate) const ROOTS: [&str; 17] = [
    "topic",
    "tenant",
    "principal",
    "actor_id",
    "actor_type",
    "capability",
    "pack",
    "risk_tags",
    "requires",
    "labels",
    "workflow",
    "run",
    "step",
    "attempt",
    "input",
    "facts",
    "known",
];

static OPTIONS: LazyLock<CompileOptions> =
    LazyLock::new(|| CompileOptions::new().with_roots(ROOTS).with_root("now").with_root("secrets_present"));

/// A checked condition. The language is that of `docs/reference/expressions.md`.
#[derive(Clone, Debug)]
pub struct Condition(Expr);

impl Condition {
    pub(crate) fn new(text: &str) -> Result<Self, ExprError> {
        Expr::compile(text, &OPTIONS).map(Self)
    }

    /// The expression as written.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text()
    }

    pub(crate) fn holds(&self, scope: &dyn Scope) -> Result<bool, EvalError> {
        self.0.evaluate_bool(scope)
    }
}

/// Equal texts mean the same.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Condition {}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

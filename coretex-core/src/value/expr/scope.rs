//! What an expression can see, lent to it without copying.
//!
//! The caller implements [`Scope`] over its own state; the evaluator walks it by reference and
//! copies only what ends up in the result. Looking something up must be pure and cheap: the same
//! name gives the same answer for the whole evaluation.

use std::fmt;

use serde_json::Map;

use crate::value::json::Value;

/// The variables of one evaluation.
pub trait Scope {
    /// The value of a root variable, or `None` when it has none here (it then reads as missing).
    fn variable(&self, name: &str) -> Option<Node<'_>>;
}

/// A map whose fields are looked up on access, such as the steps of a run.
pub trait Object {
    /// The value of one field, or `None` when there is none.
    fn field(&self, key: &str) -> Option<Node<'_>>;

    /// All keys, in any order. Called when the whole map becomes a value or is iterated.
    fn keys(&self) -> Vec<String>;
}

/// A value that exists and is kept elsewhere. Reading it fails with [`EvalErrorKind::Elsewhere`](super::EvalErrorKind),
/// rather than as if it were missing.
pub trait Elsewhere {
    /// What it is, where it is kept and what to do, as the reason of the failure.
    fn reason(&self) -> String;
}

/// One value that a [`Scope`] lends.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Node<'a> {
    /// A JSON value.
    Json(&'a Value),
    /// A map that is looked up on access.
    Object(&'a dyn Object),
    /// A string that is not stored as JSON, such as a status.
    Text(&'a str),
    /// A whole number that is not stored as JSON, such as an index.
    Int(i64),
    /// A flag that is not stored as JSON.
    Bool(bool),
    /// A value that is not at hand.
    Elsewhere(&'a dyn Elsewhere),
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(value) => f.debug_tuple("Json").field(value).finish(),
            Self::Object(object) => f.debug_tuple("Object").field(&object.keys()).finish(),
            Self::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Self::Int(int) => f.debug_tuple("Int").field(int).finish(),
            Self::Bool(flag) => f.debug_tuple("Bool").field(flag).finish(),
            Self::Elsewhere(value) => f.debug_tuple("Elsewhere").field(&value.reason()).finish(),
        }
    }
}

impl Scope for Map<String, Value> {
    fn variable(&self, name: &str) -> Option<Node<'_>> {
        self.get(name).map(Node::Json)
    }
}

/// The keys of a map are the variables; any other value has none.
impl Scope for Value {
    fn variable(&self, name: &str) -> Option<Node<'_>> {
        self.get(name).map(Node::Json)
    }
}

impl<S: Scope + ?Sized> Scope for &S {
    fn variable(&self, name: &str) -> Option<Node<'_>> {
        (**self).variable(name)
    }
}

//! JSON values and everything that reads, addresses, limits or computes them.
//!
//! | module | owns |
//! |---|---|
//! | [`json`] | the value model, canonical form, digests, truthiness |
//! | [`limits`] | how large and how deep a value may be |
//! | [`path`] | dotted paths such as `steps.fetch.output.items[0]` |
//! | `document` | YAML and JSON text into values, with positions in errors |
//! | `expr` | the expression language of conditions and templates |
//! | `template` | JSON trees whose strings contain `${...}` |
//! | `schema` | JSON Schema |
//!
//! Everything here is pure: equal arguments give equal results, on every machine, so that a
//! replayed run computes what it computed the first time. The first three modules are always
//! there; the others come with the crate feature `engine`.

pub mod json;
pub mod limits;
pub mod path;

#[cfg(feature = "engine")]
pub mod document;
#[cfg(feature = "engine")]
pub mod expr;
#[cfg(feature = "engine")]
pub mod schema;
#[cfg(feature = "engine")]
pub mod template;

#[cfg(test)]
mod tests;

pub use json::Value;
pub use limits::{LimitError, Limits};
pub use path::{Path, PathError};

#[cfg(feature = "engine")]
pub use document::DocumentError;
#[cfg(feature = "engine")]
pub use expr::{
    CompileOptions, Elsewhere, EvalError, EvalErrorKind, Expr, ExprError, Node, Object, References, Scope, Trace,
    TraceNode, TraceOutcome, Types,
};
#[cfg(feature = "engine")]
pub use schema::{Schema, SchemaError, Violation};
#[cfg(feature = "engine")]
pub use template::{Template, TemplateError};

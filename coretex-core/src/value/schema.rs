//! JSON Schema: compile once, validate many times.
//!
//! Drafts 4 to 2020-12, chosen by `$schema` (2020-12 without one). References stay inside the
//! document: nothing is read from the network or from files. The crate behind this stays private
//! to this module. Messages name the rule and the place, never the value, so that a secret in an
//! input does not end up in a log.

use std::fmt;
use std::sync::Arc;

use crate::value::json::Value;
use crate::value::limits::Limits;

/// Most violations that one validation reports.
pub const MAX_VIOLATIONS: usize = 32;
/// Longest message of a violation, in characters.
const MAX_MESSAGE: usize = 300;
/// Steps that one backtracking pattern may take.
const BACKTRACK_LIMIT: usize = 100_000;
/// Bytes that one compiled pattern may take.
const PATTERN_BYTES: usize = 1024 * 1024;

/// A compiled JSON Schema. Cloning shares it.
///
/// ```
/// use coretex_core::value::Schema;
/// use serde_json::json;
///
/// let schema = Schema::compile(&json!({"type": "object", "required": ["name"]})).unwrap();
/// let violations = schema.validate(&json!({})).unwrap_err();
/// assert_eq!(violations[0].keyword, "required");
/// ```
#[derive(Clone)]
pub struct Schema(Arc<jsonschema::Validator>);

/// A value is not a usable JSON Schema. Code `schema_invalid`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("schema is not valid at `{path}`: {reason}", path = if path.is_empty() { "the root" } else { path })]
pub struct SchemaError {
    path: String,
    reason: String,
}

impl SchemaError {
    /// The stable code, `schema_invalid`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "schema_invalid"
    }

    /// Where in the schema, as a JSON pointer; empty for the root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// One rule of a schema that a value breaks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// Where in the value, as a JSON pointer (`/items/0/name`); empty for the root.
    pub path: String,
    /// The keyword of the schema, such as `required`.
    pub keyword: String,
    /// The rule in words; does not contain the value.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "`{path}`: {}", self.message)
    }
}

impl Schema {
    /// Compiles `schema`; tens of microseconds for a usual one.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] when it is not a schema, refers outside of itself, contains a pattern that
    /// does not compile, or exceeds the default [`Limits`].
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        Limits::default()
            .check(schema)
            .map_err(|error| SchemaError { path: String::new(), reason: error.to_string() })?;
        if let Some(external) = external_reference(schema) {
            return Err(SchemaError {
                path: String::new(),
                reason: format!("`{external}` refers outside of the schema; copy what it names into `$defs`"),
            });
        }
        let patterns = jsonschema::PatternOptions::fancy_regex()
            .backtrack_limit(BACKTRACK_LIMIT)
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES);
        jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .build(schema)
            .map(|validator| Self(Arc::new(validator)))
            .map_err(|error| SchemaError {
                path: error.instance_path().to_string(),
                reason: shorten(&error.to_string()),
            })
    }

    /// Checks `value`.
    ///
    /// # Errors
    ///
    /// The broken rules in document order, at most [`MAX_VIOLATIONS`] of them, never empty.
    pub fn validate(&self, value: &Value) -> Result<(), Vec<Violation>> {
        if self.0.is_valid(value) {
            return Ok(());
        }
        Err(self
            .0
            .iter_errors(value)
            .take(MAX_VIOLATIONS)
            .map(|error| Violation {
                path: error.instance_path().to_string(),
                keyword: error.kind().keyword().to_owned(),
                message: shorten(&error.masked().to_string()),
            })
            .collect())
    }

    /// Whether `value` breaks no rule; cheaper than [`validate`](Self::validate).
    #[must_use]
    pub fn is_valid(&self, value: &Value) -> bool {
        self.0.is_valid(value)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("draft", &self.0.draft()).finish_non_exhaustive()
    }
}

/// A reference that would have to be fetched, when nothing in the schema declares that id.
fn external_reference(schema: &Value) -> Option<&str> {
    let mut ids = Vec::new();
    let mut references = Vec::new();
    let mut stack = vec![schema];
    while let Some(value) = stack.pop() {
        match value {
            Value::Array(items) => stack.extend(items),
            Value::Object(map) => {
                for (key, item) in map {
                    match (key.as_str(), item) {
                        ("$id" | "id", Value::String(id)) => ids.push(id.trim_end_matches('#')),
                        ("$ref" | "$dynamicRef", Value::String(target)) => references.push(target.as_str()),
                        // Example data is not a schema.
                        ("const" | "enum" | "default" | "examples", _) => {}
                        _ => stack.push(item),
                    }
                }
            }
            _ => {}
        }
    }
    references.into_iter().find(|target| {
        let document = target.split('#').next().unwrap_or_default();
        let absolute = document.contains("://") || document.starts_with("file:");
        absolute && !ids.contains(&document) && !document.contains("://json-schema.org/")
    })
}

fn shorten(message: &str) -> String {
    if message.chars().nth(MAX_MESSAGE).is_none() {
        return message.to_owned();
    }
    let mut short: String = message.chars().take(MAX_MESSAGE).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests;

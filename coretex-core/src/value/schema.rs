//! JSON Schema: compile once, validate many times.
//!
//! Drafts 4 to 2020-12, chosen by `$schema` (2020-12 without one). References stay inside the
//! document: nothing is read from the network or from files. The crate behind this stays private
//! to this module. Messages name the rule and the place, never the value, so that a secret in an
//! input does not end up in a log.

mod bounds;
mod defaults;
mod pattern;
mod sample;
mod scalar;
pub(in crate::value) mod view;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::value::json::Value;
use crate::value::limits::{LimitError, Limits};

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
pub struct Schema(Arc<Compiled>);

struct Compiled {
    validator: jsonschema::Validator,
    source: view::Source,
}

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
    /// does not compile, exceeds the default [`Limits`], or checks one value against more than
    /// 10,000 schemas or along more than 128 references.
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
        let source = view::Source::new(schema.clone());
        bounds::check(&source).map_err(|reason| SchemaError { path: String::new(), reason })?;
        let patterns = jsonschema::PatternOptions::fancy_regex()
            .backtrack_limit(BACKTRACK_LIMIT)
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES);
        jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .build(schema)
            .map(|validator| Self(Arc::new(Compiled { validator, source })))
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
        if self.0.validator.is_valid(value) {
            return Ok(());
        }
        Err(self
            .0
            .validator
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
        self.0.validator.is_valid(value)
    }

    /// A value of the shape that the schema asks for: a stand-in for an output in a dry run. The same
    /// schema gives the same value.
    ///
    /// `const`, `enum`, `default` and `examples` are taken first, in this order; else the smallest
    /// value of the type that the bounds and the format allow. An object has its optional properties
    /// too, and a list an element, as long as that does not recur or make the value invalid; of
    /// alternatives the first that leads to a valid value is taken.
    ///
    /// ```
    /// use coretex_core::value::Schema;
    /// use serde_json::json;
    ///
    /// let schema = Schema::compile(&json!({
    ///     "type": "object", "required": ["level", "at"],
    ///     "properties": {"level": {"enum": ["low", "high"]}, "at": {"type": "string", "format": "date-time"}},
    /// }))
    /// .unwrap();
    /// assert_eq!(schema.sample(), json!({"level": "low", "at": "2026-01-01T00:00:00Z"}));
    /// ```
    ///
    /// It is a best effort. Patterns with look-around or back references, several patterns at once, a
    /// pattern together with a length, `not`, `propertyNames`, `unevaluatedProperties`,
    /// `unevaluatedItems`, and contradictions may give a value that does not
    /// [validate](Self::is_valid); so may a schema that only values of more than 2,000 parts satisfy.
    #[must_use]
    pub fn sample(&self) -> Value {
        sample::sample(self, &self.0.source)
    }

    /// The value, with what it leaves out filled in from the `default`s of the schema. What is there stays as it is,
    /// an explicit null included. Filling in twice is filling in once.
    ///
    /// A property that is missing gets the `default` of its schema, of what that refers to, or of its `allOf`
    /// branches, the nearest first. The walk follows `properties`, `additionalProperties`, `items`, `prefixItems`,
    /// `allOf` and references inside the document, down to 64 levels; not `anyOf`, `oneOf` and `if`, where it depends
    /// on the value which schema holds. A missing object without a default is not invented for the sake of the
    /// defaults inside of it, and a default that would contain itself is not inserted.
    ///
    /// ```
    /// use coretex_core::value::Schema;
    /// use serde_json::json;
    ///
    /// let schema = Schema::compile(&json!({"properties": {"limit": {"type": "integer", "default": 10}}})).unwrap();
    /// assert_eq!(*schema.with_defaults(&json!({})).unwrap(), json!({"limit": 10}));
    /// assert_eq!(*schema.with_defaults(&json!({"limit": null})).unwrap(), json!({"limit": null}));
    /// ```
    ///
    /// O(n) in the places of the value; borrowed, and free, when the schema has no defaults.
    ///
    /// # Errors
    ///
    /// [`LimitError`] when more than 100,000 values or 8 MiB would be filled in, or when more than four million places
    /// are looked at.
    pub fn with_defaults<'v>(&self, value: &'v Value) -> Result<Cow<'v, Value>, LimitError> {
        defaults::fill(&self.0.source, value)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("draft", &self.0.validator.draft()).finish_non_exhaustive()
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

//! JSON values, paths, expressions, templates and schemas.

/// The value model: JSON.
pub type Value = serde_json::Value;

//! References to secrets (`secret://…`): found so that policy can weigh them, hidden where people look.

use crate::value::Value;

/// What stands where a secret reference stood.
pub const REDACTED: &str = "<redacted>";

/// Whether any string in `value` refers to a secret: its trimmed text starts with `secret://`. O(size).
#[must_use]
pub fn has_secret_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => is_reference(text),
        Value::Array(items) => items.iter().any(has_secret_reference),
        Value::Object(fields) => fields.values().any(has_secret_reference),
        _ => false,
    }
}

/// A copy of `value` in which [`REDACTED`] stands for every secret reference.
#[must_use]
pub fn redact(value: &Value) -> Value {
    match value {
        Value::String(text) if is_reference(text) => Value::String(REDACTED.to_owned()),
        Value::Array(items) => Value::Array(items.iter().map(redact).collect()),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), redact(value))).collect(),
        other => other.clone(),
    }
}

fn is_reference(text: &str) -> bool {
    text.trim_start().starts_with("secret://")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_is_found_at_any_depth_and_hidden() {
        let value = json!({"a": ["x", {"b": "  secret://vault/key"}], "c": "no secret://here"});
        assert!(has_secret_reference(&value));
        assert_eq!(redact(&value), json!({"a": ["x", {"b": REDACTED}], "c": "no secret://here"}));
        assert!(!has_secret_reference(&json!({"c": "no secret://here"})));
    }
}

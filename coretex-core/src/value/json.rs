//! The value model: `serde_json::Value`, with the few operations that the platform defines on it.
//!
//! Results here do not depend on the order in which a map was built, so they stay the same when a
//! host application turns on serde_json's `preserve_order`.

use sha2::{Digest, Sha256};

/// A JSON value. Numbers are `i64`, `u64` or finite `f64`.
pub type Value = serde_json::Value;

/// The established truthiness of a value: what a condition means when it is not a bool.
///
/// False are `null`, `false`, the empty string and zero. Everything else is true, an empty array
/// and an empty map included.
///
/// ```
/// use coretex_core::value::json::{truthy, Value};
///
/// assert!(!truthy(&Value::from(0)));
/// assert!(truthy(&serde_json::json!([])));
/// ```
#[must_use]
pub fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number_is_truthy(number),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn number_is_truthy(number: &serde_json::Number) -> bool {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(int), _, _) => int != 0,
        (_, Some(uint), _) => uint != 0,
        (_, _, Some(double)) => double != 0.0,
        _ => true,
    }
}

/// The canonical JSON text: map keys sorted by their bytes, no spaces, serde_json's number and
/// string forms. Equal values give equal text.
///
/// O(n log k) for n nodes and maps of k keys.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

/// The lower-case hex sha256 of the [`canonical`] text: 64 characters.
#[must_use]
pub fn digest(value: &Value) -> String {
    hex(&Sha256::digest(canonical(value).as_bytes()))
}

/// Appends `value` the way a template splices it into text: strings raw, `null` as nothing, the
/// rest as compact JSON.
pub fn print_into(value: &Value, out: &mut String) {
    match value {
        Value::Null => {}
        Value::String(text) => out.push_str(text),
        other => write_canonical(other, out),
    }
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_bytes());
            out.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write_canonical(item, out);
            }
            out.push('}');
        }
        Value::String(text) => write_string(text, out),
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&number.to_string()),
    }
}

/// Appends `text` as a JSON string literal.
pub(crate) fn write_string(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    out.push('"');
    for ch in text.chars() {
        match ch {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ch if ch < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(ch));
            }
            ch => out.push(ch),
        }
    }
    out.push('"');
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0x0f])
        .filter_map(|nibble| DIGITS.get(usize::from(nibble)))
        .collect()
}

/// Reads a field that is there as `Some`, also when it is `null`: an output of `null` is not a missing output.
///
/// For `#[serde(default, deserialize_with = "…")]` on an `Option<Arc<Value>>`.
///
/// # Errors
/// When the field is not JSON.
pub fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<std::sync::Arc<Value>>, D::Error> {
    <Value as serde::Deserialize>::deserialize(deserializer).map(|value| Some(std::sync::Arc::new(value)))
}

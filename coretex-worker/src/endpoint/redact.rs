//! Takes the values of secrets out of what leaves the worker.
//!
//! Exact values only: a secret that a program encodes or cuts before it prints it cannot be recognised.

use coretex_core::{governance::REDACTED, value::Value};

use super::secret::Secret;

/// The values that must not leave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redactor(Vec<Secret>);

impl Redactor {
    pub(crate) fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut this = Self::default();
        this.add(secrets);
        this
    }

    /// Adds what was made from secrets.
    pub(crate) fn add(&mut self, secrets: impl IntoIterator<Item = Secret>) {
        self.0.extend(secrets.into_iter().filter(|secret| !secret.expose().is_empty()));
        // A secret that holds another one goes first, or its rest would stay.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    }

    /// The length of the longest value in bytes.
    #[cfg(any(feature = "script", feature = "container"))]
    pub(crate) fn longest(&self) -> usize {
        self.0.first().map_or(0, |secret| secret.expose().len())
    }

    /// O(text x secrets).
    pub(crate) fn text(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| {
            if text.contains(secret.expose()) { text.replace(secret.expose(), REDACTED) } else { text }
        })
    }

    /// Redacts strings, keys, and numbers whose text is a secret.
    pub(crate) fn value(&self, value: Value) -> Value {
        if self.0.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.value(item)).collect()),
            Value::Object(fields) => {
                Value::Object(fields.into_iter().map(|(key, value)| (self.text(key), self.value(value))).collect())
            }
            Value::Number(number) => {
                let text = number.to_string();
                if self.0.iter().any(|secret| text.contains(secret.expose())) {
                    Value::String(REDACTED.to_owned())
                } else {
                    Value::Number(number)
                }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn exact_values_are_taken_out_wherever_they_stand() {
        let redactor = Redactor::new(["abcd", "abcdefgh", "123456"].map(|text| Secret::new(text.to_owned())));
        let value = json!({"a abcd": ["xabcdefghy", 123456, 7, null, true], "n": -1234567});
        let expected = json!({"a <redacted>": ["x<redacted>y", "<redacted>", 7, null, true], "n": "<redacted>"});
        assert_eq!(redactor.value(value), expected);
    }
}

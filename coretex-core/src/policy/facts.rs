//! What is known of a run beyond the job: flags, counts and words that rules read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::value::Value;

/// Named facts that a host lends to policy: what a run touched, what was spent, how often something happened lately.
///
/// Policy holds no state, so a rate is a fact too: whoever counts lends the count, and equal requests keep getting
/// equal answers. A fact is a flag, a whole number, a text or a list of texts.
///
/// ```
/// use coretex_core::policy::RunFacts;
///
/// let facts = RunFacts::new().flag("touched_secrets", true).count("jobs_last_minute", 40).words("hosts", ["api.example.com"]);
/// assert_eq!(facts.get("jobs_last_minute"), Some(&40.into()));
/// assert_eq!(facts.get("spent_cents"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Value>", into = "BTreeMap<String, Value>")]
pub struct RunFacts(BTreeMap<String, Value>);

impl RunFacts {
    /// Nothing known.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Something that is so, or is not so.
    #[must_use]
    pub fn flag(self, name: &str, value: bool) -> Self {
        self.with(name, value.into())
    }

    /// How many or how much, in whole units that the name tells.
    #[must_use]
    pub fn count(self, name: &str, value: i64) -> Self {
        self.with(name, value.into())
    }

    /// A text.
    #[must_use]
    pub fn text(self, name: &str, value: impl Into<String>) -> Self {
        self.with(name, value.into().into())
    }

    /// A list of texts.
    #[must_use]
    pub fn words<W: Into<String>>(self, name: &str, words: impl IntoIterator<Item = W>) -> Self {
        self.with(name, words.into_iter().map(|word| Value::String(word.into())).collect())
    }

    /// The fact, if somebody told it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The names of what is known, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }
}

impl TryFrom<BTreeMap<String, Value>> for RunFacts {
    type Error = String;

    fn try_from(facts: BTreeMap<String, Value>) -> Result<Self, String> {
        let plain = |value: &Value| match value {
            Value::Bool(_) | Value::String(_) => true,
            Value::Number(number) => number.is_i64(),
            Value::Array(items) => items.iter().all(Value::is_string),
            Value::Null | Value::Object(_) => false,
        };
        match facts.iter().find(|(_, value)| !plain(value)) {
            None => Ok(Self(facts)),
            Some((name, _)) => {
                Err(format!("fact `{name}` is no flag, whole number, text or list of texts; give one of these"))
            }
        }
    }
}

impl From<RunFacts> for BTreeMap<String, Value> {
    fn from(facts: RunFacts) -> Self {
        facts.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_plain() {
        for (text, good) in [
            (r#"{"a": true, "b": 3, "c": "x", "d": ["x", "y"], "e": []}"#, true),
            (r#"{"a": 1.5}"#, false),
            (r#"{"a": null}"#, false),
            (r#"{"a": {}}"#, false),
            (r#"{"a": [1]}"#, false),
        ] {
            let read = serde_json::from_str::<RunFacts>(text);
            assert_eq!(read.is_ok(), good, "{text}");
            if let Ok(facts) = read {
                assert_eq!(serde_json::from_value::<RunFacts>(serde_json::to_value(&facts).unwrap()).unwrap(), facts);
            }
        }
    }
}

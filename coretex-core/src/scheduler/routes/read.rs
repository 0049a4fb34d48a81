//! Reading a configuration document: every key is known, every problem is told with its place, all at once.

use std::time::Duration;

use serde_json::Map;

use crate::value::{DocumentError, Value};

/// What is wrong at one place of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The document.
    pub document: String,
    /// The way to the value, such as `pools.big.max_queue`; empty for the document as a whole.
    pub place: String,
    /// What is wrong there, and what to do.
    pub message: String,
}

/// A configuration document that cannot be used, with everything that is wrong in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    code: &'static str,
    problems: Vec<ConfigProblem>,
}

impl ConfigError {
    /// The stable code: `pools_invalid` or `timeouts_invalid`, or that of a text that is neither YAML nor JSON.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// Everything that is wrong, in the order of the document; never empty.
    #[must_use]
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }

    /// Adds what is wrong in another document.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.problems.extend(other.problems);
        self
    }

    pub(crate) fn document(code: &'static str, error: &DocumentError) -> Self {
        let message = error.to_string();
        let message = message.strip_prefix(error.name()).unwrap_or(&message).trim_start_matches(':').to_owned();
        let problem = ConfigProblem { document: error.name().to_owned(), place: String::new(), message };
        Self { code, problems: vec![problem] }
    }
}

impl std::error::Error for ConfigError {}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            let ConfigProblem { document, place, message } = problem;
            if place.is_empty() {
                write!(f, "{document}: {message}")?;
            } else {
                write!(f, "{document}: `{place}`: {message}")?;
            }
        }
        Ok(())
    }
}

/// Gathers problems while a document is read.
#[derive(Debug)]
pub(in crate::scheduler) struct Reader {
    name: String,
    code: &'static str,
    problems: Vec<ConfigProblem>,
}

impl Reader {
    pub(in crate::scheduler) fn new(name: &str, code: &'static str) -> Self {
        Self { name: name.to_owned(), code, problems: Vec::new() }
    }

    pub(in crate::scheduler) fn problem(&mut self, place: &str, message: impl Into<String>) {
        let (document, place) = (self.name.clone(), place.to_owned());
        self.problems.push(ConfigProblem { document, place, message: message.into() });
    }

    pub(in crate::scheduler) fn finish<T>(self, value: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() { Ok(value) } else { Err(ConfigError { code: self.code, problems: self.problems }) }
    }

    /// The fields of an object. `null` is an object without fields: a key that was written and left empty.
    pub(in crate::scheduler) fn object<'a>(&mut self, place: &str, value: &'a Value) -> Fields<'a> {
        match value {
            Value::Object(map) => Fields { map: Some(map), place: place.to_owned(), seen: Vec::new() },
            Value::Null => Fields { map: None, place: place.to_owned(), seen: Vec::new() },
            other => {
                self.problem(place, format!("{} where a mapping belongs", kind(other)));
                Fields { map: None, place: place.to_owned(), seen: Vec::new() }
            }
        }
    }

    pub(in crate::scheduler) fn text(&mut self, place: &str, value: &Value) -> Option<String> {
        match value {
            Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            Value::String(_) => {
                self.problem(place, "an empty text");
                None
            }
            other => {
                self.problem(place, format!("{} where a text belongs", kind(other)));
                None
            }
        }
    }

    pub(in crate::scheduler) fn texts(&mut self, place: &str, value: &Value) -> Vec<String> {
        let Value::Array(items) = value else {
            self.problem(place, format!("{} where a list of texts belongs", kind(value)));
            return Vec::new();
        };
        items.iter().enumerate().filter_map(|(n, item)| self.text(&format!("{place}[{n}]"), item)).collect()
    }

    pub(in crate::scheduler) fn whole(&mut self, place: &str, value: &Value, least: u64, most: u64) -> Option<u64> {
        match value.as_u64() {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let found = if value.is_number() { value.to_string() } else { kind(value).to_owned() };
                self.problem(place, format!("{found} where a whole number of {least} to {most} belongs"));
                None
            }
        }
    }

    pub(in crate::scheduler) fn number(&mut self, place: &str, value: &Value, least: f64, most: f64) -> Option<f64> {
        match value.as_f64() {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let found = if value.is_number() { value.to_string() } else { kind(value).to_owned() };
                self.problem(place, format!("{found} where a number of {least} to {most} belongs"));
                None
            }
        }
    }
}

/// The fields of one mapping, taken one by one; what nobody took is unknown.
#[derive(Debug)]
pub(in crate::scheduler) struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    place: String,
    seen: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The way to `key`.
    pub(in crate::scheduler) fn place(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) }
    }

    pub(in crate::scheduler) fn take(&mut self, key: &'static str) -> Option<&'a Value> {
        self.seen.push(key);
        self.map.and_then(|map| map.get(key))
    }

    pub(in crate::scheduler) fn whole(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        least: u64,
        most: u64,
    ) -> Option<u64> {
        let value = self.take(key)?;
        reader.whole(&self.place(key), value, least, most)
    }

    pub(in crate::scheduler) fn seconds(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        least: u64,
        most: u64,
    ) -> Option<Duration> {
        self.whole(reader, key, least, most).map(Duration::from_secs)
    }

    pub(in crate::scheduler) fn number(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        least: f64,
        most: f64,
    ) -> Option<f64> {
        let value = self.take(key)?;
        reader.number(&self.place(key), value, least, most)
    }

    /// Every entry, for mappings whose keys are names.
    pub(in crate::scheduler) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.map.into_iter().flatten()
    }

    /// Tells the keys that nobody took.
    pub(in crate::scheduler) fn close(self, reader: &mut Reader) {
        for (key, _) in self.entries() {
            if !self.seen.contains(&key.as_str()) {
                let known = self.seen.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
                reader.problem(&self.place(key), format!("unknown key; known here: {known}"));
            }
        }
    }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

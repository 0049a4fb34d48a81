//! YAML and JSON text into values.
//!
//! Both formats give the same values and the same errors: file, line, column, the line itself and
//! a code. Strict where leniency hides mistakes: only `true` and `false` are bools, a key may not
//! repeat, one document per text. Input is hostile: size, depth and alias expansion are bounded.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Map;

use crate::value::expr::excerpt;
use crate::value::json::Value;
use crate::value::limits::{LimitError, Limits};

/// Largest document text, in bytes.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Deepest nesting of a document.
pub const MAX_DEPTH: usize = 64;
/// Most values in a document, aliases expanded.
const MAX_NODES: usize = 250_000;
/// Most values that aliases may repeat.
const MAX_REPLAYED: usize = 50_000;

/// A text is not a usable document.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}:{line}:{column}: {reason}")]
pub struct DocumentError {
    code: &'static str,
    name: String,
    line: usize,
    column: usize,
    reason: String,
    excerpt: String,
}

impl DocumentError {
    fn new(code: &'static str, name: &str, text: &str, place: (usize, usize), reason: impl Into<String>) -> Self {
        let (line, column) = place;
        let start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
        let current = text.get(start..).and_then(|tail| tail.lines().next()).unwrap_or_default();
        let within = current.char_indices().nth(column.saturating_sub(1)).map_or(current.len(), |(at, _)| at);
        Self { code, name: name.to_owned(), line, column, reason: reason.into(), excerpt: excerpt(current, within) }
    }

    fn limit(name: &str, error: &LimitError) -> Self {
        Self {
            code: error.code(),
            name: name.to_owned(),
            line: 1,
            column: 1,
            reason: error.to_string(),
            excerpt: String::new(),
        }
    }

    /// `document_invalid`, `payload_too_large` or `payload_too_deep`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The name that the caller gave to the text, usually a file name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }

    /// What is wrong there.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The line of the problem and a caret under it; empty when the whole text is the problem.
    #[must_use]
    pub fn excerpt(&self) -> &str {
        &self.excerpt
    }
}

impl fmt::Debug for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})\n{}", self.code, self.excerpt)
    }
}

/// Parses `text` as JSON when `name` ends in `.json`, as YAML when it ends in `.yaml` or `.yml`,
/// and otherwise by its first character: `{` and `[` start JSON.
///
/// # Errors
///
/// As [`parse_yaml`] and [`parse_json`].
pub fn parse(name: &str, text: &str) -> Result<Value, DocumentError> {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let json = match extension.as_deref() {
        Some("json") => true,
        Some("yaml" | "yml") => false,
        _ => text.trim_start().starts_with(['{', '[']),
    };
    if json { parse_json(name, text.as_bytes()) } else { parse_yaml(name, text) }
}

/// Parses one YAML document. An empty text is null.
///
/// # Errors
///
/// `document_invalid` for a syntax error, a repeated key or a second document;
/// `payload_too_large` and `payload_too_deep` beyond [`MAX_BYTES`], [`MAX_DEPTH`] or what aliases
/// may expand to.
pub fn parse_yaml(name: &str, text: &str) -> Result<Value, DocumentError> {
    check_bytes(name, text.len())?;
    let mut budget = serde_saphyr::Budget::default();
    budget.max_depth = MAX_DEPTH;
    budget.max_nodes = MAX_NODES;
    budget.max_total_scalar_bytes = MAX_BYTES;
    budget.max_documents = 1;
    budget.max_inclusion_depth = 0;
    let mut aliases = serde_saphyr::options::AliasLimits::default();
    aliases.max_total_replayed_events = MAX_REPLAYED;
    let mut options = serde_saphyr::Options::default();
    options.budget = Some(budget);
    options.alias_limits = aliases;
    options.strict_booleans = true;
    options.duplicate_keys = serde_saphyr::options::DuplicateKeyPolicy::Error;
    options.with_snippet = false;
    let value = serde_saphyr::from_str_with_options::<Strict>(text, options).map_err(|error| {
        let place = error.location().map_or((1, 1), |location| {
            let number = |raw: u64| usize::try_from(raw).unwrap_or(1).max(1);
            (number(location.line()), number(location.column()))
        });
        let message = error.to_string();
        let code = yaml_code(&message);
        DocumentError::new(code, name, text, place, tidy(&message))
    })?;
    check_value(name, value.0)
}

/// Parses one JSON document.
///
/// # Errors
///
/// As [`parse_yaml`]; also `document_invalid` when the bytes are not UTF-8.
pub fn parse_json(name: &str, bytes: &[u8]) -> Result<Value, DocumentError> {
    check_bytes(name, bytes.len())?;
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let head = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let head = String::from_utf8_lossy(head);
        let place = crate::value::expr::position(&head, head.len());
        DocumentError::new("document_invalid", name, &head, place, "the text is not UTF-8")
    })?;
    let value: Strict = serde_json::from_str(text).map_err(|error| {
        let place = json_place(text, error.line(), error.column());
        let message = error.to_string();
        let reason = message.split(" at line ").next().unwrap_or_default();
        let code = if reason.contains("recursion limit") { "payload_too_deep" } else { "document_invalid" };
        DocumentError::new(code, name, text, place, reason)
    })?;
    check_value(name, value.0)
}

/// serde_json counts columns in bytes, and column 0 is the end of the line before.
fn json_place(text: &str, line: usize, column: usize) -> (usize, usize) {
    let nth = |line: usize| text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    if column == 0 && line > 1 {
        return (line - 1, nth(line - 1).chars().count() + 1);
    }
    let before = nth(line).get(..column.saturating_sub(1));
    (line.max(1), before.map_or(column, |head| head.chars().count() + 1).max(1))
}

fn check_bytes(name: &str, bytes: usize) -> Result<(), DocumentError> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(DocumentError {
        code: "payload_too_large",
        name: name.to_owned(),
        line: 1,
        column: 1,
        reason: format!("the document has {bytes} bytes, more than {MAX_BYTES}"),
        excerpt: String::new(),
    })
}

fn check_value(name: &str, value: Value) -> Result<Value, DocumentError> {
    let limits = Limits {
        // Aliases and escapes can make the value larger than its text.
        max_bytes: 2 * MAX_BYTES,
        max_depth: MAX_DEPTH,
        max_nodes: MAX_NODES,
    };
    match limits.check(&value) {
        Ok(()) => Ok(value),
        Err(error) => Err(DocumentError::limit(name, &error)),
    }
}

/// The parser's budget errors have no public kind that names the limit.
fn yaml_code(message: &str) -> &'static str {
    let message = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&["depth", "nested too", "nesting", "recursion"]) {
        "payload_too_deep"
    } else if has(&["budget", "limit", "too many", "exceed"]) {
        "payload_too_large"
    } else {
        "document_invalid"
    }
}

/// One line, without the position that the error carries anyway.
fn tidy(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let end = message.rfind(" at line ").unwrap_or(message.len());
    let message = message.get(..end).unwrap_or(message);
    let message = match message.split_once(": ") {
        Some((head, tail)) if head.contains("line ") && head.contains("column ") => tail,
        _ => message,
    };
    in_own_words(message.trim_end_matches(['.', ',', ' ']))
}

/// What the parser says of its settings, its types and its counters, as the reader of the document knows it.
fn in_own_words(message: &str) -> String {
    let breach = message.strip_prefix("budget breached: ").and_then(|breach| breach.split([' ', '{', '(']).next());
    match breach {
        Some("Depth") => return format!("it is nested deeper than {MAX_DEPTH} levels"),
        Some("Documents") => return "it holds more than one document".to_owned(),
        Some("ScalarBytes") => return format!("its texts have more than {MAX_BYTES} bytes"),
        Some("Aliases" | "Anchors") => return "it has too many anchors or aliases".to_owned(),
        Some(_) => return format!("it has more than {MAX_NODES} values, or is otherwise larger than allowed"),
        None => {}
    }
    if let Some(rest) = message.strip_prefix("duplicate mapping key") {
        let key =
            rest.trim_start_matches([':', ' ']).split(", set DuplicateKeyPolicy").next().unwrap_or_default().trim();
        return if key.is_empty() || key.starts_with(',') {
            "a key is repeated".to_owned()
        } else {
            format!("the key `{key}` is repeated")
        };
    }
    let is = |words: &[&str]| words.iter().any(|word| message.starts_with(word));
    if is(&["alias replay", "alias expansion"]) {
        return format!("its aliases repeat more than {MAX_REPLAYED} values, or one another too deeply");
    }
    if is(&["recursive references"]) {
        return "an alias stands inside of what it repeats".to_owned();
    }
    if is(&["cannot deserialize null into string", "unexpected container end while reading key"]) {
        return "a key is missing or null; a key is a text".to_owned();
    }
    if is(&["invalid type", "expected string"]) {
        return "a key is not a text".to_owned();
    }
    message.to_owned()
}

/// A JSON value whose maps have no key twice.
struct Strict(Value);

impl<'de> serde::Deserialize<'de> for Strict {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> DeserializeSeed<'de> for StrictVisitor {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, int: i64) -> Result<Value, E> {
        Ok(Value::from(int))
    }

    fn visit_u64<E>(self, uint: u64) -> Result<Value, E> {
        Ok(Value::from(uint))
    }

    fn visit_f64<E: serde::de::Error>(self, double: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(double).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key `{key}` is repeated")));
            }
            let item = access.next_value_seed(Self)?;
            map.insert(key, item);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests;

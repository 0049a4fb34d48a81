//! YAML as a tree in which every value knows its line and column.
//!
//! Owns the bounds on what a document may cost. Leaves the meaning of keys to [`super::read`].

use std::{fmt, sync::Arc};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::error::{BundleError, ErrorCode, Place};

/// Largest document, in bytes.
pub(crate) const MAX_BYTES: usize = 8 << 20;
/// Most values in a document, repeated aliases counted each time.
const MAX_NODES: usize = 1_000_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 32;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    /// Anything that is neither null, list nor mapping, as it is spelled.
    Scalar {
        text: String,
        kind: Kind,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Content {
    /// The word for it in messages.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar { kind: Kind::Text, .. } => "a text",
            Self::Scalar { kind: Kind::Number, .. } => "a number",
            Self::Scalar { kind: Kind::Bool, .. } => "true or false",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Reads one YAML document.
pub(crate) fn parse(source: &Arc<str>, text: &str) -> Result<Node, BundleError> {
    let whole = || Place { source: source.clone(), ..Place::default() };
    if text.len() > MAX_BYTES {
        return Err(BundleError::new(
            ErrorCode::TooLarge,
            whole(),
            format!("the document has {} bytes, {MAX_BYTES} are allowed", text.len()),
            "split it into several bundles",
        ));
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: Some(serde_saphyr::Budget::default()).map(|mut budget| {
            budget.max_depth = MAX_DEPTH;
            budget.max_nodes = MAX_NODES;
            budget.max_events = MAX_NODES * 3;
            budget.max_total_scalar_bytes = MAX_BYTES * 2;
            budget
        }),
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(Spanned { value: Raw::Null, .. }) => Err(empty(whole())),
        Ok(root) => Ok(located(root, text)),
        Err(error) => Err(explain(&error, whole())),
    }
}

fn explain(error: &serde_saphyr::Error, mut place: Place) -> BundleError {
    use serde_saphyr::Error;

    if let Some(at) = error.location() {
        place.line = u32::try_from(at.line()).unwrap_or(u32::MAX);
        place.column = u32::try_from(at.column()).unwrap_or(u32::MAX);
    }
    match error.without_snippet() {
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("?");
            BundleError::new(ErrorCode::DuplicateKey, place, format!("key `{key}` stands twice"), "keep one of the two")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => BundleError::new(
            ErrorCode::TooLarge,
            place,
            "the document is nested too deeply, has too many values or repeats itself too often",
            format!("keep it under {MAX_DEPTH} levels and {MAX_NODES} values, and write aliases out"),
        ),
        Error::Eof { .. } => empty(place),
        Error::MultipleDocuments { .. } => BundleError::new(
            ErrorCode::Syntax,
            place,
            "a second document follows after `---`",
            "make it a bundle of its own",
        ),
        other => {
            // The place is told once, in front.
            let text = other.to_string();
            let text = text.split(" at line ").next().unwrap_or(&text).trim_end_matches([',', ':']);
            let text = text.lines().next().unwrap_or(text).to_owned();
            BundleError::new(
                ErrorCode::Syntax,
                place,
                format!("not readable as YAML: {text}"),
                "check indentation and quotes",
            )
        }
    }
}

fn empty(place: Place) -> BundleError {
    BundleError::new(ErrorCode::Syntax, place, "the document is empty", "write `rules: []` if no rules are meant")
}

/// What serde hands over, before spelling and place are joined.
#[derive(Debug)]
enum Raw {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key()? {
            entries.push((key, map.next_value()?));
        }
        Ok(Raw::Map(entries))
    }
}

fn located(raw: Spanned<Raw>, text: &str) -> Node {
    let line = u32::try_from(raw.referenced.line()).unwrap_or(u32::MAX);
    let column = u32::try_from(raw.referenced.column()).unwrap_or(u32::MAX);
    // A version `1.10` is a number to YAML, and ours to keep as it is spelled.
    let spelled = || {
        let span = raw.defined.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        text.get(start..end).map(str::trim).filter(|text| !text.is_empty())
    };
    let content = match raw.value {
        Raw::Null => Content::Null,
        Raw::Bool(value) => Content::Scalar { text: value.to_string(), kind: Kind::Bool },
        Raw::Number(value) => Content::Scalar { text: spelled().map_or(value, str::to_owned), kind: Kind::Number },
        Raw::Text(text) => Content::Scalar { text, kind: Kind::Text },
        Raw::List(items) => Content::List(items.into_iter().map(|item| located(item, text)).collect()),
        Raw::Map(entries) => Content::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let at = Key {
                        line: u32::try_from(key.referenced.line()).unwrap_or(u32::MAX),
                        column: u32::try_from(key.referenced.column()).unwrap_or(u32::MAX),
                        text: key.value,
                    };
                    (at, located(value, text))
                })
                .collect(),
        ),
    };
    Node { line, column, content }
}

//! Dotted paths into JSON values: `steps.fetch-data.output.items[0]`.
//!
//! A path is parsed once and then only walked. Grammar:
//!
//! ```text
//! path    = key { "." key | "[" digits "]" | "[" quoted "]" }
//! key     = one or more letters, digits, "_" or "-" (any script)
//! quoted  = '...' or "...", with \\ \' \" as the only escapes
//! ```
//!
//! A key of digits (`items.0`) addresses a map by that key and an array by that position; `[0]`
//! addresses arrays only. Printing gives the shortest text that parses to the same path.

use std::fmt;

use serde_json::Map;

use crate::value::json::Value;

/// Longest path text, in bytes.
pub const MAX_BYTES: usize = 1024;
/// Most segments in one path.
pub const MAX_SEGMENTS: usize = 64;
/// The root that only the platform writes: [`Path::set`] refuses it.
pub const RESERVED_ROOT: &str = "steps";

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A map key; on an array, a key of digits is a position.
    Key(Box<str>),
    /// A position in an array, from 0.
    Index(usize),
}

/// A parsed path with at least one segment; the first is always a key.
///
/// ```
/// use coretex_core::value::Path;
/// use serde_json::json;
///
/// let path = Path::parse("steps.fetch-data.output.items[0]").unwrap();
/// let context = json!({"steps": {"fetch-data": {"output": {"items": ["a"]}}}});
/// assert_eq!(path.get(&context), Some(&json!("a")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    segments: Box<[Segment]>,
}

/// A text is not a path, or a path cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path `{text}` {reason}")]
pub struct PathError {
    code: &'static str,
    text: String,
    offset: usize,
    reason: String,
}

impl PathError {
    fn invalid(text: &str, offset: usize, reason: impl fmt::Display) -> Self {
        let column = text.get(..offset).map_or(0, |head| head.chars().count()) + 1;
        Self {
            code: "path_invalid",
            text: text.chars().take(120).collect(),
            offset,
            reason: format!("is not valid at column {column}: {reason}"),
        }
    }

    fn unwritable(code: &'static str, path: &Path, reason: impl Into<String>) -> Self {
        Self { code, text: path.to_string(), offset: 0, reason: reason.into() }
    }

    /// `path_invalid` (not a path), `path_reserved` (under `steps`) or `path_conflict` (the value
    /// on the way cannot hold it).
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Byte offset of the problem in the parsed text; 0 for errors of [`Path::set`].
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl Path {
    /// Parses `text`; surrounding white space is ignored.
    ///
    /// # Errors
    ///
    /// [`PathError`] with code `path_invalid` and the position, also when the text is longer than
    /// [`MAX_BYTES`] or has more than [`MAX_SEGMENTS`] segments.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let body = text.trim();
        if body.is_empty() {
            return Err(PathError::invalid(text, 0, "it is empty; write a key such as `result`"));
        }
        if body.len() > MAX_BYTES {
            return Err(PathError::invalid(body, 0, format_args!("longer than {MAX_BYTES} bytes")));
        }
        let mut segments = Vec::new();
        let mut rest = body;
        loop {
            let offset = body.len() - rest.len();
            if segments.len() == MAX_SEGMENTS {
                return Err(PathError::invalid(body, offset, format_args!("more than {MAX_SEGMENTS} segments")));
            }
            let (segment, tail) = if let (Some(inner), false) = (rest.strip_prefix('['), segments.is_empty()) {
                bracket(body, inner)?
            } else {
                let keyed = if segments.is_empty() { Some(rest) } else { rest.strip_prefix('.') };
                let Some(keyed) = keyed else {
                    return Err(PathError::invalid(body, offset, "expected `.` or `[`"));
                };
                let end = keyed.find(|ch| !is_key_char(ch)).unwrap_or(keyed.len());
                let (key, tail) = keyed.split_at(end);
                if key.is_empty() {
                    let at = body.len() - keyed.len();
                    return Err(PathError::invalid(
                        body,
                        at,
                        "expected a key of letters, digits, `_` or `-`; quote others as ['the key']",
                    ));
                }
                (Segment::Key(key.into()), tail)
            };
            segments.push(segment);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        Ok(Self { segments: segments.into() })
    }

    /// The segments, the first of which is a key.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The first key: the root that the path reads or writes.
    #[must_use]
    pub fn root(&self) -> &str {
        match self.segments.first() {
            Some(Segment::Key(key)) => key,
            _ => "",
        }
    }

    /// The value at this path, or `None` when it leads nowhere. O(segments · log keys).
    #[must_use]
    pub fn get<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.segments.iter().try_fold(value, descend)
    }

    /// Writes `new` at this path, creating maps on the way; a scalar on the way gives way to a
    /// map. Existing array positions can be written, arrays are not extended.
    ///
    /// # Errors
    ///
    /// `path_reserved` when the root is `steps`, `path_conflict` when an array on the way has no
    /// such position. `target` is unchanged then.
    pub fn set(&self, target: &mut Value, new: Value) -> Result<(), PathError> {
        if self.root() == RESERVED_ROOT {
            return Err(PathError::unwritable(
                "path_reserved",
                self,
                format!("is reserved: `{RESERVED_ROOT}` is written by the platform; choose another root"),
            ));
        }
        self.check_writable(target)?;
        let mut slot = target;
        for segment in &self.segments {
            let next = match (segment, slot) {
                (segment, Value::Array(items)) => position(segment).and_then(|at| items.get_mut(at)),
                (Segment::Key(key), slot) => {
                    if !slot.is_object() {
                        *slot = Value::Object(Map::new());
                    }
                    slot.as_object_mut().map(|map| map.entry(key.as_ref()).or_insert(Value::Null))
                }
                (Segment::Index(_), _) => None,
            };
            match next {
                Some(next) => slot = next,
                // `check_writable` has walked the same way.
                None => return Err(self.conflict(segment)),
            }
        }
        *slot = new;
        Ok(())
    }

    /// Fails where `set` would, before anything is changed.
    fn check_writable(&self, target: &Value) -> Result<(), PathError> {
        let mut here = Some(target);
        for segment in &self.segments {
            here = match (segment, here) {
                (segment, Some(Value::Array(items))) => match position(segment).and_then(|at| items.get(at)) {
                    Some(item) => Some(item),
                    None => return Err(self.conflict(segment)),
                },
                (Segment::Key(key), Some(Value::Object(map))) => map.get(key.as_ref()),
                (Segment::Key(_), _) => None,
                (Segment::Index(_), _) => return Err(self.conflict(segment)),
            };
        }
        Ok(())
    }

    fn conflict(&self, segment: &Segment) -> PathError {
        let reason = match segment {
            Segment::Index(index) => {
                format!("cannot be written: there is no array with a position [{index}]")
            }
            Segment::Key(key) => {
                format!("cannot be written: `{key}` is not a position of the array there")
            }
        };
        PathError::unwritable("path_conflict", self, reason)
    }
}

/// One step down, or `None` when it leads nowhere.
pub(crate) fn descend<'v>(value: &'v Value, segment: &Segment) -> Option<&'v Value> {
    match (segment, value) {
        (Segment::Key(key), Value::Object(map)) => map.get(key.as_ref()),
        (segment, Value::Array(items)) => items.get(position(segment)?),
        _ => None,
    }
}

/// The array position that a segment means, if it means one.
pub(crate) fn position(segment: &Segment) -> Option<usize> {
    match segment {
        Segment::Index(index) => Some(*index),
        Segment::Key(key) if key.bytes().all(|byte| byte.is_ascii_digit()) => key.parse().ok(),
        Segment::Key(_) => None,
    }
}

pub(crate) fn is_key_char(ch: char) -> bool {
    ch.is_alphanumeric() || ch == '_' || ch == '-'
}

/// Parses what follows `[`; `body` is the whole text, for positions.
fn bracket<'t>(body: &str, inner: &'t str) -> Result<(Segment, &'t str), PathError> {
    let at = body.len() - inner.len();
    let quote = inner.chars().next().filter(|ch| matches!(ch, '\'' | '"'));
    let (segment, tail) = if let Some(quote) = quote {
        let mut key = String::new();
        let mut chars = inner.char_indices().skip(1);
        let end = loop {
            match chars.next() {
                Some((index, ch)) if ch == quote => break index + 1,
                Some((_, '\\')) => match chars.next() {
                    Some((_, ch @ ('\\' | '\'' | '"'))) => key.push(ch),
                    _ => {
                        return Err(PathError::invalid(
                            body,
                            at,
                            r"only \\, \' and \dquote may follow a backslash".replace("dquote", "\""),
                        ));
                    }
                },
                Some((_, ch)) => key.push(ch),
                None => return Err(PathError::invalid(body, at, "the quoted key does not end")),
            }
        };
        (Segment::Key(key.into()), inner.get(end..).unwrap_or_default())
    } else {
        let end = inner.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(inner.len());
        let (digits, tail) = inner.split_at(end);
        let index = digits
            .parse()
            .map_err(|_| PathError::invalid(body, at, "expected a position such as [0] or a quoted key"))?;
        (Segment::Index(index), tail)
    };
    match tail.strip_prefix(']') {
        Some(tail) => Ok((segment, tail)),
        None => Err(PathError::invalid(body, body.len() - tail.len(), "expected `]`")),
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if !key.is_empty() && key.chars().all(is_key_char) => {
                    write!(f, "{}{key}", if at == 0 { "" } else { "." })?;
                }
                Segment::Key(key) => {
                    write!(f, "['{}']", key.replace('\\', r"\\").replace('\'', r"\'"))?;
                }
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

//! How large and how deep a JSON value may be.
//!
//! Owns the measuring and the verdict. The walk keeps its own stack, so a value of any depth is
//! measured without recursion, and it stops at the first limit that is crossed.

use crate::value::json::Value;

/// Bounds on one JSON value.
///
/// ```
/// use coretex_core::value::Limits;
///
/// let limits = Limits { max_depth: 2, ..Limits::default() };
/// let error = limits.check(&serde_json::json!({"a": {"b": {"c": 1}}})).unwrap_err();
/// assert_eq!(error.code(), "payload_too_deep");
/// assert_eq!(error.path(), "a.b");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest compact JSON text, in bytes.
    pub max_bytes: usize,
    /// Deepest nesting. A scalar has depth 0, `[]` and `[1]` have depth 1.
    pub max_depth: usize,
    /// Most values in the tree, the root, arrays and maps included.
    pub max_nodes: usize,
}

impl Limits {
    /// No bounds at all.
    pub const UNLIMITED: Self = Self { max_bytes: usize::MAX, max_depth: usize::MAX, max_nodes: usize::MAX };

    /// Accepts or refuses `value`.
    ///
    /// # Errors
    ///
    /// [`LimitError`] with the limit and the place where it was crossed. O(n) in the nodes of the
    /// value, and at most `max_nodes` of them.
    pub fn check(&self, value: &Value) -> Result<(), LimitError> {
        measure_within(value, self).map(drop)
    }
}

impl Default for Limits {
    /// 8 MiB, 64 levels, one million nodes.
    fn default() -> Self {
        Self { max_bytes: 8 * 1024 * 1024, max_depth: 64, max_nodes: 1_000_000 }
    }
}

/// The size of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Length of the compact JSON text, in bytes.
    pub bytes: usize,
    /// Nesting; a scalar has depth 0.
    pub depth: usize,
    /// Number of values in the tree.
    pub nodes: usize,
}

/// Measures `value`. O(n) in its nodes, without recursion.
#[must_use]
pub fn measure(value: &Value) -> Size {
    // No limit can be crossed, so the error arm is never taken.
    measure_within(value, &Limits::UNLIMITED).unwrap_or_default()
}

/// A value is larger or deeper than allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("payload is {what} at `{place}` (limit: {limit} {unit}); {advice}", place = if path.is_empty() { "the root" } else { path })]
pub struct LimitError {
    kind: LimitErrorKind,
    path: String,
    limit: usize,
    what: &'static str,
    unit: &'static str,
    advice: &'static str,
}

/// Which limit was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitErrorKind {
    /// More bytes than [`Limits::max_bytes`].
    Bytes,
    /// More values than [`Limits::max_nodes`].
    Nodes,
    /// Deeper than [`Limits::max_depth`].
    Depth,
}

impl LimitError {
    fn new(kind: LimitErrorKind, limit: usize, path: String) -> Self {
        let (what, unit, advice) = match kind {
            LimitErrorKind::Bytes => ("too large", "bytes", "pass large data by pointer"),
            LimitErrorKind::Nodes => ("too large", "values", "pass large data by pointer"),
            LimitErrorKind::Depth => ("nested too deeply", "levels", "flatten it"),
        };
        Self { kind, path, limit, what, unit, advice }
    }

    /// The limit that filling in defaults has crossed.
    #[cfg(feature = "engine")]
    pub(in crate::value) fn defaults(kind: LimitErrorKind, limit: usize) -> Self {
        Self { advice: "declare fewer or smaller defaults", ..Self::new(kind, limit, String::new()) }
    }

    /// Which limit was crossed.
    #[must_use]
    pub fn kind(&self) -> LimitErrorKind {
        self.kind
    }

    /// `payload_too_large` or `payload_too_deep`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.kind {
            LimitErrorKind::Bytes | LimitErrorKind::Nodes => "payload_too_large",
            LimitErrorKind::Depth => "payload_too_deep",
        }
    }

    /// Where the limit was crossed, as a dotted path of at most 32 segments; empty for the root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The limit that was crossed, in its own unit.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// One container under measurement, and what is left of it.
enum Frame<'a> {
    Array(std::iter::Enumerate<std::slice::Iter<'a, Value>>, usize),
    Map(serde_json::map::Iter<'a>, &'a str),
}

fn measure_within(root: &Value, limits: &Limits) -> Result<Size, LimitError> {
    let mut size = Size::default();
    let mut stack: Vec<Frame<'_>> = Vec::new();
    let mut next = Some(root);
    loop {
        if let Some(value) = next.take() {
            size.nodes += 1;
            let frame = match value {
                Value::Array(items) => {
                    size.bytes += 2 + items.len().saturating_sub(1);
                    Some(Frame::Array(items.iter().enumerate(), 0))
                }
                Value::Object(map) => {
                    // Braces, commas and colons; keys are counted as they are visited.
                    size.bytes += 2 + map.len().saturating_sub(1) + map.len();
                    Some(Frame::Map(map.iter(), ""))
                }
                scalar => {
                    size.bytes += scalar_bytes(scalar);
                    None
                }
            };
            if let Some(frame) = frame {
                stack.push(frame);
                size.depth = size.depth.max(stack.len());
            }
            let crossed = if stack.len() > limits.max_depth {
                stack.pop();
                Some((LimitErrorKind::Depth, limits.max_depth))
            } else if size.bytes > limits.max_bytes {
                Some((LimitErrorKind::Bytes, limits.max_bytes))
            } else if size.nodes > limits.max_nodes {
                Some((LimitErrorKind::Nodes, limits.max_nodes))
            } else {
                None
            };
            if let Some((kind, limit)) = crossed {
                return Err(LimitError::new(kind, limit, place(&stack)));
            }
        }
        match stack.last_mut() {
            None => return Ok(size),
            Some(Frame::Array(items, at)) => {
                next = items.next().map(|(index, item)| {
                    *at = index;
                    item
                });
            }
            Some(Frame::Map(entries, at)) => {
                next = entries.next().map(|(key, item)| {
                    *at = key;
                    size.bytes += string_bytes(key);
                    item
                });
            }
        }
        if next.is_none() {
            stack.pop();
        }
    }
}

fn place(stack: &[Frame<'_>]) -> String {
    let mut path = String::new();
    for frame in stack.iter().take(32) {
        match frame {
            Frame::Array(_, index) => path.push_str(&format!("[{index}]")),
            Frame::Map(_, "") => {}
            Frame::Map(_, key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
        }
    }
    path
}

fn scalar_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::String(text) => string_bytes(text),
        Value::Number(number) => number.to_string().len(),
        Value::Array(_) | Value::Object(_) => 0,
    }
}

fn string_bytes(text: &str) -> usize {
    let escapes: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 1,
            0..=31 => 5,
            _ => 0,
        })
        .sum();
    text.len() + escapes + 2
}

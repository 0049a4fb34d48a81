//! Sets of types: what a value can be, as far as it is known before the run.

use std::fmt;
use std::ops::{BitAnd, BitOr};

use crate::value::json::Value;
use crate::value::schema::view::View;

/// Most alternatives of a schema that are looked at, at one place.
const MAX_VIEWS: usize = 200;

/// The types that a value can have, as far as they are known before the run.
///
/// ```
/// use coretex_core::value::{CompileOptions, Expr};
///
/// let schema = serde_json::json!({"properties": {"name": {"type": "string"}}});
/// let options = CompileOptions::new().with_input_schema(&schema);
/// let types = Expr::compile("input.name", &options).unwrap().types();
/// assert!(!types.allows("list"));
/// assert_eq!(types.to_string(), "a string");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Types(pub(super) u16);

impl Types {
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOL: Self = Self(1 << 1);
    pub(super) const NUMBER: Self = Self(1 << 2);
    pub(super) const TEXT: Self = Self(1 << 3);
    pub(super) const LIST: Self = Self(1 << 4);
    pub(super) const MAP: Self = Self(1 << 5);
    pub(super) const TIME: Self = Self(1 << 6);
    pub(super) const SPAN: Self = Self(1 << 7);
    pub(super) const TYPE: Self = Self(1 << 8);
    pub(super) const ANY: Self = Self((1 << 9) - 1);
    pub(super) const NONE: Self = Self(0);

    const NAMES: [(Self, &'static str, &'static str); 9] = [
        (Self::NULL, "null", "null"),
        (Self::BOOL, "bool", "a bool"),
        (Self::NUMBER, "number", "a number"),
        (Self::TEXT, "string", "a string"),
        (Self::LIST, "list", "a list"),
        (Self::MAP, "map", "a map"),
        (Self::TIME, "timestamp", "a timestamp"),
        (Self::SPAN, "duration", "a duration"),
        (Self::TYPE, "type", "a type"),
    ];

    /// Whether the value can be of the type `null`, `bool`, `number`, `string`, `list`, `map`, `timestamp`, `duration`
    /// or `type`. A value may be missing whatever is declared.
    #[must_use]
    pub fn allows(self, name: &str) -> bool {
        Self::NAMES.iter().any(|(one, own, _)| *own == name && self.meets(*one))
    }

    /// Whether anything is known: some type is ruled out.
    #[must_use]
    pub fn is_known(self) -> bool {
        self != Self::ANY
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self & other != Self::NONE
    }

    fn named(name: &str) -> Self {
        match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOL,
            "integer" | "number" => Self::NUMBER,
            "string" => Self::TEXT,
            "array" => Self::LIST,
            "object" => Self::MAP,
            _ => Self::ANY,
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOL,
            Value::Number(_) => Self::NUMBER,
            Value::String(_) => Self::TEXT,
            Value::Array(_) => Self::LIST,
            Value::Object(_) => Self::MAP,
        }
    }

    pub(super) fn union(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().fold(Self::NONE, |all, one| all | one)
    }

    /// What a schema allows at one place.
    pub(super) fn declared(view: &View<'_>) -> Self {
        Self::declared_within(view, &mut MAX_VIEWS.clone())
    }

    fn declared_within(view: &View<'_>, left: &mut usize) -> Self {
        // What is not looked at may be anything.
        let Some(fewer) = left.checked_sub(1) else { return Self::ANY };
        *left = fewer;
        let mut types = Self::ANY;
        for node in view.nodes() {
            match node.get("type") {
                Some(Value::String(name)) => types = types & Self::named(name),
                Some(Value::Array(names)) => {
                    types = types & Self::union(names.iter().filter_map(Value::as_str).map(Self::named));
                }
                _ => {}
            }
            if let Some(constant) = node.get("const") {
                types = types & Self::of(constant);
            }
            if let Some(Value::Array(values)) = node.get("enum") {
                types = types & Self::union(values.iter().map(Self::of));
            }
            for alternatives in ["anyOf", "oneOf"].iter().filter_map(|keyword| node.get(*keyword)?.as_array()) {
                let branches = alternatives.iter().map(|branch| Self::declared_within(&view.at(branch), left));
                types = types & Self::union(branches);
            }
        }
        // A schema that contradicts itself declares nothing.
        if types == Self::NONE || view.never() { Self::ANY } else { types }
    }
}

impl BitAnd for Types {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Types {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_known() {
            return f.write_str("a value");
        }
        let names: Vec<&str> = Self::NAMES.iter().filter(|row| self.meets(row.0)).map(|row| row.2).collect();
        f.write_str(&names.join(" or "))
    }
}

impl fmt::Debug for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Types({self})")
    }
}

//! Values during evaluation: borrowed JSON where it can be, built values where it must be.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Map;

use super::ast::Literal;
use super::error::{EvalErrorKind, Failure};
use super::eval::Budget;
use super::scope::{Node, Object};
use crate::value::json::Value;
use crate::value::path::{Segment, position};

/// How the pointer to a result begins, where it stands in the place of an output that is too large for a record.
const RESULT_POINTER: &str = "redis://res:";

/// A value. `Missing` is what a path that leads nowhere gives; lists and maps never contain it.
#[derive(Clone)]
pub(super) enum Val<'a> {
    Missing,
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    List(List<'a>),
    Map(Dict<'a>),
    Type(&'static str),
    Time(Timestamp),
    Span(SignedDuration),
    /// Not at hand, and why. Whatever looks at it fails.
    Elsewhere(Text<'a>),
}

#[derive(Clone)]
pub(super) enum List<'a> {
    Json(&'a [Value]),
    Built(Rc<Vec<Val<'a>>>),
}

#[derive(Clone)]
pub(super) enum Dict<'a> {
    Json(&'a Map<String, Value>),
    Object(&'a dyn Object),
    Built(Rc<BTreeMap<Text<'a>, Val<'a>>>),
}

/// A string. Cloning never copies it, so that reading a variable costs the same however long its value is.
#[derive(Clone)]
pub(super) enum Text<'a> {
    Lent(&'a str),
    Built(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Self::Lent(text) => text,
            Self::Built(text) => text,
        }
    }
}

impl Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        self
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Built(text.into())
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl<'a> Val<'a> {
    pub(super) fn json(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => Self::number(number),
            Value::String(text) => Self::Text(Text::Lent(text)),
            Value::Array(items) => Self::List(List::Json(items)),
            Value::Object(map) => Self::Map(Dict::Json(map)),
        }
    }

    pub(super) fn node(node: Option<Node<'a>>) -> Self {
        match node {
            None => Self::Missing,
            Some(Node::Json(value)) => Self::json(value),
            Some(Node::Object(object)) => Self::Map(Dict::Object(object)),
            Some(Node::Text(text)) => Self::Text(Text::Lent(text)),
            Some(Node::Int(int)) => Self::Int(int),
            Some(Node::Bool(flag)) => Self::Bool(flag),
            Some(Node::Elsewhere(value)) => Self::Elsewhere(value.reason().into()),
        }
    }

    pub(super) fn literal(literal: &'a Literal) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Bool(flag) => Self::Bool(*flag),
            Literal::Int(int) => Self::Int(*int),
            Literal::Uint(uint) => Self::Uint(*uint),
            Literal::Double(double) => Self::Double(*double),
            Literal::Text(text) => Self::Text(Text::Lent(text)),
            Literal::Type(name) => Self::Type(name),
        }
    }

    pub(super) fn list(items: Vec<Val<'a>>) -> Self {
        Self::List(List::Built(Rc::new(items)))
    }

    /// A value that was read from text, taken over. Charges for every part.
    pub(super) fn built(value: Value, budget: &mut Budget) -> Result<Self, Box<Failure>> {
        budget.charge(1)?;
        Ok(match value {
            Value::String(text) => Self::Text(text.into()),
            Value::Array(items) => {
                Self::list(items.into_iter().map(|item| Self::built(item, budget)).collect::<Result<_, _>>()?)
            }
            Value::Object(map) => {
                let entries = map.into_iter().map(|(key, item)| Ok((key.into(), Self::built(item, budget)?)));
                Self::Map(Dict::Built(Rc::new(entries.collect::<Result<_, Box<Failure>>>()?)))
            }
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(flag),
            Value::Number(number) => Self::number(&number),
        })
    }

    fn number(number: &serde_json::Number) -> Self {
        match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Self::Int(int),
            (None, Some(uint)) => Self::Uint(uint),
            (None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
        }
    }

    /// One step down; `Missing` when it leads nowhere.
    pub(super) fn step(&self, segment: &Segment) -> Self {
        match (self, segment) {
            (Self::Map(dict), Segment::Key(key)) => dict.get(key),
            (Self::List(list), segment) => position(segment).map_or(Self::Missing, |at| list.get(at)),
            (Self::Elsewhere(_), _) => self.clone(),
            (Self::Text(text), _) if text.starts_with(RESULT_POINTER) => Self::Elsewhere(
                format!(
                    "what is read into is kept behind the pointer `{}`; have a worker read it, or make it smaller",
                    &**text
                )
                .into(),
            ),
            _ => Self::Missing,
        }
    }

    /// The value, unless it is kept elsewhere.
    pub(super) fn at_hand(self) -> Result<Self, Box<Failure>> {
        match &self {
            Self::Elsewhere(reason) => Err(Failure::boxed(EvalErrorKind::Elsewhere, &**reason)),
            _ => Ok(self),
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Missing | Self::Null)
    }

    /// The established truthiness, see [`crate::value::json::truthy`].
    pub(super) fn truthy(&self) -> bool {
        match self {
            Self::Missing | Self::Null | Self::Elsewhere(_) => false,
            Self::Bool(flag) => *flag,
            Self::Int(int) => *int != 0,
            Self::Uint(uint) => *uint != 0,
            Self::Double(double) => *double != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(_) | Self::Map(_) | Self::Type(_) | Self::Time(_) | Self::Span(_) => true,
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Missing | Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Type(_) => "type",
            Self::Time(_) => "timestamp",
            Self::Span(_) => "duration",
            Self::Elsewhere(_) => "pointer",
        }
    }

    /// The type in the words of an error.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Missing => "a missing value",
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Uint(_) => "a uint",
            Self::Double(_) => "a double",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Type(_) => "a type",
            Self::Time(_) => "a timestamp",
            Self::Span(_) => "a duration",
            Self::Elsewhere(_) => "a value that is kept elsewhere",
        }
    }

    /// Copies the value out as JSON, `None` when it is missing.
    pub(super) fn to_json(&self, budget: &mut Budget) -> Result<Option<Value>, Box<Failure>> {
        budget.charge(1)?;
        Ok(Some(match self {
            Self::Missing => return Ok(None),
            Self::Elsewhere(reason) => return Err(Failure::boxed(EvalErrorKind::Elsewhere, &**reason)),
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Int(int) => Value::from(*int),
            Self::Uint(uint) => Value::from(*uint),
            Self::Double(double) => match serde_json::Number::from_f64(*double) {
                Some(number) => Value::Number(number),
                None => {
                    return Err(Failure::boxed(
                        EvalErrorKind::Number,
                        format!("the result is {double}, which JSON cannot hold"),
                    ));
                }
            },
            Self::Text(text) => {
                budget.charge_text(text.len())?;
                Value::String(text.to_string())
            }
            Self::Type(name) => Value::from(*name),
            Self::Time(time) => Value::String(time.to_string()),
            Self::Span(span) => Value::String(super::functions::seconds_text(*span)),
            Self::List(List::Json(items)) => {
                for item in *items {
                    charge_tree(item, budget)?;
                }
                Value::Array(items.to_vec())
            }
            Self::List(List::Built(items)) => Value::Array(
                items
                    .iter()
                    .map(|item| Ok(item.to_json(budget)?.unwrap_or(Value::Null)))
                    .collect::<Result<_, Box<Failure>>>()?,
            ),
            Self::Map(Dict::Json(map)) => {
                for (key, item) in *map {
                    budget.charge_text(key.len())?;
                    charge_tree(item, budget)?;
                }
                Value::Object((*map).clone())
            }
            Self::Map(dict) => {
                let mut map = Map::new();
                for key in dict.keys() {
                    budget.charge_text(key.len())?;
                    if let Some(item) = dict.get(&key).to_json(budget)? {
                        map.insert(key.to_string(), item);
                    }
                }
                Value::Object(map)
            }
        }))
    }
}

/// Charges for every value below a JSON tree that is about to be cloned.
fn charge_tree(value: &Value, budget: &mut Budget) -> Result<(), Box<Failure>> {
    budget.charge(1)?;
    match value {
        Value::String(text) => budget.charge_text(text.len()),
        Value::Array(items) => items.iter().try_for_each(|item| charge_tree(item, budget)),
        Value::Object(map) => map.iter().try_for_each(|(key, item)| {
            budget.charge_text(key.len())?;
            charge_tree(item, budget)
        }),
        _ => Ok(()),
    }
}

impl<'a> List<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Built(items) => items.len(),
        }
    }

    pub(super) fn get(&self, at: usize) -> Val<'a> {
        match self {
            Self::Json(items) => items.get(at).map_or(Val::Missing, Val::json),
            Self::Built(items) => items.get(at).cloned().unwrap_or(Val::Missing),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.len()).map(|at| self.get(at))
    }
}

impl<'a> Dict<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(map) => map.len(),
            Self::Object(object) => object.keys().len(),
            Self::Built(map) => map.len(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Val<'a> {
        match self {
            Self::Json(map) => map.get(key).map_or(Val::Missing, Val::json),
            Self::Object(object) => Val::node(object.field(key)),
            Self::Built(map) => map.get(key).cloned().unwrap_or(Val::Missing),
        }
    }

    /// The keys, sorted, whatever order the map keeps.
    pub(super) fn keys(&self) -> Vec<Text<'a>> {
        let mut keys: Vec<Text<'a>> = match self {
            Self::Json(map) => map.keys().map(|key| Text::Lent(key)).collect(),
            Self::Object(object) => object.keys().into_iter().map(Text::from).collect(),
            Self::Built(map) => map.keys().cloned().collect(),
        };
        keys.sort_unstable();
        keys
    }
}

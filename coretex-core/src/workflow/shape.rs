//! From a JSON value to a type: every slip with its place, in words of our own.
//!
//! A deserialiser stops at the first slip and does not say where it is. So a value that does not fit is looked at part by
//! part: what fails with nothing else beside it is where a slip lies.

use serde::de::DeserializeOwned;
use serde_json::Map;

use super::{Problem, definition::closest};
use crate::value::Value;

/// Most slips that are told of one value: each part of it is looked at by itself.
const MAX_SLIPS: usize = 100;

/// Reads `value`, which stands at `place`; an empty place is the document itself.
///
/// # Errors
/// Every slip, at least one. O(parts × depth) where there are any.
pub(crate) fn read<T: DeserializeOwned>(place: &str, value: Value) -> Result<T, Vec<Problem>> {
    match T::deserialize(&value) {
        Ok(read) => Ok(read),
        Err(_) => {
            let mut search = Search { reads: &|value| T::deserialize(value).map(drop), found: Vec::new() };
            search.within(&|inner| inner, &value, place, "");
            if search.found.is_empty() {
                search.found.push(slip(place, "", &Value::Null, "it does not have the form that is expected"));
            }
            Err(search.found)
        }
    }
}

type Reads<'a> = &'a dyn Fn(&Value) -> Result<(), serde_json::Error>;
/// Puts a part where it stands, with nothing beside it.
type Frame<'a> = &'a dyn Fn(Value) -> Value;

struct Search<'a> {
    reads: Reads<'a>,
    found: Vec<Problem>,
}

impl Search<'_> {
    /// Looks for slips in `value`, which is called `name` and stands at `place`.
    fn within(&mut self, frame: Frame<'_>, value: &Value, place: &str, name: &str) {
        let Err(error) = (self.reads)(&frame(value.clone())) else { return };
        if self.found.len() >= MAX_SLIPS {
            return;
        }
        let message = error.to_string();
        let before = self.found.len();
        let empty = match value {
            Value::Object(_) => Some(Value::Object(Map::new())),
            Value::Array(_) => Some(Value::Array(Vec::new())),
            _ => None,
        };
        // A map or a list that does not fit even when it is empty is itself the slip.
        let empty = empty.map(|empty| (self.reads)(&frame(empty)).map_err(|error| error.to_string()));
        let needs_more = matches!(&empty, Some(Err(error)) if is_missing(error));
        let is_form = needs_more || matches!(&empty, Some(Ok(())));
        if is_form && !message.starts_with(&format!("unknown field `{name}`")) {
            self.parts(frame, value, place, name, needs_more);
        }
        // The whole of it, where no part is to blame.
        if self.found.len() == before {
            self.found.push(slip(place, name, value, &message));
        }
    }

    /// Looks into the parts of a map or a list. `needs_more` tells that a part alone is not enough, which is no slip of it.
    fn parts(&mut self, frame: Frame<'_>, value: &Value, place: &str, name: &str, needs_more: bool) {
        let mut part =
            |alone: Frame<'_>, part: &Value, place: &str, name: &str| match (self.reads)(&alone(part.clone())) {
                Err(error) if !(needs_more && is_missing(&error.to_string())) => self.within(alone, part, place, name),
                _ => {}
            };
        match value {
            Value::Object(fields) => {
                for (key, inner) in fields {
                    let alone = |inner: Value| frame(Value::Object(Map::from_iter([(key.clone(), inner)])));
                    let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                    part(&alone, inner, &place, key);
                }
            }
            Value::Array(items) => {
                for (n, inner) in items.iter().enumerate() {
                    let alone = |inner: Value| frame(Value::Array(vec![inner]));
                    part(&alone, inner, &format!("{place}[{n}]"), name);
                }
            }
            _ => {}
        }
    }
}

fn is_missing(message: &str) -> bool {
    message.starts_with("missing field")
}

/// The problem that `message` of the deserialiser tells about.
fn slip(place: &str, name: &str, value: &Value, message: &str) -> Problem {
    let place = if place.is_empty() { "$" } else { place };
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let known = quoted.get(1..).unwrap_or_default();
    let problem = |code, message: String, help: String| Problem { code, path: place.to_owned(), message, help };
    if message.starts_with("unknown field") {
        let help = match closest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "remove it, or correct its name".to_owned(),
        };
        return problem("unknown_field", format!("there is no field `{name}` here"), help);
    }
    if message.starts_with("unknown variant") {
        let code = if name == "type" { "unknown_step_type" } else { "value_unknown" };
        return problem(
            code,
            format!("`{}` is not known", quoted.first().unwrap_or(&"")),
            format!("use one of {}", known.join(", ")),
        );
    }
    if is_missing(message) {
        let field = quoted.first().copied().unwrap_or_default();
        return problem("field_missing", format!("it has no `{field}`"), format!("add `{field}:`"));
    }
    let expected = message.rsplit_once("expected ").map_or("", |(_, expected)| expected);
    let wanted = wanted(name, expected);
    let is_whole = matches!(value, Value::Number(number) if !number.is_f64());
    if is_whole && (message.starts_with("invalid value") || expected.starts_with(['u', 'i'])) {
        return problem("out_of_range", format!("{value} is out of range"), format!("use {wanted}"));
    }
    let help = format!("give it {wanted}");
    match value {
        Value::Number(number) => problem("wrong_type", format!("it is {number}, not {wanted}"), help),
        Value::String(_) if name == "join" || name == "on_item_error" => {
            problem("value_unknown", format!("{value} is not known"), help)
        }
        value => problem("wrong_type", format!("it is {}, not {wanted}", super::definition::kind_name(value)), help),
    }
}

/// What the deserialiser expects, in words of the platform.
fn wanted(name: &str, expected: &str) -> String {
    match (name, expected) {
        ("join", _) => "`all`, `any`, `settled`, or a number of branches".to_owned(),
        ("tolerate", _) => "a number, or a share such as `10%`".to_owned(),
        ("on_item_error", _) => "`fail_fast`, `collect`, or `tolerate:` with a number or a share".to_owned(),
        (_, "a string") => "a text".to_owned(),
        (_, "a boolean") => "`true` or `false`".to_owned(),
        (_, "a sequence") => "a list".to_owned(),
        (_, "f64" | "f32") => "a number".to_owned(),
        (_, "u32" | "u64" | "usize") => "a whole number that is not negative".to_owned(),
        (_, "i32" | "i64") => "a whole number".to_owned(),
        (_, expected) if expected == "a map" || expected.starts_with("struct ") => "a map".to_owned(),
        (_, expected) if expected.contains("enum") || expected == "string or map" => "one of its words".to_owned(),
        _ => "a value of the type that the reference names".to_owned(),
    }
}

//! A value that looks as a schema says.
//!
//! Every choice is a function of the schema and of an [`Attempt`], so that a dry run repeats exactly. The first attempt
//! whose value validates is taken, else the first.

use std::collections::BTreeSet;

use serde_json::Map;

use super::Schema;
use super::pattern;
use super::scalar::{number, text};
use super::view::{Property, Source, View};
use crate::value::json::Value;
use crate::value::limits::measure;

/// Largest sample, in values, keys and 64 bytes of text.
const MAX_VALUES: usize = 2_000;
/// Deepest sample; beyond it every value is null.
const MAX_DEPTH: usize = 48;
/// Deepest value that need not be there.
const MAX_OPTIONAL_DEPTH: usize = 8;

/// Which alternatives an attempt takes.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// The position in every `anyOf` and `oneOf`.
    alternative: usize,
    /// Whether `then` is aimed at rather than `else`.
    then: bool,
    fill: Fill,
}

/// Which optional properties an attempt has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    /// All that are declared, and an element in every list, but for what lies inside of itself.
    All,
    /// Those with a default.
    Defaults,
    None,
}

pub(super) fn sample(schema: &Schema, source: &Source) -> Value {
    let attempts = (0..4).flat_map(|alternative| {
        let kinds = [
            (false, Fill::All),
            (true, Fill::All),
            (false, Fill::Defaults),
            (true, Fill::Defaults),
            (false, Fill::None),
        ];
        kinds.map(|(then, fill)| Attempt { alternative, then, fill })
    });
    let mut first = None;
    for attempt in attempts {
        let mut sampler = Sampler { attempt, left: MAX_VALUES, around: Vec::new() };
        let value = sampler.value(&source.view(), 0, 0);
        if schema.is_valid(&value) {
            return value;
        }
        first.get_or_insert(value);
    }
    first.unwrap_or_default()
}

struct Sampler<'s> {
    attempt: Attempt,
    left: usize,
    /// The schemas of the values around, the outermost first: what recurs is not begun once more.
    around: Vec<View<'s>>,
}

impl<'s> Sampler<'s> {
    /// The `nth` value that fits; different numbers give different values where the schema allows.
    fn value(&mut self, view: &View<'s>, depth: usize, nth: usize) -> Value {
        if self.left == 0 || depth > MAX_DEPTH {
            return Value::Null;
        }
        self.left -= 1;
        self.around.push(view.clone());
        let value = self.decided_value(view, depth, nth);
        self.around.pop();
        value
    }

    fn decided_value(&mut self, view: &View<'s>, depth: usize, nth: usize) -> Value {
        let view = self.decided(view);
        if let Some(given) = given(&view, nth) {
            let size = measure(given);
            return if self.affords(size.nodes - 1 + size.bytes / 64) { given.clone() } else { Value::Null };
        }
        match kind(&view, nth) {
            "object" => self.object(&view, depth),
            "array" => self.array(&view, depth),
            "string" => {
                let text = text(&view, nth);
                if self.affords(text.len() / 64) { Value::String(text) } else { Value::Null }
            }
            "integer" => number(&view, nth, true),
            "number" => number(&view, nth, false),
            "boolean" => Value::Bool(nth.is_multiple_of(2)),
            _ => Value::Null,
        }
    }

    /// Takes `units` from what is left, when there is that much.
    fn affords(&mut self, units: usize) -> bool {
        let left = self.left.checked_sub(units);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// Whether a value that need not be there is made.
    fn adds(&self, view: &View<'s>) -> bool {
        let recurs = self.around.iter().any(|around| around.same(view));
        self.attempt.fill == Fill::All && self.around.len() <= MAX_OPTIONAL_DEPTH && !view.never() && !recurs
    }

    /// The view with an alternative chosen wherever there is a choice.
    fn decided(&self, view: &View<'s>) -> View<'s> {
        let mut decided = view.clone();
        let mut done = 0;
        // An alternative may bring alternatives of its own.
        while let Some(node) = { decided.nodes().nth(done) } {
            done += 1;
            for keyword in ["anyOf", "oneOf"] {
                let Some(Value::Array(branches)) = node.get(keyword) else { continue };
                let fitting: Vec<&Value> = branches
                    .iter()
                    .filter(|branch| !view.at(branch).never() && kinds(&decided.with(branch)).next().is_some())
                    .collect();
                let chosen = fitting.get(self.attempt.alternative % fitting.len().max(1)).copied().or(branches.first());
                if let Some(chosen) = chosen {
                    decided = decided.with(chosen);
                }
            }
            if let Some(condition) = node.get("if") {
                let branch = if self.attempt.then {
                    decided = decided.with(condition);
                    node.get("then")
                } else {
                    node.get("else")
                };
                decided = branch.map_or(decided.clone(), |branch| decided.with(branch));
            }
        }
        decided
    }

    fn object(&mut self, view: &View<'s>, depth: usize) -> Value {
        let mut names: BTreeSet<&str> = strings(view.all("required")).collect();
        if self.attempt.fill != Fill::None {
            let most = view.all("maxProperties").filter_map(Value::as_u64).min().unwrap_or(u64::MAX);
            for name in view.declared() {
                if let Property::Declared(property) = view.property(name)
                    && (property.first("default").is_some() || self.adds(&property))
                    && (names.len() as u64) < most
                {
                    names.insert(name);
                }
            }
        }
        let least = view.all("minProperties").filter_map(Value::as_u64).max().unwrap_or(0);
        let least = usize::try_from(least).unwrap_or(usize::MAX).min(MAX_VALUES);
        for name in view.declared() {
            if names.len() < least && !matches!(view.property(name), Property::Declared(property) if property.never()) {
                names.insert(name);
            }
        }
        while let Some(missing) = dependents(view, &names) {
            names.insert(missing);
        }
        let mut map = Map::new();
        let names: Vec<&str> = names.into_iter().take(self.left).collect();
        self.left -= names.len();
        for name in names {
            let value = match view.property(name) {
                Property::Declared(property) => self.value(&property, depth + 1, 0),
                Property::Open | Property::Closed => {
                    let by_pattern =
                        view.all("patternProperties").filter_map(Value::as_object).flatten().find(|(pattern, _)| {
                            regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(name))
                        });
                    by_pattern.map_or(Value::Null, |(_, schema)| self.value(&view.at(schema), depth + 1, 0))
                }
            };
            map.insert(name.to_owned(), value);
        }
        // Names of no meaning, where the schema counts properties and leaves the names open.
        let by_pattern = view.all("patternProperties").filter_map(Value::as_object).flatten().next();
        let named = by_pattern.and_then(|(pattern, _)| pattern::example(pattern));
        for n in 1..=least {
            if map.len() >= least || !self.affords(1) {
                break;
            }
            let name = named
                .as_ref()
                .map_or_else(|| format!("key{n}"), |name| if n == 1 { name.clone() } else { format!("{name}{n}") });
            let value = match (view.property(&name), by_pattern) {
                (Property::Declared(property), None) => self.value(&property, depth + 1, 0),
                (_, Some((_, schema))) => self.value(&view.at(schema), depth + 1, 0),
                _ => Value::Null,
            };
            map.entry(name).or_insert(value);
        }
        Value::Object(map)
    }

    fn array(&mut self, view: &View<'s>, depth: usize) -> Value {
        let count = |keyword: &'static str| view.all(keyword).filter_map(Value::as_u64).max().unwrap_or(0);
        let contains = view.first("contains");
        let wanted =
            if contains.is_some() { view.first("minContains").and_then(Value::as_u64).unwrap_or(1) } else { 0 };
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let least = usize::try_from(count("minItems")).unwrap_or(usize::MAX).max(wanted).min(MAX_VALUES);
        let takes_one = view.all("maxItems").all(|most| most.as_u64() != Some(0))
            && view.item(Some(0)).is_some_and(|element| self.adds(&element));
        let length = least.max(usize::from(takes_one));
        let unique = view.all("uniqueItems").any(|flag| flag == &Value::Bool(true));
        let mut items: Vec<Value> = Vec::new();
        for at in 0..length {
            let base = view.item(Some(at));
            let place = match (base, contains.filter(|_| at < wanted)) {
                (Some(base), Some(contains)) => Some(base.with(contains)),
                (None, Some(contains)) => Some(view.at(contains)),
                (base, None) => base,
            };
            let mut make = |nth: usize| match &place {
                Some(place) => self.value(place, depth + 1, nth),
                None if nth > 0 => Value::from(nth),
                None => Value::Null,
            };
            let mut item = make(if unique { at } else { 0 });
            for nth in 0..=length {
                if !unique || !items.contains(&item) {
                    break;
                }
                item = make(nth);
            }
            items.push(item);
        }
        Value::Array(items)
    }
}

/// What the schema itself offers as a value.
fn given<'s>(view: &View<'s>, nth: usize) -> Option<&'s Value> {
    if let Some(constant) = view.first("const") {
        return Some(constant);
    }
    let fits = |value: &&Value| kinds(view).any(|kind| is_of_kind(value, kind));
    let mut lists = view.all("enum").filter_map(Value::as_array);
    if let Some(list) = lists.next() {
        let others: Vec<_> = lists.collect();
        let allowed: Vec<_> =
            list.iter().filter(fits).filter(|value| others.iter().all(|other| other.contains(value))).collect();
        return allowed.get(nth % allowed.len().max(1)).copied();
    }
    if nth > 0 {
        return None;
    }
    view.first("default").into_iter().chain(view.first("examples").and_then(|list| list.as_array()?.first())).find(fits)
}

const KINDS: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];

/// The types that all schemas of the view allow, in their order of preference.
fn kinds<'v>(view: &'v View<'_>) -> impl Iterator<Item = &'static str> + 'v {
    let allows = |declared: &Value, kind: &str| match declared {
        Value::String(name) => name == kind || (name == "number" && kind == "integer"),
        Value::Array(names) => names.iter().any(|name| name == kind || (name == "number" && kind == "integer")),
        _ => true,
    };
    KINDS.into_iter().filter(move |kind| view.all("type").all(|declared| allows(declared, kind)))
}

fn is_of_kind(value: &Value, kind: &str) -> bool {
    match value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        Value::Number(number) => {
            kind == "number" || (kind == "integer" && number.as_f64().is_some_and(|number| number.fract() == 0.0))
        }
        Value::String(_) => kind == "string",
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
    }
}

/// The type of the sample: the first that is named, else the one that the keywords speak of.
fn kind(view: &View<'_>, nth: usize) -> &'static str {
    let allowed: Vec<&'static str> = kinds(view).collect();
    let speaks = |keywords: &[&'static str]| keywords.iter().any(|keyword| view.first(keyword).is_some());
    let spoken = [
        ("object", &["properties", "required", "minProperties", "additionalProperties", "patternProperties"][..]),
        ("array", &["items", "prefixItems", "minItems", "uniqueItems", "contains"]),
        ("string", &["minLength", "maxLength", "pattern", "format"]),
        ("integer", &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]),
        ("number", &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]),
    ];
    if view.first("type").is_some() {
        let named = view.first("type").into_iter().flat_map(|declared| match declared {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>(),
            other => other.as_str().into_iter().collect(),
        });
        let first = named.into_iter().find_map(|name| {
            let exact = allowed.iter().copied().find(|kind| *kind == name);
            exact.or_else(|| allowed.iter().copied().find(|kind| name == "number" && *kind == "integer"))
        });
        // A list of different values needs more than null or a bool has.
        let other = allowed.iter().copied().find(|kind| !["null", "boolean"].contains(kind));
        return match first {
            Some("null") if nth > 0 || allowed.len() > 1 => allowed.first().copied().unwrap_or("null"),
            Some("boolean") if nth > 1 => other.unwrap_or("boolean"),
            first => first.or(allowed.first().copied()).unwrap_or("null"),
        };
    }
    let spoken = spoken.into_iter().find(|(kind, keywords)| allowed.contains(kind) && speaks(keywords));
    spoken.map_or(if nth > 0 { "integer" } else { "null" }, |(kind, _)| kind)
}

fn strings<'s>(lists: impl Iterator<Item = &'s Value>) -> impl Iterator<Item = &'s str> {
    lists.filter_map(Value::as_array).flatten().filter_map(Value::as_str)
}

/// A property that one of `names` asks for and that is not among them.
fn dependents<'s>(view: &View<'s>, names: &BTreeSet<&str>) -> Option<&'s str> {
    let asked = ["dependentRequired", "dependencies"].into_iter().flat_map(|keyword| view.all(keyword));
    let lists = asked.filter_map(Value::as_object).flatten().filter(|(name, _)| names.contains(name.as_str()));
    strings(lists.map(|(_, list)| list)).find(|name| !names.contains(name))
}

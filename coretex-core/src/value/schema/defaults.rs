//! Filling in what a value leaves out.
//!
//! A default is a statement of a schema about one place; where it stands is found by walking schema and value side by
//! side. What an inserted default leaves out is filled in as well, so that filling in twice is filling in once.

use std::borrow::Cow;

use super::view::{Property, Source, View};
use crate::value::json::Value;
use crate::value::limits::{LimitError, LimitErrorKind, measure};

/// Deepest place that is filled in.
const MAX_DEPTH: usize = 64;
/// Most places that are looked at: a few schemas at each of as many values as the limits allow.
const MAX_PLACES: usize = 4_000_000;
/// Most values that are filled in.
const MAX_VALUES: usize = 100_000;
/// Most bytes that are filled in, as JSON.
const MAX_BYTES: usize = 8 * 1024 * 1024;

pub(super) fn fill<'v>(source: &Source, value: &'v Value) -> Result<Cow<'v, Value>, LimitError> {
    if !source.has_defaults() {
        return Ok(Cow::Borrowed(value));
    }
    let mut filler =
        Filler { places: MAX_PLACES, values: MAX_VALUES, bytes: MAX_BYTES, inserting: Vec::new(), changed: false };
    let mut filled = value.clone();
    match filler.fill(&source.view(), &mut filled, 0) {
        // Recursion ends at the insertion that it leads back to, so none arrives here.
        Ok(()) | Err(Stop::Recursion(_)) => {}
        Err(Stop::Limit(kind, limit)) => return Err(LimitError::defaults(kind, limit)),
    }
    Ok(if filler.changed { Cow::Owned(filled) } else { Cow::Borrowed(value) })
}

enum Stop {
    Limit(LimitErrorKind, usize),
    /// A default contains itself; the position of its insertion in [`Filler::inserting`].
    Recursion(usize),
}

struct Filler<'s> {
    places: usize,
    values: usize,
    bytes: usize,
    /// The defaults that are being inserted and where, outermost first.
    inserting: Vec<(&'s Value, View<'s>)>,
    changed: bool,
}

impl<'s> Filler<'s> {
    fn visit(&mut self, places: usize) -> Result<(), Stop> {
        self.places = self.places.checked_sub(places).ok_or(Stop::Limit(LimitErrorKind::Nodes, MAX_PLACES))?;
        Ok(())
    }

    fn charge(&mut self, values: usize, bytes: usize) -> Result<(), Stop> {
        self.values = self.values.checked_sub(values).ok_or(Stop::Limit(LimitErrorKind::Nodes, MAX_VALUES))?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Stop::Limit(LimitErrorKind::Bytes, MAX_BYTES))?;
        Ok(())
    }

    fn fill(&mut self, view: &View<'s>, value: &mut Value, depth: usize) -> Result<(), Stop> {
        if depth == MAX_DEPTH {
            return Ok(());
        }
        self.visit(1 + view.nodes().count())?;
        match value {
            Value::Object(map) => {
                for (name, item) in map.iter_mut() {
                    if let Property::Declared(view) = view.property(name) {
                        self.fill(&view, item, depth + 1)?;
                    }
                }
                for name in view.declared() {
                    self.visit(1)?;
                    if !map.contains_key(name)
                        && let Property::Declared(view) = view.property(name)
                        && let Some(default) = view.first("default")
                        && let Some(filled) = self.insert(&view, default, depth + 1)?
                    {
                        self.charge(0, name.len())?;
                        map.insert(name.to_owned(), filled);
                        self.changed = true;
                    }
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    if let Some(view) = view.item(Some(at)) {
                        self.fill(&view, item, depth + 1)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The default with its own defaults; `None` when it would contain itself.
    fn insert(&mut self, view: &View<'s>, default: &'s Value, depth: usize) -> Result<Option<Value>, Stop> {
        let same = |(outer, place): &(&Value, View<'_>)| std::ptr::eq(*outer, default) && place.same(view);
        if let Some(level) = self.inserting.iter().position(same) {
            return Err(Stop::Recursion(level));
        }
        let size = measure(default);
        self.charge(size.nodes, size.bytes)?;
        let (level, changed) = (self.inserting.len(), self.changed);
        self.inserting.push((default, view.clone()));
        let mut filled = default.clone();
        let outcome = self.fill(view, &mut filled, depth);
        self.inserting.truncate(level);
        match outcome {
            Ok(()) => Ok(Some(filled)),
            Err(Stop::Recursion(back)) if back == level => {
                self.changed = changed;
                Ok(None)
            }
            Err(stop) => Err(stop),
        }
    }
}

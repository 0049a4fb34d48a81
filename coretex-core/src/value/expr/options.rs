//! What the compiler knows about the place an expression stands in, and what it reports back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Expr;
use crate::value::json::Value;
use crate::value::schema::view::{Source, View};

/// The roots of a workflow scope.
const STANDARD_ROOTS: [&str; 6] = ["input", "ctx", "steps", "item", "index", "run"];

/// The names an expression may use. Built once per workflow, used for all its expressions.
///
/// ```
/// use coretex_core::value::{CompileOptions, Expr};
///
/// let options = CompileOptions::new().with_steps(["fetch-data"]);
/// assert!(Expr::compile("steps.fetch-data.output.count > 3", &options).is_ok());
/// let error = Expr::compile("steps.fetch-dta.output", &options).unwrap_err();
/// assert_eq!(error.hint(), Some("did you mean `fetch-data`?"));
/// ```
#[derive(Clone, Debug)]
pub struct CompileOptions {
    roots: BTreeSet<String>,
    steps: Option<Arc<BTreeSet<String>>>,
    input: Option<Arc<Source>>,
    outputs: Arc<BTreeMap<String, Arc<Source>>>,
    /// The shape of `steps.<id>`.
    step: Option<Arc<Source>>,
    /// The shapes of other roots.
    shapes: BTreeMap<String, Arc<Source>>,
    items: Option<Arc<Walked>>,
}

/// What a `for_each` walks, and where that stands.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) list: Expr,
    pub(super) options: CompileOptions,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl CompileOptions {
    /// The roots `input`, `ctx`, `steps`, `item`, `index` and `run`; step ids and the fields of
    /// `input` are not checked.
    #[must_use]
    pub fn new() -> Self {
        Self {
            roots: STANDARD_ROOTS.map(str::to_owned).into(),
            steps: None,
            input: None,
            outputs: Arc::default(),
            step: None,
            shapes: BTreeMap::new(),
            items: None,
        }
    }

    /// Replaces the root variables.
    #[must_use]
    pub fn with_roots<I>(mut self, roots: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.roots = roots.into_iter().map(Into::into).collect();
        self
    }

    /// Adds one root variable, such as `carry` inside of a loop. Words that the language reserves (`loop`) can be
    /// roots too.
    #[must_use]
    pub fn with_root(mut self, root: &str) -> Self {
        self.roots.insert(root.to_owned());
        self
    }

    /// Takes root variables away, such as `item` and `index` outside of a `for_each`.
    #[must_use]
    pub fn without_roots(mut self, roots: &[&str]) -> Self {
        self.roots.retain(|root| !roots.contains(&root.as_str()));
        self
    }

    /// Declares the step ids. Any other id after `steps.` is then an error, and a declared id may
    /// contain dashes anywhere in an expression.
    #[must_use]
    pub fn with_steps<I>(mut self, steps: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.steps = Some(Arc::new(steps.into_iter().map(Into::into).collect()));
        self
    }

    /// Declares the JSON Schema of `input`. Two things are errors then: a path to a property that a
    /// closed object (`additionalProperties: false`) does not declare, unless it is asked for with
    /// `has(...)` or `.?`, and an operation that fails for every value that the schema allows, such
    /// as `<` on an object.
    #[must_use]
    pub fn with_input_schema(mut self, schema: &Value) -> Self {
        self.input = Some(Arc::new(Source::new(schema.clone())));
        self
    }

    /// Declares the JSON Schema of `steps.<step_id>.output`, which is then checked as `input` is.
    #[must_use]
    pub fn with_step_schema(mut self, step_id: &str, schema: &Value) -> Self {
        Arc::make_mut(&mut self.outputs).insert(step_id.to_owned(), Arc::new(Source::new(schema.clone())));
        self
    }

    /// Declares the JSON Schema of `steps.<id>`, of every step: its fields beside `output`.
    #[must_use]
    pub fn with_step_shape(mut self, schema: &Value) -> Self {
        self.step = Some(Arc::new(Source::new(schema.clone())));
        self
    }

    /// Adds a root variable and declares its JSON Schema, which is then checked as that of `input` is.
    #[must_use]
    pub fn with_root_schema(mut self, root: &str, schema: &Value) -> Self {
        self.shapes.insert(root.to_owned(), Arc::new(Source::new(schema.clone())));
        self.with_root(root)
    }

    /// Adds the root `item`: an element of the list that `list` gives, where `options` hold.
    #[must_use]
    pub fn with_items_of(mut self, list: &Expr, options: &Self) -> Self {
        self.items = Some(Arc::new(Walked { list: list.clone(), options: options.clone() }));
        self.with_root("item")
    }

    pub(super) fn input(&self) -> Option<View<'_>> {
        self.input.as_ref().map(|source| source.view())
    }

    pub(super) fn output(&self, step_id: &str) -> Option<View<'_>> {
        self.outputs.get(step_id).map(|source| source.view())
    }

    pub(super) fn step(&self) -> Option<View<'_>> {
        self.step.as_ref().map(|source| source.view())
    }

    pub(super) fn shape(&self, root: &str) -> Option<View<'_>> {
        self.shapes.get(root).map(|source| source.view())
    }

    pub(super) fn walked(&self) -> Option<&Walked> {
        self.items.as_deref()
    }

    pub(super) fn has_root(&self, name: &str) -> bool {
        self.roots.contains(name)
    }

    pub(super) fn roots(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(String::as_str)
    }

    pub(super) fn steps(&self) -> Option<&BTreeSet<String>> {
        self.steps.as_deref()
    }
}

/// What an expression or template reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    pub(in crate::value) roots: BTreeSet<String>,
    pub(in crate::value) steps: BTreeSet<String>,
    pub(in crate::value) all_steps: bool,
}

impl References {
    /// The root variables, sorted.
    pub fn roots(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(String::as_str)
    }

    /// The step ids named in the text, sorted.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(String::as_str)
    }

    /// Whether it may read any step: `steps` as a whole, or `steps[...]` with a computed id.
    #[must_use]
    pub fn reads_all_steps(&self) -> bool {
        self.all_steps
    }

    /// Adds what `other` reads.
    pub fn merge(&mut self, other: &Self) {
        self.roots.extend(other.roots.iter().cloned());
        self.steps.extend(other.steps.iter().cloned());
        self.all_steps |= other.all_steps;
    }
}

/// The closest of `known`, if one is close enough to be a slip.
pub(super) fn did_you_mean<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    let allowed = if name.chars().count() < 4 { 1 } else { 2 };
    known
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// Insertions, deletions, replacements and swaps of neighbours between two short names.
fn edit_distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let mut best = (at(&previous, j) + usize::from(l != r)).min(at(&previous, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && left.get(i - 1) == Some(r) && right.get(j - 1) == Some(l);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut previous, row);
    }
    at(&previous, right.len())
}

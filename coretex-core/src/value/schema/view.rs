//! What a schema says about one place of a value.
//!
//! A [`View`] is the schemas that hold there together: the schema itself, what its `$ref`s name and its `allOf`
//! branches. Defaults, samples and the types of expressions are read through it, so that they agree about references.
//! It knows nothing about alternatives (`anyOf`, `oneOf`, `if`): who needs them looks at the nodes.
//!
//! Invariant: a view says too little rather than something wrong. A reference that is not followed (to an anchor, or
//! inside of an embedded resource) says nothing.

use serde_json::Map;

use crate::value::json::Value;

/// Most schemas of one place that are looked at.
const MAX_NODES: usize = 64;

/// A schema document and what reading it needs to know.
#[derive(Debug)]
pub(in crate::value) struct Source {
    document: Value,
    /// In drafts before 2019-09 a `$ref` hides its neighbours.
    hides: bool,
    /// A schema with an `$id` of its own lies inside, so `#` may mean that one.
    embeds: bool,
    defaults: bool,
}

/// How a part of a schema document is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Root,
    Schema,
    /// A map from names to schemas.
    Names,
}

impl Reading {
    /// What stands under a keyword; `None` for data.
    fn of(keyword: &str) -> Option<Self> {
        match keyword {
            "const" | "enum" | "default" | "examples" => None,
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => Some(Self::Names),
            _ => Some(Self::Schema),
        }
    }
}

impl Source {
    pub(in crate::value) fn new(document: Value) -> Self {
        let draft = document.get("$schema").and_then(Value::as_str).unwrap_or_default();
        let hides = ["draft-03", "draft-04", "draft-06", "draft-07"].iter().any(|old| draft.contains(old));
        // Before draft 6 an id had no dollar.
        let id = if draft.contains("draft-03") || draft.contains("draft-04") { "id" } else { "$id" };
        let (mut embeds, mut defaults) = (false, false);
        let mut waiting = vec![(Reading::Root, &document)];
        while let Some((reading, value)) = waiting.pop() {
            match value {
                Value::Array(items) => waiting.extend(items.iter().map(|item| (Reading::Schema, item))),
                Value::Object(map) if reading == Reading::Names => {
                    waiting.extend(map.values().map(|item| (Reading::Schema, item)));
                }
                Value::Object(map) => {
                    embeds |= reading == Reading::Schema && map.get(id).is_some_and(Value::is_string);
                    defaults |= map.contains_key("default");
                    waiting.extend(map.iter().filter_map(|(key, item)| Some((Reading::of(key)?, item))));
                }
                _ => {}
            }
        }
        Self { document, hides, embeds, defaults }
    }

    /// Whether it may declare a default anywhere.
    pub(super) fn has_defaults(&self) -> bool {
        self.defaults
    }

    pub(in crate::value) fn view(&self) -> View<'_> {
        View::of(self, [&self.document])
    }

    pub(super) fn document(&self) -> &Value {
        &self.document
    }

    /// The schema that a reference names, when it lies in this document.
    pub(super) fn resolve(&self, reference: &str) -> Option<&Value> {
        if self.embeds {
            return None;
        }
        let own = self.document.get("$id").and_then(Value::as_str).unwrap_or_default().trim_end_matches('#');
        let fragment = reference.strip_prefix(own).unwrap_or(reference);
        match fragment.strip_prefix('#') {
            Some(pointer) => self.document.pointer(pointer),
            None if fragment.is_empty() && !own.is_empty() => Some(&self.document),
            None => None,
        }
    }
}

/// The schemas that hold together at one place.
#[derive(Clone, Debug)]
pub(in crate::value) struct View<'s> {
    source: &'s Source,
    nodes: Vec<&'s Map<String, Value>>,
    never: bool,
}

/// What a view says about one key of an object.
#[derive(Debug)]
pub(in crate::value) enum Property<'s> {
    /// It has a schema.
    Declared(View<'s>),
    /// Nothing is known about it.
    Open,
    /// The object is closed and does not declare it.
    Closed,
}

impl<'s> View<'s> {
    fn of(source: &'s Source, schemas: impl IntoIterator<Item = &'s Value>) -> Self {
        let mut view = Self { source, nodes: Vec::new(), never: false };
        let mut seen: Vec<&'s Map<String, Value>> = Vec::new();
        let mut waiting: Vec<&'s Value> = schemas.into_iter().collect();
        waiting.reverse();
        while let Some(schema) = waiting.pop() {
            match schema {
                Value::Bool(allowed) => view.never |= !allowed,
                Value::Object(node) => {
                    // A circle of references says nothing new.
                    if seen.iter().any(|seen| std::ptr::eq(*seen, node)) {
                        continue;
                    }
                    if seen.len() == MAX_NODES {
                        break;
                    }
                    seen.push(node);
                    let reference = node.get("$ref").and_then(Value::as_str);
                    if reference.is_none() || !source.hides {
                        // A mere reference says nothing of its own.
                        if reference.is_none() || node.len() > 1 {
                            view.nodes.push(node);
                        }
                        waiting.extend(node.get("allOf").and_then(Value::as_array).into_iter().flatten().rev());
                    }
                    waiting.extend(reference.and_then(|reference| source.resolve(reference)));
                }
                _ => {}
            }
        }
        view
    }

    /// This view, and `schema` as well.
    pub(in crate::value) fn with(&self, schema: &'s Value) -> Self {
        let mut both = Self::of(self.source, [schema]);
        both.never |= self.never;
        let own: Vec<_> =
            self.nodes.iter().filter(|node| !both.nodes.iter().any(|seen| std::ptr::eq(*seen, **node))).collect();
        both.nodes.splice(0..0, own.into_iter().copied());
        both
    }

    /// A view of another schema of the same document.
    pub(in crate::value) fn at(&self, schema: &'s Value) -> Self {
        Self::of(self.source, [schema])
    }

    /// Whether the same schemas hold here and there.
    pub(in crate::value) fn same(&self, other: &View<'_>) -> bool {
        self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(|(left, right)| std::ptr::eq(*left, *right))
    }

    /// The schemas, those that are nearer to the place first.
    pub(in crate::value) fn nodes(&self) -> impl Iterator<Item = &'s Map<String, Value>> + '_ {
        self.nodes.iter().copied()
    }

    /// Whether nothing can stand here.
    pub(in crate::value) fn never(&self) -> bool {
        self.never
    }

    /// Every value of one keyword, nearest first.
    pub(in crate::value) fn all(&self, keyword: &'static str) -> impl Iterator<Item = &'s Value> + '_ {
        self.nodes.iter().filter_map(move |node| node.get(keyword))
    }

    /// The nearest value of one keyword.
    pub(in crate::value) fn first(&self, keyword: &'static str) -> Option<&'s Value> {
        self.all(keyword).next()
    }

    /// The names of the declared properties, sorted within each schema; a name may repeat.
    pub(in crate::value) fn declared(&self) -> impl Iterator<Item = &'s str> + '_ {
        self.all("properties").filter_map(Value::as_object).flat_map(|map| map.keys().map(String::as_str))
    }

    pub(in crate::value) fn property(&self, name: &str) -> Property<'s> {
        let mut schemas = Vec::new();
        let mut closed = false;
        for node in &self.nodes {
            if let Some(schema) = node.get("properties").and_then(|map| map.get(name)) {
                schemas.push(schema);
                continue;
            }
            let patterns = node.get("patternProperties").and_then(Value::as_object).is_some_and(|map| !map.is_empty());
            match node.get("additionalProperties") {
                // Which patterns a name fits is not looked at.
                _ if patterns => {}
                Some(Value::Bool(false)) => closed = true,
                Some(schema @ Value::Object(_)) => schemas.push(schema),
                _ => {}
            }
        }
        match (closed, schemas.is_empty()) {
            (true, _) => Property::Closed,
            (false, true) => Property::Open,
            (false, false) => Property::Declared(Self::of(self.source, schemas)),
        }
    }

    /// The view of an element; `None` for one of unknown position.
    pub(in crate::value) fn item(&self, at: Option<usize>) -> Option<Self> {
        let mut schemas = Vec::new();
        for node in &self.nodes {
            let (listed, rest) = match (node.get("prefixItems"), node.get("items")) {
                (Some(Value::Array(listed)), rest) => (&**listed, rest),
                (None, Some(Value::Array(listed))) => (&**listed, node.get("additionalItems")),
                (_, rest) => (&[][..], rest),
            };
            match at {
                Some(at) => schemas.extend(listed.get(at).or(rest)),
                None if listed.is_empty() => schemas.extend(rest),
                None => {}
            }
        }
        (!schemas.is_empty()).then(|| Self::of(self.source, schemas))
    }
}

//! What sets two definitions apart, and what that means for a run.
//!
//! Pure. Steps are compared by id; a step that went and one that came are one step under a new name only when nothing
//! else fits: both have the same content, and no other step that went or came has it. Edges are told apart from fields,
//! and are those of the new names.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Run, StepStatus, Workflow, WorkflowSpec};

/// What sets one definition apart from another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DefinitionDiff {
    /// Fields of the definition itself that differ.
    pub fields: Vec<FieldChange>,
    /// Steps that came, in the order of their ids.
    pub added: Vec<String>,
    /// Steps that went, in the order of their ids.
    pub removed: Vec<String>,
    /// Steps that have another name and are the same for certain.
    pub renamed: Vec<Rename>,
    /// Steps that stayed and differ.
    pub changed: Vec<StepChange>,
    /// Dependencies that came.
    pub edges_added: Vec<Edge>,
    /// Dependencies that went.
    pub edges_removed: Vec<Edge>,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Where: `retry.max_retries`, `input["a.b"]`.
    pub path: String,
    /// What it was; absent when it was not there.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What it is; absent when it is not there.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// A step that stayed and differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepChange {
    /// The step.
    pub step: String,
    /// Its fields that differ; dependencies are told apart.
    pub fields: Vec<FieldChange>,
}

/// A step under a new name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    /// Its old name.
    pub from: String,
    /// Its new name.
    pub to: String,
}

/// A dependency.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    /// The step that goes first.
    pub from: String,
    /// The step that waits for it.
    pub to: String,
}

/// What a change means for a run of the old definition: the steps that differ, by how far the run has come with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunImpact {
    /// Steps that it is done with, in whatever way, and that differ or are gone.
    pub done: Vec<String>,
    /// Steps that it is at, and that differ or are gone.
    pub under_way: Vec<String>,
    /// Steps that it has not begun, and that differ, are gone or are new.
    pub ahead: Vec<String>,
}

/// Deserializes a field that is there as `Some`, also when it is `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl DefinitionDiff {
    /// Whether nothing sets them apart but who stored them and when.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Ids of the old definition's steps that differ, are gone, are renamed or wait for other steps.
    #[must_use]
    fn touched(&self) -> BTreeSet<&str> {
        let old_name =
            |new: &'_ str| self.renamed.iter().find(|rename| rename.to == new).map(|rename| rename.from.clone());
        let edges = self.edges_added.iter().chain(&self.edges_removed).map(|edge| edge.to.as_str());
        let changed = self.changed.iter().map(|change| change.step.as_str());
        let mut touched: BTreeSet<&str> = self.removed.iter().map(String::as_str).collect();
        touched.extend(self.renamed.iter().map(|rename| rename.from.as_str()));
        touched.extend(changed.chain(edges).filter(|step| old_name(step).is_none()));
        touched
    }

    /// What the change means for `run`, a run of the old definition. O(steps).
    #[must_use]
    pub fn impact(&self, run: &Run) -> RunImpact {
        let touched = self.touched();
        let mut impact = RunImpact::default();
        for (id, step) in run.steps().filter(|(id, _)| touched.contains(id.step())) {
            let list = match step.status {
                status if status.is_terminal() => &mut impact.done,
                StepStatus::Pending if step.attempts == 0 => &mut impact.ahead,
                _ => &mut impact.under_way,
            };
            list.push(id.to_string());
        }
        impact.ahead.extend(self.added.iter().cloned());
        impact
    }
}

/// What sets `new` apart from `old`. Pure; O(size of both), and O(k²) in the number of steps that came or went.
#[must_use]
pub fn diff(old: &Workflow, new: &Workflow) -> DefinitionDiff {
    let (old, new) = (Parts::of(old.spec()), Parts::of(new.spec()));
    let renamed = old.renames(&new);
    let new_name = |step: &str| renamed.get(step).cloned().unwrap_or_else(|| step.to_owned());
    let came: BTreeSet<&String> = renamed.values().collect();
    let mut diff = DefinitionDiff::default();
    compare("", &Value::Object(old.head.clone()), &Value::Object(new.head.clone()), &mut diff.fields);
    for (id, step) in &old.steps {
        match new.steps.get(id) {
            _ if renamed.contains_key(id) => {}
            None => diff.removed.push(id.clone()),
            Some(other) => {
                let mut fields = Vec::new();
                compare("", &step.content, &other.content, &mut fields);
                if !fields.is_empty() {
                    diff.changed.push(StepChange { step: id.clone(), fields });
                }
            }
        }
    }
    diff.added = new.steps.keys().filter(|id| !old.steps.contains_key(*id) && !came.contains(id)).cloned().collect();
    let edge = |from: String, to: String| Edge { from, to };
    let before: BTreeSet<Edge> = old.edges().map(|(from, to)| edge(new_name(from), new_name(to))).collect();
    let after: BTreeSet<Edge> = new.edges().map(|(from, to)| edge(from.to_owned(), to.to_owned())).collect();
    diff.edges_added = after.difference(&before).cloned().collect();
    diff.edges_removed = before.difference(&after).cloned().collect();
    diff.renamed = renamed.into_iter().map(|(from, to)| Rename { from, to }).collect();
    diff
}

/// A definition taken apart.
struct Parts {
    head: Map<String, Value>,
    steps: BTreeMap<String, StepPart>,
}

struct StepPart {
    /// What it does, without its id and what it waits for.
    content: Value,
    depends_on: BTreeSet<String>,
}

impl Parts {
    fn of(spec: &WorkflowSpec) -> Self {
        // A spec is plain data: it always becomes an object.
        let Ok(Value::Object(mut head)) = serde_json::to_value(spec) else {
            return Self { head: Map::new(), steps: BTreeMap::new() };
        };
        for stamp in ["created_at", "updated_at", "created_by"] {
            head.remove(stamp);
        }
        let Some(Value::Object(steps)) = head.remove("steps") else {
            return Self { head, steps: BTreeMap::new() };
        };
        let part = |(id, mut content): (String, Value)| {
            if let Value::Object(fields) = &mut content {
                fields.remove("id");
                fields.remove("depends_on");
            }
            let depends_on = spec.steps.get(&id).map(|step| step.depends_on.iter().cloned().collect());
            (id, StepPart { content, depends_on: depends_on.unwrap_or_default() })
        };
        Self { head, steps: steps.into_iter().map(part).collect() }
    }

    fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.steps.iter().flat_map(|(id, step)| step.depends_on.iter().map(move |dep| (dep.as_str(), id.as_str())))
    }

    /// New names of steps that are the same for certain. A rename can make that of a dependent certain, so this goes on
    /// until nothing more is found.
    fn renames(&self, new: &Self) -> BTreeMap<String, String> {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        let mut gone: Vec<&String> = self.steps.keys().filter(|id| !new.steps.contains_key(*id)).collect();
        let mut come: Vec<&String> = new.steps.keys().filter(|id| !self.steps.contains_key(*id)).collect();
        loop {
            let same = |from: &String, to: &String| {
                let (Some(old), Some(other)) = (self.steps.get(from), new.steps.get(to)) else { return false };
                let waits = old.depends_on.iter().map(|dep| found.get(dep).unwrap_or(dep));
                old.content == other.content && waits.eq(other.depends_on.iter().collect::<BTreeSet<_>>())
            };
            let mut next = Vec::new();
            for from in &gone {
                let fits: Vec<&&String> = come.iter().filter(|to| same(from, to)).collect();
                if let [to] = fits.as_slice()
                    && gone.iter().filter(|other| same(other, to)).count() == 1
                {
                    next.push(((*from).clone(), (**to).clone()));
                }
            }
            if next.is_empty() {
                return found;
            }
            found.extend(next);
            gone.retain(|id| !found.contains_key(*id));
            come.retain(|id| !found.values().any(|to| to == *id));
        }
    }
}

/// Adds the fields below `path` that differ. Lists are compared whole.
fn compare(path: &str, old: &Value, new: &Value, changes: &mut Vec<FieldChange>) {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        if old != new {
            changes.push(FieldChange { path: path.to_owned(), old: Some(old.clone()), new: Some(new.clone()) });
        }
        return;
    };
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let path = join(path, name);
        match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) => compare(&path, old, new, changes),
            (old, new) => changes.push(FieldChange { path, old: old.cloned(), new: new.cloned() }),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match (plain, path.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{path}.{name}"),
        (false, _) => format!("{path}[{}]", Value::String(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workflow(steps: &str) -> Workflow {
        Workflow::parse("test", &format!("id: w\nsteps:\n{steps}")).unwrap()
    }

    fn edges(edges: &[Edge]) -> Vec<String> {
        edges.iter().map(|edge| format!("{}>{}", edge.from, edge.to)).collect()
    }

    const OLD: &str = "
  a: {topic: job.a, retry: {max_retries: 2}, input: {x: 1, 'p.q': [1, 2]}}
  b: {topic: job.b, depends_on: [a]}
  c: {topic: job.c, depends_on: [a, b]}";

    #[test]
    fn a_definition_equals_itself() {
        assert!(diff(&workflow(OLD), &workflow(OLD)).is_empty());
        let order = workflow(&OLD.replace("[a, b]", "[b, a]"));
        assert!(diff(&workflow(OLD), &order).is_empty(), "what a step waits for has no order");
    }

    #[test]
    fn fields_are_named_with_their_path_and_both_values() {
        let new = workflow(
            "
  a: {topic: job.a, retry: {max_retries: 5}, input: {y: null, 'p.q': [1]}}
  b: {topic: job.b, depends_on: [a]}
  c: {topic: job.c, depends_on: [b], timeout_sec: 9}
  d: {topic: job.d, depends_on: [c]}",
        );
        let found = diff(&workflow(OLD), &new);
        let told: Vec<(String, Option<Value>, Option<Value>)> = found
            .changed
            .iter()
            .flat_map(|change| {
                let path = |field: &FieldChange| format!("{}: {}", change.step, field.path);
                change.fields.iter().map(move |field| (path(field), field.old.clone(), field.new.clone()))
            })
            .collect();
        assert_eq!(
            told,
            [
                ("a: input[\"p.q\"]".into(), Some(json!([1, 2])), Some(json!([1]))),
                ("a: input.x".into(), Some(json!(1)), None),
                ("a: input.y".into(), None, Some(json!(null))),
                ("a: retry.max_retries".into(), Some(json!(2)), Some(json!(5))),
                ("c: timeout_sec".into(), None, Some(json!(9))),
            ]
        );
        assert_eq!((found.added, found.removed), (vec!["d".to_owned()], vec![]));
        assert_eq!((edges(&found.edges_added), edges(&found.edges_removed)), (vec!["c>d".into()], vec!["a>c".into()]));
    }

    #[test]
    fn a_rename_is_told_only_when_it_is_certain() {
        let renamed = OLD.replace("a: {", "first: {").replace("b: {", "second: {").replace("[a]", "[first]");
        let new = workflow(&renamed.replace("[a, b]", "[first, second]"));
        let found = diff(&workflow(OLD), &new);
        let rename = |from: &str, to: &str| Rename { from: from.into(), to: to.into() };
        assert_eq!(found.renamed, [rename("a", "first"), rename("b", "second")], "the second follows from the first");
        assert_eq!(DefinitionDiff { renamed: Vec::new(), ..found }, DefinitionDiff::default());

        let twins = diff(&workflow("\n  a: {topic: job.a}"), &workflow("\n  x: {topic: job.a}\n  y: {topic: job.a}"));
        assert_eq!(twins.renamed, [], "either could be meant");
        assert_eq!((twins.removed, twins.added), (vec!["a".to_owned()], vec!["x".to_owned(), "y".to_owned()]));
        let twins = diff(&workflow("\n  x: {topic: job.a}\n  y: {topic: job.a}"), &workflow("\n  a: {topic: job.a}"));
        assert_eq!(twins.renamed, []);
    }

    #[test]
    fn fields_of_the_definition_itself_are_told_and_stamps_are_not() {
        let text = |extra: &str| format!("id: w\n{extra}\nsteps:\n  a: {{topic: job.a}}");
        let old = Workflow::parse("test", &text("created_by: ann\ntimeout_sec: 5")).unwrap();
        let new = Workflow::parse("test", &text("created_by: bob\nconfig: {deep: {x: 1}}")).unwrap();
        let found = diff(&old, &new);
        let paths: Vec<&str> = found.fields.iter().map(|field| field.path.as_str()).collect();
        assert_eq!(paths, ["config", "timeout_sec"]);
    }
}

//! What must be the same of a step that a run has reached.

use std::collections::{BTreeSet, HashMap};

use super::{
    Counterparts,
    RefusalReason::{self, *},
    counterparts::{edges, is_item, specs},
};
use crate::workflow::{Role, Step, StepKind, StepRun, StepSpec, StepStatus, WaitsFor, Workflow};

/// What is in the way, and that as a sentence.
pub(super) type Verdict = (RefusalReason, String);

/// Two definitions side by side.
pub(super) struct Rules<'a> {
    old: &'a Workflow,
    new: &'a Workflow,
    counterparts: Counterparts<'a>,
    old_specs: HashMap<&'a str, &'a StepSpec>,
    new_specs: HashMap<&'a str, &'a StepSpec>,
    old_edges: Vec<BTreeSet<(&'a str, u8)>>,
    new_edges: Vec<BTreeSet<(&'a str, u8)>>,
}

impl<'a> Rules<'a> {
    pub(super) fn new(old: &'a Workflow, new: &'a Workflow) -> Self {
        Self {
            old,
            new,
            counterparts: Counterparts::of(old, new),
            old_specs: specs(old),
            new_specs: specs(new),
            old_edges: edges(old),
            new_edges: edges(new),
        }
    }

    /// What is in the way of a step run that was reached.
    pub(super) fn judge(&self, state: &StepRun) -> Vec<Verdict> {
        let position = state.position();
        let Some((old, scope)) = self.old.at(position) else { return Vec::new() };
        let Some(there) = self.counterparts.step(position) else {
            // Where its group is not the same, the group says so.
            let is_told = scope.container.is_some_and(|holder| self.counterparts.step(holder).is_none());
            return if is_told { Vec::new() } else { vec![self.why_gone(position)] };
        };
        let Some(new) = self.new.steps().get(there) else { return Vec::new() };
        let mut found = Vec::new();
        if self.old_edges.get(position) != self.new_edges.get(there) {
            let message = format!(
                "it has {}, and what it waits for has changed from {} to {}",
                if state.status.is_terminal() { "ended" } else { "begun" },
                names(self.old_edges.get(position)),
                names(self.new_edges.get(there)),
            );
            found.push((StepDependenciesChanged, message));
        }
        let specs = self.old_specs.get(old.id.as_str()).zip(self.new_specs.get(old.id.as_str()));
        let of_item = is_item(self.old, position);
        match (state.status, specs) {
            (StepStatus::Succeeded, _) => found.extend(done(state, old, new)),
            (StepStatus::Failed | StepStatus::TimedOut, Some((a, b)))
                if !of_item && (&a.on_error, a.continue_on_error) != (&b.on_error, b.continue_on_error) =>
            {
                let message = "it has failed, and what its failure means (`on_error`, `continue_on_error`) has changed";
                found.push((StepFailureHandlingChanged, message.into()));
            }
            (status, Some((a, b))) if !status.is_terminal() => found.extend(open(state, old, a, b)),
            _ => {}
        }
        if state.status == StepStatus::Succeeded
            && !of_item
            && specs.is_some_and(|(a, b)| a.output_path.trim() != b.output_path.trim())
        {
            found.push((StepOutputPathChanged, "it has written its output, and `output_path` has changed".into()));
        }
        found
    }

    fn why_gone(&self, position: usize) -> Verdict {
        match self.counterparts.named(position) {
            None => (StepRemoved, "the run has reached it, and the version does not have it".into()),
            Some(there) if !self.counterparts.is_in_place(position, there) => {
                (StepMoved, "the run has reached it, and in the version it is in another group".into())
            }
            Some(_) => {
                (StepKindChanged, "the run has reached it, and in the version it is another kind of step".into())
            }
        }
    }

    /// Ids of the steps that came into a scope of the old definition; those that undo others do not count.
    pub(super) fn added_to(&self, scope: usize) -> Vec<&'a str> {
        let Some(there) = self.counterparts.scope(scope).and_then(|scope| self.new.scopes().get(scope)) else {
            return Vec::new();
        };
        let known: BTreeSet<usize> = (0..self.old.steps().len()).filter_map(|n| self.counterparts.step(n)).collect();
        let came = (there.first..there.first + there.len).filter(|position| !known.contains(position));
        let steps = came.filter_map(|position| self.new.steps().get(position));
        steps.filter(|step| step.role != Role::Compensation).map(|step| step.id.as_str()).collect()
    }
}

fn names(edges: Option<&BTreeSet<(&str, u8)>>) -> String {
    let names: BTreeSet<&str> = edges.into_iter().flatten().map(|(name, _)| *name).collect();
    if names.is_empty() {
        return "nothing".into();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What is in the way of a step that is done.
fn done(state: &StepRun, old: &Step, new: &Step) -> Vec<Verdict> {
    let mut found = Vec::new();
    match (old.compensation.is_some(), new.compensation.is_some()) {
        (true, false) => {
            found.push((StepCompensationChanged, "it is done, and the version has nothing that undoes it".into()));
        }
        (false, true) => {
            let message = "it is done, and what undoes it came later, so that its turn is not known";
            found.push((StepCompensationChanged, message.into()));
        }
        _ => {}
    }
    if let Some(schema) = new.output_schema.as_ref().filter(|_| old.output_form != new.output_form) {
        let value = state.output.as_ref().map(|output| (output.value.as_deref(), output.pointer.is_some()));
        match value {
            Some((None, true)) => {
                let message = "its output is too large to be judged by the schema of the version";
                found.push((StepOutputUnfit, message.into()));
            }
            value => {
                let value = value.and_then(|(value, _)| value).cloned().unwrap_or_default();
                if let Err(violations) = schema.validate(&value) {
                    let list = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                    let message = format!("what it made does not match the schema of the version: {list}");
                    found.push((StepOutputUnfit, message));
                }
            }
        }
    }
    found
}

/// What is in the way of a step that is under way.
fn open(state: &StepRun, step: &Step, old: &StepSpec, new: &StepSpec) -> Option<Verdict> {
    if state.group.is_some() {
        return (rules_of(old) != rules_of(new)).then(|| {
            let message = format!("its group is under way, and {} changed", fields(&rules_of(old), &rules_of(new)));
            (StepGroupChanged, message)
        });
    }
    let question = |spec: &StepSpec| asks(state, step, spec);
    let (before, after) = (question(old), question(new));
    (before != after).then(|| {
        let message = format!("somebody is to answer it, and {} changed", fields(&before, &after));
        (StepQuestionChanged, message)
    })
}

type Fields = Vec<(&'static str, serde_json::Value)>;

/// What whoever is to answer the step was told, by field.
fn asks(state: &StepRun, step: &Step, spec: &StepSpec) -> Fields {
    let name: &str = if spec.name.is_empty() { step.id.as_str() } else { &spec.name };
    let input = || ("input", spec.input.clone().unwrap_or_default());
    let schema = || ("output_schema", spec.output_schema.clone().unwrap_or_default());
    match (&state.waits_for, &step.kind) {
        (Some(WaitsFor::Answer), _) => vec![("name", name.into()), input()],
        (Some(WaitsFor::Data), _) => vec![("name", name.into()), input(), schema()],
        (Some(WaitsFor::Signal { .. }), _) => {
            let signal: &str = if spec.signal.is_empty() { step.id.as_str() } else { &spec.signal };
            vec![("signal", signal.into()), schema()]
        }
        (Some(WaitsFor::Child { .. }), StepKind::Subworkflow { .. }) => vec![
            ("workflow", spec.workflow.as_str().into()),
            ("workflow_digest", spec.workflow_digest.as_str().into()),
            schema(),
        ],
        _ => Vec::new(),
    }
}

/// What a group that is under way goes by, by field.
fn rules_of(spec: &StepSpec) -> Fields {
    let json = |value: Result<serde_json::Value, serde_json::Error>| value.unwrap_or_default();
    vec![
        ("for_each", spec.for_each.as_str().into()),
        ("max_parallel", spec.max_parallel.into()),
        ("on_item_error", json(serde_json::to_value(&spec.on_item_error))),
        ("join", json(serde_json::to_value(&spec.join))),
        ("while", spec.while_.as_str().into()),
        ("until", spec.until.as_str().into()),
        ("max_iterations", spec.max_iterations.into()),
        ("carry", spec.carry.clone().unwrap_or_default()),
        ("next", spec.next.clone().unwrap_or_default()),
    ]
}

/// The names of the fields that differ.
fn fields(old: &Fields, new: &Fields) -> String {
    let differ = old.iter().zip(new).filter(|(a, b)| a != b).map(|(a, _)| format!("`{}`", a.0));
    differ.collect::<Vec<_>>().join(", ")
}

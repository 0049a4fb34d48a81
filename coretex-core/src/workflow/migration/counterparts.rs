//! Which step of one definition is which of another, and what is written of each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::workflow::{
    Step, StepKind, StepSpec, Workflow,
    definition::{EdgeKind, FINALLY},
};

/// The steps of a definition that another one has as well: with the same id, in the same place, doing the same kind of
/// thing.
pub(in crate::workflow) struct Counterparts<'a> {
    old: &'a Workflow,
    new: &'a Workflow,
    /// By position in the old definition: the position in the new one.
    steps: Vec<Option<usize>>,
}

impl<'a> Counterparts<'a> {
    /// O(steps of both).
    pub(in crate::workflow) fn of(old: &'a Workflow, new: &'a Workflow) -> Self {
        let mut found = Self { old, new, steps: Vec::with_capacity(old.steps().len()) };
        // A group lies before what is in it.
        for position in 0..old.steps().len() {
            let same =
                found.named(position).filter(|to| found.is_in_place(position, *to) && found.is_kin(position, *to));
            found.steps.push(same);
        }
        found
    }

    /// The counterpart of the step at `position`.
    pub(in crate::workflow) fn step(&self, position: usize) -> Option<usize> {
        self.steps.get(position).copied().flatten()
    }

    /// The counterpart of a scope: the same one of the workflow's own, or that of the same group.
    pub(in crate::workflow) fn scope(&self, scope: usize) -> Option<usize> {
        if scope <= FINALLY {
            return Some(scope);
        }
        let container = self.old.scopes().get(scope)?.container?;
        self.new.steps().get(self.step(container)?)?.body
    }

    /// The step with the same id, wherever it is and whatever it does.
    pub(super) fn named(&self, position: usize) -> Option<usize> {
        let step = self.old.steps().get(position)?;
        let found = self.new.position(step.id.as_str())?;
        if !is_item(self.old, position) {
            return Some(found);
        }
        let holder = self.new.steps().get(found).filter(|step| matches!(step.kind, StepKind::ForEach { .. }))?;
        Some(self.new.scopes().get(holder.body?)?.first)
    }

    pub(super) fn is_in_place(&self, from: usize, to: usize) -> bool {
        let scope_of = |workflow: &Workflow, position: usize| workflow.steps().get(position).map(|step| step.scope);
        scope_of(self.old, from).and_then(|scope| self.scope(scope)) == scope_of(self.new, to)
    }

    pub(super) fn is_kin(&self, from: usize, to: usize) -> bool {
        let Some((old, new)) = self.old.steps().get(from).zip(self.new.steps().get(to)) else { return false };
        let same = match (&old.kind, &new.kind) {
            (StepKind::Job { written: a, .. }, StepKind::Job { written: b, .. }) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        };
        same && old.role == new.role
    }
}

/// Whether the step at `position` is the item of a `for_each`, whose id it bears.
pub(super) fn is_item(workflow: &Workflow, position: usize) -> bool {
    let Some((step, scope)) = workflow.at(position) else { return false };
    let holder = scope.container.and_then(|holder| workflow.steps().get(holder));
    holder.is_some_and(|holder| matches!(holder.kind, StepKind::ForEach { .. }) && holder.id == step.id)
}

/// The steps of a definition as written, by id.
pub(super) fn specs(workflow: &Workflow) -> HashMap<&str, &StepSpec> {
    fn add<'a>(steps: &'a BTreeMap<String, StepSpec>, found: &mut HashMap<&'a str, &'a StepSpec>) {
        for (id, spec) in steps {
            found.insert(id, spec);
            add(&spec.steps, found);
        }
    }
    let mut found = HashMap::new();
    add(&workflow.spec().steps, &mut found);
    add(&workflow.spec().finally, &mut found);
    found
}

/// What leads to each step, by position: ids of steps, and how.
pub(super) fn edges(workflow: &Workflow) -> Vec<BTreeSet<(&str, u8)>> {
    let mut edges = vec![BTreeSet::new(); workflow.steps().len()];
    for step in workflow.steps() {
        for edge in &step.dependents {
            let kind = match edge.kind {
                EdgeKind::Success => 0,
                EdgeKind::Choice => 1,
                EdgeKind::Failure => 2,
            };
            if let Some(found) = edges.get_mut(edge.to) {
                found.insert((Step::id(step).as_str(), kind));
            }
        }
    }
    edges
}

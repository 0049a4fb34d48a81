//! Where each step lies: scopes one after another, the steps of each side by side in the order of their ids.

use std::collections::{BTreeMap, HashMap};

use super::{FINALLY, MAIN, Role, Scope};
use crate::workflow::StepSpec;

/// Most steps of one workflow.
pub(super) const MAX_STEPS: usize = 10_000;
/// Most groups around a step that give it an index: its runs' ids must stay short.
pub(super) const MAX_DEPTH: usize = 6;

/// A step before it is compiled.
pub(super) struct Entry<'s> {
    pub(super) name: String,
    /// Where it is written.
    pub(super) path: String,
    pub(super) spec: &'s StepSpec,
    pub(super) scope: usize,
    pub(super) role: Role,
    /// It holds the items of its `for_each`, rather than being one.
    pub(super) holds_items: bool,
    pub(super) body: Option<usize>,
}

/// All steps of a definition, in their order.
pub(super) struct Layout<'s> {
    pub(super) entries: Vec<Entry<'s>>,
    pub(super) scopes: Vec<Scope>,
    /// Positions by id; of a `for_each`, of the step that holds the items.
    pub(super) index: HashMap<Box<str>, usize>,
    /// Ids that stand for two steps: both places.
    pub(super) doubles: Vec<(String, String)>,
}

/// The steps of a scope that is still to be laid out.
struct Waiting<'s> {
    scope: usize,
    members: Vec<Member<'s>>,
}

struct Member<'s> {
    name: String,
    path: String,
    spec: &'s StepSpec,
    role: Role,
    /// Its `for_each` was taken care of by the step that holds it.
    is_item: bool,
}

/// Lays out the steps of a workflow.
pub(super) fn lay_out<'s>(
    steps: &'s BTreeMap<String, StepSpec>,
    finally: &'s BTreeMap<String, StepSpec>,
) -> Layout<'s> {
    let mut layout = Layout { entries: Vec::new(), scopes: Vec::new(), index: HashMap::new(), doubles: Vec::new() };
    let mut waiting = std::collections::VecDeque::new();
    for (scope, steps, place) in [(MAIN, steps, "steps"), (FINALLY, finally, "finally")] {
        layout.scopes.push(Scope { tolerant: scope == FINALLY, ..Scope::default() });
        waiting.push_back(Waiting { scope, members: members(steps, place) });
    }
    while let Some(next) = waiting.pop_front() {
        layout.place(next, &mut waiting);
        if layout.entries.len() > 2 * MAX_STEPS {
            break;
        }
    }
    layout
}

/// The steps written in one map.
fn members<'s>(steps: &'s BTreeMap<String, StepSpec>, place: &str) -> Vec<Member<'s>> {
    let mut members: Vec<Member<'s>> = steps
        .iter()
        .map(|(name, spec)| Member {
            name: name.clone(),
            path: format!("{place}.{name}"),
            spec,
            role: Role::Main,
            is_item: false,
        })
        .collect();
    // What undoes a step lies beside it; what undoes an item lies beside the item.
    for (name, spec) in steps {
        if spec.for_each.is_empty() {
            members.extend(compensation(name, &format!("{place}.{name}"), spec));
        }
    }
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

/// The step that undoes `spec`.
fn compensation<'s>(name: &str, path: &str, spec: &'s StepSpec) -> Option<Member<'s>> {
    let undo = spec.compensate.as_deref()?;
    Some(Member {
        name: format!("{name}-compensate"),
        path: format!("{path}.compensate"),
        spec: undo,
        role: Role::Compensation,
        is_item: false,
    })
}

impl<'s> Layout<'s> {
    fn place(&mut self, next: Waiting<'s>, waiting: &mut std::collections::VecDeque<Waiting<'s>>) {
        let first = self.entries.len();
        let depth = self.scopes.get(next.scope).map_or(0, |scope| scope.depth);
        for member in next.members {
            let position = self.entries.len();
            let holds_items = !member.spec.for_each.is_empty() && !member.is_item;
            let body = if holds_items {
                let mut inner: Vec<Member<'s>> =
                    compensation(&member.name, &member.path, member.spec).into_iter().collect();
                inner.insert(
                    0,
                    Member {
                        name: member.name.clone(),
                        path: member.path.clone(),
                        spec: member.spec,
                        role: Role::Main,
                        is_item: true,
                    },
                );
                Some((inner, true))
            } else if member.spec.kind.is_group() {
                let inner = members(&member.spec.steps, &format!("{}.steps", member.path));
                Some((inner, member.spec.kind == crate::workflow::StepType::Loop))
            } else {
                None
            };
            let body = body.map(|(members, iterates)| {
                let scope = self.scopes.len();
                self.scopes.push(Scope {
                    container: Some(position),
                    depth: depth + usize::from(iterates),
                    iterates,
                    ..Scope::default()
                });
                waiting.push_back(Waiting { scope, members });
                scope
            });
            if !member.is_item
                && let Some(other) = self.index.insert(member.name.as_str().into(), position)
            {
                let place = self.entries.get(other).map(|entry| entry.path.clone()).unwrap_or_default();
                self.doubles.push((member.path.clone(), place));
            }
            self.entries.push(Entry {
                name: member.name,
                path: member.path,
                spec: member.spec,
                scope: next.scope,
                role: member.role,
                holds_items,
                body,
            });
        }
        let len = self.entries.len() - first;
        if let Some(scope) = self.scopes.get_mut(next.scope) {
            (scope.first, scope.len) = (first, len);
        }
    }

    /// Position of `name` among the steps of `scope`.
    pub(super) fn sibling(&self, scope: usize, name: &str) -> Option<usize> {
        let position = *self.index.get(name)?;
        (self.entries.get(position)?.scope == scope).then_some(position)
    }

    /// Ids in `scope`, for hints.
    pub(super) fn names(&self, scope: usize) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(move |entry| entry.scope == scope).map(|entry| entry.name.as_str())
    }

    /// The groups around `scope`, innermost first, as the steps that hold them.
    pub(super) fn around(&self, scope: usize) -> impl Iterator<Item = usize> {
        let container = move |scope: usize| self.scopes.get(scope).and_then(|scope| scope.container);
        std::iter::successors(container(scope), move |position| {
            self.entries.get(*position).and_then(|entry| container(entry.scope))
        })
    }
}

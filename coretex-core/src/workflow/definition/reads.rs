//! What steps read of other steps: whether it is there, and whether it is there in time.

use std::collections::HashSet;

use super::{FINALLY, Role, Step, compile::Compiler, layout::Layout};
use crate::value::References;

impl Compiler {
    /// Refuses reading what is never visible, and warns where a step reads a step that it does not wait for.
    /// `reads` are those of the step at `position`, evaluated in `scope`: its own, or the one that it holds.
    pub(super) fn reads(
        &mut self,
        layout: &Layout<'_>,
        steps: &[Step],
        position: usize,
        scope: usize,
        reads: &References,
    ) {
        let Some(entry) = layout.entries.get(position) else { return };
        let mut waits: Option<HashSet<usize>> = None;
        for read in reads.steps() {
            let Some(target) = layout.index.get(read).copied() else { continue };
            let Some(target) = seen_from_outside(layout, scope, target) else { continue };
            let Some(target_scope) = layout.entries.get(target).map(|entry| entry.scope) else { continue };
            let outer = layout.around(scope).filter_map(|container| layout.entries.get(container).map(|e| e.scope));
            if target_scope != scope && !outer.into_iter().any(|outer| outer == target_scope) {
                // `finally` sees everything that the workflow's own steps left behind.
                if !(target_scope == super::MAIN && self.is_finally(layout, scope)) {
                    let group = layout.around(target_scope).next().and_then(|group| layout.entries.get(group));
                    let group = group.map_or("finally", |group| &group.name);
                    self.problem(
                        "step_not_visible",
                        entry.path.clone(),
                        format!(
                            "it reads `steps.{read}`, which is inside of `{group}` and has a run for each block of it"
                        ),
                        format!("read `steps.{group}.output`"),
                    );
                }
                continue;
            }
            if target == position && scope == entry.scope {
                self.problem(
                    "step_not_visible",
                    entry.path.clone(),
                    format!("it reads `steps.{read}`, which is itself, and has made nothing when that is read"),
                    "read another step, or `input`",
                );
                continue;
            }
            if entry.role == Role::Compensation || self.is_finally(layout, scope) || target == position {
                continue;
            }
            // What a loop asks about an iteration is asked when that has ended.
            if scope != entry.scope && target_scope == scope {
                continue;
            }
            let waits = waits.get_or_insert_with(|| waited_for(layout, steps, position));
            if !waits.contains(&target) {
                self.warning(
                    "reads_without_waiting",
                    entry.path.clone(),
                    format!("it reads `steps.{read}` but does not wait for it, so it may find nothing"),
                    format!("add `{read}` to its `depends_on`"),
                );
            }
        }
    }

    #[expect(clippy::unused_self, reason = "reads as a question about the definition")]
    fn is_finally(&self, layout: &Layout<'_>, scope: usize) -> bool {
        scope == FINALLY
            || layout.around(scope).any(|container| layout.entries.get(container).is_some_and(|e| e.scope == FINALLY))
    }
}

/// The step at `target`, or the parallel group around it, however deep, that lies where `scope` can see it.
fn seen_from_outside(layout: &Layout<'_>, scope: usize, target: usize) -> Option<usize> {
    let visible: HashSet<usize> = std::iter::once(scope)
        .chain(layout.around(scope).filter_map(|container| Some(layout.entries.get(container)?.scope)))
        .collect();
    let mut here = target;
    loop {
        let entry = layout.entries.get(here)?;
        if visible.contains(&entry.scope) {
            return Some(here);
        }
        match layout.scopes.get(entry.scope) {
            Some(around) if !around.iterates && around.container.is_some() => here = around.container?,
            _ => return Some(target),
        }
    }
}

/// Positions of all steps that have ended, or whose end was waited for, when the step at `position` begins: its
/// dependencies, direct or not, those of the groups around it, and those groups themselves.
pub(super) fn waited_for(layout: &Layout<'_>, steps: &[Step], position: usize) -> HashSet<usize> {
    let mut found = HashSet::new();
    let scope = layout.entries.get(position).map_or(0, |entry| entry.scope);
    for start in std::iter::once(position).chain(layout.around(scope)) {
        let mut open: Vec<usize> = steps.get(start).map(|step| step.depends_on.clone()).unwrap_or_default();
        // A handler waits for the steps that name it.
        open.extend(handled_by(layout, start));
        while let Some(next) = open.pop() {
            if found.insert(next)
                && let Some(step) = steps.get(next)
            {
                open.extend(&step.depends_on);
                open.extend(handled_by(layout, next));
            }
        }
        found.insert(start);
    }
    found
}

/// Positions of the steps that name the step at `position` in `on_error`.
fn handled_by(layout: &Layout<'_>, position: usize) -> Vec<usize> {
    let Some(handler) = layout.entries.get(position).filter(|entry| entry.role == Role::Handler) else {
        return Vec::new();
    };
    let names = |entry: &super::layout::Entry<'_>| entry.scope == handler.scope && entry.spec.on_error == handler.name;
    layout.entries.iter().enumerate().filter(|(_, entry)| names(entry)).map(|(n, _)| n).collect()
}

//! Workflows that start themselves: refused where nothing ever ends it.

use super::{
    EdgeKind, Role, Step, StepKind,
    compile::Compiler,
    layout::{Entry, Layout},
    reads::waited_for,
};
use crate::job::WorkflowId;

impl Compiler {
    /// Refuses a step that starts the workflow it belongs to, in every run of it. A definition that is named by digest
    /// is another one.
    pub(super) fn recursion(&mut self, workflow: &WorkflowId, layout: &Layout<'_>, steps: &[Step]) {
        for (position, step) in steps.iter().enumerate() {
            let Some(entry) = layout.entries.get(position) else { continue };
            match &step.kind {
                StepKind::Subworkflow { workflow: own, digest: None } if own == workflow => {}
                _ => continue,
            }
            if !may_stay_away(layout, steps, position, entry) {
                self.problem(
                    "workflow_recursive",
                    format!("{}.workflow", entry.path),
                    format!("every run of `{workflow}` starts another run of it here, without end"),
                    "give the step a `condition`, or put it behind a `switch`",
                );
            }
        }
    }
}

/// Whether there may be a run that does not come to this step: by its gate or that of a group around it, because there
/// is no item or iteration, because a switch or a human decided otherwise, or because nothing failed.
fn may_stay_away(layout: &Layout<'_>, steps: &[Step], position: usize, entry: &Entry<'_>) -> bool {
    let is_gated = |position: usize| {
        steps.get(position).is_some_and(|step| {
            step.gate.is_some()
                || step.role != Role::Main
                || matches!(step.kind, StepKind::ForEach { .. } | StepKind::Loop { goes_on: Some(_), .. })
        })
    };
    let is_chosen = |position: usize| {
        steps.iter().any(|step| step.dependents.iter().any(|edge| edge.to == position && edge.kind == EdgeKind::Choice))
    };
    let decides = |position: usize| {
        is_chosen(position)
            || steps
                .get(position)
                .is_some_and(|step| step.role != Role::Main || matches!(step.kind, StepKind::Approval))
    };
    let mut holders = layout.around(entry.scope);
    is_gated(position)
        || holders.any(is_gated)
        || is_chosen(position)
        || waited_for(layout, steps, position).into_iter().any(decides)
}

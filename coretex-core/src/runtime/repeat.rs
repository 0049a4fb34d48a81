//! Whether a request under an idempotency key repeats the one that the key was first used for. A key stands for one
//! request: answered with what something else started, a caller would take that for its own.

use super::{PlaneError, PlaneErrorKind, RerunRequest, load::Existing};
use crate::{
    job::{RunId, WorkflowId},
    value::Value,
    workflow::{Origin, Run, StartRun},
};

/// Judges a start of `workflow` under the key that names `existing`. What was deleted is not compared.
///
/// # Errors
/// `idempotency_key_reused` when it is not the same start.
pub(super) fn of_start(existing: &Existing, workflow: &WorkflowId, start: &StartRun) -> Result<(), PlaneError> {
    let Some(run) = existing.run.as_deref() else { return Ok(()) };
    let same = run.workflow().id() == workflow
        && has_input(run, &start.input)
        && run.labels() == &*start.labels
        && run.is_dry_run() == start.dry_run
        && same_origin(run, start);
    if same { Ok(()) } else { Err(reused(run, existing)) }
}

/// Judges a rerun of `old` under the key that names `existing`. The event is looked at only where one is asked for: the
/// other run may have gone on since.
///
/// # Errors
/// `idempotency_key_reused` when it is not the same rerun.
pub(super) fn of_rerun(
    existing: &Existing,
    id: &RunId,
    request: &RerunRequest,
    old: Option<&Run>,
) -> Result<(), PlaneError> {
    let Some(run) = existing.run.as_deref() else { return Ok(()) };
    let input = request.input.clone().or_else(|| old.map(Run::input));
    let same = run.origin().is_some_and(|origin| {
        origin.run == *id && origin.step == request.from && request.at.is_none_or(|at| at == origin.at)
    }) && run.is_dry_run() == request.dry_run
        && input.is_none_or(|input| has_input(run, &input));
    if same { Ok(()) } else { Err(reused(run, existing)) }
}

/// Whether the run goes on from where `start` would. The event is not looked at: the other run may have gone on between
/// two tries of one request.
pub(super) fn same_origin(run: &Run, start: &StartRun) -> bool {
    let origin = |origin: &Origin| (origin.run.clone(), origin.step.clone());
    run.origin().map(origin) == start.restored.as_ref().map(|(from, _)| origin(from))
}

/// Whether the run was given `input`. Defaults are those of the definition that it pinned: a newer one may have others.
fn has_input(run: &Run, input: &std::sync::Arc<Value>) -> bool {
    run.workflow().fill_input(input).is_ok_and(|input| run.input() == input)
}

fn reused(run: &Run, existing: &Existing) -> PlaneError {
    let message = format!(
        "the idempotency key was used for run `{}` of workflow `{}`, which was asked for otherwise; use a key of its own",
        existing.aggregate.id(),
        run.workflow().id()
    );
    PlaneError::new(PlaneErrorKind::Conflict, "idempotency_key_reused", message)
}

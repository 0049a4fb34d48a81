//! Starting runs, for callers and for what starts them by itself.

use std::sync::Arc;

use super::{
    PlaneError, PlaneErrorKind, StartRequest,
    keys::AggregateId,
    shared::{Shared, Work},
    versions,
};
use crate::{
    governance::Principal,
    job::{RunId, WorkflowId},
    value::Value,
    workflow::{StartRun, Workflow},
};

/// Most labels of one run: each is an entry of an index.
const MAX_LABELS: usize = 64;

/// Starts a run; see [`ControlPlane::start`](super::ControlPlane::start).
pub(super) async fn start(
    shared: &Arc<Shared>,
    principal: &Principal,
    request: StartRequest,
) -> Result<RunId, PlaneError> {
    check_input(shared, &request.input)?;
    let mut workflow = workflow_to_start(shared, principal, &request.workflow).await?;
    if let Some(version) = &request.version {
        (_, workflow) = versions::pinned(shared, principal, &request.workflow, version).await?;
    }
    if request.labels.len() > MAX_LABELS {
        let message = format!("the run has {} labels; at most {MAX_LABELS} are allowed", request.labels.len());
        return Err(PlaneError::new(PlaneErrorKind::Invalid, "too_many_labels", message));
    }
    request.idempotency_key.as_deref().map(check_key).transpose()?;
    let id = match request.run {
        Some(id) => id,
        None => RunId::parse(&shared.ids.uuid().to_string())?,
    };
    let start = StartRun {
        // Names of the run's own: all cores would count references to those that they share, for every step.
        team: request.team.as_ref().into(),
        labels: Arc::new(request.labels),
        idempotency_key: request.idempotency_key,
        priority: request.priority,
        dry_run: request.dry_run,
        ..StartRun::new(id.clone(), request.input, principal.id.as_ref().into())
    };
    let work = Work::Start { workflow, start: Box::new(start) };
    let aggregate = shared.call(AggregateId::Run(id.shared()), work).await?;
    Ok(RunId::parse(aggregate.id())?)
}

/// The definition to start, from memory when it is the one last stored by this process.
pub(super) async fn workflow_to_start(
    shared: &Shared,
    principal: &Principal,
    id: &WorkflowId,
) -> Result<Arc<Workflow>, PlaneError> {
    let workflow = shared.current_workflow(id).await?;
    if workflow.tenant() != &principal.tenant {
        return Err(PlaneError::not_found("workflow", id.as_str()));
    }
    Ok(workflow)
}

pub(super) fn check_key(key: &str) -> Result<(), PlaneError> {
    if key.is_empty() || key.len() > 200 || key.chars().any(char::is_control) {
        let message = "an idempotency key has 1 to 200 bytes and no control characters";
        return Err(PlaneError::new(PlaneErrorKind::Invalid, "idempotency_key_invalid", message));
    }
    Ok(())
}

pub(super) fn check_input(shared: &Shared, input: &Value) -> Result<(), PlaneError> {
    let limits = shared.options.payload_limits();
    limits.check(input).map_err(|error| {
        PlaneError::new(PlaneErrorKind::Invalid, error.code(), format!("the input is refused: {error}"))
    })
}

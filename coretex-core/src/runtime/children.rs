//! Runs that are carried out for steps of other runs: what the outbox holds for them is done until it has succeeded, or
//! until nobody waits for it.

use std::{sync::Arc, time::Duration};

use super::{
    PlaneError, PlaneErrorKind,
    keys::AggregateId,
    load,
    shared::{Shared, Work},
};
use crate::{
    job::{Failure, RunId},
    plane::Input,
    ports::Busy,
    workflow::{ChildEffect, ChildEnd, ParentRun, RunInput, RunStatus, StartChild, StartRun, WaitsFor},
};

/// The wait before the second try; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Does what `effect` of the run `owner` asks. `false` when the control plane is shut down before that.
pub(super) async fn carry_out(shared: &Arc<Shared>, owner: &AggregateId, effect: &ChildEffect) -> bool {
    let mut wait = FIRST_WAIT;
    loop {
        let done = match effect {
            ChildEffect::StartChild(start) => start_child(shared, owner, start).await,
            ChildEffect::StopChild { run, by, reason, force } => {
                let (by, reason) = (by.clone(), reason.clone());
                let input = if *force { RunInput::Halt { by, reason } } else { RunInput::Cancel { by, reason } };
                stop_child(shared, owner, run, input).await
            }
            ChildEffect::EndChild { parent, end } => end_child(shared, parent, end).await,
        };
        match done {
            Ok(()) => return true,
            Err(error) if error.kind() == PlaneErrorKind::Closed => return false,
            Err(error) => tracing::debug!(%error, run = owner.id(), "telling another run again"),
        }
        shared.clock.sleep_until(crate::job::job_after(shared.clock.now(), wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

async fn start_child(shared: &Arc<Shared>, owner: &AggregateId, start: &StartChild) -> Result<(), PlaneError> {
    let busy = shared.clock.busy();
    // A step that waits no more does not want its run any more.
    if !is_awaited(shared, owner, &start.run).await? {
        return Ok(());
    }
    let failure = match try_start(shared, start, busy).await {
        Ok(()) => return Ok(()),
        Err(error) if error.is_retryable() || error.kind() == PlaneErrorKind::Closed => return Err(error),
        Err(error) => Failure::fatal(error.code(), format!("it cannot be started: {error}")),
    };
    let end = ChildEnd { run: start.run.clone(), status: RunStatus::Pending, output: None, failure: Some(failure) };
    end_child(shared, &start.parent, &end).await
}

async fn try_start(shared: &Arc<Shared>, start: &StartChild, busy: Busy) -> Result<(), PlaneError> {
    let workflow = match &start.digest {
        Some(digest) => shared.definitions.get(&*shared.store, digest).await?,
        None => shared.current_workflow(&start.workflow).await?,
    };
    if workflow.tenant() != &start.tenant || workflow.id() != &start.workflow {
        return Err(PlaneError::not_found("workflow", start.workflow.as_str()));
    }
    let run = StartRun {
        team: start.team.clone(),
        labels: start.labels.clone(),
        priority: Some(start.priority),
        deadline_at: start.deadline_at,
        dry_run: start.dry_run,
        parent: Some(Arc::new(start.parent.clone())),
        ..StartRun::new(start.run.clone(), start.input.clone(), start.principal.clone())
    };
    let work = Work::Start { workflow, start: Box::new(run) };
    // From here on the work itself holds virtual time, but for what it has to wait out.
    drop(busy);
    shared.call(AggregateId::Run(start.run.shared()), work).await?;
    Ok(())
}

async fn stop_child(shared: &Arc<Shared>, owner: &AggregateId, run: &RunId, input: RunInput) -> Result<(), PlaneError> {
    match shared.call(AggregateId::Run(run.shared()), Work::Input(Input::Run(input))).await {
        // It may be about to start, or its start has failed and the step knows by now.
        Err(error) if error.kind() == PlaneErrorKind::NotFound => {
            if is_awaited(shared, owner, run).await? {
                Err(error)
            } else {
                Ok(())
            }
        }
        result => result.map(drop),
    }
}

async fn end_child(shared: &Arc<Shared>, parent: &ParentRun, end: &ChildEnd) -> Result<(), PlaneError> {
    let input = RunInput::Child { step: parent.step.clone(), attempt: parent.attempt, end: end.clone() };
    match shared.call(AggregateId::Run(parent.run.shared()), Work::Input(Input::Run(input))).await {
        // A run that was deleted waits for nobody.
        Err(error) if error.kind() == PlaneErrorKind::NotFound => Ok(()),
        result => result.map(drop),
    }
}

/// Whether a step of the run `owner` waits for `run`.
async fn is_awaited(shared: &Arc<Shared>, owner: &AggregateId, run: &RunId) -> Result<bool, PlaneError> {
    let _busy = shared.clock.busy();
    let Some((parent, _)) = load::read_run(shared, owner).await? else { return Ok(false) };
    let waits = parent.steps().any(|(_, step)| {
        !step.status.is_terminal() && matches!(&step.waits_for, Some(WaitsFor::Child { run: child }) if child == run)
    });
    Ok(waits)
}

//! Inputs of step runs that have ended: no decision needs them, so they lie in the log, and are read from there when
//! somebody asks.
//!
//! The log is that of the run in which the step began: for one that was taken over from another run, of that one or of
//! those before it. Where events were pruned the input is gone with them.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU64,
    sync::Arc,
};

use super::{ControlPlane, PlaneError, keys::AggregateId, shared::Shared};
use crate::{
    governance::Principal,
    job::{JobSpec, RunId, StepRunId},
    value::{Value, limits::measure},
    workflow::{Run, RunEvent, RunView, StepRunView, StoredEvent},
};

/// Bytes of inputs that one view of a run reads from the log; the others are told by the number of their event.
const VIEW_BYTES: usize = 4 << 20;
/// Most runs that a step run was handed on through.
const MOST_ORIGINS: usize = 256;

impl ControlPlane {
    /// The input that step `step` of a run has, or had before it ended: where it has none of its own, that of the run.
    /// `None` when it has not begun, or its event was pruned. One read of the run and one of the log.
    ///
    /// # Errors
    /// When there is no such run of the principal's tenant, it has no such step, or it cannot be read.
    pub async fn step_input(
        &self,
        principal: &Principal,
        id: &RunId,
        step: &StepRunId,
    ) -> Result<Option<Arc<Value>>, PlaneError> {
        let run = self.run(principal, id).await?;
        let state = run.step(step.as_str()).ok_or_else(|| PlaneError::not_found("step", step.as_str()))?;
        match (&state.input, state.input_at) {
            (Some(input), _) => Ok(Some(input.clone())),
            (None, Some(at)) => read(self.shared(), &run, step, at).await,
            (None, None) => Ok(state.started_at.map(|_| run.input())),
        }
    }

    /// `run` as clients read it; `None` before it started. Inputs that lie in the log are read from there, up to 4 MiB of
    /// them; behind that, `input_at` tells where they are.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn run_view(&self, run: &Run) -> Result<Option<RunView>, PlaneError> {
        let Some(mut view) = RunView::of(run) else { return Ok(None) };
        let mut wanted = Vec::new();
        collect(&view.steps, &mut wanted);
        let mut found = HashMap::new();
        let mut bytes = 0;
        for (id, at) in wanted {
            if bytes >= VIEW_BYTES {
                break;
            }
            let Ok(step) = StepRunId::parse(&id) else { continue };
            if let Some(input) = read(self.shared(), run, &step, at).await? {
                bytes += measure(&input).bytes;
                found.insert(id, input);
            }
        }
        fill(&mut view.steps, &mut found);
        Ok(Some(view))
    }
}

fn collect(steps: &BTreeMap<String, StepRunView>, wanted: &mut Vec<(String, NonZeroU64)>) {
    for (id, step) in steps {
        wanted.extend(step.input_at.map(|at| (id.clone(), at)));
        collect(&step.children, wanted);
    }
}

fn fill(steps: &mut BTreeMap<String, StepRunView>, found: &mut HashMap<String, Arc<Value>>) {
    for (id, step) in steps {
        if let Some(input) = found.remove(id) {
            step.input = Some(Arc::unwrap_or_clone(input));
            step.input_at = None;
        }
        fill(&mut step.children, found);
    }
}

/// `spec`, which is of a step of `run`, with its input where that lies in the log.
pub(super) async fn with_input(shared: &Shared, run: &Run, spec: Arc<JobSpec>) -> Result<Arc<JobSpec>, PlaneError> {
    let Some(step) = &spec.step else { return Ok(spec) };
    let Some(at) = run.step(step.as_str()).filter(|step| step.has_input_in_log()).and_then(|step| step.input_at) else {
        return Ok(spec);
    };
    match read(shared, run, step, at).await? {
        Some(input) => Ok(Arc::new(JobSpec { input, ..JobSpec::clone(&spec) })),
        None => Ok(spec),
    }
}

/// The input of `step` from event number `at` of the log of `run`, or of the run that it was taken over from.
async fn read(shared: &Shared, run: &Run, step: &StepRunId, at: NonZeroU64) -> Result<Option<Arc<Value>>, PlaneError> {
    let mut owner = run.id().cloned();
    for _ in 0..MOST_ORIGINS {
        let Some(id) = owner else { return Ok(None) };
        // A step run that was taken over did not begin in the run that took it over, so no event of that is mistaken.
        if let Some(event) = event(shared, &id, at.get()).await?
            && event.step().is_some_and(|of| of == step)
            && let Some(input) = event.step_input()
        {
            return Ok(Some(input.clone()));
        }
        owner = match event(shared, &id, 1).await? {
            Some(RunEvent::RunStarted { origin, .. }) => origin.map(|origin| origin.run.clone()),
            _ => None,
        };
    }
    Ok(None)
}

/// Event number `at` of a run; `None` when there is none, or it was pruned.
async fn event(shared: &Shared, run: &RunId, at: u64) -> Result<Option<RunEvent>, PlaneError> {
    let page = shared.store.read(&AggregateId::Run(run.shared()).stream(), at, 1).await?;
    let Some(bytes) = page.events.first().filter(|_| page.first == at) else { return Ok(None) };
    let stored: StoredEvent = serde_json::from_slice(bytes)
        .map_err(|error| PlaneError::damaged(&format!("an event of run `{run}`"), &error))?;
    Ok(Some(stored.event))
}

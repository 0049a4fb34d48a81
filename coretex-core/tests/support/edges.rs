//! Which edges of the machines a history walked: every event is folded by itself, and what it changed is noted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use coretex_core::{
    job::{JobEvent, JobState, StepRunId},
    workflow::{Run, RunEvent, StepKind, StepStatus, StoredEvent, Workflow},
};

/// The edges of `log`: `<kind of step> <state> -> <state>`, and `job <state> <event> -> <state>`.
pub(crate) fn walked(workflow: &Arc<Workflow>, log: &[StoredEvent]) -> BTreeSet<String> {
    let mut run = Run::new(workflow.clone());
    let mut edges = BTreeSet::new();
    let mut before = states(&run);
    for event in log {
        run.apply(event);
        let after = states(&run);
        if let RunEvent::RunRestored { .. } = event.event {
            // What another run walked.
            before = after;
            continue;
        }
        for (id, (status, job)) in &after {
            let (old, old_job) = before.get(id).copied().unwrap_or_default();
            if old != *status {
                let kind = kind(workflow, id, &after);
                edges.insert(format!("{kind} {} -> {}", old.as_str(), status.as_str()));
            }
            if event.event.step().is_some_and(|step| step == id)
                && let Some((name, to)) = job_event(&event.event).zip(*job)
            {
                // A new try is a new job.
                let from = old_job.filter(|_| !matches!(name, "opened" | "opened_dispatched"));
                edges.insert(format!("job {} {name} -> {}", from.map_or("-", JobState::as_str), to.as_str()));
            }
        }
        before = after;
    }
    edges
}

type States = BTreeMap<StepRunId, (StepStatus, Option<JobState>)>;

fn states(run: &Run) -> States {
    run.steps().map(|(id, step)| (id, (step.status, step.job.as_ref().map(|job| job.state)))).collect()
}

/// The kind of the step that `id` is a run of. A step with `for_each` and its items have one name; the step has one index
/// less.
fn kind(workflow: &Workflow, id: &StepRunId, states: &States) -> &'static str {
    let depth = |id: &StepRunId| id.indices().map_or(0, |indices| indices.len());
    let outer = states.keys().filter(|other| other.step() == id.step()).map(depth).min();
    let same = || workflow.steps().iter().filter(|step| step.id().as_str() == id.step());
    let is_item = outer.is_some_and(|outer| depth(id) > outer);
    let found = match same().find(|step| matches!(step.kind(), StepKind::ForEach { .. })) {
        Some(holder) if !is_item => Some(holder),
        _ => same().find(|step| !matches!(step.kind(), StepKind::ForEach { .. })),
    };
    match found.map(|step| step.kind()) {
        None => "unknown",
        Some(StepKind::Job { .. }) => "worker",
        Some(StepKind::Approval) => "approval",
        Some(StepKind::Input) => "input",
        Some(StepKind::Signal(_)) => "signal",
        Some(StepKind::Condition(_)) => "condition",
        Some(StepKind::Switch { .. }) => "switch",
        Some(StepKind::Parallel(_)) => "parallel",
        Some(StepKind::ForEach { .. }) => "for_each",
        Some(StepKind::Loop { .. }) => "loop",
        Some(StepKind::Delay(_)) => "delay",
        Some(StepKind::Notify) => "notify",
        Some(StepKind::Transform(_)) => "transform",
        Some(StepKind::Storage { .. }) => "storage",
        Some(StepKind::Subworkflow { .. }) => "subworkflow",
    }
}

/// What happened to the job, by a short name.
fn job_event(event: &RunEvent) -> Option<&'static str> {
    Some(match event {
        RunEvent::StepAttempted { .. } => "opened",
        RunEvent::StepDispatched { .. } => "opened_dispatched",
        RunEvent::StepCompleted { .. } => "succeeded",
        RunEvent::StepJob { event, .. } => match event {
            JobEvent::Asked { .. } => "asked",
            JobEvent::Throttled { .. } => "throttled",
            JobEvent::ApprovalRequired { .. } => "held_back",
            JobEvent::Approved { .. } => "approved",
            JobEvent::Covered { .. } => "covered",
            JobEvent::Dispatched { .. } => "dispatched",
            JobEvent::Scheduled { .. } => "scheduled",
            JobEvent::Handed { .. } => "handed",
            JobEvent::Lost { .. } => "lost",
            JobEvent::Requeued { .. } => "requeued",
            JobEvent::LateResult { .. } => "answered_late",
            JobEvent::Started { .. } => "started",
            JobEvent::Succeeded { .. } => "succeeded",
            JobEvent::Failed { .. } => "failed",
            JobEvent::Denied { .. } => "denied",
            JobEvent::TimedOut { .. } => "timed_out",
            JobEvent::StopRequested { .. } => "told_to_stop",
            JobEvent::Cancelled { .. } => "cancelled",
        },
        _ => return None,
    })
}

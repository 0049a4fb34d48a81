//! Starting a run.

use std::{collections::BTreeMap, sync::Arc};

use super::{Machine, Rejected, Transition};
use crate::{
    job::{Facts, Priority, RunId, job_after},
    value::Value,
    workflow::{Origin, ParentRun, RestoredState, Run, RunEvent, Workflow, fold::RunMut},
};

/// What a new run is given.
#[derive(Clone, Debug)]
pub struct StartRun {
    /// Its identity.
    pub id: RunId,
    /// Its input: an object.
    pub input: Arc<Value>,
    /// On whose authority.
    pub principal: Arc<str>,
    /// The team within the tenant.
    pub team: Arc<str>,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The key under which a repeated start finds the same run.
    pub idempotency_key: Option<Arc<str>>,
    /// How urgent its jobs are; what the input's `priority` names when absent.
    pub priority: Option<Priority>,
    /// It shall wait for a place under the workflow's rule of concurrency, rather than begin.
    pub queued: bool,
    /// When it is given up at the latest, whatever its workflow says.
    pub deadline_at: Option<jiff::Timestamp>,
    /// No effect of it leaves the process.
    pub dry_run: bool,
    /// The step of another run that it is carried out for.
    pub parent: Option<Arc<ParentRun>>,
    /// The run that it goes on from, and the state that it takes over.
    pub restored: Option<(Arc<Origin>, Option<Arc<RestoredState>>)>,
}

impl StartRun {
    /// A run with `input` on the authority of `principal`, and nothing else said.
    #[must_use]
    pub fn new(id: RunId, input: Arc<Value>, principal: Arc<str>) -> Self {
        Self {
            id,
            input,
            principal,
            team: "".into(),
            labels: Arc::default(),
            idempotency_key: None,
            priority: None,
            queued: false,
            deadline_at: None,
            dry_run: false,
            parent: None,
            restored: None,
        }
    }
}

/// Decides how a run of `workflow` begins. Pure.
///
/// # Errors
/// [`Rejected`] when the input is not an object, or does not match the workflow's schema.
pub fn start(workflow: &Arc<Workflow>, start: StartRun, facts: &Facts<'_>) -> Result<Transition, Rejected> {
    match &*start.input {
        Value::Object(_) => {}
        Value::Null => return Err(Rejected::InputNotObject("null")),
        Value::Bool(_) => return Err(Rejected::InputNotObject("a boolean")),
        Value::Number(_) => return Err(Rejected::InputNotObject("a number")),
        Value::String(_) => return Err(Rejected::InputNotObject("a string")),
        Value::Array(_) => return Err(Rejected::InputNotObject("a list")),
    }
    let input = workflow.fill_input(&start.input).map_err(|error| Rejected::InputTooLarge(error.to_string()))?;
    if let Some(schema) = workflow.input_schema() {
        schema.validate(&input).map_err(|violations| Rejected::InputInvalid { violations })?;
    }
    let text = |key: &str| input.get(key).and_then(Value::as_str);
    let priority = start.priority.or_else(|| text("priority").and_then(Priority::from_name)).unwrap_or_default();
    let slot = workflow.concurrency().map(|rule| rule.slot(workflow.id(), &input)).transpose();
    let slot = slot.map_err(|error| Rejected::ConcurrencyKey(error.to_string()))?;
    let queued = start.queued && slot.is_some();
    let memory_id = text("memory_id").map_or_else(|| format!("run:{}", start.id).into(), Arc::from);
    let own = total_timeout(workflow, facts).map(|timeout| job_after(facts.now, timeout));
    let (origin, state) = start.restored.unzip();
    let state = state.flatten();
    let empty = Run::new(workflow.clone());
    let mut machine = Machine::new(&empty, facts);
    machine.record(RunEvent::RunStarted {
        run_id: start.id,
        workflow_id: workflow.id().clone(),
        digest: workflow.digest().clone(),
        tenant: workflow.tenant().clone(),
        team: start.team,
        principal: start.principal,
        input: input.clone(),
        labels: start.labels,
        priority,
        memory_id,
        idempotency_key: start.idempotency_key,
        // The time of its workflow begins when it does.
        deadline_at: own.filter(|_| !queued).into_iter().chain(start.deadline_at).min(),
        dry_run: start.dry_run,
        parent: start.parent,
        origin,
        slot,
        queued,
    });
    if let Some(state) = state {
        machine.record(RunEvent::RunRestored { state });
    }
    if !queued {
        machine.resume();
        machine.advance();
    }
    machine.conclude()
}

/// The longest time of a run: its definition's, or else what `timeouts.yaml` says about the workflow.
fn total_timeout(workflow: &Workflow, facts: &Facts<'_>) -> Option<std::time::Duration> {
    workflow.timeout().or_else(|| facts.routes.timeouts().workflow(workflow.id().as_str()).total_timeout)
}

impl Machine<'_> {
    /// It has waited long enough. One that does not wait is not concerned.
    pub(super) fn take_admission(&mut self) {
        if !self.draft.core().queued || self.is_over() {
            return;
        }
        let own = total_timeout(self.workflow, self.facts).map(|timeout| job_after(self.facts.now, timeout));
        let deadline_at = own.into_iter().chain(self.draft.core().deadline_at).min();
        self.record(RunEvent::RunAdmitted { deadline_at });
        self.resume();
    }
}

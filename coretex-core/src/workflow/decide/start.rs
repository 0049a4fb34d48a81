//! Starting a run.

use std::{collections::BTreeMap, sync::Arc};

use super::{Machine, Rejected, Transition};
use crate::{
    job::{Facts, Priority, RunId, job_after},
    value::Value,
    workflow::{Run, RunEvent, Workflow, evolve::RunMut},
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
    /// How urgent its jobs are; what the input's `priority` names when `None`.
    pub priority: Option<Priority>,
    /// It shall wait for a place under the workflow's rule of concurrency, rather than begin.
    pub queued: bool,
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
    if let Some(schema) = workflow.input_schema() {
        schema.validate(&start.input).map_err(|violations| Rejected::InputInvalid { violations })?;
    }
    let text = |key: &str| start.input.get(key).and_then(Value::as_str);
    let priority = start.priority.or_else(|| text("priority").and_then(Priority::from_name)).unwrap_or_default();
    let slot = workflow.concurrency().map(|rule| rule.slot(workflow.id(), &start.input)).transpose();
    let slot = slot.map_err(|error| Rejected::ConcurrencyKey(error.to_string()))?;
    let queued = start.queued && slot.is_some();
    let memory_id = text("memory_id").map_or_else(|| format!("run:{}", start.id).into(), Arc::from);
    let empty = Run::new(workflow.clone());
    let mut machine = Machine::new(&empty, facts);
    machine.record(RunEvent::RunStarted {
        run_id: start.id,
        workflow_id: workflow.id().clone(),
        digest: workflow.digest().clone(),
        tenant: workflow.tenant().clone(),
        team: start.team,
        principal: start.principal,
        input: start.input,
        labels: start.labels,
        priority,
        memory_id,
        idempotency_key: start.idempotency_key,
        deadline_at: workflow.timeout().filter(|_| !queued).map(|timeout| job_after(facts.now, timeout)),
        slot,
        queued,
    });
    if !queued {
        machine.begin_roots();
    }
    Ok(machine.finish())
}

impl Machine<'_> {
    /// It has waited long enough. One that does not wait is not concerned.
    pub(super) fn take_admission(&mut self) {
        if !self.draft.core().queued || self.is_over() {
            return;
        }
        let timeout = self.draft.workflow().timeout();
        let deadline_at = timeout.map(|timeout| job_after(self.facts.now, timeout));
        self.record(RunEvent::RunAdmitted { deadline_at });
        self.begin_roots();
    }

    fn begin_roots(&mut self) {
        let workflow = self.draft.workflow().clone();
        self.ready.extend(workflow.roots());
        self.advance();
    }
}

//! Time travel: a run as it was at any event, a run that goes on from another, a plan of what would happen, and why a run
//! is not further.

use std::sync::Arc;

use serde::Serialize;

use super::{
    ControlPlane, PlaneError, PlaneErrorKind, QueuedQuery,
    keys::{self, AggregateId},
    load, repeat,
    shared::Work,
    start::{check_input, check_key},
};
use crate::{
    governance::Principal,
    job::{RunId, StepRunId},
    value::Value,
    workflow::{Origin, Plan, Run, RunSummary, StartRun, Starter, StepKind, Wait, WaitCause, Workflow, plan},
};

/// A run to start from another one.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RerunRequest {
    pub(super) from: Option<StepRunId>,
    pub(super) at: Option<u64>,
    pub(super) input: Option<Arc<Value>>,
    pub(super) run: Option<RunId>,
    pub(super) idempotency_key: Option<Arc<str>>,
    pub(super) dry_run: bool,
    pub(super) fresh: bool,
}

impl RerunRequest {
    /// Goes on where the other run stopped: what ended well is kept, everything else runs anew.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps nothing: the same input, from the beginning.
    pub fn from_the_beginning() -> Self {
        Self { fresh: true, ..Self::default() }
    }

    /// Runs `step` anew, and all that waits for it. It may be an item or an iteration, as in `scan[2]`.
    pub fn from_step(mut self, step: StepRunId) -> Self {
        self.from = Some(step);
        self
    }

    /// Takes the state that the other run had at event number `seq` (from 1), rather than its last.
    pub const fn at_event(mut self, seq: u64) -> Self {
        self.at = Some(seq);
        self
    }

    /// Replaces the input of the run.
    pub fn input(mut self, input: impl Into<Arc<Value>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Gives the new run an id of your own. Asking twice starts it once.
    pub fn run_id(mut self, run: RunId) -> Self {
        self.run = Some(run);
        self
    }

    /// Starts at most one run under `key` within seven days, per tenant: a repeat is answered with the first run, another
    /// request is refused. Keys of starts and of reruns are the same keys.
    pub fn idempotency_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Lets nothing leave the process.
    pub const fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }
}

/// What folding a stored log anew gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    /// Events folded.
    pub events: u64,
    /// Whether the stored snapshot is the fold of its events; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_agrees: Option<bool>,
    /// Whether the line in lists shows the state that the log folds to.
    pub summary_agrees: bool,
}

impl ReplayReport {
    /// Whether everything agrees.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.summary_agrees && self.snapshot_agrees != Some(false)
    }
}

impl ControlPlane {
    /// The exact state that a run had after event number `seq` (from 1). O(events).
    ///
    /// # Errors
    /// When there is no such run of the principal's tenant, it has no such event, or it cannot be read.
    pub async fn run_at(&self, principal: &Principal, id: &RunId, seq: u64) -> Result<Run, PlaneError> {
        let aggregate = AggregateId::Run(id.shared());
        let run = load::read_run_until(self.shared(), &aggregate, seq).await?;
        let run = run.filter(|run| run.tenant() == &principal.tenant);
        let run = run.ok_or_else(|| PlaneError::not_found("run", id.as_str()))?;
        if seq == 0 {
            let message = format!("events of a run are counted from 1, so run `{id}` has none with number 0");
            return Err(PlaneError::new(PlaneErrorKind::NotFound, "event_not_found", message));
        }
        if run.head() < seq {
            let message = format!("run `{id}` has {} events, so none has number {seq}", run.head());
            return Err(PlaneError::new(PlaneErrorKind::NotFound, "event_not_found", message));
        }
        Ok(run)
    }

    /// Starts a run that goes on from another one, on the definition that the other pinned. Steps that keep what they
    /// made are not carried out again. The other run is not changed, whatever its state. A repeat under the same
    /// idempotency key is answered with the first run, also when the other one has changed since, or is gone.
    ///
    /// # Errors
    /// When there is no such run, step or event, the key was used for something else, the step waits for one that did not end well (`rerun_impossible`), the
    /// input does not fit, or the store refuses.
    pub async fn rerun(&self, principal: &Principal, id: &RunId, request: RerunRequest) -> Result<RunId, PlaneError> {
        if let Some(key) = request.idempotency_key.as_deref() {
            check_key(key)?;
            let key = keys::idempotency(principal.tenant.as_str(), key);
            if let Some(first) = load::find(self.shared(), &key).await? {
                let old = load::read_run(self.shared(), &AggregateId::Run(id.shared())).await?;
                repeat::of_rerun(&first, id, &request, old.map(|(run, _)| run).as_ref())?;
                return Ok(RunId::parse(first.aggregate.id())?);
            }
        }
        let old = match request.at {
            Some(seq) => self.run_at(principal, id, seq).await?,
            None => self.run(principal, id).await?,
        };
        let input = request.input.unwrap_or_else(|| old.input());
        check_input(self.shared(), &input)?;
        let state = match request.fresh {
            true => None,
            false => Some(Arc::new(old.restore_from(request.from.as_ref())?)),
        };
        let origin = Arc::new(Origin { run: id.clone(), at: old.head(), step: request.from });
        let new = match request.run {
            Some(id) => id,
            None => RunId::parse(&self.shared().ids.uuid().to_string())?,
        };
        let start = StartRun {
            team: old.team().into(),
            labels: Arc::new(old.labels().clone()),
            idempotency_key: request.idempotency_key,
            dry_run: request.dry_run,
            restored: Some((origin, state)),
            ..StartRun::new(new.clone(), input, principal.id.clone())
        };
        let work = Work::Start { workflow: old.workflow().clone(), start: Box::new(start) };
        let started = self.shared().call(AggregateId::Run(new.shared()), work).await?;
        Ok(RunId::parse(started.id())?)
    }

    /// Folds the whole log of a run anew on this code, and compares the result with what is stored beside it.
    ///
    /// # Errors
    /// When there is no such run of the principal's tenant, or it cannot be read.
    pub async fn replay(&self, principal: &Principal, id: &RunId) -> Result<ReplayReport, PlaneError> {
        let aggregate = AggregateId::Run(id.shared());
        let run = load::read_run_until(self.shared(), &aggregate, u64::MAX).await?;
        let run = run.filter(|run| run.tenant() == &principal.tenant);
        let run = run.ok_or_else(|| PlaneError::not_found("run", id.as_str()))?;
        let snapshot_agrees = match self.shared().store.get(&aggregate.snapshot()).await? {
            None => None,
            Some(entry) => match load::read_snapshot(self.shared(), &entry).await {
                Some(snapshot) => {
                    let then = load::read_run_until(self.shared(), &aggregate, snapshot.head()).await?;
                    Some(then.as_ref() == Some(&snapshot))
                }
                None => Some(false),
            },
        };
        let stored = self.shared().store.get(&keys::run(id.as_str())).await?;
        let stored = stored.and_then(|entry| serde_json::from_slice::<RunSummary>(&entry.value).ok());
        let summary_agrees = stored.is_some_and(|stored| stored.status == run.status());
        Ok(ReplayReport { events: run.head(), snapshot_agrees, summary_agrees })
    }

    /// What a run of `workflow` would do, without starting one: the order of steps, branches, approvals, what policy says
    /// of each job and the pool that would serve it.
    #[must_use]
    pub fn plan(&self, principal: &Principal, workflow: &Workflow, input: Option<&Value>) -> Plan {
        let shared = self.shared();
        let (policy, routes) = (shared.policy.snapshot(), shared.routes.load());
        let facts = shared.facts(0, &*policy, &routes);
        let labels = std::collections::BTreeMap::new();
        plan(workflow, Starter { principal: &principal.id, labels: &labels, input }, &facts)
    }

    /// As [`plan`](Self::plan), of a definition that is not stored, completed as its storing would.
    ///
    /// # Errors
    /// When it is another tenant's.
    pub fn plan_unstored(
        &self,
        principal: &Principal,
        workflow: &Workflow,
        input: Option<&Value>,
    ) -> Result<Plan, PlaneError> {
        super::plane::check_tenant(principal, workflow.tenant().as_str())?;
        let mut spec = workflow.spec().clone();
        spec.org_id = principal.tenant.to_string();
        spec.fill_topics(&self.shared().options.default_topics);
        Ok(self.plan(principal, &Workflow::compile("workflow", spec)?, input))
    }

    /// Adds a warning to the plan of `workflow` for each step that starts a workflow that is not stored. One read for
    /// each such step.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn warn_of_unknown(
        &self,
        principal: &Principal,
        workflow: &Workflow,
        plan: &mut Plan,
    ) -> Result<(), PlaneError> {
        for step in workflow.steps() {
            let StepKind::Subworkflow { workflow: other, .. } = step.kind() else { continue };
            if other == workflow.id() {
                continue;
            }
            match self.workflow(principal, other).await {
                Err(error) if error.kind() == PlaneErrorKind::NotFound => {
                    let warning = format!("there is no workflow `{other}`; store it before this one is started");
                    plan.warnings.insert(step.id().to_string(), warning);
                }
                found => drop(found?),
            }
        }
        Ok(())
    }

    /// Why a run is not further, and each of its steps: empty when it has ended. Where a job waits for a worker, the live
    /// workers that serve its topic are counted.
    ///
    /// # Errors
    /// When there is no such run of the principal's tenant, or it cannot be read.
    pub async fn why(&self, principal: &Principal, id: &RunId) -> Result<Vec<Wait>, PlaneError> {
        let run = self.run(principal, id).await?;
        let live = self.workers();
        let mut waits = run.waits();
        for wait in &mut waits {
            match &mut wait.cause {
                WaitCause::Pool { pool, topic, workers, .. } => {
                    let serves = |worker: &&super::WorkerStatus| {
                        (worker.topics.is_empty() && worker.pool == *pool) || worker.topics.contains(topic)
                    };
                    *workers = Some(live.iter().filter(serves).count());
                }
                cause @ WaitCause::Placement { .. } => self.shared().tell_placement(cause),
                WaitCause::Place { key, held_by } => {
                    let query = QueuedQuery { key: Some(key.clone()), limit: 10, ..QueuedQuery::default() };
                    let holders = self.slot_holders(principal, query).await?;
                    *held_by = holders.items.into_iter().map(|holder| holder.run_id).collect();
                }
                _ => {}
            }
        }
        Ok(waits)
    }
}

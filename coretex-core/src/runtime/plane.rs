//! The handle that hosts hold: everything that can be asked of a control plane.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, PoisonError, atomic::Ordering},
};

use tokio::sync::oneshot;

use super::{
    Builder, JobRequest, PlaneError, PlaneErrorKind, RecoveryReport, StartRequest, WorkerStatus,
    inbound::aggregate_of,
    keys::{self, AggregateId},
    outbound::job_input,
    shared::{Reply, Shared, Work},
    start, submit,
};
use crate::{
    governance::Principal,
    job::{Answer, JobId, JobInput, RunId, StepRunId, WorkflowId},
    ports::{Batch, Blobs, Bus, Clock, PolicyEngine, Store},
    scheduler::Routes,
    workflow::{Run, RunInput, Workflow, WorkflowSpec},
};

/// A running control plane. Cloning shares it; when the last clone is dropped, its tasks end where they are, as in a
/// crash. [`ControlPlane::shutdown`] ends it in order.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    recovery: OnceLock<RecoveryReport>,
}

impl Inner {
    fn kill(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The tasks hold what they share with us: without this they would hold each other for ever.
        self.kill();
    }
}

impl ControlPlane {
    /// Begins a control plane that asks `policy` about every job.
    pub fn builder(policy: impl PolicyEngine) -> Builder {
        Builder::new(Arc::new(policy))
    }

    /// Like [`ControlPlane::builder`], for a policy that is shared.
    pub fn builder_shared(policy: Arc<dyn PolicyEngine>) -> Builder {
        Builder::new(policy)
    }

    pub(super) fn over(shared: Arc<Shared>) -> Self {
        Self { inner: Arc::new(Inner { shared, recovery: OnceLock::new() }) }
    }

    /// Ends all tasks where they are, as if the last clone were dropped.
    pub(crate) fn kill(&self) {
        self.inner.kill();
    }

    pub(super) fn set_recovery(&self, report: RecoveryReport) {
        // Set once, by the builder.
        let _first = self.inner.recovery.set(report);
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// What was taken up again at the start.
    #[must_use]
    pub fn recovery(&self) -> RecoveryReport {
        self.inner.recovery.get().copied().unwrap_or_default()
    }

    /// The bus, for workers in this process.
    #[must_use]
    pub fn bus(&self) -> Arc<dyn Bus> {
        self.shared().bus.clone()
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.shared().store.clone()
    }

    /// The blob store.
    #[must_use]
    pub fn blobs(&self) -> Arc<dyn Blobs> {
        self.shared().blobs.clone()
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.shared().clock.clone()
    }

    /// The policy engine.
    #[must_use]
    pub fn policy(&self) -> Arc<dyn PolicyEngine> {
        self.shared().policy.clone()
    }

    /// Replaces the routes. Jobs already dispatched stay where they are.
    pub fn set_routes(&self, routes: Routes) {
        self.shared().routes.store(Arc::new(routes));
    }

    /// Messages of clients on the bus that were refused since the start, by the code of the reason. Each is logged.
    #[must_use]
    pub fn refused_messages(&self) -> BTreeMap<&'static str, u64> {
        self.shared().refused.counts()
    }

    /// Workers that were heard of within the last thirty seconds.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.shared().workers.live(self.shared().now())
    }

    /// Stores a definition under its id; runs that are under way keep the one that they started with. As
    /// [`ControlPlane::store_workflow`], which says what version it became.
    ///
    /// # Errors
    /// When the workflow belongs to another tenant than the principal, or the store refuses.
    pub async fn put_workflow(&self, principal: &Principal, workflow: Workflow) -> Result<Arc<Workflow>, PlaneError> {
        Ok(self.store_workflow(principal, workflow, None).await?.workflow)
    }

    /// The definition stored under `id`.
    ///
    /// # Errors
    /// When there is none, it belongs to another tenant, or the store cannot be read.
    pub async fn workflow(&self, principal: &Principal, id: &WorkflowId) -> Result<Arc<Workflow>, PlaneError> {
        let shared = self.shared();
        let entry = shared.store.get(&keys::workflow(id.as_str())).await?;
        let entry = entry.ok_or_else(|| PlaneError::not_found("workflow", id.as_str()))?;
        let spec: WorkflowSpec = serde_json::from_slice(&entry.value)
            .map_err(|error| PlaneError::damaged(&format!("workflow `{id}`"), &error))?;
        if spec.org_id != principal.tenant.as_str() {
            return Err(PlaneError::not_found("workflow", id.as_str()));
        }
        let workflow = Arc::new(Workflow::compile("store", spec)?);
        shared.definitions.remember(&workflow);
        Ok(workflow)
    }

    /// Starts a run. Answers when it is durable, its first jobs with it; a run that has to wait for a place under its
    /// workflow's concurrency key is then durable in state `pending`.
    ///
    /// # Errors
    /// When the workflow does not exist, the input does not fit, its policy of concurrency is `reject` and there is no
    /// place (`concurrency_limit`), or the store refuses. An answer of kind `Unavailable`
    /// leaves open whether the run was started: repeat it with the same run id or idempotency key.
    pub async fn start(&self, principal: &Principal, request: StartRequest) -> Result<RunId, PlaneError> {
        start::start(self.shared(), principal, request).await
    }

    /// Waits until the run has ended, and gives its final state.
    ///
    /// # Errors
    /// When there is no such run of the principal's tenant, or the control plane is shut down before it ends.
    pub async fn wait(&self, principal: &Principal, run: &RunId) -> Result<Arc<Run>, PlaneError> {
        let (sender, receiver) = oneshot::channel();
        self.shared().send(AggregateId::Run(run.shared()), Work::Wait(sender), Reply::Nobody).await?;
        let ended = receiver.await.map_err(|_| PlaneError::closed())??;
        if ended.tenant() != &principal.tenant {
            return Err(PlaneError::not_found("run", run.as_str()));
        }
        Ok(ended)
    }

    /// Stops a run: open steps are cancelled, workers are told, what succeeded is undone and the `finally` steps run, each
    /// of these for [`Workflow::finally_timeout`](crate::workflow::Workflow::finally_timeout) at most. Stopping one that
    /// is about to end, or has ended, changes nothing; see [`force_cancel_run`](Self::force_cancel_run).
    ///
    /// # Errors
    /// When there is no such run of the principal's tenant, or the store refuses.
    pub async fn cancel_run(&self, principal: &Principal, run: &RunId, reason: &str) -> Result<(), PlaneError> {
        self.tell(principal, run, RunInput::Cancel { by: principal.id.clone(), reason: reason.into() }).await
    }

    /// Stops a run and does not let it take the time to undo anything or to run last steps: what is under way is stopped,
    /// workers have the stop grace, runs that it carries out are stopped the same way, and the run ends. Also when it was
    /// cancelled before and is busy with its end. Stopping one that has ended changes nothing.
    ///
    /// # Errors
    /// When there is no such run of the principal's tenant, or the store refuses.
    pub async fn force_cancel_run(&self, principal: &Principal, run: &RunId, reason: &str) -> Result<(), PlaneError> {
        self.tell(principal, run, RunInput::Halt { by: principal.id.clone(), reason: reason.into() }).await
    }

    /// Answers an approval step, or the question that policy asks about a step's job.
    ///
    /// # Errors
    /// When there is no such step, it waits for no answer, or the store refuses.
    pub async fn answer_step(
        &self,
        principal: &Principal,
        run: &RunId,
        step: &StepRunId,
        answer: Answer,
    ) -> Result<(), PlaneError> {
        self.tell(principal, run, RunInput::Answer { step: step.clone(), answer }).await
    }

    /// Answers the question under `id`: a job id, or `<run>:<step>`.
    ///
    /// # Errors
    /// When no such question waits, or the store refuses.
    pub async fn answer(&self, principal: &Principal, id: &str, answer: Answer) -> Result<(), PlaneError> {
        let request = self.approval(principal, id).await?;
        match request.subject {
            crate::job::Subject::Step { run_id, step_id } => {
                self.answer_step(principal, &run_id, &step_id, answer).await
            }
            crate::job::Subject::Job { job_id } => {
                let (aggregate, _) = aggregate_of(&job_id);
                let input = job_input(&aggregate, &job_id, JobInput::Answered(answer));
                self.shared().call(aggregate, Work::Input(input)).await?;
                Ok(())
            }
        }
    }

    /// Submits a job by itself. Answers when it is durable.
    ///
    /// # Errors
    /// When the input is too large, the id holds `:`, `@` or `[`, a different job has it, or the store refuses.
    pub async fn submit_job(&self, principal: &Principal, request: JobRequest) -> Result<JobId, PlaneError> {
        submit::submit(self.shared(), principal, request).await
    }

    /// Stops a job. One that is a step's attempt fails that step. Stopping one that has ended changes nothing.
    ///
    /// # Errors
    /// When there is no such job of the principal's tenant, or the store refuses.
    pub async fn cancel_job(&self, principal: &Principal, job: &JobId, reason: &str) -> Result<(), PlaneError> {
        submit::cancel(self.shared(), principal, job, reason).await
    }

    /// Finishes what is being committed, stops taking anything, closes the bus and the store. Work that workers have is
    /// handed out again at the next start. Shutting down twice is fine.
    ///
    /// # Errors
    /// When the store cannot be closed in order; what was acknowledged is durable all the same.
    pub async fn shutdown(&self) -> Result<(), PlaneError> {
        let shared = self.shared();
        if let Some(executors) = shared.executors.get()
            && !shared.closed.swap(true, Ordering::AcqRel)
        {
            for executor in executors {
                let (sender, receiver) = oneshot::channel();
                let command = super::executor::Command {
                    aggregate: AggregateId::Run("".into()),
                    work: Work::Stop,
                    reply: Reply::Caller(sender),
                    busy: shared.clock.busy(),
                    tries: 0,
                    fetched: None,
                };
                if executor.send(command).await.is_ok() {
                    // An executor that has gone has nothing left to finish.
                    let _gone = receiver.await;
                }
            }
        }
        shared.bus.close().await?;
        shared.store.close().await?;
        Ok(())
    }
}

pub(super) fn check_tenant(principal: &Principal, tenant: &str) -> Result<(), PlaneError> {
    if principal.tenant.as_str() == tenant {
        return Ok(());
    }
    let message = format!("`{}` acts for tenant `{}`, not `{tenant}`", principal.id, principal.tenant);
    Err(PlaneError::new(PlaneErrorKind::Invalid, "tenant_mismatch", message))
}

pub(super) async fn commit_one(shared: &Shared, batch: Batch) -> Result<(), PlaneError> {
    match shared.store.commit(vec![batch]).await.into_iter().next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(error.into()),
        None => Err(PlaneError::new(PlaneErrorKind::Internal, "store_silent", "the store gave no result")),
    }
}

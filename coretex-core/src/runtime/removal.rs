//! Removing what is no longer wanted, and refusing while it is in use.

use super::{
    ControlPlane, PlaneError, PlaneErrorKind, blob_refs, index,
    keys::{self, AggregateId},
    plane::commit_one,
    query::read,
    shared::Shared,
};
use crate::{
    governance::Principal,
    job::{RunId, WorkflowId},
    ports::{Batch, Condition, Entry, Scan},
    workflow::RunSummary,
};

/// Live runs that a refusal names.
const NAMED: usize = 10;

impl ControlPlane {
    /// Removes the definition stored under `id`, unless runs of it are live. Its versions stay until they are pruned,
    /// so it can be rolled back to life.
    ///
    /// A start that overlaps the call may still succeed: its run keeps its definition, as every run does.
    ///
    /// # Errors
    /// When there is none, it belongs to another tenant, a run of it has not ended (`workflow_in_use`, which names ten
    /// of them at most), or the store refuses.
    pub async fn delete_workflow(&self, principal: &Principal, id: &WorkflowId) -> Result<(), PlaneError> {
        self.workflow(principal, id).await?;
        let live = self.live_runs(id, NAMED + 1).await?;
        if !live.is_empty() {
            let named: Vec<String> = live.iter().take(NAMED).map(|run| format!("`{run}`")).collect();
            let more = if live.len() > NAMED { " and more" } else { "" };
            let message = format!("runs of workflow `{id}` have not ended: {}{more}", named.join(", "));
            return Err(PlaneError::new(PlaneErrorKind::Conflict, "workflow_in_use", message));
        }
        self.force_delete_workflow(principal, id).await
    }

    /// Removes the definition stored under `id`, also while runs of it are live: they keep what they pinned, and finish.
    ///
    /// # Errors
    /// When there is none, it belongs to another tenant, or the store refuses.
    pub async fn force_delete_workflow(&self, principal: &Principal, id: &WorkflowId) -> Result<(), PlaneError> {
        self.workflow(principal, id).await?;
        commit_one(self.shared(), Batch::new().delete(keys::workflow(id.as_str()), Condition::Always)).await
    }

    /// The ids of runs of a workflow that have not ended, whatever they pin; `limit` of them at most. O(limit).
    pub(super) async fn live_runs(&self, id: &WorkflowId, limit: usize) -> Result<Vec<String>, PlaneError> {
        let page = self.shared().store.scan(Scan::prefix(keys::live_of(id.as_str())).limit(limit)).await?;
        let run = |entry: &Entry| entry.key.as_str().rsplit_once('/').map(|(_, run)| run.to_owned());
        Ok(page.entries.iter().filter_map(run).collect())
    }

    /// Removes a run that has ended: its events, its snapshot, its place in lists. Its id stays taken: what still comes
    /// in under it, a late result for instance, must not meet another run.
    ///
    /// # Errors
    /// When there is no such run of the principal's tenant, it has not ended, or the store refuses.
    pub async fn delete_run(&self, principal: &Principal, id: &RunId) -> Result<(), PlaneError> {
        let missing = || PlaneError::not_found("run", id.as_str());
        let shared = self.shared();
        loop {
            let entry = shared.store.get(&keys::run(id.as_str())).await?.ok_or_else(missing)?;
            let summary: RunSummary = read("a run summary", &entry)?;
            if summary.org_id != principal.tenant.as_str() {
                return Err(missing());
            }
            if !summary.status.is_terminal() {
                let message = format!("run `{id}` is {}; cancel it first", summary.status.as_str());
                return Err(PlaneError::new(PlaneErrorKind::Conflict, "run_not_ended", message));
            }
            match commit_one(shared, remove_run(shared, &entry, &summary).await?).await {
                // It is restarted, or somebody removed it or its timeline at the same moment.
                Err(error) if error.kind() == PlaneErrorKind::Conflict => {}
                done => return done,
            }
            if shared.store.get(&keys::restart(id.as_str())).await?.is_some() {
                let message = format!("run `{id}` is being restarted; delete it when that is done");
                return Err(PlaneError::new(PlaneErrorKind::Conflict, "restart_under_way", message));
            }
        }
    }
}

/// The batch that removes a job that was submitted by itself and has ended, which `entry` says. Its id stays taken.
pub(super) async fn remove_job(shared: &Shared, entry: &Entry, job: &str) -> Result<Batch, PlaneError> {
    let aggregate = AggregateId::Job(job.into());
    let mut batch =
        Batch::new().delete(entry.key.clone(), Condition::Version(entry.version)).trim(aggregate.stream(), u64::MAX);
    blob_refs::removed(&shared.store, &aggregate, &mut batch).await?;
    Ok(batch)
}

/// The batch that removes a run that has ended, whose summary is `entry`. Of two that remove the same run one is
/// refused, and so is one that would take it from under its restart.
pub(super) async fn remove_run(shared: &Shared, entry: &Entry, summary: &RunSummary) -> Result<Batch, PlaneError> {
    let aggregate = AggregateId::Run(summary.id.as_str().into());
    let mut batch = Batch::new()
        .require(keys::restart(&summary.id), Condition::Absent)
        .delete(entry.key.clone(), Condition::Version(entry.version))
        .delete(aggregate.snapshot(), Condition::Always)
        .trim(aggregate.stream(), u64::MAX);
    index::removed(&mut batch, summary);
    blob_refs::removed(&shared.store, &aggregate, &mut batch).await?;
    Ok(batch)
}

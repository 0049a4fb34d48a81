//! Two versions side by side, and the live runs that a change from one to the other would meet.

use serde::Serialize;

use super::{
    ControlPlane, ListPage, PlaneError, VersionRef, WorkflowVersion,
    keys::{self, AggregateId},
    load,
};
use crate::{
    governance::Principal,
    job::WorkflowId,
    ports::Scan,
    workflow::{DefinitionDiff, RunImpact, RunStatus, diff},
};

/// What sets two versions of a workflow apart.
#[derive(Clone, Debug, Serialize)]
pub struct VersionDiff {
    /// The version that is changed.
    pub from: WorkflowVersion,
    /// The version that it is changed to.
    pub to: WorkflowVersion,
    /// What differs.
    pub diff: DefinitionDiff,
}

/// A live run of the version that is changed, and what it would meet in the other.
#[derive(Clone, Debug, Serialize)]
pub struct AffectedRun {
    /// The run.
    pub run_id: String,
    /// How far it has come.
    pub status: RunStatus,
    /// The steps that differ, by how far it has come with them.
    #[serde(flatten)]
    pub impact: RunImpact,
}

impl ControlPlane {
    /// What sets version `to` of a workflow apart from version `from`.
    ///
    /// # Errors
    /// When one of them does not exist for the principal's tenant, or cannot be read.
    pub async fn diff_versions(
        &self,
        principal: &Principal,
        id: &WorkflowId,
        from: &VersionRef,
        to: &VersionRef,
    ) -> Result<VersionDiff, PlaneError> {
        let (from, old) = self.workflow_version(principal, id, from).await?;
        let (to, new) = self.workflow_version(principal, id, to).await?;
        Ok(VersionDiff { from, to, diff: diff(&old, &new) })
    }

    /// The live runs that pin the content of version `from`, in the order of their ids, each with what it would meet in
    /// the other version. Those that meet nothing different are among them. Reads every run that it shows.
    ///
    /// # Errors
    /// When the cursor is not one, or a run cannot be read.
    pub async fn affected_runs(
        &self,
        change: &VersionDiff,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ListPage<AffectedRun>, PlaneError> {
        let prefix = keys::live_on(change.from.workflow_id.as_str(), &change.from.digest);
        let page = self
            .list(Scan::prefix(prefix.as_str()), cursor, limit, |entry| {
                Ok(entry.key.as_str().strip_prefix(&prefix).map(str::to_owned))
            })
            .await?;
        let mut items = Vec::new();
        for run_id in page.items {
            let aggregate = AggregateId::Run(run_id.as_str().into());
            // One that is gone ended and was removed since.
            let Some((run, _)) = load::read_run(self.shared(), &aggregate).await? else { continue };
            if !run.status().is_terminal() {
                items.push(AffectedRun { run_id, status: run.status(), impact: change.diff.impact(&run) });
            }
        }
        Ok(ListPage { items, next: page.next })
    }
}

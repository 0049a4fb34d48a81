//! Moving runs that are under way onto another version of their workflow: one, or page by page all that fit.
//!
//! A preview reads what is durable and says of each run whether it can move, or everything that is in the way. The move
//! is an input like any other: the run's executor looks at all of that again in the state that it decides on, and one
//! batch holds the event, the pin, the place among the live runs, and whatever the version lets begin. A run that is
//! there already has moved; so a repeat gets the same answer, and what a crash cut short is asked for once more.

use std::{collections::BTreeMap, error::Error as _, sync::Arc};

use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::{
    ControlPlane, ListPage, PlaneError, PlaneErrorKind, VersionRef,
    keys::{self, AggregateId},
    load,
    query::read,
    shared::{Shared, Work},
    versions::MAX_NOTE,
};
use crate::{
    governance::Principal,
    job::{RunId, WorkflowId},
    plane::{self, Input},
    ports::Scan,
    workflow::{self, Refusal, Run, RunInput, RunStatus, RunSummary, Workflow},
};

/// Runs of a page that are moved, or looked at, at a time: as many as share a flush.
const AT_A_TIME: usize = 64;

/// Where a run shall move, and what is known of it.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct MigrationRequest {
    version: Option<VersionRef>,
    at: Option<u64>,
    reason: String,
}

impl MigrationRequest {
    /// Onto the current version.
    pub fn new() -> Self {
        Self::default()
    }

    /// Onto this version.
    pub fn version(mut self, version: impl Into<VersionRef>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Only while the run has as many events, as a preview told: what was decided on is what moves.
    pub const fn at_event(mut self, seq: u64) -> Self {
        self.at = Some(seq);
        self
    }

    /// Why, for the timeline; at most 1,024 bytes.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }
}

/// Which live runs of a workflow shall move where. What is not set does not filter.
#[derive(Clone, Debug, Default)]
pub struct MigrationQuery {
    /// The version that they move onto; the current one when absent.
    pub to: Option<VersionRef>,
    /// Only runs that are under the content of this version.
    pub from: Option<VersionRef>,
    /// Only runs in one of these states; in any, when empty.
    pub statuses: Vec<RunStatus>,
    /// Only runs that have all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Why, for the timeline; at most 1,024 bytes.
    pub reason: String,
    /// Most runs looked at, 1 to 1,000; 50 when 0.
    pub limit: usize,
    /// Where to go on, as given by [`ListPage::next`].
    pub cursor: Option<String>,
}

/// A run and its move onto a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMigration {
    /// The run.
    pub run_id: String,
    /// What becomes of the move.
    pub outcome: MigrationOutcome,
    /// Digest of the definition that it moves onto.
    pub definition: Arc<str>,
    /// Events that the run had when it was looked at, of a preview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// Everything that is in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
}

/// What becomes of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationOutcome {
    /// The run can move.
    CanMove,
    /// The run is under the definition.
    Moved,
    /// Something is in the way.
    Refused,
}

impl PlaneError {
    /// What was in the way of a run that should move; empty for every other error.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        match self.source().and_then(|source| source.downcast_ref()) {
            Some(plane::Rejected::Run(workflow::Rejected::Migration(refusals))) => refusals,
            _ => &[],
        }
    }
}

impl ControlPlane {
    /// Whether a run can move onto another version, and everything that is in the way if it cannot. Changes nothing.
    ///
    /// # Errors
    /// When there is no such run or version of the principal's tenant, or it cannot be read.
    pub async fn migrate_run_preview(
        &self,
        principal: &Principal,
        id: &RunId,
        request: &MigrationRequest,
    ) -> Result<RunMigration, PlaneError> {
        let run = self.run(principal, id).await?;
        let to = self.target(principal, run.workflow().id(), request.version.as_ref()).await?;
        Ok(preview(self.shared(), &run, &to))
    }

    /// Moves a run that is under way onto another version of its workflow, where it goes on. What it has done stays done;
    /// what it waits for goes on waiting; what the version lets begin begins. Nothing is carried out twice.
    ///
    /// It moves only while it is at rest, and only when the version holds all that it has reached. That is looked at in
    /// the state in which the move is decided. Asked for again, also after its answer was lost, it is answered the same.
    ///
    /// # Errors
    /// When there is no such run or version of the principal's tenant, something is in the way (`migration_refused`, with
    /// [`PlaneError::refusals`]), the reason is longer than 1,024 bytes, or the store refuses.
    pub async fn migrate_run(
        &self,
        principal: &Principal,
        id: &RunId,
        request: &MigrationRequest,
    ) -> Result<RunMigration, PlaneError> {
        let reason = checked(&request.reason)?;
        let run = self.run(principal, id).await?;
        let to = self.target(principal, run.workflow().id(), request.version.as_ref()).await?;
        let wanted = Move { to, from: None, at: request.at, by: principal.id.clone(), reason };
        wanted.make(self.shared(), id.as_str()).await
    }

    /// The live runs of a workflow that are not under the version yet, each with whether it can move. In the order of the
    /// definitions that they are under, then of their ids. Reads every run that it shows; changes nothing.
    ///
    /// # Errors
    /// When a version does not exist for the principal's tenant, the cursor is not one, or a run cannot be read.
    pub async fn migrate_runs_preview(
        &self,
        principal: &Principal,
        id: &WorkflowId,
        query: &MigrationQuery,
    ) -> Result<ListPage<RunMigration>, PlaneError> {
        let to = self.target(principal, id, query.to.as_ref()).await?;
        let page = self.candidates(principal, id, &to, query).await?;
        let (shared, to) = (self.shared(), &to);
        let shown = page.items.into_iter().map(async |run: String| {
            let aggregate = AggregateId::Run(run.as_str().into());
            // One that is gone ended and was removed since.
            let found = load::read_run(shared, &aggregate).await?;
            Ok::<_, PlaneError>(found.map(|(run, _)| preview(shared, &run, to)))
        });
        let items: Vec<_> = futures::stream::iter(shown).buffered(AT_A_TIME).try_collect().await?;
        Ok(ListPage { items: items.into_iter().flatten().collect(), next: page.next })
    }

    /// Moves one page of the runs that [`migrate_runs_preview`](Self::migrate_runs_preview) shows, each for itself, and
    /// says of each what became of it. A run whose state has changed since a preview is judged as it is now. What was
    /// moved before an error is moved; asking again goes on with the rest.
    ///
    /// # Errors
    /// As for the preview; when the reason is longer than 1,024 bytes, or the store refuses.
    pub async fn migrate_runs(
        &self,
        principal: &Principal,
        id: &WorkflowId,
        query: &MigrationQuery,
    ) -> Result<ListPage<RunMigration>, PlaneError> {
        let reason = checked(&query.reason)?;
        let to = self.target(principal, id, query.to.as_ref()).await?;
        let page = self.candidates(principal, id, &to, query).await?;
        let from = match &query.from {
            Some(from) => Some(self.workflow_version(principal, id, from).await?.0.digest),
            None => None,
        };
        let wanted = Move { to, from, at: None, by: principal.id.clone(), reason };
        let (shared, wanted) = (self.shared(), &wanted);
        let moves = page.items.into_iter().map(async |run: String| match wanted.make(shared, &run).await {
            Err(error) if !error.refusals().is_empty() => Ok(Some(wanted.refused(run, &error))),
            Err(error) if error.kind() == PlaneErrorKind::NotFound => Ok(None),
            moved => moved.map(Some),
        });
        let items: Vec<_> = futures::stream::iter(moves).buffered(AT_A_TIME).try_collect().await?;
        Ok(ListPage { items: items.into_iter().flatten().collect(), next: page.next })
    }

    /// The version to move onto.
    async fn target(
        &self,
        principal: &Principal,
        id: &WorkflowId,
        version: Option<&VersionRef>,
    ) -> Result<Arc<Workflow>, PlaneError> {
        let version = match version {
            Some(version) => version.clone(),
            None => VersionRef::Digest(self.current_version(principal, id).await?.digest),
        };
        Ok(self.workflow_version(principal, id, &version).await?.1)
    }

    /// One page of the live runs that fit and are not under `to` yet.
    async fn candidates(
        &self,
        principal: &Principal,
        id: &WorkflowId,
        to: &Workflow,
        query: &MigrationQuery,
    ) -> Result<ListPage<String>, PlaneError> {
        let prefix = match &query.from {
            Some(from) => {
                let (from, _) = self.workflow_version(principal, id, from).await?;
                keys::live_on(id.as_str(), &from.digest)
            }
            None => keys::live_of(id.as_str()),
        };
        let whole = keys::live_of(id.as_str());
        let page = self
            .list(Scan::prefix(prefix), query.cursor.clone(), query.limit, |entry| {
                let place = entry.key.as_str().strip_prefix(&whole).and_then(|place| place.split_once('/'));
                Ok(place.filter(|(digest, _)| *digest != &**to.digest()).map(|(_, run)| run.to_owned()))
            })
            .await?;
        if query.statuses.is_empty() && query.labels.is_empty() {
            return Ok(page);
        }
        let mut items = Vec::new();
        for run in page.items {
            let Some(entry) = self.shared().store.get(&keys::run(&run)).await? else { continue };
            let summary: RunSummary = read("a run summary", &entry)?;
            let fits = (query.statuses.is_empty() || query.statuses.contains(&summary.status))
                && query.labels.iter().all(|(name, value)| summary.labels.get(name) == Some(value));
            if fits {
                items.push(run);
            }
        }
        Ok(ListPage { items, next: page.next })
    }
}

fn checked(reason: &str) -> Result<Arc<str>, PlaneError> {
    let reason = reason.trim();
    if reason.len() > MAX_NOTE {
        let message = format!("a reason has at most {MAX_NOTE} bytes");
        return Err(PlaneError::new(PlaneErrorKind::Invalid, "note_too_long", message));
    }
    Ok(reason.into())
}

fn preview(shared: &Shared, run: &Run, to: &Arc<Workflow>) -> RunMigration {
    let refusals = run.migration_refusals(to, shared.now());
    let outcome = match () {
        () if run.workflow().digest() == to.digest() => MigrationOutcome::Moved,
        () if refusals.is_empty() => MigrationOutcome::CanMove,
        () => MigrationOutcome::Refused,
    };
    let run_id = run.id().map(ToString::to_string).unwrap_or_default();
    RunMigration { run_id, outcome, definition: to.digest().clone(), at: Some(run.head()), refusals }
}

/// A move that was asked for.
struct Move {
    to: Arc<Workflow>,
    from: Option<Arc<str>>,
    at: Option<u64>,
    by: Arc<str>,
    reason: Arc<str>,
}

impl Move {
    async fn make(&self, shared: &Shared, run: &str) -> Result<RunMigration, PlaneError> {
        let Self { to, from, at, by, reason } = self;
        let (to, from, by, reason) = (to.clone(), from.clone(), by.clone(), reason.clone());
        let input = Input::Run(RunInput::Migrate { to, from, at: *at, by, reason });
        shared.call(AggregateId::Run(run.into()), Work::Input(input)).await?;
        Ok(self.told(run.to_owned(), MigrationOutcome::Moved, Vec::new()))
    }

    fn refused(&self, run: String, error: &PlaneError) -> RunMigration {
        self.told(run, MigrationOutcome::Refused, error.refusals().to_vec())
    }

    fn told(&self, run_id: String, outcome: MigrationOutcome, refusals: Vec<Refusal>) -> RunMigration {
        RunMigration { run_id, outcome, definition: self.to.digest().clone(), at: None, refusals }
    }
}

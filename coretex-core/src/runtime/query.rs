//! Reading: always what is durable, never what an executor has decided ahead.

use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    ControlPlane, PlaneError, PlaneErrorKind,
    keys::{self, APPROVALS, AggregateId, WORKFLOWS},
    load, submit,
};
use crate::{
    governance::Principal,
    job::{ApprovalRequest, Job, JobId, JobSpec, RunId, WorkflowId},
    ports::{Entry, Key, Scan},
    workflow::{Run, RunSummary, StoredEvent, TimelineEvent, WorkflowSpec, timeline},
};

/// One page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct ListPage<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// Where to go on, if there may be more. Opaque.
    pub next: Option<String>,
}

/// A job: what it is and how far it has come.
#[derive(Clone, Debug, Serialize)]
pub struct JobView {
    /// What it is.
    pub spec: Arc<JobSpec>,
    /// How far it has come.
    pub job: Job,
}

/// Records looked at for one page: a filter that matches little must not read everything in one call.
pub(super) const SCAN_BOUND: usize = 20_000;

impl ControlPlane {
    /// Definitions of the principal's tenant, by id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn workflows(
        &self,
        principal: &Principal,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ListPage<WorkflowSpec>, PlaneError> {
        self.list(Scan::prefix(WORKFLOWS), cursor, limit, |entry| {
            let spec: WorkflowSpec = read("a workflow", entry)?;
            Ok((spec.org_id == principal.tenant.as_str()).then_some(spec))
        })
        .await
    }

    /// The durable state of a run.
    ///
    /// # Errors
    /// When there is no such run of the principal's tenant, or it cannot be read.
    pub async fn run(&self, principal: &Principal, id: &RunId) -> Result<Run, PlaneError> {
        let run = load::read_run(self.shared(), &AggregateId::Run(id.shared())).await?;
        run.map(|(run, _)| run)
            .filter(|run| run.tenant() == &principal.tenant)
            .ok_or_else(|| PlaneError::not_found("run", id.as_str()))
    }

    /// Events of a run from number `from` (at least 1) on, as people read them, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When there is no such run of the principal's tenant, or it cannot be read.
    pub async fn timeline(
        &self,
        principal: &Principal,
        id: &RunId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<TimelineEvent>, PlaneError> {
        let summary = self.run_summary(principal, id).await?;
        let damaged = |error| PlaneError::damaged(&format!("the summary of run `{id}`"), &error);
        let workflow = WorkflowId::parse(&summary.workflow_id).map_err(damaged)?;
        self.timeline_of(id, &workflow, from, limit).await
    }

    /// What lists show of a run: one read, however long its history is.
    ///
    /// # Errors
    /// When there is no such run of the principal's tenant, or it cannot be read.
    pub async fn run_summary(&self, principal: &Principal, id: &RunId) -> Result<RunSummary, PlaneError> {
        let missing = || PlaneError::not_found("run", id.as_str());
        if let Some(entry) = self.shared().store.get(&keys::run(id.as_str())).await? {
            let summary: RunSummary = read("the summary of a run", &entry)?;
            return Some(summary).filter(|summary| summary.org_id == principal.tenant.as_str()).ok_or_else(missing);
        }
        // A view may lag behind the events after a crash; they are the truth.
        RunSummary::of(&self.run(principal, id).await?).ok_or_else(missing)
    }

    pub(super) async fn timeline_of(
        &self,
        id: &RunId,
        workflow: &WorkflowId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<TimelineEvent>, PlaneError> {
        let stream = AggregateId::Run(id.shared()).stream();
        let page = self.shared().store.read(&stream, from.max(1), limit.max(1)).await?;
        let events = page
            .events
            .iter()
            .map(|bytes| serde_json::from_slice::<StoredEvent>(bytes))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| PlaneError::damaged(&format!("an event of run `{id}`"), &error))?;
        Ok(timeline(id.as_str(), workflow.as_str(), page.first, &events))
    }

    /// A job: one that was submitted, or a step's attempt. Of a step, only the last attempt is kept as a job; earlier
    /// ones are in the timeline.
    ///
    /// # Errors
    /// When there is no such job of the principal's tenant, or it cannot be read.
    pub async fn job(&self, principal: &Principal, id: &JobId) -> Result<JobView, PlaneError> {
        submit::job(self.shared(), principal, id).await
    }

    /// Questions that wait for a human, of the principal's tenant.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn approvals(
        &self,
        principal: &Principal,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<ListPage<ApprovalRequest>, PlaneError> {
        let scan = Scan::prefix(format!("{APPROVALS}{}/", principal.tenant));
        self.list(scan, cursor, limit, |entry| Ok(Some(read("an approval", entry)?))).await
    }

    /// The question under `id`: a job id, or `<run>:<step>`.
    ///
    /// # Errors
    /// When no such question of the principal's tenant waits, or the store cannot be read.
    pub async fn approval(&self, principal: &Principal, id: &str) -> Result<ApprovalRequest, PlaneError> {
        let entry = self.shared().store.get(&keys::approval(principal.tenant.as_str(), id)).await?;
        read("an approval", &entry.ok_or_else(|| PlaneError::not_found("approval", id))?)
    }

    /// A page of the list behind `scan`, whose cursors are good for that list only.
    pub(super) async fn list<T>(
        &self,
        scan: Scan,
        cursor: Option<String>,
        limit: usize,
        keep: impl Fn(&Entry) -> Result<Option<T>, PlaneError>,
    ) -> Result<ListPage<T>, PlaneError> {
        let prefix = scan.prefix.clone();
        let page = self.list_from(scan, unmarked(&prefix, cursor)?, limit, keep).await?;
        Ok(ListPage { items: page.items, next: page.next.map(|next| marked(&prefix, &next)) })
    }

    /// A page of the list behind `scan`; a cursor is what follows the prefix in the last key.
    pub(super) async fn list_from<T>(
        &self,
        scan: Scan,
        cursor_text: Option<String>,
        limit: usize,
        keep: impl Fn(&Entry) -> Result<Option<T>, PlaneError>,
    ) -> Result<ListPage<T>, PlaneError> {
        let prefix = scan.prefix.clone();
        let limit = page_size(limit);
        let mut after = cursor(&prefix, cursor_text.as_deref())?;
        let mut items = Vec::new();
        let mut looked_at = 0;
        loop {
            let page = self.shared().store.scan(scan.clone().after(after).limit(limit.max(100))).await?;
            after = page.next;
            for entry in &page.entries {
                looked_at += 1;
                items.extend(keep(entry)?);
                if items.len() == limit {
                    return Ok(ListPage { items, next: entry.key.as_str().strip_prefix(&prefix).map(str::to_owned) });
                }
            }
            if after.is_none() || looked_at >= SCAN_BOUND {
                let next = after.and_then(|key| key.as_str().strip_prefix(&prefix).map(str::to_owned));
                return Ok(ListPage { items, next });
            }
        }
    }
}

pub(super) fn page_size(limit: usize) -> usize {
    match limit {
        0 => 50,
        limit => limit.min(1_000),
    }
}

fn cursor(prefix: &str, text: Option<&str>) -> Result<Option<Key>, PlaneError> {
    let Some(text) = text else { return Ok(None) };
    let key = Key::new(format!("{prefix}{text}"));
    key.check().map_err(|_| cursor_invalid())?;
    Ok(Some(key))
}

/// Says in a cursor of which list it is.
fn marked(list: &str, place: &str) -> String {
    format!("{}-{place}", mark(list))
}

/// The place in a cursor of `list`.
fn unmarked(list: &str, cursor: Option<String>) -> Result<Option<String>, PlaneError> {
    let Some(cursor) = cursor else { return Ok(None) };
    match cursor.split_once('-') {
        Some((of, place)) if of == mark(list) => Ok(Some(place.to_owned())),
        _ => Err(cursor_invalid()),
    }
}

/// Short, because it is against mistakes, not against malice: a cursor never leaves the prefix of its list.
fn mark(list: &str) -> String {
    Sha256::digest(list).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn cursor_invalid() -> PlaneError {
    PlaneError::new(PlaneErrorKind::Invalid, "cursor_invalid", "the cursor is not one that this list gave out")
}

pub(super) fn read<T: serde::de::DeserializeOwned>(what: &str, entry: &Entry) -> Result<T, PlaneError> {
    serde_json::from_slice(&entry.value)
        .map_err(|error| PlaneError::damaged(&format!("{what} at `{}`", entry.key), &error))
}

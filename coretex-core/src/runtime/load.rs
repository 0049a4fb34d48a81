//! Reading an aggregate back: the latest snapshot, if there is one, and the events behind it.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;

use super::{PlaneError, keys::AggregateId, shared::Shared};
use crate::{
    plane::{JobRecord, State, StoredJobEvent},
    ports::{Busy, Entry, Key},
    workflow::{Run, RunEvent, StoredEvent},
};

/// What was read of an aggregate.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) aggregate: AggregateId,
    /// The state and the head of its snapshot; `None` when there is no such aggregate.
    pub(super) result: Result<Option<(State, u64)>, PlaneError>,
    /// There is none any more: it was deleted, and its id stays taken.
    pub(super) deleted: bool,
    /// The run that an idempotency key already names.
    pub(super) existing: Option<Existing>,
    /// The key that was looked up.
    pub(super) idempotency: Option<Key>,
    /// Virtual time stands still from the reading on.
    pub(super) busy: Busy,
}

/// A run that an idempotency key names.
#[derive(Debug)]
pub(super) struct Existing {
    pub(super) aggregate: AggregateId,
    /// Its state; `None` when it was deleted.
    pub(super) run: Option<Box<Run>>,
}

/// Events read at a time.
const PAGE: usize = 4_096;

pub(super) async fn load(
    shared: Arc<Shared>,
    aggregate: AggregateId,
    idempotency: Option<Key>,
    after: Option<Duration>,
) -> Loaded {
    if let Some(after) = after {
        shared.clock.sleep_until(crate::job::job_after(shared.clock.now(), after)).await;
    }
    let busy = shared.clock.busy();
    let existing = match &idempotency {
        Some(key) => find(&shared, key).await,
        None => Ok(None),
    };
    let (mut result, existing) = match existing {
        Ok(existing) => (read(&shared, &aggregate).await, existing),
        Err(error) => (Err(error), None),
    };
    let mut deleted = false;
    if let Ok(None) = result {
        match shared.store.read(&aggregate.stream(), 1, 1).await {
            Ok(page) => deleted = page.head > 0,
            Err(error) => result = Err(error.into()),
        }
    }
    Loaded { aggregate, result, deleted, existing, idempotency, busy }
}

/// The run that an idempotency key names.
pub(super) async fn find(shared: &Shared, key: &Key) -> Result<Option<Existing>, PlaneError> {
    let entry = shared.store.get(key).await?;
    let named = entry.and_then(|entry| Some(AggregateId::Run(std::str::from_utf8(&entry.value).ok()?.into())));
    let Some(aggregate) = named else { return Ok(None) };
    let run = read_run(shared, &aggregate).await?.map(|(run, _)| Box::new(run));
    Ok(Some(Existing { aggregate, run }))
}

/// The durable state of an aggregate, with the head of the snapshot that it was folded from.
pub(super) async fn read(shared: &Shared, aggregate: &AggregateId) -> Result<Option<(State, u64)>, PlaneError> {
    match aggregate {
        AggregateId::Run(_) => {
            Ok(read_run(shared, aggregate).await?.map(|(run, snapshot)| (State::Run(Box::new(run)), snapshot)))
        }
        AggregateId::Job(_) => Ok(read_job(shared, aggregate).await?.map(|record| (State::Job(Box::new(record)), 0))),
    }
}

/// The state of a run after event number `until`, or its last if it has fewer, folded from the first event on.
pub(super) async fn read_run_until(
    shared: &Shared,
    aggregate: &AggregateId,
    until: u64,
) -> Result<Option<Run>, PlaneError> {
    read_on(shared, aggregate, None, until).await
}

pub(super) async fn read_run(shared: &Shared, aggregate: &AggregateId) -> Result<Option<(Run, u64)>, PlaneError> {
    let mut run = None;
    let mut snapshot_at = 0;
    if let Some(entry) = shared.store.get(&aggregate.snapshot()).await? {
        // A snapshot is a fold of the events: one that cannot be read costs time, not truth.
        run = read_snapshot(shared, &entry).await;
        snapshot_at = run.as_ref().map_or(0, Run::head);
    }
    let run = read_on(shared, aggregate, run, u64::MAX).await?;
    Ok(run.map(|run| (run, snapshot_at)))
}

/// The state that a snapshot holds, under the definition that the run was under then; `None` when it cannot be read.
pub(super) async fn read_snapshot(shared: &Shared, entry: &Entry) -> Option<Run> {
    #[derive(Deserialize)]
    struct Head {
        digest: Arc<str>,
    }
    let head: Head = serde_json::from_slice(&entry.value).ok()?;
    let workflow = shared.definitions.get(&*shared.store, &head.digest).await.ok()?;
    Run::from_snapshot(workflow, &entry.value).ok()
}

/// Folds the events behind `run` in, up to event number `until`.
async fn read_on(
    shared: &Shared,
    aggregate: &AggregateId,
    mut run: Option<Run>,
    until: u64,
) -> Result<Option<Run>, PlaneError> {
    let stream = aggregate.stream();
    loop {
        let from = run.as_ref().map_or(0, Run::head) + 1;
        let page = shared.store.read(&stream, from, PAGE).await?;
        if page.events.is_empty() {
            break;
        }
        if page.first != from {
            return Err(PlaneError::damaged(&format!("run `{}`", aggregate.id()), &"events are missing"));
        }
        for bytes in &page.events {
            let event: StoredEvent = serde_json::from_slice(bytes)
                .map_err(|error| PlaneError::damaged(&format!("an event of run `{}`", aggregate.id()), &error))?;
            let run = match &mut run {
                Some(run) => run,
                None => {
                    let RunEvent::RunStarted { digest, .. } = &event.event else {
                        let message = "its first event does not start it";
                        return Err(PlaneError::damaged(&format!("run `{}`", aggregate.id()), &message));
                    };
                    run.insert(Run::new(shared.definitions.get(&*shared.store, digest).await?))
                }
            };
            match event.event.migrates_to() {
                None => run.apply(&event),
                // What comes after is folded under the definition that the run moved onto.
                Some(digest) => {
                    let definition = shared.definitions.get(&*shared.store, digest).await?;
                    if !run.apply_under(&event, definition) {
                        let message = format!("it was not moved onto the definition `{digest}`");
                        return Err(PlaneError::damaged(&format!("run `{}`", aggregate.id()), &message));
                    }
                }
            }
            if run.head() >= until {
                return Ok(Some(run.clone()));
            }
        }
        if run.as_ref().is_some_and(|run| run.head() >= page.head) {
            break;
        }
    }
    Ok(run)
}

pub(super) async fn read_job(shared: &Shared, aggregate: &AggregateId) -> Result<Option<JobRecord>, PlaneError> {
    let mut events = Vec::new();
    loop {
        let page = shared.store.read(&aggregate.stream(), events.len() as u64 + 1, PAGE).await?;
        for bytes in &page.events {
            let event: StoredJobEvent = serde_json::from_slice(bytes)
                .map_err(|error| PlaneError::damaged(&format!("job `{}`", aggregate.id()), &error))?;
            events.push(event);
        }
        if page.events.is_empty() || events.len() as u64 >= page.head {
            return Ok(JobRecord::replay(&events));
        }
    }
}

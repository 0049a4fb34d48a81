//! Removing what is older than it has to be.
//!
//! A sweep walks the indexes from the oldest on and removes what it finds in batches of its own, each conditional on
//! what it was judged by: what changes in the meantime stays. Nothing is noted about how far it came, because whatever
//! is left is found again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    PlaneError, PlaneErrorKind, PruneReport, PrunedClass, Retention, WorkflowVersion, batch, dead_letters,
    inbound::{PINNED, aggregate_of},
    index,
    keys::{self, AggregateId, BY_STATUS, DEAD_LETTERS_BY_TIME, JOBS_ENDED, VERSIONS},
    load,
    query::read,
    removal::{remove_job, remove_run},
    retention::Age,
    shared::Shared,
    versions::PRUNED,
};
use crate::{
    job::{DeadLetter, JobId, JobState},
    ports::{Batch, BlobKey, Condition, Entry, Key, Scan, StoreErrorKind, limits},
    workflow::{RunStatus, RunSummary},
};

/// Removals under one flush.
const GROUP: usize = 64;
/// States of runs, in bytes, that are held for one flush.
const GROUP_BYTES: usize = 4 << 20;
/// Entries read at a time.
const READ: usize = 500;
/// The youngest blob that is removed.
const YOUNGEST_BLOB: Duration = Duration::from_secs(3_600);
/// What the keys of results, and of the inputs that clients write, begin with.
const RESULT: &str = "res:";
const CONTEXT: &str = "ctx:";
/// How long a definition that was removed is remembered as such: longer than any start that had already looked it up.
const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);

/// Sweeps again and again, by the options, until the control plane is dropped or closed.
pub(super) async fn run(shared: Arc<Shared>, every: Duration) {
    loop {
        shared.clock.sleep_until(crate::job::job_after(shared.clock.now(), every)).await;
        let _busy = shared.clock.busy();
        match sweep(&shared, &shared.options.retention, true).await {
            Ok(report) if report.classes.is_empty() => {}
            Ok(report) => {
                let removed: Vec<String> =
                    report.classes.iter().map(|pruned| format!("{:?}: {}", pruned.class, pruned.count)).collect();
                tracing::info!(removed = removed.join(", "), "removed what was older than it has to be");
            }
            Err(error) if error.kind() == PlaneErrorKind::Closed => return,
            Err(error) => tracing::warn!(%error, "not everything old was removed; the next sweep goes on"),
        }
    }
}

/// Removes what `retention` does not keep, or only counts it.
pub(super) async fn sweep(shared: &Shared, retention: &Retention, apply: bool) -> Result<PruneReport, PlaneError> {
    let mut sweep =
        Sweep { shared, now: shared.now(), apply, report: PruneReport::default(), waiting: Vec::new(), weight: 0 };
    sweep.runs(retention).await?;
    if let Some(youngest) = retention.youngest_job() {
        sweep.jobs(retention, youngest).await?;
    }
    if let Some(age) = retention.dead_letters {
        sweep.dead_letters(age).await?;
    }
    if let Some(age) = retention.versions {
        sweep.versions(age).await?;
    }
    if let Some(age) = retention.blobs {
        sweep.blobs(age).await?;
    }
    sweep.report.classes.sort_by_key(|pruned| pruned.class);
    Ok(sweep.report)
}

/// Something to remove, and how it is told.
struct Removal {
    class: PrunedClass,
    name: String,
    bytes: Option<u64>,
    batch: Batch,
}

struct Sweep<'a> {
    shared: &'a Shared,
    now: Timestamp,
    apply: bool,
    report: PruneReport,
    waiting: Vec<Removal>,
    /// Bytes of states among what waits.
    weight: usize,
}

impl Sweep<'_> {
    fn before(&self, age: Duration) -> Timestamp {
        self.now.checked_sub(age).unwrap_or(Timestamp::MIN)
    }

    async fn remove(&mut self, removal: Removal) -> Result<(), PlaneError> {
        self.waiting.push(removal);
        if self.waiting.len() >= GROUP || self.weight >= GROUP_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), PlaneError> {
        self.weight = 0;
        let mut removals = std::mem::take(&mut self.waiting);
        if self.apply && !removals.is_empty() {
            let batches = removals.iter_mut().map(|removal| std::mem::take(&mut removal.batch)).collect();
            let mut results = self.shared.store.commit(batches).await.into_iter();
            let mut failed = None;
            removals.retain(|_| match results.next() {
                Some(Ok(_)) => true,
                // It changed since it was judged, so it stays.
                Some(Err(error)) if error.kind() == StoreErrorKind::Conflict => false,
                Some(Err(error)) => {
                    failed.get_or_insert(error);
                    false
                }
                None => false,
            });
            if let Some(error) = failed {
                return Err(error.into());
            }
        }
        for Removal { class, name, bytes, .. } in removals {
            self.report.add(class, &name, bytes);
        }
        Ok(())
    }

    async fn runs(&mut self, retention: &Retention) -> Result<(), PlaneError> {
        let wanted = |status| retention.of_runs(status).or(retention.timelines);
        if index::ENDED.into_iter().all(|status| wanted(status).is_none()) {
            return Ok(());
        }
        let mut tenant = None;
        loop {
            tenant = self.tenant_after(tenant.as_deref()).await?;
            let Some(tenant) = &tenant else { break };
            for status in index::ENDED {
                self.runs_on(tenant, status, retention).await?;
            }
        }
        self.flush().await
    }

    /// The next tenant that has runs.
    async fn tenant_after(&self, tenant: Option<&str>) -> Result<Option<String>, PlaneError> {
        // `~` sorts behind everything that a key of this tenant may go on with.
        let after = tenant.map(|tenant| Key::new(format!("{BY_STATUS}{tenant}/~")));
        let page = self.shared.store.scan(Scan::prefix(BY_STATUS).after(after).limit(1)).await?;
        let tenant = |entry: &Entry| Some(entry.key.as_str().strip_prefix(BY_STATUS)?.split_once('/')?.0.to_owned());
        Ok(page.entries.first().and_then(tenant))
    }

    async fn runs_on(&mut self, tenant: &str, status: RunStatus, retention: &Retention) -> Result<(), PlaneError> {
        let (whole, timeline) = (retention.of_runs(status), retention.timelines);
        let Some(youngest) = whole.into_iter().chain(timeline).min() else { return Ok(()) };
        let since = |age: Option<Age>| age.map(|age| self.before(age.as_duration()));
        let (whole, timeline, youngest) = (since(whole), since(timeline), self.before(youngest.as_duration()));
        let shelf = keys::by_status(tenant, status.as_str());
        let mut after = None;
        loop {
            let page = self.shared.store.scan(Scan::prefix(shelf.as_str()).after(after).limit(READ)).await?;
            for entry in &page.entries {
                let place = entry.key.as_str().strip_prefix(&shelf).and_then(index::parse_place);
                let Some((created_at, id)) = place else { continue };
                // Nothing ends before it was created.
                if created_at > youngest {
                    return Ok(());
                }
                let Some(entry) = self.shared.store.get(&keys::run(id)).await? else { continue };
                let run: RunSummary = read("a run summary", &entry)?;
                let Some(ended) = run.completed_at.filter(|_| run.status == status) else { continue };
                if whole.is_some_and(|before| ended <= before) {
                    self.whole_run(&entry, &run).await?;
                } else if timeline.is_some_and(|before| ended <= before) && !run.timeline_pruned {
                    self.timeline(&entry, run).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn whole_run(&mut self, entry: &Entry, run: &RunSummary) -> Result<(), PlaneError> {
        let class = match run.status {
            RunStatus::Succeeded => PrunedClass::Succeeded,
            RunStatus::Failed => PrunedClass::Failed,
            RunStatus::TimedOut => PrunedClass::TimedOut,
            _ => PrunedClass::Cancelled,
        };
        let batch = if self.apply { remove_run(self.shared, entry, run).await? } else { Batch::new() };
        self.remove(Removal { class, name: run.id.clone(), bytes: None, batch }).await
    }

    /// Keeps the state of a run in place of its events. From then on the snapshot is the record itself.
    async fn timeline(&mut self, entry: &Entry, mut run: RunSummary) -> Result<(), PlaneError> {
        let aggregate = AggregateId::Run(run.id.as_str().into());
        let mut batch = Batch::new();
        if self.apply {
            let Some((state, _)) = load::read_run(self.shared, &aggregate).await? else { return Ok(()) };
            let snapshot = state.to_snapshot().map_err(|error| PlaneError::damaged("a run", &error))?;
            // A state that is too large for a record lives in its events alone.
            if snapshot.len() > limits::VALUE_BYTES {
                return Ok(());
            }
            self.weight += snapshot.len();
            run.timeline_pruned = true;
            batch = batch
                .put(entry.key.clone(), batch::encode(&run)?, Condition::Version(entry.version))
                .put(aggregate.snapshot(), snapshot, Condition::Always)
                .trim(aggregate.stream(), state.head() + 1);
        }
        self.remove(Removal { class: PrunedClass::Timelines, name: run.id, bytes: None, batch }).await
    }

    async fn jobs(&mut self, retention: &Retention, youngest: Age) -> Result<(), PlaneError> {
        let youngest = self.before(youngest.as_duration());
        let mut after = None;
        loop {
            let page = self.shared.store.scan(Scan::prefix(JOBS_ENDED).after(after).limit(READ)).await?;
            for entry in &page.entries {
                let place = entry.key.as_str().strip_prefix(JOBS_ENDED).and_then(index::parse_place);
                let Some((ended, job)) = place else { continue };
                if ended > youngest {
                    return self.flush().await;
                }
                let state: JobState = read("the end of a job", entry)?;
                if retention.of_jobs(state).is_some_and(|age| ended <= self.before(age.as_duration())) {
                    let batch = if self.apply { remove_job(self.shared, entry, job).await? } else { Batch::new() };
                    let name = job.to_owned();
                    self.remove(Removal { class: PrunedClass::Jobs, name, bytes: None, batch }).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return self.flush().await;
            }
        }
    }

    async fn dead_letters(&mut self, age: Age) -> Result<(), PlaneError> {
        let before = self.before(age.as_duration()).as_microsecond();
        let mut after = None;
        loop {
            let page = self.shared.store.scan(Scan::prefix(DEAD_LETTERS_BY_TIME).after(after).limit(READ)).await?;
            for entry in page.entries {
                let at = |key: &Key| key.as_str().strip_prefix(DEAD_LETTERS_BY_TIME)?.split_once('/')?.0.parse().ok();
                let Some(at): Option<i64> = at(&entry.key) else { continue };
                if at > before {
                    return self.groups_of_letters().await;
                }
                let job = String::from_utf8_lossy(&entry.value).into_owned();
                let mut batch = Batch::new();
                let mut bytes = 0;
                let record = self.shared.store.get(&keys::dead_letter(&job)).await?;
                let letter = record.as_ref().map(|record| read::<DeadLetter>("a dead letter", record)).transpose()?;
                match letter.zip(record) {
                    Some((letter, record)) if letter.created_at.as_microsecond() == at => {
                        bytes = record.value.len() as u64;
                        dead_letters::forget(&mut batch, &letter, record.version);
                    }
                    _ => batch = batch.delete(entry.key, Condition::Version(entry.version)),
                }
                let class = PrunedClass::DeadLetters;
                self.remove(Removal { class, name: job, bytes: Some(bytes), batch }).await?;
            }
            after = page.next;
            if after.is_none() {
                return self.groups_of_letters().await;
            }
        }
    }

    /// Groups go with the last of their letters.
    async fn groups_of_letters(&mut self) -> Result<(), PlaneError> {
        self.flush().await?;
        if self.apply { dead_letters::tidy(self.shared, "").await } else { Ok(()) }
    }

    async fn versions(&mut self, age: Age) -> Result<(), PlaneError> {
        let before = self.before(age.as_duration());
        let mut after = None;
        let mut versions: Vec<WorkflowVersion> = Vec::new();
        loop {
            let page = self.shared.store.scan(Scan::prefix(VERSIONS).after(after).limit(READ)).await?;
            for entry in &page.entries {
                let version: WorkflowVersion = read("a version", entry)?;
                if versions.last().is_some_and(|last| last.workflow_id != version.workflow_id) {
                    self.versions_of(std::mem::take(&mut versions), before).await?;
                }
                versions.push(version);
            }
            after = page.next;
            if after.is_none() {
                self.versions_of(versions, before).await?;
                return self.flush().await;
            }
        }
    }

    /// Removes contents of one workflow that nothing has pinned and that are no longer current. The number last given
    /// stays known for as long as anything of the workflow does, so that it is not given twice.
    async fn versions_of(&mut self, versions: Vec<WorkflowVersion>, before: Timestamp) -> Result<(), PlaneError> {
        let Some(last) = versions.last().cloned() else { return Ok(()) };
        let workflow = last.workflow_id.as_str();
        let is_stored = self.shared.store.get(&keys::workflow(workflow)).await?.is_some();
        let mut contents: BTreeMap<&str, (Vec<u64>, bool)> = BTreeMap::new();
        for (at, version) in versions.iter().enumerate() {
            // The last one of a workflow that was deleted counts from when it was made.
            let until = versions.get(at + 1).map_or(version.created_at, |next| next.created_at);
            let (numbers, old) = contents.entry(&version.digest).or_insert_with(|| (Vec::new(), true));
            numbers.push(version.number);
            *old &= until <= before;
        }
        let all = contents.len();
        let mut removals = Vec::new();
        for (digest, (numbers, old)) in contents {
            if old
                && (!is_stored || digest != &*last.digest)
                && let Some(removal) = self.content(workflow, digest, &numbers).await?
            {
                removals.push((digest == &*last.digest, removal));
            }
        }
        let keep_last = removals.len() < all;
        for (_, removal) in removals.into_iter().filter(|(is_last, _)| !(keep_last && *is_last)) {
            self.remove(removal).await?;
        }
        Ok(())
    }

    /// The removal of a content, if no run pins it.
    async fn content(&self, workflow: &str, digest: &str, numbers: &[u64]) -> Result<Option<Removal>, PlaneError> {
        let store = &self.shared.store;
        let Some(guard) = store.get(&keys::version_of(workflow, digest)).await? else { return Ok(None) };
        let pins = store.get(&keys::pins(digest)).await?;
        let count = pins.as_ref().map_or(Some(0), |entry| std::str::from_utf8(&entry.value).ok()?.parse::<i64>().ok());
        if count != Some(0) {
            return Ok(None);
        }
        let unused = pins.map_or(Condition::Absent, |entry| Condition::Version(entry.version));
        let definition = keys::definition(digest);
        let bytes = store.get(&definition).await?.map(|entry| entry.value.len() as u64);
        let mut batch = Batch::new()
            .put(keys::pins(digest), PRUNED, unused)
            .expire(keys::pins(digest), REMEMBERED)
            .delete(guard.key, Condition::Version(guard.version))
            .delete(definition, Condition::Always);
        for number in numbers {
            batch = batch.delete(keys::version(workflow, *number), Condition::Always);
        }
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let name = format!("{workflow} {} {digest}", numbers.join(","));
        Ok(Some(Removal { class: PrunedClass::Versions, name, bytes, batch }))
    }

    async fn blobs(&mut self, age: Age) -> Result<(), PlaneError> {
        let before = self.before(age.as_duration().max(YOUNGEST_BLOB));
        for prefix in [PINNED, RESULT, CONTEXT] {
            let mut after: Option<BlobKey> = None;
            loop {
                let entries = self.shared.blobs.list(prefix, after.as_ref(), READ).await?;
                for entry in &entries {
                    if entry.written_at <= before
                        && !self.is_needed(&entry.key).await?
                        && (!self.apply || self.remove_blob(&entry.key, before).await?)
                    {
                        self.report.add(PrunedClass::Blobs, entry.key.as_str(), Some(entry.size));
                    }
                }
                let Some(last) = entries.last() else { break };
                after = Some(last.key.clone());
            }
        }
        Ok(())
    }

    /// Whether somebody may still read a blob.
    async fn is_needed(&self, key: &BlobKey) -> Result<bool, PlaneError> {
        let store = &self.shared.store;
        if let Some(digest) = key.as_str().strip_prefix(PINNED) {
            return Ok(!store.scan(Scan::prefix(keys::blob_refs(digest)).limit(1)).await?.entries.is_empty());
        }
        let job = key.as_str().strip_prefix(RESULT).or_else(|| key.as_str().strip_prefix(CONTEXT));
        // What has no job's name is not ours.
        let Some(job) = job.and_then(|job| JobId::parse(job).ok()) else { return Ok(true) };
        match aggregate_of(&job).0 {
            AggregateId::Run(run) => Ok(store.get(&keys::run(&run)).await?.is_some()),
            // Of a job by itself only the id is left when it was removed. One that nobody knows yet may be submitted.
            job @ AggregateId::Job(_) => {
                let page = store.read(&job.stream(), 1, 1).await?;
                Ok(page.head == 0 || !page.events.is_empty())
            }
        }
    }

    /// Removes a blob unless it was written again, or is needed again, since it was judged.
    async fn remove_blob(&self, key: &BlobKey, before: Timestamp) -> Result<bool, PlaneError> {
        // Held across the awaits on purpose: that is what makes the look and the removal one.
        let _nobody_pins = self.shared.pinning.write().await;
        let still_old = self.shared.blobs.head(key).await?.is_some_and(|entry| entry.written_at <= before);
        if !still_old || self.is_needed(key).await? {
            return Ok(false);
        }
        self.shared.blobs.delete(key).await?;
        Ok(true)
    }
}

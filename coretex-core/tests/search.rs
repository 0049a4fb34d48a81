//! Finding runs: filters compared with a plain walk, pages that neither repeat nor leave out.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use coretex_core::{
    job::{RunId, WorkflowId},
    ports::{
        Batch, Capabilities, Changes, Entry, Key, Page, Receipt, Scan, Store, StoreError, StreamPage,
        memory::MemoryStore,
    },
    runtime::{PlaneError, RunQuery, StartRequest, TimeRange},
    testing::{Reply, Rng, ScriptedJob, TestPlane, VirtualClock},
    workflow::{RunStatus, RunSummary},
};
use jiff::Timestamp;
use serde_json::json;

type Told = Result<(), PlaneError>;

fn tell(test: impl AsyncFnOnce(&TestPlane) -> Told) {
    let work = |job: &ScriptedJob| match job.request.labels.get("kind").map(String::as_str) {
        Some("bad") => Reply::fatal("broken"),
        _ => Reply::succeed(json!({})),
    };
    TestPlane::builder()
        .workflow("id: quick\nsteps:\n  a: {topic: job.a}")
        .workflow("id: held\nsteps:\n  a: {type: approval}")
        .workflow("id: slow\nsteps:\n  a: {type: delay, delay_sec: 864000}")
        .worker("job.a", work)
        .run(test)
        .unwrap()
        .unwrap();
}

async fn page(plane: &TestPlane, query: &RunQuery) -> Result<(Vec<RunSummary>, Option<String>), PlaneError> {
    let page = plane.ask(async |p| p.runs(plane.principal(), query.clone()).await).await?;
    Ok((page.items, page.next))
}

async fn all(plane: &TestPlane, mut query: RunQuery) -> Result<Vec<RunSummary>, PlaneError> {
    let mut found = Vec::new();
    loop {
        let (items, next) = page(plane, &query).await?;
        found.extend(items);
        match next {
            Some(next) => query.cursor = Some(next),
            None => return Ok(found),
        }
    }
}

fn ids(runs: &[RunSummary]) -> Vec<String> {
    runs.iter().map(|run| run.id.clone()).collect()
}

/// Starts runs of all kinds, with ids in no order, at times that now and then coincide.
async fn populate(plane: &TestPlane, rng: &mut Rng, count: u64) -> Result<(), PlaneError> {
    for n in 0..count {
        let workflow = *rng.pick(&["quick", "quick", "held", "slow"]).unwrap();
        let id = format!("{:x}-{n}-{:x}", rng.below(16), rng.draw());
        let mut request = StartRequest::new(WorkflowId::parse(workflow)?, json!({})).run_id(RunId::parse(&id)?);
        request = request.label("kind", *rng.pick(&["good", "bad"]).unwrap());
        if rng.chance(100) {
            request = request.label("rare", "a/b=\u{7}").team("red");
        }
        plane.start_with(request).await?;
        if rng.chance(600) {
            plane.advance(Duration::from_millis(rng.below(5_000))).await;
        }
    }
    plane.advance(Duration::from_secs(1)).await;
    let waiting = all(plane, RunQuery { statuses: vec![RunStatus::Waiting], ..RunQuery::default() }).await?;
    for run in waiting {
        let run = RunId::parse(&run.id)?;
        match rng.below(3) {
            0 => plane.answer(&run, "a", "ann", rng.chance(500)).await?,
            1 => plane.ask(async |p| p.cancel_run(plane.principal(), &run, "").await).await?,
            _ => {}
        }
    }
    plane.settle().await;
    Ok(())
}

#[test]
fn every_filter_finds_what_a_plain_walk_finds() {
    tell(async |plane| {
        let mut rng = Rng::new(11);
        populate(plane, &mut rng, 120).await?;
        plane.crash_and_restart().await?;
        let everything = all(plane, RunQuery::default()).await?;
        assert_eq!(everything.len(), 120);
        let order: Vec<_> = everything.iter().map(|run| (run.created_at, run.id.clone())).collect();
        assert!(order.windows(2).all(|pair| pair[0] > pair[1]), "newest first: {order:?}");
        let (mut hits, mut misses) = (0, 0);
        for round in 0..400 {
            let statuses =
                [RunStatus::Running, RunStatus::Waiting, RunStatus::Succeeded, RunStatus::Failed, RunStatus::Cancelled];
            let mut query = RunQuery { limit: 1 + rng.below(9) as usize, ..RunQuery::default() };
            query.statuses = statuses.into_iter().filter(|_| rng.chance(250)).collect();
            if rng.chance(300) {
                query.workflow = Some(WorkflowId::parse(rng.pick(&["quick", "held", "slow", "none"]).unwrap())?);
            }
            if rng.chance(300) {
                query.labels.insert("kind".into(), (*rng.pick(&["good", "bad", "odd"]).unwrap()).into());
            }
            if rng.chance(150) {
                query.labels.insert("rare".into(), "a/b=\u{7}".into());
            }
            if rng.chance(100) {
                query.team = Some("red".into());
            }
            let moment = |rng: &mut Rng| rng.chance(200).then(|| rng.pick(&everything).unwrap().created_at);
            query.created = TimeRange { from: moment(&mut rng), until: moment(&mut rng) };
            query.updated = TimeRange { from: moment(&mut rng), until: None };
            query.has_error = rng.chance(150).then(|| rng.chance(500));
            query.error_code = rng.chance(100).then(|| "cancelled".to_owned());
            query.id_prefix = rng.chance(100).then(|| format!("{:x}", rng.below(16)));
            let mut wanted: Vec<&RunSummary> = everything
                .iter()
                .filter(|run| query.workflow.as_ref().is_none_or(|workflow| workflow.as_str() == run.workflow_id))
                .filter(|run| query.statuses.is_empty() || query.statuses.contains(&run.status))
                .filter(|run| query.labels.iter().all(|(name, value)| run.labels.get(name) == Some(value)))
                .filter(|run| query.team.as_ref().is_none_or(|team| *team == run.team_id))
                .filter(|run| query.created.holds(run.created_at) && query.updated.holds(run.updated_at))
                .filter(|run| query.has_error.is_none_or(|has_error| run.error.is_some() == has_error))
                .filter(|run| query.error_code.is_none() || query.error_code == run.error_code)
                .filter(|run| query.id_prefix.as_ref().is_none_or(|prefix| run.id.starts_with(prefix)))
                .collect();
            if query.id_prefix.is_some() {
                wanted.sort_by(|a, b| b.id.cmp(&a.id));
            }
            let wanted: Vec<String> = wanted.iter().map(|run| run.id.clone()).collect();
            if wanted.is_empty() {
                misses += 1
            } else {
                hits += 1
            }
            let found = all(plane, query.clone()).await?;
            assert_eq!(ids(&found), wanted, "round {round}: {query:?}");
        }
        assert!(hits > 50 && misses > 20, "the dice are loaded: {hits} {misses}");
        Ok(())
    });
}

#[test]
fn pages_neither_repeat_nor_leave_out_while_runs_come_and_change() {
    tell(async |plane| {
        let mut rng = Rng::new(5);
        populate(plane, &mut rng, 60).await?;
        let live = vec![RunStatus::Running, RunStatus::Waiting];
        for statuses in [vec![], live.clone(), [&live[..], &[RunStatus::Cancelled]].concat()] {
            let before = all(plane, RunQuery { statuses: statuses.clone(), ..RunQuery::default() }).await?;
            let mut query = RunQuery { statuses: statuses.clone(), limit: 3, ..RunQuery::default() };
            let mut seen = Vec::new();
            loop {
                let (items, next) = page(plane, &query).await?;
                seen.extend(ids(&items));
                let Some(next) = next else { break };
                query.cursor = Some(next);
                // New ones come, and one that was not shown yet may end.
                populate(plane, &mut rng, 2).await?;
            }
            let distinct: BTreeSet<&String> = seen.iter().collect();
            assert_eq!(distinct.len(), seen.len(), "none twice: {seen:?}");
            let after = all(plane, RunQuery { statuses, ..RunQuery::default() }).await?;
            let still: BTreeSet<String> = ids(&after).into_iter().collect();
            let missed: Vec<String> =
                ids(&before).into_iter().filter(|id| still.contains(id) && !distinct.contains(id)).collect();
            assert!(missed.is_empty(), "none left out: {missed:?}");
        }
        Ok(())
    });
}

#[test]
fn a_cursor_that_was_not_given_out_is_refused() {
    tell(async |plane| {
        for cursor in ["", "x", "t", "tabc", "t12", "i", "\u{7}", "t00000000000000000001/\u{7}"] {
            let query = RunQuery { cursor: Some(cursor.into()), ..RunQuery::default() };
            assert_eq!(page(plane, &query).await.unwrap_err().code(), "cursor_invalid", "{cursor:?}");
        }
        let query = RunQuery { cursor: Some("ib-1".into()), id_prefix: Some("a".into()), ..RunQuery::default() };
        assert_eq!(page(plane, &query).await.unwrap_err().code(), "cursor_invalid");
        Ok(())
    });
}

#[test]
fn a_run_has_sixty_four_labels_at_most() {
    tell(async |plane| {
        let request = |count: usize| {
            let start = StartRequest::new(WorkflowId::parse("held").unwrap(), json!({}));
            (0..count).fold(start, |start, n| start.label(format!("l{n}"), "x"))
        };
        plane.start_with(request(64)).await?;
        assert_eq!(plane.start_with(request(65)).await.unwrap_err().code(), "too_many_labels");
        Ok(())
    });
}

/// A store that counts what is read from it.
#[derive(Debug)]
struct Counting {
    inner: MemoryStore,
    read: AtomicUsize,
}

#[async_trait::async_trait]
impl Store for Counting {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.inner.now().await
    }

    async fn commit(&self, batches: Vec<Batch>) -> Vec<Result<Receipt, StoreError>> {
        self.inner.commit(batches).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.inner.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Page, StoreError> {
        let page = self.inner.scan(scan).await?;
        self.read.fetch_add(page.entries.len(), Ordering::Relaxed);
        Ok(page)
    }

    async fn read(&self, stream: &Key, from: u64, limit: usize) -> Result<StreamPage, StoreError> {
        self.inner.read(stream, from, limit).await
    }

    async fn watch(&self, prefix: &str) -> Result<Changes, StoreError> {
        self.inner.watch(prefix).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

#[test]
fn a_filter_that_matches_little_reads_little() {
    let clock = VirtualClock::new(Timestamp::from_second(1_893_456_000).unwrap());
    let store = Arc::new(Counting { inner: MemoryStore::new(Arc::new(clock.clone())), read: AtomicUsize::new(0) });
    let builder = TestPlane::builder().workflow("id: held\nsteps:\n  a: {type: approval}").clock(clock);
    let told = builder.store(store.clone()).run(async |plane| {
        let mut rare = Vec::new();
        for n in 0..3_000 {
            let mut request = StartRequest::new(WorkflowId::parse("held")?, json!({})).label("common", "yes");
            if n % 1_000 == 500 {
                request = request.label("rare", "yes");
            }
            let run = plane.start_with(request).await?;
            if n % 1_000 == 700 {
                plane.ask(async |p| p.cancel_run(plane.principal(), &run, "").await).await?;
            }
            if n % 1_000 == 500 {
                rare.insert(0, run.to_string());
            }
        }
        let label = |name: &str| (name.to_owned(), "yes".to_owned());
        let held = Some(WorkflowId::parse("held")?);
        let by_label = RunQuery {
            workflow: held.clone(),
            statuses: vec![RunStatus::Waiting],
            labels: [label("rare"), label("common")].into(),
            ..RunQuery::default()
        };
        let by_status = RunQuery { workflow: held, statuses: vec![RunStatus::Cancelled], ..RunQuery::default() };
        for (query, found) in [(by_label, 3), (by_status, 3), (RunQuery { limit: 20, ..RunQuery::default() }, 20)] {
            store.read.store(0, Ordering::Relaxed);
            let (items, _) = page(plane, &query).await?;
            let read = store.read.load(Ordering::Relaxed);
            assert_eq!(items.len(), found, "{query:?}");
            assert!(read < 300, "{read} of 3,000: {query:?}");
            if found == 3 && !query.labels.is_empty() {
                assert_eq!(ids(&items), rare);
            }
        }
        Ok::<(), PlaneError>(())
    });
    told.unwrap().unwrap();
}

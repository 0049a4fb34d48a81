//! Random histories of starts, ends, edits, restarts, deletions and sweeps, with crashes and refusals: afterwards every
//! index equals a walk over all runs, and whatever a run or a version needs is there. A failure names its seed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use coretex_core::{
    job::{RunId, WorkflowId},
    ports::{Entry, Scan},
    runtime::{PlaneError, PlaneErrorKind, Retention, StartRequest, VersionRef, WorkflowVersion},
    testing::{FaultPlan, Reply, Rng, TestPlane},
    workflow::{Run, RunStatus, RunSummary, Workflow},
};
use serde_json::json;

const SEEDS: u64 = 150;

fn text(kind: u64) -> String {
    let hold = if kind.is_multiple_of(2) { "approval" } else { "delay, delay_sec: 900" };
    format!("id: w\nsteps:\n  a: {{topic: job.n{kind}}}\n  b: {{type: {hold}, depends_on: [a]}}")
}

fn id() -> WorkflowId {
    WorkflowId::parse("w").unwrap()
}

/// What was refused is no failure of a history; what is not carried out for another reason is.
fn refused<T>(answer: Result<T, PlaneError>) -> Result<Option<T>, PlaneError> {
    match answer {
        Ok(done) => Ok(Some(done)),
        Err(error) if matches!(error.kind(), PlaneErrorKind::Conflict | PlaneErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn live_story(plane: &TestPlane, rng: &mut Rng) -> Result<(), PlaneError> {
    let me = plane.principal();
    let mut runs: Vec<RunId> = Vec::new();
    for n in 0..10 + rng.below(25) {
        let run = rng.pick(&runs).cloned();
        match (rng.below(12), run) {
            (0..=3, _) | (_, None) => {
                let mut start = StartRequest::new(id(), json!({})).run_id(RunId::parse(&format!("run-{n}"))?);
                start = start.label("n", (n % 3).to_string());
                if rng.chance(400) {
                    start = start.version(1 + rng.below(4));
                }
                runs.extend(refused(plane.start_with(start).await)?);
            }
            (4, Some(run)) => {
                refused(plane.ask(async |p| p.cancel_run(me, &run, "enough").await).await)?;
            }
            (5, Some(run)) => {
                refused(plane.answer(&run, "b", "ann", rng.chance(700)).await)?;
            }
            (6, _) => {
                let kind = rng.below(3);
                let parse = || Workflow::parse("w", &text(kind)).unwrap();
                plane.ask(async |p| p.store_workflow(me, parse(), None).await).await?;
            }
            (7, Some(run)) => {
                let version = rng.chance(500).then(|| VersionRef::Number(1 + rng.below(4)));
                runs.extend(refused(plane.ask(async |p| p.restart_run_onto(me, &run, version.as_ref()).await).await)?);
            }
            (8, Some(run)) => {
                refused(plane.ask(async |p| p.delete_run(me, &run).await).await)?;
            }
            (9, _) => {
                let mut old = Retention::default();
                let age = if rng.chance(500) { "0s" } else { "10m" };
                let age = Some(age.parse()?);
                (old.succeeded, old.failed, old.cancelled, old.versions) = (age, age, age, age);
                old.timelines = rng.chance(300).then(|| "0s".parse()).transpose()?;
                plane.ask(async |p| p.prune(&old).await).await?;
            }
            (10, _) => plane.crash_and_restart().await?,
            _ => plane.advance(Duration::from_secs(rng.below(1_200))).await,
        }
        if rng.chance(100) {
            let version = VersionRef::Number(1 + rng.below(4));
            refused(plane.ask(async |p| p.roll_back_workflow(me, &id(), &version, None).await).await)?;
        }
    }
    plane.faults().rest();
    plane.crash_and_restart().await?;
    plane.settle().await;
    Ok(())
}

async fn entries(plane: &TestPlane) -> BTreeMap<String, Entry> {
    let page = plane.store().scan(Scan::prefix("").limit(10_000)).await.unwrap();
    assert!(page.next.is_none());
    page.entries.into_iter().map(|entry| (entry.key.to_string(), entry)).collect()
}

/// The keys that a walk over all runs puts into the indexes, labels without their hash, and how often each definition is
/// pinned.
fn walk(runs: &[Run]) -> (Vec<String>, BTreeMap<String, i64>) {
    let mut keys = Vec::new();
    let mut pins = BTreeMap::new();
    for run in runs {
        let (id, tenant, digest) = (run.id().unwrap(), run.tenant(), run.workflow().digest());
        let place = format!("{:020}/{id}", run.created_at().as_microsecond());
        keys.extend([format!("runs-at/{tenant}/{place}"), format!("runs-of/w/{place}")]);
        keys.extend(run.labels().iter().map(|_| format!("by-label/{tenant}/{place}")));
        if run.status().is_terminal() {
            keys.push(format!("by-status/{tenant}/{}/{place}", run.status().as_str()));
        } else {
            keys.extend([format!("by-status/{tenant}/live/{place}"), format!("live-of/w/{digest}/{id}")]);
        }
        if run.status() == RunStatus::Waiting {
            keys.push(format!("by-status/{tenant}/waiting/{place}"));
        }
        *pins.entry(digest.to_string()).or_default() += 1;
    }
    keys.sort();
    (keys, pins)
}

async fn check(plane: &TestPlane, seed: u64) -> usize {
    let entries = entries(plane).await;
    let under =
        |prefix: &'static str| entries.iter().filter_map(move |(key, entry)| Some((key.strip_prefix(prefix)?, entry)));
    let mut runs = Vec::new();
    for (id, entry) in under("runs/").map(|(id, entry)| (id.to_owned(), entry.clone())).collect::<Vec<_>>() {
        let run =
            plane.run_state(&RunId::parse(&id).unwrap()).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let summary: RunSummary = serde_json::from_slice(&entry.value).unwrap();
        assert_eq!(summary.status, run.status(), "seed {seed}: {id}");
        runs.push(run);
    }
    let (expected, pins) = walk(&runs);
    let mut found: Vec<String> = Vec::new();
    for index in ["runs-at/", "runs-of/", "by-status/", "by-label/", "live-of/"] {
        found.extend(under(index).map(|(rest, _)| match (index, rest.splitn(3, '/').collect::<Vec<_>>().as_slice()) {
            ("by-label/", [tenant, _hash, place]) => format!("by-label/{tenant}/{place}"),
            _ => format!("{index}{rest}"),
        }));
    }
    found.sort();
    assert_eq!(found, expected, "seed {seed}");

    let counted =
        under("pins/").map(|(digest, entry)| (digest.to_owned(), String::from_utf8_lossy(&entry.value).into_owned()));
    for (digest, count) in counted {
        let wanted = pins.get(&digest).copied().unwrap_or(0);
        // What was pruned has no runs.
        assert_eq!(if count == "pruned" { 0 } else { count.parse().unwrap() }, wanted, "seed {seed}: {digest}");
    }
    let stored: BTreeSet<&str> = under("definitions/").map(|(digest, _)| digest).collect();
    assert!(pins.keys().all(|digest| stored.contains(&**digest)), "seed {seed}: a pinned definition is gone");
    let versions: Vec<WorkflowVersion> =
        under("versions/").map(|(_, entry)| serde_json::from_slice(&entry.value).unwrap()).collect();
    assert!(versions.iter().all(|version| stored.contains(&*version.digest)), "seed {seed}: a version has no content");
    let current = plane.ask(async |p| p.workflow(plane.principal(), &id()).await).await.unwrap();
    assert_eq!(versions.last().map(|version| &version.digest), Some(current.digest()), "seed {seed}");
    assert_eq!(under("restarts/").count(), 0, "seed {seed}");
    runs.len()
}

#[test]
fn indexes_equal_a_walk_over_all_runs_after_any_history() {
    let mut seen = 0;
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let mut plan = FaultPlan::new(rng.draw()).at_most(rng.below(20)).slow(300, 20);
        plan = plan.unavailable_before(rng.below(150) as u32).unavailable_after(rng.below(150) as u32);
        plan = plan.conflict(rng.below(150) as u32).unreadable(rng.below(80) as u32);
        for _ in 0..rng.below(5) {
            plan = plan.crash_after(1 + rng.below(12));
        }
        let builder = TestPlane::builder().seed(seed).workflow(text(0)).faults(&plan.arm());
        let told = builder.worker("job.>", Reply::succeed(json!({"ok": true}))).run(async |plane| {
            live_story(plane, &mut rng).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            seen += check(plane, seed).await;
        });
        told.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert!(seen > 500, "hardly a run is left to look at: {seen}");
}

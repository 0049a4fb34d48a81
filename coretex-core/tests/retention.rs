//! Removing what is old: what goes, what stays, and that a crash in between loses nothing.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{collections::BTreeMap, time::Duration};

use coretex_core::{
    job::{JobId, JobState, RunId, Topic, WorkflowId},
    policy::Outcome,
    ports::{BlobKey, Scan},
    runtime::{
        Age, JobRequest, Options, PlaneError, PruneReport, PrunedClass, Retention, RunQuery, StartRequest, VersionRef,
    },
    testing::{FaultPlan, Faults, Reply, ScriptedJob, TestPlane, TestPlaneBuilder, policy_fn},
    workflow::{RunStatus, Workflow},
};
use serde_json::json;

type Told = Result<(), PlaneError>;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn plane() -> TestPlaneBuilder {
    let work = |job: &ScriptedJob| match job.request.labels.get("kind").map(String::as_str) {
        Some("bad") => Reply::fatal("broken"),
        _ => Reply::succeed(json!({"text": "x".repeat(2_000)})),
    };
    TestPlane::builder()
        .workflow("id: quick\nsteps:\n  a: {topic: job.a}")
        .workflow("id: held\nsteps:\n  a: {topic: job.a}\n  b: {type: approval, depends_on: [a]}")
        .worker("job.a", work)
}

fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    builder.run(test).unwrap().unwrap();
}

fn age(text: &str) -> Option<Age> {
    Some(text.parse().unwrap())
}

async fn start(plane: &TestPlane, workflow: &str, id: &str, kind: &str) -> Result<RunId, PlaneError> {
    let request = StartRequest::new(WorkflowId::parse(workflow)?, json!({})).run_id(RunId::parse(id)?);
    plane.start_with(request.label("kind", kind)).await
}

async fn prune(plane: &TestPlane, retention: &Retention) -> Result<PruneReport, PlaneError> {
    plane.ask(async |p| p.prune(retention).await).await
}

async fn preview(plane: &TestPlane, retention: &Retention) -> Result<PruneReport, PlaneError> {
    plane.ask(async |p| p.prune_preview(retention).await).await
}

async fn keys(plane: &TestPlane, prefix: &str) -> Vec<String> {
    let page = plane.store().scan(Scan::prefix(prefix).limit(10_000)).await.unwrap();
    page.entries.iter().map(|entry| entry.key.to_string()).collect()
}

async fn listed(plane: &TestPlane) -> Result<Vec<String>, PlaneError> {
    let page = plane.ask(async |p| p.runs(plane.principal(), RunQuery::default()).await).await?;
    Ok(page.items.into_iter().map(|run| run.id).collect())
}

async fn blobs(plane: &TestPlane) -> Vec<String> {
    let blobs = plane.plane().unwrap().blobs().list("", None, 1_000).await.unwrap();
    blobs.into_iter().map(|entry| entry.key.to_string()).collect()
}

fn count(report: &PruneReport, class: PrunedClass) -> u64 {
    report.of(class).map_or(0, |pruned| pruned.count)
}

fn all_at(text: &str) -> Retention {
    let mut retention = Retention::default();
    retention.succeeded = age(text);
    retention.failed = age(text);
    retention.cancelled = age(text);
    retention.timed_out = age(text);
    retention.timelines = age(text);
    retention.dead_letters = age(text);
    retention.versions = age(text);
    retention.blobs = age(text);
    retention
}

#[test]
fn only_what_is_older_than_its_class_allows_goes() {
    tell(plane(), async |plane| {
        start(plane, "quick", "old", "good").await?;
        start(plane, "quick", "old-bad", "bad").await?;
        start(plane, "held", "live", "good").await?;
        plane.advance(10 * DAY).await;
        start(plane, "quick", "new", "good").await?;
        plane.advance(DAY).await;
        let mut retention = Retention::default();
        retention.succeeded = age("10d");
        let told = preview(plane, &retention).await?;
        assert_eq!(told.classes.len(), 1);
        assert_eq!((count(&told, PrunedClass::Succeeded), &told.classes[0].samples[..]), (1, &["old".to_owned()][..]));
        assert_eq!(listed(plane).await?.len(), 4, "a preview removes nothing");

        assert_eq!(prune(plane, &retention).await?, told);
        assert_eq!(listed(plane).await?, ["new", "old-bad", "live"].map(str::to_owned));
        assert_eq!(prune(plane, &retention).await?, PruneReport::default(), "nothing is left to do");
        retention = all_at("1h");
        prune(plane, &retention).await?;
        assert_eq!(listed(plane).await?, ["live"], "what is live is never removed");
        plane.crash_and_restart().await?;
        let live = RunId::parse("live")?;
        plane.answer(&live, "b", "ann", true).await?;
        assert_eq!(plane.run_to_end(&live).await?.status(), RunStatus::Succeeded);
        Ok(())
    });
}

#[test]
fn nothing_of_a_removed_run_stays_but_that_its_id_was_used() {
    tell(plane().options(small()), async |plane| {
        let before = keys(plane, "").await;
        let run = start(plane, "quick", "mine", "good").await?;
        plane.run_to_end(&run).await?;
        plane.advance(2 * DAY).await;
        assert_eq!(blobs(plane).await.len(), 2, "the result and its pinned copy");
        prune(plane, &all_at("1d")).await?;
        let pins = |keys: Vec<String>| keys.into_iter().filter(|key| !key.starts_with("pins/")).collect::<Vec<_>>();
        assert_eq!(pins(keys(plane, "").await), before);
        assert_eq!(blobs(plane).await, Vec::<String>::new());
        plane.crash_and_restart().await?;
        assert_eq!(start(plane, "quick", "mine", "good").await.unwrap_err().code(), "run_deleted");
        let gone = plane.ask(async |p| p.run(plane.principal(), &run).await).await;
        assert_eq!(gone.unwrap_err().code(), "run_not_found");
        let gone = plane.ask(async |p| p.delete_run(plane.principal(), &run).await).await;
        assert_eq!(gone.unwrap_err().code(), "run_not_found");
        Ok(())
    });
}

/// Settings under which every output is pinned.
fn small() -> Options {
    let mut options = Options::default();
    options.executors = 2;
    options.inline_bytes = 100;
    options
}

#[test]
fn a_pruned_timeline_leaves_the_run_as_it_was() {
    tell(plane(), async |plane| {
        let run = start(plane, "quick", "mine", "good").await?;
        let end = plane.run_to_end(&run).await?;
        plane.advance(2 * DAY).await;
        let mut retention = Retention::default();
        retention.timelines = age("1d");
        assert_eq!(count(&preview(plane, &retention).await?, PrunedClass::Timelines), 1);
        assert_eq!(count(&prune(plane, &retention).await?, PrunedClass::Timelines), 1);
        assert_eq!(prune(plane, &retention).await?, PruneReport::default());
        plane.crash_and_restart().await?;
        assert!(plane.run_state(&run).await? == end);
        assert_eq!(plane.timeline(&run).await?.len(), 0);
        let mut watch = plane.drive(plane.plane()?.watch(plane.principal(), &run, 1)).await?;
        assert!(plane.drive(watch.next()).await?.is_none(), "whoever follows it is not kept waiting");
        let again = StartRequest::new(WorkflowId::parse("quick")?, json!({})).run_id(run.clone());
        assert_eq!(plane.start_with(again).await?, run, "the same start finds the same run");
        plane.ask(async |p| p.delete_run(plane.principal(), &run).await).await?;
        assert_eq!(listed(plane).await?.len(), 0);
        Ok(())
    });
}

#[test]
fn dead_letters_go_by_their_own_age() {
    tell(plane(), async |plane| {
        start(plane, "quick", "one", "bad").await?;
        plane.advance(5 * DAY).await;
        start(plane, "quick", "two", "bad").await?;
        plane.advance(DAY).await;
        let mut retention = Retention::default();
        retention.dead_letters = age("2d");
        let told = prune(plane, &retention).await?;
        let letters = told.of(PrunedClass::DeadLetters).unwrap();
        assert_eq!((letters.count, &letters.samples[..]), (1, &["one:a@1".to_owned()][..]));
        assert!(letters.bytes.unwrap() > 100);
        let left = plane.ask(async |p| p.dead_letters(plane.principal(), None, 0).await).await?;
        assert_eq!(left.items.len(), 1);
        let left = keys(plane, "dlq").await;
        assert!(left.iter().all(|key| !key.contains("one:a@1")), "every place of the letter goes with it: {left:?}");
        retention.dead_letters = age("0s");
        plane.advance(DAY).await;
        prune(plane, &retention).await?;
        assert_eq!(keys(plane, "dlq").await, Vec::<String>::new(), "groups go with their last letter");
        assert_eq!(listed(plane).await?.len(), 2);
        Ok(())
    });
}

#[test]
fn a_version_goes_when_no_run_pins_it_and_another_is_current() {
    tell(plane(), async |plane| {
        let id = WorkflowId::parse("held")?;
        let store = async |topic: &str| {
            let text = format!("id: held\nsteps:\n  a: {{topic: {topic}}}\n  b: {{type: approval, depends_on: [a]}}");
            let parse = || Workflow::parse("held", &text).unwrap();
            plane.ask(async |p| p.store_workflow(plane.principal(), parse(), None).await).await
        };
        let pinning = start(plane, "held", "pinning", "good").await?;
        plane.advance(DAY).await;
        store("job.b").await?;
        store("job.c").await?;
        plane.advance(DAY).await;
        let mut retention = Retention::default();
        retention.versions = age("2d");
        assert_eq!(prune(plane, &retention).await?, PruneReport::default(), "too young");
        retention.versions = age("12h");
        let told = prune(plane, &retention).await?;
        let versions = told.of(PrunedClass::Versions).unwrap();
        assert_eq!(versions.count, 1);
        assert!(versions.samples[0].starts_with("held 2 "), "the first is pinned, the third current: {versions:?}");
        plane.crash_and_restart().await?;
        let numbers = async || {
            let page = plane.ask(async |p| p.workflow_versions(plane.principal(), &id, None, 0).await).await;
            page.unwrap().items.iter().map(|version| version.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers().await, [3, 1]);
        let gone = StartRequest::new(id.clone(), json!({})).version(2);
        assert_eq!(plane.start_with(gone).await.unwrap_err().code(), "version_not_found");
        // The same content again is a version like any other, and runs start on it.
        assert_eq!(store("job.b").await?.version.number, 4);
        plane.start_with(StartRequest::new(id.clone(), json!({})).version(4)).await?;

        plane.ask(async |p| p.cancel_run(plane.principal(), &pinning, "").await).await?;
        plane.ask(async |p| p.delete_run(plane.principal(), &pinning).await).await?;
        plane.advance(DAY).await;
        prune(plane, &retention).await?;
        assert_eq!(numbers().await, [4]);
        assert_eq!(store("job.c").await?.version.number, 5, "a number is not given twice");
        Ok(())
    });
}

#[test]
fn a_start_that_meets_the_removal_of_its_version_is_refused() {
    let mut outcomes = [0; 2];
    for turns in 0..40 {
        let faults = FaultPlan::new(turns).slow(1_000, 20).arm();
        tell(plane().faults(&faults), async |plane| {
            faults.rest();
            let id = WorkflowId::parse("quick")?;
            let first = plane.ask(async |p| p.current_version(plane.principal(), &id).await).await?;
            let changed = || Workflow::parse("quick", "id: quick\nsteps:\n  a: {topic: job.b}").unwrap();
            plane.ask(async |p| p.store_workflow(plane.principal(), changed(), None).await).await?;
            plane.advance(2 * DAY).await;
            faults.resume();
            let control = plane.plane()?;
            let mut retention = Retention::default();
            retention.versions = age("1d");
            let request = StartRequest::new(id.clone(), json!({})).version(VersionRef::Digest(first.digest.clone()));
            let (started, pruned) = plane
                .drive(futures::future::join(control.start(plane.principal(), request), control.prune(&retention)))
                .await;
            faults.rest();
            let removed = count(&pruned?, PrunedClass::Versions) == 1;
            assert_eq!(removed, started.is_err(), "{started:?}");
            plane.crash_and_restart().await?;
            outcomes[usize::from(removed)] += 1;
            if let Ok(run) = started {
                assert_eq!(plane.run_state(&run).await?.workflow().digest(), &first.digest, "its definition is there");
            }
            Ok(())
        });
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

#[test]
fn a_blob_goes_when_nothing_needs_it() {
    tell(plane().options(small()), async |plane| {
        let kept = start(plane, "quick", "kept", "good").await?;
        let gone = start(plane, "quick", "gone", "good").await?;
        plane.advance(DAY).await;
        // Both outputs have the same bytes and share one copy.
        assert_eq!(blobs(plane).await.iter().filter(|key| key.starts_with("pin/")).count(), 1);
        let mut retention = Retention::default();
        retention.blobs = age("0s");
        assert_eq!(prune(plane, &retention).await?, PruneReport::default(), "all of it is needed");
        plane.ask(async |p| p.delete_run(plane.principal(), &gone).await).await?;
        let told = prune(plane, &retention).await?;
        assert_eq!(told.of(PrunedClass::Blobs).unwrap().samples, ["res:gone:a@1"]);
        plane.ask(async |p| p.delete_run(plane.principal(), &kept).await).await?;
        let young = BlobKey::parse("pin/young").unwrap();
        plane.plane()?.blobs().put(&young, "x".into()).await.unwrap();
        assert_eq!(count(&prune(plane, &retention).await?, PrunedClass::Blobs), 2);
        assert_eq!(blobs(plane).await, ["pin/young"], "what was just written may be needed in a moment");
        Ok(())
    });
}

#[test]
fn a_sweep_that_is_cut_is_finished_by_the_next() {
    let mut ends: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for cut in 0..10 {
        let faults: Faults = match cut {
            0 => FaultPlan::new(1).arm(),
            cut => {
                FaultPlan::new(cut).crash_after(cut).unavailable_before(100).unavailable_after(100).conflict(100).arm()
            }
        };
        tell(plane().options(small()).faults(&faults), async |plane| {
            faults.rest();
            for n in 0..70 {
                start(plane, "quick", &format!("run-{n}"), if n % 3 == 0 { "bad" } else { "good" }).await?;
            }
            start(plane, "held", "live", "good").await?;
            let changed = || Workflow::parse("quick", "id: quick\nsteps:\n  a: {topic: job.b}").unwrap();
            plane.ask(async |p| p.store_workflow(plane.principal(), changed(), None).await).await?;
            plane.advance(2 * DAY).await;
            faults.resume();
            prune(plane, &all_at("1d")).await?;
            faults.rest();
            plane.crash_and_restart().await?;
            prune(plane, &all_at("1d")).await?;
            assert_eq!(listed(plane).await?, ["live"], "cut {cut}");
            let left = keys(plane, "").await.into_iter().filter(|key| !key.starts_with("pins/")).collect();
            ends.insert(format!("cut {cut}"), left);
            Ok(())
        });
    }
    assert!(ends.values().all(|left| left == &ends["cut 0"]), "{ends:#?}");
}

#[test]
fn the_background_sweep_keeps_its_interval() {
    let mut options = Options::default();
    options.executors = 2;
    options.retention = all_at("1d");
    options.sweep_every = Some(Duration::from_secs(3_600));
    tell(plane().options(options), async |plane| {
        start(plane, "quick", "old", "good").await?;
        plane.advance(DAY - Duration::from_secs(60)).await;
        assert_eq!(listed(plane).await?, ["old"]);
        plane.advance(Duration::from_secs(3_660)).await;
        assert_eq!(listed(plane).await?.len(), 0);
        Ok(())
    });
}

/// Submits a job by itself; `topic` says how it ends.
async fn submit(plane: &TestPlane, id: &str, topic: &str) -> Result<JobId, PlaneError> {
    let request = JobRequest::new(Topic::parse_job(topic)?, json!({"n": 1})).id(JobId::parse(id)?);
    plane.ask(async |p| p.submit_job(plane.principal(), request.clone()).await).await
}

async fn state(plane: &TestPlane, id: &str) -> Option<JobState> {
    let id = JobId::parse(id).unwrap();
    plane.ask(async |p| p.job(plane.principal(), &id).await).await.ok().map(|view| view.job.state)
}

/// A plane whose jobs end in every way, and one that keeps its job.
fn jobs() -> TestPlaneBuilder {
    plane().worker("job.bad", Reply::fatal("broken")).worker("job.never", Reply::Never).job_timeout(DAY / 2).policy(
        policy_fn("p", |request| match request.topic {
            "job.denied" => Outcome::Deny,
            "job.held" => Outcome::RequireApproval,
            _ => Outcome::Allow,
        }),
    )
}

#[test]
fn jobs_by_themselves_go_by_how_and_when_they_ended_and_live_ones_never() {
    tell(jobs(), async |plane| {
        for (id, topic) in [("good", "job.a"), ("bad", "job.bad"), ("denied", "job.denied"), ("late", "job.never")] {
            submit(plane, id, topic).await?;
        }
        submit(plane, "held", "job.held").await?;
        plane.advance(10 * DAY).await;
        submit(plane, "fresh", "job.a").await?;
        let stopped = submit(plane, "stopped", "job.held").await?;
        plane.ask(async |p| p.cancel_job(plane.principal(), &stopped, "enough").await).await?;
        plane.settle().await;
        let jobs = |report: &PruneReport| report.of(PrunedClass::Jobs).map(|jobs| jobs.samples.clone());
        let mut retention = Retention::default();
        retention.succeeded = age("10d");
        retention.failed = age("11d");
        let told = preview(plane, &retention).await?;
        assert_eq!(
            jobs(&told),
            Some(vec!["good".to_owned()]),
            "the failed ones are too young, the late one is not asked for"
        );
        assert!(state(plane, "good").await.is_some(), "a preview removes nothing");
        assert_eq!(prune(plane, &retention).await?, told);
        assert_eq!(state(plane, "good").await, None);
        retention = all_at("1d");
        retention.dead_letters = None;
        let mut gone = jobs(&prune(plane, &retention).await?).unwrap();
        gone.sort();
        assert_eq!(gone, ["bad", "denied", "late"]);
        plane.crash_and_restart().await?;
        plane.advance(100 * DAY).await;
        assert_eq!(jobs(&prune(plane, &all_at("0s")).await?), Some(vec!["fresh".to_owned(), "stopped".to_owned()]));
        assert_eq!(state(plane, "held").await, Some(JobState::ApprovalRequired), "it still waits");
        assert_eq!(keys(plane, "jobs-ended/").await, Vec::<String>::new());
        let letters = plane.ask(async |p| p.dead_letters(plane.principal(), None, 0).await).await?;
        assert!(letters.items.is_empty(), "letters go by their own age");
        Ok(())
    });
}

#[test]
fn nothing_of_a_removed_job_stays_but_that_its_id_was_used() {
    tell(jobs().options(small()), async |plane| {
        let before = keys(plane, "").await;
        let id = submit(plane, "mine", "job.a").await?;
        let context = BlobKey::parse("ctx:mine").unwrap();
        plane.plane()?.blobs().put(&context, "{}".into()).await.unwrap();
        let strange = BlobKey::parse("ctx:nobody").unwrap();
        plane.plane()?.blobs().put(&strange, "{}".into()).await.unwrap();
        plane.settle().await;
        assert!(blobs(plane).await.iter().any(|key| key.starts_with("pin/")), "a large output is pinned");
        plane.advance(2 * DAY).await;
        prune(plane, &all_at("1d")).await?;
        // Blobs are freed by the removal, and go with the next one.
        prune(plane, &all_at("1d")).await?;
        assert_eq!((keys(plane, "").await, blobs(plane).await), (before, vec!["ctx:nobody".to_owned()]));
        let error = submit(plane, "mine", "job.a").await.unwrap_err();
        assert_eq!(error.code(), "job_deleted");
        assert_eq!(plane.dispatched().iter().filter(|request| request.job_id == id.as_str()).count(), 1);
        Ok(())
    });
}

#[test]
fn a_crash_while_jobs_are_removed_leaves_each_whole_or_gone() {
    for commit in 1..6 {
        let faults = FaultPlan::new(commit).crash_after(commit).arm();
        let holding: Faults = faults.clone();
        tell(jobs().faults(&faults), async |plane| {
            holding.rest();
            for n in 0..200 {
                submit(plane, &format!("j{n}"), "job.a").await?;
            }
            plane.advance(2 * DAY).await;
            holding.resume();
            prune(plane, &all_at("1d")).await?;
            assert_eq!(holding.counts().crashes, 1);
            assert_eq!(keys(plane, "jobs-ended/").await, Vec::<String>::new());
            for n in 0..200 {
                assert_eq!(state(plane, &format!("j{n}")).await, None);
            }
            Ok(())
        });
    }
}

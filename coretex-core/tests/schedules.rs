//! Schedules on a whole control plane: every time starts one run, whatever goes wrong.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{collections::BTreeMap, time::Duration};

use coretex_core::{
    job::RunId,
    ports::{Clock, Scan},
    runtime::{BackfillRequest, PlaneError, RunQuery, ScheduleStatus},
    schedule::{FireOutcome, OverlapPolicy, ScheduleSpec},
    testing::{FaultPlan, Reply, Rng, TestPlane, TestPlaneBuilder},
    workflow::RunStatus,
};
use jiff::Timestamp;
use serde_json::{Value, json};

type Told = Result<(), PlaneError>;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    builder.run(test).unwrap().unwrap();
}

/// A run takes this long.
fn work(seconds: u64) -> TestPlaneBuilder {
    TestPlane::builder()
        .workflow("id: w\nsteps: {a: {topic: job.a}}")
        .worker("job.a", Reply::succeed(json!({})).after(Duration::from_secs(seconds)))
}

fn spec(fields: &Value) -> ScheduleSpec {
    let mut all = json!({"id": "s", "workflow_id": "w"});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ScheduleSpec::from_value("test", all).unwrap()
}

async fn put(plane: &TestPlane, fields: Value) -> Result<ScheduleStatus, PlaneError> {
    let spec = spec(&fields);
    plane.ask(async |inner| inner.put_schedule(plane.principal(), spec.clone()).await).await
}

async fn shown(plane: &TestPlane) -> ScheduleStatus {
    plane.ask(async |inner| inner.schedule(plane.principal(), "s").await).await.unwrap()
}

/// The runs of the schedule by the time that they are for, with their ids.
async fn runs(plane: &TestPlane) -> BTreeMap<Timestamp, Vec<RunId>> {
    let mut runs: BTreeMap<Timestamp, Vec<RunId>> = BTreeMap::new();
    let query = RunQuery { limit: 1_000, ..RunQuery::default() };
    let page = plane.ask(async |inner| inner.runs(plane.principal(), query.clone()).await).await.unwrap();
    for summary in page.items {
        let id = RunId::parse(&summary.id).unwrap();
        let run = plane.run_state(&id).await.unwrap();
        let labels = run.labels();
        assert_eq!(labels["schedule_id"], "s");
        runs.entry(labels["scheduled_at"].parse().unwrap()).or_default().push(id);
    }
    runs
}

async fn keys(plane: &TestPlane, prefix: &str) -> Vec<String> {
    let page = plane.store().scan(Scan::prefix(prefix)).await.unwrap();
    page.entries.iter().map(|entry| entry.key.to_string()).collect()
}

fn minute(n: i64) -> Timestamp {
    Timestamp::from_second(1_893_456_000 + 60 * n).unwrap()
}

#[test]
fn a_workflow_is_started_by_the_clock_of_its_zone() {
    tell(work(1), async |plane| {
        let fields = json!({"cron": "30 2 * * *", "time_zone": "Europe/Berlin", "input": {"day": "${schedule.date}"},
            "labels": {"team": "ops"}, "priority": "critical"});
        put(plane, fields).await?;
        plane.advance(100 * DAY).await;
        let runs = runs(plane).await;
        assert_eq!(runs.len(), 100);
        let at = |text: &str| runs.contains_key(&text.parse().unwrap());
        assert!(at("2030-03-30T01:30:00Z") && at("2030-03-31T01:30:00Z") && at("2030-04-01T00:30:00Z"));
        let run = plane.run_state(&runs.values().next().unwrap()[0]).await?;
        assert_eq!((&*run.input(), &*run.labels()["team"]), (&json!({"day": "2030-01-01"}), "ops"));
        assert_eq!(plane.dispatched()[0].priority, 3);
        let shown = shown(plane).await;
        assert_eq!((shown.counts.started, shown.history.len()), (100, 50));
        assert!(shown.history[0].fire.time > shown.history[1].fire.time, "the latest first");
        Ok(())
    });
}

#[test]
fn each_time_starts_one_run_with_a_crash_after_any_batch() {
    for n in 1..40 {
        let faults = FaultPlan::new(n).crash_after(n).crash_after(2).crash_after(1 + n % 5).arm();
        tell(work(10).faults(&faults).seed(n), async |plane| {
            put(plane, json!({"cron": "* * * * *", "missed": "all", "overlap": "queue_all", "end_at": minute(5)}))
                .await?;
            for _ in 0..10 {
                // A fault may be waiting for the next batch: a life that ended is followed by another.
                plane.advance(MINUTE).await;
                plane.ask(async |inner| inner.schedules(plane.principal(), None, 0).await).await?;
                plane.settle().await;
            }
            let runs = runs(plane).await;
            let expected: Vec<Timestamp> = (1..=5).map(minute).collect();
            assert_eq!(runs.keys().copied().collect::<Vec<_>>(), expected, "crash after {n}");
            assert!(runs.values().all(|runs| runs.len() == 1), "crash after {n}: {runs:?}");
            let shown = shown(plane).await;
            assert!(shown.running.is_empty(), "crash after {n}: {shown:?}");
            assert_eq!(keys(plane, "nudges/").await, Vec::<String>::new(), "crash after {n}");
            assert_eq!(keys(plane, "timers/").await, Vec::<String>::new(), "crash after {n}");
            Ok(())
        });
    }
}

#[test]
fn times_that_pass_while_nobody_is_there_are_made_up_for_as_told() {
    for (missed, count) in [("skip", 0), ("latest", 1), ("all", 4)] {
        tell(work(1), async |plane| {
            put(
                plane,
                json!({"cron": "* * * * *", "missed": missed, "max_missed": 4, "overlap": "allow",
                "missed_after_sec": 10}),
            )
            .await?;
            plane.advance(MINUTE).await;
            plane.crash().await;
            plane.clock().run(plane.clock().sleep_until(minute(31) + 30 * SECOND)).await;
            plane.restart().await?;
            plane.advance(5 * SECOND).await;
            let made_up: Vec<Timestamp> = runs(plane).await.into_keys().skip(1).collect();
            assert_eq!(made_up, (32 - count..=31).map(minute).collect::<Vec<_>>(), "{missed}");
            assert_eq!(shown(plane).await.counts.missed, 30 - u64::try_from(count).unwrap(), "{missed}");
            Ok(())
        });
    }
}

#[test]
fn whoever_waits_goes_on_when_a_run_ends_also_after_a_crash() {
    for crash in [false, true] {
        tell(work(150), async |plane| {
            put(plane, json!({"cron": "* * * * *", "overlap": "queue_all", "end_at": minute(4)})).await?;
            plane.advance(4 * MINUTE).await;
            // The run of :01 ended at 3:30, the one of :02 is under way.
            assert_eq!(shown(plane).await.waiting, [minute(3), minute(4)]);
            if crash {
                plane.crash_and_restart().await?;
            }
            plane.advance(15 * MINUTE).await;
            let runs = runs(plane).await;
            assert_eq!(runs.keys().copied().collect::<Vec<_>>(), (1..=4).map(minute).collect::<Vec<_>>());
            let mut ends = Vec::new();
            for run in runs.values().flatten() {
                let run = plane.run_state(run).await?;
                ends.push((run.created_at(), run.completed_at().unwrap()));
            }
            assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0), "one at a time: {ends:?}");
            assert_eq!(keys(plane, "timers/").await, Vec::<String>::new(), "it has no time left");
            Ok(())
        });
    }
}

#[test]
fn what_is_under_way_is_left_or_cancelled_as_told() {
    tell(work(150), async |plane| {
        put(plane, json!({"cron": "* * * * *", "end_at": minute(5)})).await?;
        plane.advance(10 * MINUTE).await;
        // :01 runs until 3:30, :04 after that.
        assert_eq!(runs(plane).await.into_keys().collect::<Vec<_>>(), [minute(1), minute(4)]);
        assert_eq!(shown(plane).await.counts.skipped, 3);
        Ok(())
    });
    tell(work(150), async |plane| {
        put(plane, json!({"cron": "* * * * *", "overlap": "cancel_running", "end_at": minute(4)})).await?;
        plane.advance(10 * MINUTE).await;
        let mut ends = Vec::new();
        for run in runs(plane).await.values().flatten() {
            ends.push(plane.run_state(run).await?.status());
        }
        use RunStatus::{Cancelled, Succeeded};
        assert_eq!(ends, [Cancelled, Cancelled, Cancelled, Succeeded]);
        Ok(())
    });
}

#[test]
fn people_pause_resume_trigger_and_remove_it() {
    tell(work(10), async |plane| {
        let (me, inner) = (plane.principal(), plane.plane()?);
        put(plane, json!({"cron": "* * * * *"})).await?;
        plane.advance(MINUTE).await;
        let paused = plane.drive(inner.pause_schedule(me, "s", "holidays")).await?;
        assert_eq!((&*paused.paused.unwrap().note, paused.next_times.len()), ("holidays", 0));
        plane.advance(10 * MINUTE).await;
        let fired = plane.drive(inner.trigger_schedule(me, "s", None)).await?;
        let FireOutcome::Started { run_id } = &fired.outcome else { panic!("{fired:?}") };
        assert_eq!(plane.run_to_end(run_id).await?.status(), RunStatus::Succeeded);
        let first = plane.drive(inner.trigger_schedule(me, "s", None)).await?;
        let second = plane.drive(inner.trigger_schedule(me, "s", None)).await?;
        assert!(matches!(first.outcome, FireOutcome::Started { .. }));
        assert!(matches!(second.outcome, FireOutcome::Skipped { .. }), "{second:?}");
        let third = plane.drive(inner.trigger_schedule(me, "s", Some(OverlapPolicy::Allow))).await?;
        assert!(matches!(third.outcome, FireOutcome::Started { .. }), "{third:?}");
        assert_eq!(runs(plane).await.len(), 3, "two of one moment");
        plane.advance(MINUTE).await;
        let resumed = plane.drive(inner.resume_schedule(me, "s")).await?;
        assert_eq!(resumed.next_times.len(), 5);
        plane.advance(2 * MINUTE).await;
        assert_eq!(shown(plane).await.counts.started, 6);
        let preview = plane.drive(inner.preview_schedule(me, "s", Some(minute(0)), 3)).await?;
        assert_eq!(preview, [minute(1), minute(2), minute(3)]);
        plane.drive(inner.delete_schedule(me, "s")).await?;
        plane.advance(10 * MINUTE).await;
        assert_eq!(plane.drive(inner.schedule(me, "s")).await.unwrap_err().code(), "schedule_not_found");
        for prefix in ["timers/", "nudges/", "schedules/"] {
            assert_eq!(keys(plane, prefix).await, Vec::<String>::new());
        }
        Ok(())
    });
}

#[test]
fn a_backfill_starts_what_was_not_started() {
    tell(work(1), async |plane| {
        let (me, inner) = (plane.principal(), plane.plane()?);
        put(plane, json!({"cron": "0 * * * *"})).await?;
        plane.advance(2 * 60 * MINUTE + 5 * SECOND).await;
        assert_eq!(runs(plane).await.len(), 2);
        let range = BackfillRequest::new(minute(-180), minute(120)).pace(10 * SECOND);
        plane.drive(inner.backfill_schedule(me, "s", range.clone())).await?;
        plane.crash_and_restart().await?;
        plane.advance(5 * MINUTE).await;
        let runs = runs(plane).await;
        assert_eq!(runs.into_values().map(|runs| runs.len()).collect::<Vec<_>>(), [1; 6]);
        assert!(shown(plane).await.backfills.is_empty());
        let inner = plane.plane()?;
        let error = plane.drive(inner.backfill_schedule(me, "s", BackfillRequest::new(minute(1), minute(2)))).await;
        assert_eq!(error.unwrap_err().code(), "schedule_backfill_empty");
        Ok(())
    });
}

#[test]
fn what_cannot_be_started_is_told_and_the_next_time_comes() {
    let strict = "id: w\ninput_schema: {type: object, required: [n]}\nsteps: {a: {topic: job.a}}";
    tell(TestPlane::builder().workflow(strict).worker("job.a", Reply::succeed(json!({}))), async |plane| {
        put(plane, json!({"cron": "* * * * *"})).await?;
        plane.advance(MINUTE).await;
        let fired = shown(plane).await.history[0].clone();
        assert!(
            matches!(&fired.outcome, FireOutcome::Failed { code, .. } if &**code == "run_input_invalid"),
            "{fired:?}"
        );
        put(plane, json!({"cron": "* * * * *", "input": {"n": 1}})).await?;
        plane.advance(MINUTE).await;
        assert_eq!(shown(plane).await.counts.started, 1);
        let error = plane
            .drive(
                plane
                    .plane()?
                    .put_schedule(plane.principal(), spec(&json!({"workflow_id": "none", "cron": "* * * * *"}))),
            )
            .await;
        assert_eq!(error.unwrap_err().code(), "workflow_not_found");
        Ok(())
    });
}

#[test]
fn each_time_starts_one_run_whatever_goes_wrong() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let overlap = ["skip", "queue", "queue_all", "cancel_running", "allow"][usize::try_from(seed % 5).unwrap()];
        let mut plan = FaultPlan::new(seed).unavailable_before(80).unavailable_after(80).conflict(50).unreadable(40);
        for _ in 0..rng.below(4) {
            plan = plan.crash_after(1 + rng.below(20));
        }
        let faults = plan.arm();
        let at = format!("seed {seed}: {overlap}");
        tell(work(30 + 20 * (seed % 7)).faults(&faults).seed(seed), async |plane| {
            put(plane, json!({"cron": "* * * * *", "overlap": overlap, "missed": "all", "end_at": minute(8)})).await?;
            for _ in 0..16 {
                plane.advance(MINUTE / 2).await;
                // Whatever has crashed is restarted here.
                plane.ask(async |inner| inner.schedule(plane.principal(), "s").await).await?;
                if rng.chance(100) {
                    plane.crash_and_restart().await?;
                }
            }
            faults.rest();
            plane.crash_and_restart().await?;
            plane.advance(60 * MINUTE).await;
            let runs = runs(plane).await;
            assert!(runs.values().all(|runs| runs.len() == 1), "{at}: {runs:?}");
            let shown = shown(plane).await;
            let told: BTreeMap<Timestamp, &FireOutcome> =
                shown.history.iter().map(|fired| (fired.fire.time, &fired.outcome)).collect();
            assert_eq!(
                told.keys().copied().collect::<Vec<_>>(),
                (1..=8).map(minute).collect::<Vec<_>>(),
                "{at}: every time is told of"
            );
            for (time, outcome) in told {
                match outcome {
                    FireOutcome::Started { run_id } => assert_eq!(runs[&time][0], *run_id, "{at}"),
                    FireOutcome::Skipped { .. } => assert!(!runs.contains_key(&time), "{at}: {time} was left out"),
                    other => panic!("{at}: {time}: {other:?}"),
                }
            }
            assert!(shown.running.is_empty() && shown.waiting.is_empty(), "{at}");
            for prefix in ["timers/", "nudges/", "hot/"] {
                assert_eq!(keys(plane, prefix).await, Vec::<String>::new(), "{at}");
            }
            Ok(())
        });
    }
}

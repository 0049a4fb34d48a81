//! Jobs get slots of workers where pools are configured: one at a time per slot, under a lease that is lost with its worker.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use coretex_core::{
    job::{JobId, JobState, Topic},
    ports::Scan,
    runtime::{JobRequest, PlacementCounts, PlaneError},
    scheduler::{Routes, Timeouts},
    testing::{FaultPlan, Presence, Reply, ScriptedJob, TestPlane, TestPlaneBuilder},
    workflow::{RunStatus, StepStatus, WaitCause},
};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);
const POOL: &str = "topics: {'job.>': p}";

fn routes(text: &str) -> Routes {
    Routes::parse("pools.yaml", text).unwrap()
}

fn steps(steps: &str) -> TestPlaneBuilder {
    TestPlane::builder().workflow(format!("id: w\nsteps:\n{steps}"))
}

fn ok() -> Reply {
    Reply::succeed(json!({"ok": true}))
}

fn tell(builder: TestPlaneBuilder, story: impl AsyncFnOnce(&TestPlane) -> Result<(), PlaneError>) {
    builder.run(story).unwrap().unwrap();
}

/// Keys of the slots that are recorded, without their prefix.
async fn slots(plane: &TestPlane) -> Vec<String> {
    let page = plane.store().scan(Scan::prefix("placements/")).await.unwrap();
    page.entries.iter().map(|entry| entry.key.as_str().trim_start_matches("placements/").to_owned()).collect()
}

async fn kinds(plane: &TestPlane, run: &coretex_core::job::RunId) -> Vec<String> {
    plane.timeline(run).await.unwrap().into_iter().map(|line| line.kind).collect()
}

async fn submit(plane: &TestPlane, id: &str) -> Result<JobId, PlaneError> {
    let request = JobRequest::new(Topic::parse_job("job.a")?, json!({"n": 1})).id(JobId::parse(id)?);
    plane.ask(async |p| p.submit_job(plane.principal(), request.clone()).await).await
}

async fn job(plane: &TestPlane, id: &JobId) -> coretex_core::job::Job {
    plane.ask(async |p| p.job(plane.principal(), id).await).await.unwrap().job
}

#[test]
fn a_job_that_finds_a_slot_is_placed_and_recorded_in_one_commit_and_leaves_nothing() {
    let builder = steps("  a: {topic: job.a}").routes(routes(POOL)).worker("job.>", ok().after(SECOND));
    tell(builder, async |plane| {
        plane.advance(SECOND).await;
        let run = plane.start("w", json!({})).await?;
        assert_eq!(slots(plane).await, [format!("{run}:a@1")]);
        let state = plane.run_state(&run).await?;
        let held = state.step("a").unwrap().job.clone().unwrap();
        assert_eq!(
            (held.state, held.worker.as_deref(), held.is_leased),
            (JobState::Dispatched, Some("worker-1"), true)
        );
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        assert_eq!(
            kinds(plane, &run).await,
            ["run_status", "step_attempted", "step_scheduled", "step_dispatched", "step_completed", "run_status"]
        );
        assert_eq!(slots(plane).await, [""; 0]);
        assert!(plane.published("worker.worker-1.jobs").len() == 1, "it went to the worker's own address");
        Ok(())
    });
}

#[test]
fn a_slot_has_one_job_at_a_time_and_the_next_one_goes_when_it_is_free() {
    let running = Arc::new(Mutex::new(Vec::new()));
    let note = running.clone();
    let script = move |job: &ScriptedJob| {
        note.lock().unwrap().push(job.request.job_id.clone());
        ok().after(10 * SECOND)
    };
    let builder = steps("  a: {topic: job.a, for_each: '[1, 2, 3]'}").routes(routes(POOL)).worker_as(
        Presence::new("w1").slots(1),
        "job.>",
        script,
    );
    tell(builder, async |plane| {
        plane.advance(SECOND).await;
        let run = plane.start("w", json!({})).await?;
        assert_eq!(running.lock().unwrap().len(), 1);
        assert_eq!(slots(plane).await.len(), 3);
        let waits = plane.ask(async |p| p.why(plane.principal(), &run).await).await?;
        let told: Vec<_> = waits
            .iter()
            .filter_map(|wait| match &wait.cause {
                WaitCause::Placement { pool, reason, detail, .. } => Some((pool.clone(), *reason, detail.clone())),
                _ => None,
            })
            .collect();
        assert_eq!(told.len(), 2);
        assert_eq!((told[0].0.as_deref(), told[0].1), (Some("p"), Some("slot")));
        assert_eq!(told[0].2.as_deref(), Some("pool `p` has no free slot for it; 2 jobs wait there"));
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), running.lock().unwrap().len()), (RunStatus::Succeeded, 3));
        assert_eq!(plane.elapsed(), 31 * SECOND, "one after the other");
        Ok(())
    });
}

#[test]
fn a_job_without_workers_waits_says_so_and_goes_when_one_comes() {
    let builder = steps("  a: {topic: job.a}").routes(routes(POOL)).worker_as(Presence::new("w1"), "job.>", ok());
    tell(builder, async |plane| {
        plane.kill_worker("w1");
        plane.advance(40 * SECOND).await;
        let run = plane.start("w", json!({})).await?;
        plane.advance(SECOND).await;
        let waits = plane.ask(async |p| p.why(plane.principal(), &run).await).await?;
        let cause = &waits.iter().find(|wait| wait.step_id.is_some()).unwrap().cause;
        let WaitCause::Placement { reason, detail, until, .. } = cause else { panic!("{cause:?}") };
        assert_eq!(*reason, Some("workers"));
        assert!(detail.as_deref().unwrap().contains("has no live worker for it"), "{detail:?}");
        assert!(until.is_some());
        plane.start_worker("w1").await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        Ok(())
    });
}

#[test]
fn what_waits_in_vain_fails_with_the_reason_and_is_a_dead_letter() {
    let builder =
        steps("  a: {topic: job.a}").routes(routes("topics: {'job.>': p}\npools: {p: {max_wait_seconds: 60}}"));
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!((plane.elapsed(), &*end.failure().unwrap().code), (60 * SECOND, "no_workers"));
        let letters = plane.ask(async |p| p.dead_letters(plane.principal(), None, 9).await).await?.items;
        assert_eq!((letters.len(), letters[0].last_state), (1, JobState::Scheduled));
        assert!(slots(plane).await.is_empty());
        Ok(())
    });
}

#[test]
fn w6_the_jobs_of_a_worker_that_dies_begin_anew_elsewhere_without_a_retry_policy() {
    let builder = steps("  a: {topic: job.a}").routes(routes(POOL)).worker_as(
        Presence::new("w1"),
        "job.a",
        |job: &ScriptedJob| if job.attempt == 1 { Reply::Never } else { ok() },
    );
    tell(builder, async |plane| {
        plane.advance(SECOND).await;
        let run = plane.start("w", json!({})).await?;
        plane.kill_worker("w1");
        plane.advance(50 * SECOND).await;
        plane.start_worker("w1").await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), end.step("a").unwrap().attempts), (RunStatus::Succeeded, 2));
        let kinds = kinds(plane, &run).await;
        assert!(kinds.windows(3).any(|k| k == ["step_lost", "step_requeued", "step_attempted"]), "{kinds:?}");
        assert!(plane.elapsed() < 120 * SECOND);
        Ok(())
    });
}

#[test]
fn a_worker_that_was_frozen_answers_too_late_and_that_is_on_record() {
    let builder = steps("  a: {topic: job.a}\n  b: {topic: job.b, depends_on: [a]}")
        .routes(routes(POOL))
        .worker_as(Presence::new("w1").slots(1), "job.a", |job: &ScriptedJob| {
            Reply::succeed(json!({"of": job.attempt})).after(5 * SECOND)
        })
        .worker_as(Presence::new("w2").slots(1), "job.*", ok().after(60 * SECOND));
    tell(builder, async |plane| {
        plane.freeze_worker("w2");
        plane.advance(40 * SECOND).await;
        let run = plane.start("w", json!({})).await?;
        plane.freeze_worker("w1");
        plane.thaw_worker("w2");
        plane.advance(45 * SECOND).await;
        assert_eq!(plane.run_state(&run).await?.step("a").unwrap().attempts, 2);
        plane.thaw_worker("w1");
        let end = plane.run_to_end(&run).await?;
        let a = end.step("a").unwrap();
        assert_eq!(
            (a.status, a.output.as_ref().unwrap().value.as_deref()),
            (StepStatus::Succeeded, Some(&json!({"ok": true})))
        );
        let late: Vec<_> = plane.timeline(&run).await?.into_iter().filter(|l| l.kind == "step_late_result").collect();
        assert_eq!(late.len(), 1);
        assert_eq!(
            (late[0].job_id.as_deref(), &late[0].data["worker_id"]),
            (Some(&*format!("{run}:a@1")), &json!("w1"))
        );
        Ok(())
    });
}

#[test]
fn a_job_that_takes_its_workers_down_is_given_up_after_so_many() {
    let builder =
        steps("  a: {topic: job.a}").routes(routes(POOL)).worker_as(Presence::new("w1"), "job.>", Reply::Never);
    tell(builder, async |plane| {
        plane.advance(SECOND).await;
        let run = plane.start("w", json!({})).await?;
        for lost in 1..=4 {
            assert_eq!(plane.run_state(&run).await?.step("a").unwrap().attempts, lost);
            assert_eq!(plane.plane()?.worker_lost("w1", "its connection broke").len(), 1);
            plane.settle().await;
            plane.advance(11 * SECOND).await;
        }
        let end = plane.run_to_end(&run).await?;
        assert_eq!(&*end.failure().unwrap().code, "lease_lost");
        assert_eq!(&*end.failure().unwrap().message, "worker `w1` lost the job: its connection broke");
        let letters = plane.ask(async |p| p.dead_letters(plane.principal(), None, 9).await).await?.items;
        assert_eq!((letters.len(), letters[0].attempts), (1, 4));
        assert!(slots(plane).await.is_empty());
        Ok(())
    });
}

#[test]
fn a_submitted_job_is_requeued_under_its_id_and_fenced_by_its_worker() {
    let builder = TestPlane::builder()
        .routes(routes(POOL))
        .worker_as(Presence::new("w1").slots(1), "job.a", ok().after(5 * SECOND))
        .worker_as(Presence::new("w2").slots(1), "job.a", Reply::succeed(json!(2)).after(60 * SECOND));
    tell(builder, async |plane| {
        plane.freeze_worker("w2");
        plane.advance(40 * SECOND).await;
        let id = submit(plane, "mine").await?;
        plane.freeze_worker("w1");
        plane.thaw_worker("w2");
        plane.advance(45 * SECOND).await;
        let now = job(plane, &id).await;
        assert_eq!((now.attempt, now.state, now.worker.as_deref()), (2, JobState::Dispatched, Some("w2")));
        plane.thaw_worker("w1");
        plane.advance(10 * SECOND).await;
        let now = job(plane, &id).await;
        assert_eq!(
            (now.state, now.lost[0].answered),
            (JobState::Dispatched, true),
            "the answer of `w1` counts for nothing"
        );
        plane.advance(60 * SECOND).await;
        let end = job(plane, &id).await;
        assert_eq!((end.state, end.output.unwrap().value.as_deref()), (JobState::Succeeded, Some(&json!(2))));
        assert!(slots(plane).await.is_empty());
        Ok(())
    });
}

#[test]
fn w7_what_waits_and_what_has_a_slot_is_back_after_a_crash() {
    let builder = steps("  a: {topic: job.a, for_each: '[1, 2, 3]'}").routes(routes(POOL)).worker_as(
        Presence::new("w1").slots(1),
        "job.>",
        ok().after(10 * SECOND),
    );
    tell(builder, async |plane| {
        plane.advance(SECOND).await;
        let run = plane.start("w", json!({})).await?;
        let before = slots(plane).await;
        assert_eq!(before.len(), 3);
        plane.crash_and_restart().await?;
        assert_eq!(slots(plane).await, before);
        plane.advance(SECOND).await;
        let state = plane.run_state(&run).await?;
        let in_hand = state.steps().filter(|(_, step)| step.job.as_ref().is_some_and(|job| job.state.is_handed_out()));
        assert_eq!(in_hand.count(), 1, "the slot is still taken");
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        assert!(slots(plane).await.is_empty());
        Ok(())
    });
}

#[test]
fn a_crash_after_any_commit_loses_no_slot_and_keeps_none() {
    for crash in 1..24 {
        let faults = FaultPlan::new(7).crash_after(crash).arm();
        let builder = steps(
            "  a: {topic: job.a, for_each: '[1, 2, 3, 4]', retry: {max_retries: 2, initial_backoff_sec: 1}}\n  b: {topic: job.b, depends_on: [a], retry: {max_retries: 2, initial_backoff_sec: 1}}",
        )
        .routes(routes(POOL))
        .faults(&faults)
        .worker_as(Presence::new("w1").slots(2), "job.>", |job: &ScriptedJob| {
            if job.attempt == 1 { Reply::retryable("busy").after(SECOND) } else { ok().after(SECOND) }
        });
        tell(builder, async |plane| {
            let run = plane.start("w", json!({})).await?;
            let end = plane.run_to_end(&run).await?;
            assert_eq!(end.status(), RunStatus::Succeeded, "crash {crash}");
            plane.advance(60 * SECOND).await;
            assert!(slots(plane).await.is_empty(), "crash {crash}");
            assert_eq!(plane.plane()?.placement_counts(), PlacementCounts::default(), "crash {crash}");
            Ok(())
        });
    }
}

#[test]
fn a_batch_that_is_refused_gives_back_what_it_took() {
    for seed in 0..20 {
        let faults =
            FaultPlan::new(seed).conflict(300).unavailable_before(200).unavailable_after(200).at_most(30).arm();
        let builder = steps("  a: {topic: job.a, for_each: '[1, 2, 3, 4]'}")
            .seed(seed)
            .routes(routes(POOL))
            .faults(&faults)
            .worker_as(Presence::new("w1").slots(2), "job.>", ok().after(SECOND));
        tell(builder, async |plane| {
            let run = plane.start("w", json!({})).await?;
            assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded, "seed {seed}");
            plane.faults().rest();
            plane.advance(60 * SECOND).await;
            assert_eq!(plane.plane()?.placement_counts(), PlacementCounts::default(), "seed {seed}");
            assert!(slots(plane).await.is_empty(), "seed {seed}");
            Ok(())
        });
    }
}

#[test]
fn w10_a_job_that_is_cancelled_while_it_waits_frees_its_place_and_never_starts() {
    let started = Arc::new(Mutex::new(Vec::new()));
    let note = started.clone();
    let script = move |job: &ScriptedJob| {
        note.lock().unwrap().push(job.request.job_id.clone());
        ok().after(10 * SECOND)
    };
    let limits = "topics: {'job.>': p}\nlimits: [{name: one, key: tenant, max_concurrent: 1}]";
    let builder = TestPlane::builder().routes(routes(limits)).worker_as(Presence::new("w1"), "job.>", script);
    tell(builder, async |plane| {
        plane.advance(SECOND).await;
        let (first, second, third) =
            (submit(plane, "j1").await?, submit(plane, "j2").await?, submit(plane, "j3").await?);
        assert_eq!(job(plane, &second).await.state, JobState::Scheduled);
        plane.ask(async |p| p.cancel_job(plane.principal(), &second, "not needed").await).await?;
        plane.advance(60 * SECOND).await;
        for id in [&first, &third] {
            assert_eq!(job(plane, id).await.state, JobState::Succeeded);
        }
        assert_eq!(job(plane, &second).await.state, JobState::Cancelled);
        assert_eq!(*started.lock().unwrap(), ["j1", "j3"]);
        assert!(slots(plane).await.is_empty());
        Ok(())
    });
}

#[test]
fn a_worker_that_does_not_say_that_it_started_loses_the_job() {
    let timeouts = Timeouts::parse("timeouts.yaml", "reconciler: {dispatch_timeout_seconds: 20}").unwrap();
    let builder = steps("  a: {topic: job.a}").routes(routes(POOL).with_timeouts(timeouts)).worker_as(
        Presence::new("w1"),
        "job.>",
        |job: &ScriptedJob| match job.attempt {
            1 => Reply::Never,
            // It says so, and may take its time.
            _ => ok().after(100 * SECOND).with_progress(),
        },
    );
    tell(builder, async |plane| {
        plane.advance(SECOND).await;
        let run = plane.start("w", json!({})).await?;
        plane.advance(21 * SECOND).await;
        let state = plane.run_state(&run).await?;
        let step = state.step("a").unwrap();
        assert_eq!((step.attempts, &*step.failure.as_ref().unwrap().code), (2, "dispatch_timeout"));
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), end.step("a").unwrap().attempts), (RunStatus::Succeeded, 2));
        Ok(())
    });
}

#[test]
fn on_open_routes_a_worker_elsewhere_loses_what_it_said_it_works_on() {
    let builder = steps("  a: {topic: job.a}").worker("job.a", |job: &ScriptedJob| match job.attempt {
        1 => Reply::Never.with_progress(),
        _ => ok(),
    });
    tell(builder, async |plane| {
        plane.plane()?.worker_joined("worker-1");
        let run = plane.start("w", json!({})).await?;
        plane.settle().await;
        assert_eq!(plane.plane()?.worker_lost("worker-1", "its connection broke").len(), 1);
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), end.step("a").unwrap().attempts), (RunStatus::Succeeded, 2));
        assert!(plane.elapsed() < SECOND, "at once");
        assert_eq!(plane.plane()?.worker_lost("worker-1", "again").len(), 0);
        Ok(())
    });
}

#[test]
fn w14_a_run_that_is_cancelled_takes_its_waiting_jobs_back() {
    let builder = steps("  a: {topic: job.a, for_each: '[1, 2, 3]'}").routes(routes(POOL)).worker_as(
        Presence::new("w1").slots(1),
        "job.>",
        Reply::UntilCancelled,
    );
    tell(builder, async |plane| {
        plane.advance(SECOND).await;
        let run = plane.start("w", json!({})).await?;
        plane.ask(async |p| p.cancel_run(plane.principal(), &run, "enough").await).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.status(), RunStatus::Cancelled);
        assert_eq!(plane.published("worker.w1.jobs").len(), 1);
        assert!(slots(plane).await.is_empty());
        assert_eq!(plane.plane()?.placement_counts(), PlacementCounts::default());
        Ok(())
    });
}

#[test]
fn w1_a_placement_chooses_the_worker_and_free_labels_never_do() {
    let on = |name: &'static str| Reply::succeed(json!({"on": name}));
    let text = "
        id: w
        steps:
          free: {topic: job.a, route_labels: {zone: nowhere, mcp.tool: x}}
          bound: {topic: job.a, placement: {selector: {zone: b}, capabilities: [gpu]}, depends_on: [free]}
          wish: {topic: job.a, placement: {preferred_worker_id: w1, priority: critical}, depends_on: [bound]}";
    let builder = TestPlane::builder()
        .workflow(text)
        .routes(routes(POOL))
        .worker_as(Presence::new("w1").label("zone", "a"), "job.>", on("w1"))
        .worker_as(Presence::new("w2").label("zone", "b").capability("GPU"), "job.>", |job: &ScriptedJob| {
            Reply::succeed(json!({"on": "w2", "priority": job.request.priority}))
        });
    tell(builder, async |plane| {
        plane.advance(SECOND).await;
        let run = plane.start("w", json!({})).await?;
        let end = plane.run_to_end(&run).await?;
        let worker = |step: &str| end.step(step).unwrap().job.as_ref().unwrap().worker.clone().unwrap();
        assert_eq!(end.status(), RunStatus::Succeeded);
        assert_eq!((&*worker("bound"), &*worker("wish")), ("w2", "w1"));
        Ok(())
    });
}

#[test]
fn a_placement_that_cannot_be_used_is_refused_with_its_place() {
    let text = |placement: &str| format!("id: w\nsteps:\n  a: {{topic: job.a, placement: {placement}}}");
    let problems = |text: &str| coretex_core::workflow::Workflow::parse("w", text).unwrap_err().to_string();
    assert!(problems(&text("{region: ''}")).contains("steps.a.placement.region"));
    assert!(problems(&text("{zone: b}")).contains("steps.a.placement"), "{}", problems(&text("{zone: b}")));
    let misplaced = problems("id: w\nsteps:\n  a: {type: approval, placement: {region: eu}}");
    assert!(misplaced.contains("`placement` belongs to a step with a job"), "{misplaced}");
}

//! Crashes, refusals and lost answers, one at a time. The simulation throws them all together.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use coretex_core::{
    governance::Principal,
    job::{Answer, RunId, StepRunId, TenantId, WorkflowId},
    ports::{Key, Message, Scan},
    protocol::{BusPacket, JobResult, JobStatus, subjects},
    runtime::{PlaneError, StartRequest},
    testing::{FaultPlan, Faults, Reply, TestPlane, TestPlaneBuilder},
    workflow::{RunStatus, Workflow},
};
use serde_json::json;

type Told = Result<(), PlaneError>;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    builder.run(test).unwrap().unwrap();
}

fn steps(yaml: &str) -> TestPlaneBuilder {
    TestPlane::builder().workflow(format!("id: w\nsteps:\n{yaml}"))
}

fn ok() -> Reply {
    Reply::succeed(json!({"ok": true}))
}

/// Everything in the store under `prefix`.
async fn keys(plane: &TestPlane, prefix: &str) -> Vec<String> {
    let page = plane.store().scan(Scan::prefix(prefix)).await.unwrap();
    page.entries.iter().map(|entry| entry.key.to_string()).collect()
}

fn keyed(key: &str, n: u64) -> StartRequest {
    StartRequest::new(WorkflowId::parse("w").unwrap(), json!({"n": n})).idempotency_key(key)
}

#[test]
fn a_refusal_at_any_depth_loses_nothing_and_doubles_nothing() {
    // One step feeds four, which feed one: results arrive together, and are decided ahead of each other's durability.
    let wide = "  a: {topic: job.a}\n  b: {topic: job.a, depends_on: [a]}\n  c: {topic: job.a, depends_on: [a]}\n  d: {topic: job.a, depends_on: [a]}\n  e: {topic: job.a, depends_on: [a]}\n  n: {type: notify, depends_on: [b, c]}\n  z: {topic: job.a, depends_on: [b, c, d, e, n]}";
    for first in 0..20 {
        for second in [None, Some(first + 1), Some(first + 3)] {
            let plan = FaultPlan::new(first).only("run/").slow(700, 20).refuse_batch(first);
            let plan = second.into_iter().fold(plan, FaultPlan::refuse_batch);
            let faults = plan.arm();
            tell(steps(wide).worker("job.a", ok()).faults(&faults), async |plane| {
                let run = plane.start("w", json!({})).await?;
                let end = plane.run_to_end(&run).await?;
                plane.settle().await;
                let at = format!("refused {first} {second:?}");
                assert_eq!(end.status(), RunStatus::Succeeded, "{at}");
                assert!(end.steps().all(|(_, step)| step.attempts <= 1), "{at}");
                let timeline = plane.timeline(&run).await?;
                let count = |kind: &str| timeline.iter().filter(|event| event.kind == kind).count();
                assert_eq!((count("step_dispatched"), count("step_completed")), (6, 7), "{at}");
                // What left: only what was decided, and every job at least once.
                let sent: BTreeSet<String> = plane.dispatched().iter().map(|job| job.job_id.clone()).collect();
                assert_eq!(sent.len(), 6, "{at}");
                assert_eq!(plane.published(subjects::WORKFLOW_EVENT).len(), 1, "{at}");
                assert_eq!(keys(plane, "outbox/").await, Vec::<String>::new(), "{at}");
                Ok(())
            });
        }
    }
}

/// One batch, by number among those of runs, is applied and its answer lost.
fn lost_answer(seed: u64) -> Faults {
    FaultPlan::new(seed).only("run/").unavailable_after(400).at_most(3).arm()
}

#[test]
fn a_timer_whose_batch_lost_its_answer_fires_all_the_same() {
    for seed in 0..40 {
        let builder = steps("  a: {topic: job.a}\n  d: {type: delay, delay_sec: 3600, depends_on: [a]}").seed(seed);
        tell(builder.worker("job.a", ok()).faults(&lost_answer(seed)), async |plane| {
            let run = plane.start("w", json!({})).await?;
            assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded, "seed {seed}");
            assert!(plane.elapsed() < 3_700 * SECOND, "seed {seed}");
            Ok(())
        });
    }
}

#[test]
fn an_announcement_whose_batch_lost_its_answer_is_made_all_the_same() {
    for seed in 0..40 {
        let builder = steps("  a: {topic: job.a}\n  b: {topic: job.b, timeout_sec: 5}").seed(seed);
        tell(builder.worker("job.a", Reply::UntilCancelled).faults(&lost_answer(seed)), async |plane| {
            let run = plane.start("w", json!({})).await?;
            assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::TimedOut, "seed {seed}");
            plane.advance(SECOND).await;
            assert_eq!(keys(plane, "outbox/").await, Vec::<String>::new(), "seed {seed}");
            let told: BTreeSet<String> = plane
                .published(subjects::JOB_CANCEL)
                .iter()
                .map(|message| message.packet.job_cancel().unwrap().job_id.clone())
                .collect();
            assert_eq!(told.len(), 2, "seed {seed}: {told:?}");
            Ok(())
        });
    }
}

#[test]
fn a_start_that_ends_its_run_and_loses_its_answer_is_answered() {
    for seed in 0..20 {
        let builder = steps("  c: {type: condition, condition: \"true\"}").seed(seed).faults(&lost_answer(seed));
        tell(builder, async |plane| {
            let run = plane.start("w", json!({})).await?;
            assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded, "seed {seed}");
            Ok(())
        });
    }
}

#[test]
fn a_parked_run_is_woken_after_a_restart() {
    let builder = steps("  d: {type: delay, delay_sec: 2592000}\n  a: {topic: job.a, depends_on: [d]}");
    tell(builder.worker("job.a", ok()), async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.restart().await?;
        assert_eq!(plane.plane()?.recovery().resumed, 0);
        assert_eq!(keys(plane, "timers/").await.len(), 1);
        plane.advance(10 * DAY).await;
        plane.crash_and_restart().await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        assert_eq!(plane.elapsed(), 30 * DAY);
        Ok(())
    });
}

#[test]
fn a_timer_that_fell_due_while_nothing_ran_fires_at_the_start() {
    tell(steps("  d: {type: delay, delay_sec: 60}"), async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.crash().await;
        plane.advance(DAY).await;
        plane.restart().await?;
        assert_eq!(
            plane.run_to_end(&run).await?.completed_at().unwrap(),
            coretex_core::ports::Clock::now(plane.clock())
        );
        Ok(())
    });
}

#[test]
fn the_timers_are_read_again_when_the_store_was_away() {
    // The first reads of a life fail: the timer service must not give up.
    for seed in 0..30 {
        let faults = FaultPlan::new(seed).unreadable(500).at_most(12).arm();
        tell(steps("  d: {type: delay, delay_sec: 60}").faults(&faults), async |plane| {
            let run = plane.start("w", json!({})).await?;
            plane.crash_and_restart().await?;
            assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded, "seed {seed}");
            Ok(())
        });
    }
}

#[test]
fn work_that_was_out_is_handed_out_again_after_a_crash() {
    tell(steps("  a: {topic: job.a}").worker("job.a", ok().after(60 * SECOND)), async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.advance(30 * SECOND).await;
        plane.crash_and_restart().await?;
        assert_eq!(plane.run_to_end(&run).await?.step("a").unwrap().attempts, 1);
        let jobs: Vec<String> = plane.dispatched().into_iter().map(|job| job.job_id).collect();
        assert_eq!(jobs, [format!("{run}:a@1"), format!("{run}:a@1")]);
        Ok(())
    });
}

#[test]
fn nothing_is_decided_on_top_of_a_start_that_may_be_refused() {
    // The refused start has as many events as the run that is there, so that what was decided on top of it would fit.
    let builder = steps("  q: {type: approval}\n  a: {topic: job.a, depends_on: [q], input: {n: \"${input.n}\"}}");
    tell(builder.worker("job.a", ok()), async |plane| {
        let run = plane.start("w", json!({"n": 1})).await?;
        plane.crash_and_restart().await?;
        let control = plane.plane()?;
        let step = StepRunId::parse("q")?;
        let answer = Answer { approved: true, by: "ann".into(), role: "".into(), reason: "".into(), note: "".into() };
        let again = StartRequest::new(WorkflowId::parse("w")?, json!({"n": 2})).run_id(run.clone());
        let (started, answered) = plane
            .drive(futures::future::join(
                control.start(plane.principal(), again),
                control.answer_step(plane.principal(), &run, &step, answer),
            ))
            .await;
        assert_eq!(started.unwrap_err().code(), "run_exists");
        answered?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.step("a").unwrap().input.as_deref(), Some(&json!({"n": 1})));
        assert_eq!(keys(plane, "approvals/").await, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn one_key_starts_one_run() {
    tell(steps("  a: {topic: job.a}").worker("job.a", ok()), async |plane| {
        let first = plane.start_with(keyed("k", 1)).await?;
        assert_eq!(plane.start_with(keyed("k", 1)).await?, first, "while it runs");
        plane.run_to_end(&first).await?;
        assert_eq!(plane.start_with(keyed("k", 1)).await?, first, "when it has ended");
        plane.crash_and_restart().await?;
        assert_eq!(plane.start_with(keyed("k", 1)).await?, first, "after a crash");
        assert_ne!(plane.start_with(keyed("other", 1)).await?, first);
        plane.advance(8 * DAY).await;
        assert_ne!(plane.start_with(keyed("k", 1)).await?, first, "a week later");
        Ok(())
    });
}

#[test]
fn one_key_starts_one_run_when_asked_at_once() {
    for seed in 0..20 {
        let faults = FaultPlan::new(seed).slow(600, 20).conflict(100).at_most(10).arm();
        tell(steps("  a: {topic: job.a}").worker("job.a", ok()).faults(&faults), async |plane| {
            let control = plane.plane()?;
            let starts = (0..8).map(|_| control.start(plane.principal(), keyed("k", 1)));
            let ids = plane.drive(futures::future::try_join_all(starts)).await?;
            let ids: BTreeSet<RunId> = ids.into_iter().collect();
            assert_eq!(ids.len(), 1, "seed {seed}");
            assert_eq!(keys(plane, "runs/").await.len(), 1, "seed {seed}");
            Ok(())
        });
    }
}

#[test]
fn a_key_belongs_to_its_tenant() {
    tell(steps("  a: {topic: job.a}").worker("job.a", ok()), async |plane| {
        let other = Principal::service("other").for_tenant(TenantId::parse("other")?);
        let workflow = Workflow::parse("w", "id: w2\norg_id: other\nsteps:\n  a: {topic: job.a}").unwrap();
        plane.drive(plane.plane()?.put_workflow(&other, workflow)).await?;
        let ours = plane.start_with(keyed("k", 1)).await?;
        let request = || StartRequest::new(WorkflowId::parse("w2").unwrap(), json!({})).idempotency_key("k");
        let theirs = plane.ask(async |p| p.start(&other, request()).await).await?;
        assert_ne!(ours, theirs);
        let error = plane.ask(async |p| p.run(&other, &ours).await).await.unwrap_err();
        assert_eq!(error.code(), "run_not_found");
        Ok(())
    });
}

#[test]
fn deliveries_wait_out_a_store_that_is_away() {
    // Results come in while nothing can be committed: time goes on, nothing spins, and nothing is lost.
    let faults = FaultPlan::new(3).only("run/").unavailable_before(900).at_most(60).arm();
    let wide: String = (0..10).map(|n| format!("  s{n}: {{topic: job.a}}\n")).collect();
    tell(steps(&wide).worker("job.a", ok()).faults(&faults), async |plane| {
        let run = plane.start("w", json!({})).await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        Ok(())
    });
}

#[test]
fn one_seed_gives_one_history() {
    let history = |seed| {
        let faults =
            FaultPlan::new(seed).conflict(100).slow(300, 20).duplicate_messages(200).reorder_messages(200).arm();
        let retry = "retry: {max_retries: 3, initial_backoff_sec: 1}";
        let builder = steps(&format!("  a: {{topic: job.a, {retry}}}\n  b: {{topic: job.a, {retry}}}"))
            .worker("job.a", [Reply::retryable("busy"), ok().after(SECOND)])
            .seed(seed)
            .faults(&faults);
        builder
            .run(async |plane| {
                let run = plane.start("w", json!({})).await.unwrap();
                plane.run_to_end(&run).await.unwrap();
                let store: Arc<_> = plane.store();
                store.read(&Key::from(format!("run/{run}")), 1, 1_000).await.unwrap().events
            })
            .unwrap()
    };
    assert_eq!(history(5), history(5));
    assert_ne!(history(5), history(6));
}

#[test]
fn a_result_that_no_record_can_hold_fails_its_job_at_once() {
    tell(steps("  a: {topic: job.a}"), async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.settle().await;
        let job_id = plane.dispatched().pop().unwrap().job_id;
        // A thousand pointers of 20 kB: no worker means it, and any can send it.
        let result = JobResult {
            job_id,
            status: JobStatus::Succeeded.into(),
            worker_id: "w1".into(),
            artifact_ptrs: vec!["x".repeat(20_000); 1_000],
            ..JobResult::default()
        };
        let control_plane = plane.plane()?;
        let packet = BusPacket::new("t", "w1", control_plane.clock().now(), result);
        control_plane.bus().publish(Message::new(subjects::JOB_RESULT, packet)).await.unwrap();
        plane.settle().await;
        let end = plane.run_state(&run).await?;
        assert_eq!(end.status(), RunStatus::Failed);
        assert_eq!(end.failure().map(|failure| &*failure.code), Some("payload_too_large"));
        assert!(plane.elapsed() < SECOND, "it does not wait for its time-out");
        Ok(())
    });
}

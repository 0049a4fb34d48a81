//! The testkit itself: time, crashes, faults and scripts do what their pages say.

use std::time::Duration;

use coretex_core::{
    job::JobState,
    runtime::PlaneError,
    testing::{FaultPlan, Reply, Say, TestPlane},
    workflow::RunStatus,
};
use serde_json::json;

type Outcome = Result<(), PlaneError>;

const DAY: Duration = Duration::from_secs(24 * 3600);

const MONTH: &str = "
id: month
steps:
  first: {topic: job.a}
  wait: {type: delay, delay_sec: 2592000, depends_on: [first]}
  last: {topic: job.a, depends_on: [wait]}
";

#[test]
fn thirty_days_pass_in_no_time() {
    let began = std::time::Instant::now();
    TestPlane::builder()
        .workflow(MONTH)
        .worker("job.a", Reply::succeed(json!({"ok": true})))
        .run(async |plane| -> Outcome {
            let run = plane.start("month", json!({})).await?;
            let end = plane.run_to_end(&run).await?;
            assert_eq!(end.status(), RunStatus::Succeeded);
            assert!(plane.elapsed() >= 30 * DAY && plane.elapsed() < 31 * DAY);
            Ok(())
        })
        .unwrap()
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn time_stands_still_until_it_is_asked_to_move() {
    TestPlane::builder()
        .workflow(MONTH)
        .worker("job.a", Reply::succeed(json!({})).after(DAY))
        .job_timeout(2 * DAY)
        .run(async |plane| -> Outcome {
            let run = plane.start("month", json!({})).await?;
            plane.settle().await;
            assert_eq!(plane.elapsed(), Duration::ZERO);
            plane.advance(DAY / 2).await;
            assert_eq!(plane.elapsed(), DAY / 2);
            assert_eq!(plane.run_state(&run).await?.step("first").unwrap().status.as_str(), "running");
            plane.advance(DAY / 2).await;
            assert_eq!(plane.run_state(&run).await?.step("first").unwrap().status.as_str(), "succeeded");
            Ok(())
        })
        .unwrap()
        .unwrap();
}

#[test]
fn a_crash_loses_nothing_that_was_acknowledged() {
    TestPlane::builder()
        .workflow(MONTH)
        .worker("job.a", Reply::succeed(json!({})).after(DAY))
        .job_timeout(2 * DAY)
        .run(async |plane| -> Outcome {
            let run = plane.start("month", json!({})).await?;
            plane.crash_and_restart().await?;
            assert_eq!(plane.plane()?.recovery().resumed, 1);
            plane.advance(10 * DAY).await;
            plane.crash_and_restart().await?;
            assert_eq!(plane.plane()?.recovery().resumed, 0, "it waits for its timer");
            let end = plane.run_to_end(&run).await?;
            assert_eq!(end.status(), RunStatus::Succeeded);
            assert!(plane.elapsed() < 33 * DAY);
            Ok(())
        })
        .unwrap()
        .unwrap();
}

#[test]
fn a_run_that_nobody_can_end_is_told_with_its_story() {
    TestPlane::builder()
        .workflow("id: ask\nsteps: {ok: {type: approval}}")
        .run(async |plane| -> Outcome {
            let run = plane.start("ask", json!({})).await?;
            let error = plane.run_to_end(&run).await.unwrap_err();
            assert_eq!(error.code(), "run_stuck");
            assert!(error.to_string().contains("step_waiting"), "{error}");
            Ok(())
        })
        .unwrap()
        .unwrap();
}

#[test]
fn scripted_people_answer_in_their_own_time() {
    TestPlane::builder()
        .workflow("id: ask\nsteps: {ok: {type: approval}}")
        .approver("ann", Say::Yes.after(2 * DAY))
        .approver("bob", Say::no("too late").after(3 * DAY))
        .run(async |plane| -> Outcome {
            let run = plane.start("ask", json!({})).await?;
            let end = plane.run_to_end(&run).await?;
            assert_eq!(plane.elapsed(), 2 * DAY);
            let output = end.step("ok").unwrap().output.clone().unwrap();
            assert_eq!(output.value.unwrap()["by"], "ann");
            Ok(())
        })
        .unwrap()
        .unwrap();
}

#[test]
fn scripts_go_by_attempt_and_survive_a_crash() {
    let retry = "
id: retry
steps:
  a: {topic: job.a, timeout_sec: 60, retry: {max_retries: 5, initial_backoff_sec: 1}}
";
    TestPlane::builder()
        .workflow(retry)
        .worker(
            "job.a",
            [Reply::retryable("busy"), Reply::Never, Reply::Garbage, Reply::succeed(json!({"n": 4})).with_progress()],
        )
        .run(async |plane| -> Outcome {
            let run = plane.start("retry", json!({})).await?;
            plane.advance(Duration::from_secs(30)).await;
            plane.crash_and_restart().await?;
            let end = plane.run_to_end(&run).await?;
            let step = end.step("a").unwrap();
            assert_eq!((step.attempts, step.job.as_ref().unwrap().state), (4, JobState::Succeeded));
            Ok(())
        })
        .unwrap()
        .unwrap();
}

#[test]
fn planned_crashes_are_gone_through() {
    let faults = FaultPlan::new(7).crash_after(1).crash_after(1).crash_after(2).crash_after(3).arm();
    TestPlane::builder()
        .workflow(MONTH)
        .worker("job.a", Reply::succeed(json!({})))
        .faults(&faults)
        .run(async |plane| -> Outcome {
            let run = plane.start("month", json!({})).await?;
            let end = plane.run_to_end(&run).await?;
            assert_eq!(end.status(), RunStatus::Succeeded);
            assert!(faults.counts().crashes >= 3, "{:?}", faults.counts());
            Ok(())
        })
        .unwrap()
        .unwrap();
}

#[test]
fn a_store_that_fails_for_a_while_only_delays() {
    for seed in 0..50 {
        let faults = FaultPlan::new(seed)
            .unavailable_before(300)
            .unavailable_after(300)
            .unreadable(300)
            .slow(500, 20)
            .full(300)
            .at_most(200)
            .arm();
        TestPlane::builder()
            .seed(seed)
            .workflow(MONTH)
            .worker("job.a", Reply::succeed(json!({})))
            .faults(&faults)
            .run(async |plane| -> Outcome {
                let run = plane.start("month", json!({})).await?;
                let end = plane.run_to_end(&run).await?;
                assert_eq!(end.status(), RunStatus::Succeeded, "seed {seed}");
                Ok(())
            })
            .unwrap()
            .unwrap();
    }
}

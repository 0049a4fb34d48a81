//! Tries that workers put off; told on a `TestPlane`.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use coretex_core::{
    job::{JobId, MAX_SNOOZES, StepRunId},
    policy::Outcome,
    runtime::PlaneError,
    testing::{Reply, Say, ScriptedJob, TestPlane, TestPlaneBuilder, policy_fn},
    workflow::{Resolution, RunStatus, StepStatus},
};
use serde_json::json;

type Told = Result<(), PlaneError>;

fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    builder.run(test).unwrap().unwrap();
}

fn steps(retry: &str) -> TestPlaneBuilder {
    TestPlane::builder().workflow(format!("id: w\nsteps:\n  a: {{topic: job.a, retry: {retry}}}"))
}

fn snooze() -> Reply {
    Reply::retryable("snoozed")
}

#[test]
fn a_try_that_is_put_off_is_none_of_the_steps_retries() {
    let replies = [snooze(), snooze(), Reply::retryable("busy"), snooze(), Reply::succeed(json!(1))];
    let builder = steps("{max_retries: 1, initial_backoff_sec: 1, jitter: 0}").worker("job.a", replies);
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.advance(Duration::from_secs(30)).await;
        let state = plane.run_state(&run).await?;
        let step = state.step("a").unwrap();
        assert_eq!((step.status, step.attempts), (StepStatus::Pending, 1));
        let why = plane.ask(async |p| p.why(plane.principal(), &run).await).await?;
        assert!(format!("{why:?}").contains("snoozed"), "{why:?}");
        let end = plane.run_to_end(&run).await?;
        assert_eq!((end.status(), end.step("a").unwrap().attempts), (RunStatus::Succeeded, 5));
        assert_eq!(plane.elapsed(), Duration::from_secs(3 * 60 + 1));
        let kinds: Vec<String> = plane.timeline(&run).await?.into_iter().map(|line| line.kind).collect();
        assert_eq!(kinds.iter().filter(|kind| *kind == "step_snoozed").count(), 3);
        assert_eq!(kinds.iter().filter(|kind| *kind == "step_retry_scheduled").count(), 1);
        Ok(())
    });
}

#[test]
fn what_is_put_off_survives_a_crash_and_a_cancel_ends_it() {
    let builder = steps("{max_retries: 0}").worker("job.a", [snooze(), Reply::succeed(json!(1))]);
    tell(builder, async |plane| {
        let first = plane.start("w", json!({})).await?;
        let second = plane.start("w", json!({})).await?;
        plane.advance(Duration::from_secs(1)).await;
        plane.crash_and_restart().await?;
        plane.ask(async |p| p.cancel_run(plane.principal(), &second, "enough").await).await?;
        assert_eq!(plane.run_to_end(&first).await?.status(), RunStatus::Succeeded);
        assert_eq!(plane.run_to_end(&second).await?.status(), RunStatus::Cancelled);
        assert_eq!(plane.elapsed(), Duration::from_secs(60));
        Ok(())
    });
}

#[test]
fn a_step_is_not_put_off_for_ever() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let builder = steps("{max_retries: 1, initial_backoff_sec: 1, jitter: 0, on_exhausted: park}").worker(
        "job.a",
        move |_: &ScriptedJob| {
            count.fetch_add(1, Ordering::Relaxed);
            snooze()
        },
    );
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        plane.advance(Duration::from_secs(60 * u64::from(MAX_SNOOZES) + 10)).await;
        // It was put off as often as it may be; then its own retry was used up.
        assert_eq!(asked.load(Ordering::Relaxed), MAX_SNOOZES + 2);
        let letters = plane.ask(async |p| p.dead_letters(plane.principal(), None, 0).await).await?;
        assert_eq!(&*letters.items[0].failure.code, "snoozed");
        // A fresh set of tries may be put off as often again.
        let step = StepRunId::parse("a")?;
        let retry = Resolution::Retry { input: None };
        plane.ask(async |p| p.resolve_step(plane.principal(), &run, &step, retry.clone()).await).await?;
        plane.advance(Duration::from_secs(10)).await;
        assert_eq!(plane.run_state(&run).await?.step("a").unwrap().status, StepStatus::Pending);
        Ok(())
    });
}

#[test]
fn a_yes_still_counts_when_its_worker_puts_the_job_off() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let builder = steps("{max_retries: 0}")
        .policy(policy_fn("p", |_| Outcome::RequireApproval))
        .approver("ann", move |_: &coretex_core::job::ApprovalRequest| {
            count.fetch_add(1, Ordering::Relaxed);
            Say::Yes
        })
        .worker("job.a", [snooze(), Reply::succeed(json!(1))]);
    tell(builder, async |plane| {
        let run = plane.start("w", json!({})).await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let last = JobId::parse(&format!("{run}:a@2"))?;
        assert!(plane.ask(async |p| p.job(plane.principal(), &last).await).await?.job.grant.is_some());
        Ok(())
    });
}

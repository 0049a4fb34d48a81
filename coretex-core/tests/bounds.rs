//! What one decision makes, and what workers have of one run, stays bounded, whatever a definition multiplies.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::time::Duration;

use coretex_core::{
    job::RunId,
    runtime::{Options, PlaneError},
    testing::{Reply, ScriptedJob, TestPlane, TestPlaneBuilder},
    workflow::{RunStatus, StepStatus, WaitCause},
};
use serde_json::{Value, json};

type Told = Result<(), PlaneError>;

/// Items and branches that each get a copy of the run's input: 1,000 bytes and a little.
const FLOWS: [(&str, usize); 5] = [
    ("  b: {for_each: 'range(40)', topic: job.b, input: {s: '${input.s}'}}", 40),
    ("  b: {for_each: 'range(40)', topic: job.b}", 40),
    (
        "  b:\n    for_each: 'range(8)'\n    type: parallel\n    steps:\n      c: {topic: job.b, input: {s: '${input.s}'}}\n      d: {topic: job.b, input: {s: '${input.s}'}}",
        16,
    ),
    (
        "  b:\n    for_each: 'range(5)'\n    type: parallel\n    steps:\n      c: {for_each: 'range(4)', topic: job.b, input: {s: '${input.s}'}}",
        20,
    ),
    (
        "  b: {topic: job.b, input: {s: '${input.s}'}}\n  c: {topic: job.b, input: {s: '${input.s}'}}\n  d: {topic: job.b, input: {s: '${input.s}'}}\n  e: {topic: job.b, input: {s: '${input.s}'}}\n  f: {topic: job.b, input: {s: '${input.s}'}}\n  g: {topic: job.b, input: {s: '${input.s}'}}\n  h: {topic: job.b, input: {s: '${input.s}'}}",
        7,
    ),
];

fn options(decision: u64, in_flight: u64, run: u64) -> Options {
    let mut options = Options::default();
    options.decision_bytes = decision;
    options.in_flight_bytes = in_flight;
    options.run_bytes = run;
    options
}

fn plane(steps: &str, options: Options) -> TestPlaneBuilder {
    TestPlane::builder()
        .options(options)
        .workflow(format!("id: w\nsteps:\n{steps}"))
        .worker("job.b", |_: &ScriptedJob| Reply::succeed(json!({})).after(Duration::from_secs(60)))
}

fn tell(builder: TestPlaneBuilder, test: impl AsyncFnOnce(&TestPlane) -> Told) {
    builder.run(test).unwrap().unwrap();
}

async fn start(plane: &TestPlane) -> Result<RunId, PlaneError> {
    let run = plane.start("w", json!({"s": "x".repeat(1_000)})).await?;
    plane.settle().await;
    Ok(run)
}

/// Jobs that were handed out and have not ended.
async fn in_flight(plane: &TestPlane, run: &RunId) -> Result<usize, PlaneError> {
    let run = plane.run_state(run).await?;
    let is_open = |value: &&coretex_core::workflow::StepRun| value.job.is_some() && value.status == StepStatus::Running;
    Ok(run.steps().map(|(_, step)| step).filter(is_open).count())
}

#[test]
fn workers_never_have_more_of_a_run_than_they_may() {
    for (steps, count) in FLOWS {
        tell(plane(steps, options(3_000, 4_500, 1 << 20)), async |plane| {
            let run = start(plane).await?;
            let mut most = 0;
            while plane.run_state(&run).await?.status() == RunStatus::Running {
                let now = in_flight(plane, &run).await?;
                assert!(now > 0, "{steps}: nothing is under way");
                most = most.max(now);
                plane.advance(Duration::from_secs(60)).await;
                plane.settle().await;
            }
            assert_eq!(most, 5, "{steps}: the bound is reached by the fifth");
            let end = plane.run_to_end(&run).await?;
            assert_eq!(end.status(), RunStatus::Succeeded, "{steps}: {:?}", end.failure());
            assert_eq!(end.steps().filter(|(_, step)| step.job.is_some()).count(), count, "{steps}");
            Ok(())
        });
    }
}

#[test]
fn an_input_above_every_bound_is_begun_all_the_same_one_after_the_other() {
    for (steps, _) in FLOWS {
        tell(plane(steps, options(1, 1, 1 << 20)), async |plane| {
            let run = start(plane).await?;
            assert_eq!(in_flight(plane, &run).await?, 1, "{steps}");
            assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Succeeded, "{steps}");
            Ok(())
        });
    }
}

#[test]
fn what_is_held_back_goes_on_after_a_crash() {
    for (steps, count) in FLOWS {
        tell(plane(steps, options(3_000, 4_500, 1 << 20)), async |plane| {
            let run = start(plane).await?;
            plane.crash_and_restart().await?;
            plane.settle().await;
            assert_eq!(in_flight(plane, &run).await?, 5, "{steps}");
            let end = plane.run_to_end(&run).await?;
            assert_eq!(end.status(), RunStatus::Succeeded, "{steps}: {:?}", end.failure());
            assert_eq!(end.steps().filter(|(_, step)| step.job.is_some()).count(), count, "{steps}");
            Ok(())
        });
    }
}

#[test]
fn why_names_what_a_step_is_held_back_for() {
    tell(plane(FLOWS[0].0, options(3_000, 4_500, 1 << 20)), async |plane| {
        let run = start(plane).await?;
        let waits = plane.ask(async |p| p.why(plane.principal(), &run).await).await?;
        let held: Vec<_> = waits
            .iter()
            .filter_map(|wait| match wait.cause {
                WaitCause::Bytes { in_flight } => Some((wait.step_id.as_ref().unwrap().to_string(), in_flight)),
                _ => None,
            })
            .collect();
        assert_eq!(held.len(), 35);
        assert_eq!(held[0].0, "b[5]");
        assert!((5_000..5_500).contains(&held[0].1), "{held:?}");
        let held = plane.timeline(&run).await?.iter().filter(|event| event.kind == "step_held").count();
        assert_eq!(held, 40, "noted once each: opening the items alone fills the first decision");
        Ok(())
    });
}

#[test]
fn what_ends_at_once_takes_several_decisions_and_leaves_no_memory_behind() {
    let steps = "  b: {for_each: 'range(40)', type: transform, output: '${input.s}'}";
    tell(plane(steps, options(3_000, 4_500, 1 << 20)), async |plane| {
        let run = start(plane).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(end.status(), RunStatus::Succeeded);
        let output = end.step("b").unwrap().output.clone().unwrap().value.unwrap();
        assert_eq!(output.as_array().unwrap().iter().filter(|item| item.is_string()).count(), 40);
        Ok(())
    });
}

#[test]
fn a_run_that_holds_too_much_fails_by_name() {
    let steps = "  b: {for_each: 'range(40)', topic: job.c}";
    let large = |_: &ScriptedJob| Reply::succeed(json!({"out": "x".repeat(1_000)}));
    tell(plane(steps, options(3_000, 4_500, 12_000)).worker("job.c", large), async |plane| {
        let run = start(plane).await?;
        let end = plane.run_to_end(&run).await?;
        let failure = end.failure().unwrap();
        assert_eq!((end.status(), &*failure.code), (RunStatus::Failed, "run_too_large"));
        assert!(failure.message.contains("`run_bytes`"), "{}", failure.message);
        Ok(())
    });
}

#[test]
fn what_is_held_back_is_cancelled_with_its_run() {
    tell(plane(FLOWS[0].0, options(3_000, 4_500, 1 << 20)), async |plane| {
        let run = start(plane).await?;
        plane.ask(async |p| p.cancel_run(plane.principal(), &run, "enough").await).await?;
        assert_eq!(plane.run_to_end(&run).await?.status(), RunStatus::Cancelled);
        Ok(())
    });
}

#[test]
fn items_of_items_that_are_too_many_are_refused_before_the_first_begins() {
    let steps = "  b:\n    for_each: 'range(10000)'\n    type: parallel\n    steps:\n      c: {for_each: 'range(100)', type: transform, output: 1}";
    tell(plane(steps, Options::default()), async |plane| {
        let run = plane.start("w", Value::Object(serde_json::Map::new())).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(&*end.failure().unwrap().code, "run_too_large");
        assert!(end.head() < 10, "{} events were written first", end.head());
        Ok(())
    });
}

/// Items whose first try fails, all of them at the same moment, and whose second is due at the same moment too.
const RETRIED: &str = "  b: {for_each: 'range(40)', topic: job.r, input: {s: '${input.s}'}, retry: {max_retries: 2, initial_backoff_sec: 5000, jitter: 0}}";

#[test]
fn tries_that_are_due_together_are_held_back_too() {
    for is_stopped_by_crash in [false, true] {
        let second = |job: &ScriptedJob| match job.attempt {
            1 => Reply::retryable("busy").after(Duration::from_secs(1)),
            _ => Reply::succeed(json!({})).after(Duration::from_secs(60)),
        };
        tell(plane(RETRIED, options(3_000, 4_500, 1 << 20)).worker("job.r", second), async |plane| {
            let run = start(plane).await?;
            // All first tries have failed long before the first second one is due.
            plane.advance(Duration::from_secs(100)).await;
            assert_eq!(in_flight(plane, &run).await?, 0);
            let mut most = 0;
            plane.advance(Duration::from_secs(4_950)).await;
            if is_stopped_by_crash {
                plane.crash_and_restart().await?;
                plane.settle().await;
            }
            while plane.run_state(&run).await?.status() == RunStatus::Running {
                let now = in_flight(plane, &run).await?;
                assert!(now > 0, "nothing is under way");
                most = most.max(now);
                plane.advance(Duration::from_secs(60)).await;
                plane.settle().await;
            }
            assert_eq!(most, 5, "the bound is reached by the fifth");
            let end = plane.run_to_end(&run).await?;
            assert_eq!(end.status(), RunStatus::Succeeded, "{:?}", end.failure());
            assert!(end.steps().filter(|(_, step)| step.job.is_some()).all(|(_, step)| step.attempts == 2));
            Ok(())
        });
    }
}

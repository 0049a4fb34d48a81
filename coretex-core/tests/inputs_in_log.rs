//! The input of a step that has ended lies in the log and no longer in the state: runs go on for as long as they like,
//! and whoever asks for an input still gets it.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use coretex_core::{
    job::{JobId, RunId, StepRunId},
    runtime::{Options, PlaneError, RerunRequest},
    testing::{Reply, ScriptedJob, TestPlane},
    workflow::{RunStatus, RunView},
};
use serde_json::{Value, json};

const ITEMS: usize = 200;
const TEXT: usize = 10_000;

/// A `for_each` whose inputs are 20 times as many bytes as the run may hold.
fn tell(test: impl AsyncFnOnce(&TestPlane) -> Result<(), PlaneError>) {
    let mut options = Options::default();
    options.run_bytes = 100_000;
    options.in_flight_bytes = 40_000;
    let text = format!(
        "id: w\nsteps:\n  b: {{for_each: 'range({ITEMS})', topic: job.b, input: {{n: '${{item}}', s: '${{input.s}}'}}}}\n"
    );
    let is_odd = |job: &ScriptedJob| job.input.get("n") == Some(&json!(7)) && job.input.get("item").is_some();
    TestPlane::builder()
        .options(options)
        .workflow(text + "  c: {depends_on: [b], topic: job.c}")
        .worker("job.b", move |job: &ScriptedJob| Reply::succeed(json!({"odd": is_odd(job)})))
        .worker("job.c", Reply::fatal("boom"))
        .run(test)
        .unwrap()
        .unwrap();
}

async fn start(plane: &TestPlane) -> Result<RunId, PlaneError> {
    plane.start("w", json!({"s": "x".repeat(TEXT)})).await
}

fn step(id: &str) -> StepRunId {
    StepRunId::parse(id).unwrap()
}

fn input_of(n: usize) -> Value {
    json!({"n": n, "item": n, "s": "x".repeat(TEXT)})
}

#[test]
fn a_run_moves_more_bytes_of_inputs_than_it_may_hold() {
    tell(async |plane| {
        let run = start(plane).await?;
        let end = plane.run_to_end(&run).await?;
        assert_eq!(&*end.failure().unwrap().code, "boom", "{:?}", end.failure());
        let group = end.step("b").unwrap().group.as_deref().unwrap();
        assert_eq!(group.succeeded as usize, ITEMS);
        assert!(end.weight() < 400_000, "{} bytes are still held", end.weight());
        let snapshot = end.to_snapshot().unwrap().len();
        assert!(snapshot < 400_000, "a snapshot has {snapshot} bytes");
        Ok(())
    });
}

#[test]
fn whoever_asks_for_an_input_still_gets_it() {
    tell(async |plane| {
        let run = start(plane).await?;
        let end = plane.run_to_end(&run).await?;
        assert!(end.step("b[7]").unwrap().has_input_in_log());
        let input = plane.ask(async |p| p.step_input(plane.principal(), &run, &step("b[7]")).await).await?;
        assert_eq!(*input.unwrap(), input_of(7));
        let job = JobId::of_step(&run, &step("b[150]"), 1);
        let job = plane.ask(async |p| p.job(plane.principal(), &job).await).await?;
        assert_eq!(*job.spec.input, input_of(150));
        // A step without an input of its own works on that of the run.
        let whole = plane.ask(async |p| p.step_input(plane.principal(), &run, &step("c")).await).await?;
        assert_eq!(*whole.unwrap(), json!({"s": "x".repeat(TEXT)}));
        let gone = plane.ask(async |p| p.step_input(plane.principal(), &run, &step("b[200]")).await).await;
        assert_eq!(gone.unwrap_err().code(), "step_not_found");
        Ok(())
    });
}

#[test]
fn a_view_shows_inputs_until_they_are_too_many_and_then_where_they_are() {
    tell(async |plane| {
        let run = start(plane).await?;
        let end = plane.run_to_end(&run).await?;
        let bare = RunView::of(&end).unwrap();
        let (b, shown) =
            (&bare.steps["b"].children["b[7]"], plane.ask(async |p| p.run_view(&end).await).await?.unwrap());
        assert_eq!(b.input, None);
        let at = b.input_at.unwrap().get();
        let event = &plane.timeline(&run).await?[usize::try_from(at).unwrap() - 1];
        assert_eq!(event.kind, "step_dispatched");
        let seven = &shown.steps["b"].children["b[7]"];
        assert_eq!((seven.input.as_ref(), seven.input_at), (Some(&input_of(7)), None));
        // The run as it was: while the step was under way, its input was in the state.
        let then = plane.ask(async |p| p.run_at(plane.principal(), &run, at).await).await?;
        assert_eq!(then.step("b[7]").unwrap().input.as_deref(), Some(&input_of(7)));
        Ok(())
    });
}

#[test]
fn a_run_that_goes_on_from_another_knows_the_inputs_of_what_it_took_over() {
    tell(async |plane| {
        let first = start(plane).await?;
        plane.run_to_end(&first).await?;
        let mut last = first.clone();
        for _ in 0..2 {
            let next = plane.ask(async |p| p.rerun(plane.principal(), &last, RerunRequest::new()).await).await?;
            assert_eq!(plane.run_to_end(&next).await?.status(), RunStatus::Failed);
            last = next;
        }
        let input = plane.ask(async |p| p.step_input(plane.principal(), &last, &step("b[7]")).await).await?;
        assert_eq!(*input.unwrap(), input_of(7));
        Ok(())
    });
}

#[test]
fn the_state_is_the_fold_of_the_log_after_a_crash_in_between() {
    tell(async |plane| {
        let run = start(plane).await?;
        plane.settle().await;
        plane.crash_and_restart().await?;
        let end = plane.run_to_end(&run).await?;
        let again = plane.ask(async |p| p.run_at(plane.principal(), &run, end.head()).await).await?;
        assert!(end == again);
        let report = plane.ask(async |p| p.replay(plane.principal(), &run).await).await?;
        assert!(report.agrees(), "{report:?}");
        Ok(())
    });
}

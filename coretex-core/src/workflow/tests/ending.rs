//! The end of a run is bounded, and can be cut short.

use super::*;
use crate::workflow::{ChildEffect, timeline};

const LAST: &str = "
id: w
finally_timeout_sec: 60
steps:
  a: {topic: job.a, compensate: {topic: job.undo}}
  b: {topic: job.b, depends_on: [a]}
finally:
  ask: {type: approval}
  tell: {topic: job.tell}
  after: {topic: job.after, depends_on: [ask]}
";

fn fatal() -> JobStatusReport {
    JobStatusReport::Failed(crate::job::Failure::fatal("boom", "it broke"))
}

fn halt() -> RunInput {
    RunInput::Halt { by: "ann".into(), reason: "enough".into() }
}

fn cancel() -> RunInput {
    RunInput::Cancel { by: "ann".into(), reason: "enough".into() }
}

/// The lines from the first of `kind` on, as `type` or `type step`.
fn lines_from(run: &Driver, kind: &str) -> Vec<String> {
    let lines = timeline("r1", "w", 1, &run.log).into_iter();
    let told = |line: timeline::TimelineEvent| match line.step_id {
        Some(step) => format!("{} {step}", line.kind),
        None => line.kind,
    };
    lines.map(told).skip_while(|line| !line.starts_with(kind)).collect()
}

#[test]
fn last_steps_are_given_up_when_their_time_is_over() {
    let mut run = Driver::start(LAST, json!({}));
    run.succeed(1, "r1:a@1", json!(1)).succeed(2, "r1:b@1", json!(1));
    assert_eq!((run.run.phase(), run.run.wake()), (Phase::Finalizing, Wake::Hot));
    run.succeed(3, "r1:tell@1", json!(1)).feed(61, RunInput::Tick);
    assert_eq!((run.run.status(), run.run.wake()), (RunStatus::Waiting, Wake::At(at(62))));
    run.feed(62, RunInput::Tick);
    assert_eq!(
        (run.run.status(), run.run.failure().map(|failure| failure.code.to_string())),
        (RunStatus::TimedOut, Some("finally_timeout".into()))
    );
    assert_eq!((run.status("ask"), run.status("after")), (StepStatus::Cancelled, StepStatus::Cancelled));
    assert_eq!(run.records.last().map(|records| records.closed.clone()), Some(vec!["r1:ask".to_owned()]));
    assert_eq!(lines_from(&run, "run_halted"), ["run_halted", "step_cancelled ask", "run_status"]);
}

#[test]
fn without_a_word_last_steps_have_an_hour() {
    let run =
        Driver::start("id: w\nsteps: {a: {type: transform, output: 1}}\nfinally: {ask: {type: approval}}", json!({}));
    assert_eq!(run.run.wake(), Wake::At(at(3_600)));
}

#[test]
fn undoing_that_takes_too_long_is_given_up_and_last_steps_run_all_the_same() {
    let mut run = Driver::start(LAST, json!({}));
    run.succeed(1, "r1:a@1", json!(1)).finish(2, "r1:b@1", fatal());
    assert_eq!(run.run.phase(), Phase::Compensating);
    run.feed(62, RunInput::Tick);
    assert_eq!(run.run.phase(), Phase::Compensating, "the worker may still say how it ended");
    run.feed(72, RunInput::Tick);
    assert_eq!((run.run.phase(), run.status("a-compensate")), (Phase::Finalizing, StepStatus::Cancelled));
    assert_eq!(run.run.undo_failure().map(|failure| &*failure.code), Some("finally_timeout"));
    run.succeed(73, "r1:tell@1", json!(1)).feed(132, RunInput::Tick);
    assert_eq!(
        (run.run.status(), run.run.failed_step()),
        (RunStatus::Failed, Some("b")),
        "it fails as it was going to"
    );
}

#[test]
fn a_halt_ends_a_run_in_order_in_whichever_phase_it_is() {
    // With steps under way.
    let mut run = Driver::start(LAST, json!({}));
    run.succeed(1, "r1:a@1", json!(1)).feed(2, halt());
    assert_eq!(run.run.phase(), Phase::Stopping, "a worker has its grace");
    run.feed(3, halt()).finish(4, "r1:b@1", JobStatusReport::Cancelled);
    assert_eq!(run.run.status(), RunStatus::Cancelled);
    assert_eq!((run.status("ask"), run.status("a-compensate")), (StepStatus::Cancelled, StepStatus::Skipped));
    assert_eq!(run.log.iter().filter(|stored| matches!(stored.event, RunEvent::RunHalted { .. })).count(), 1);

    // While it is stopping.
    let mut run = Driver::start(LAST, json!({}));
    run.succeed(1, "r1:a@1", json!(1)).feed(2, cancel()).feed(3, cancel()).feed(4, halt());
    run.finish(5, "r1:b@1", JobStatusReport::Cancelled);
    assert_eq!(run.run.status(), RunStatus::Cancelled);

    // While it undoes what it did.
    let mut run = Driver::start(LAST, json!({}));
    run.succeed(1, "r1:a@1", json!(1)).finish(2, "r1:b@1", fatal()).feed(3, cancel()).feed(4, halt());
    let told = run.effects.iter().any(|effect| {
        matches!(effect, RunEffect::Job(crate::job::Effect::Cancel { job, .. }) if job.as_str() == "r1:a-compensate@1")
    });
    assert!(told, "the worker is told to stop");
    run.feed(14, RunInput::Tick);
    assert_eq!((run.run.status(), run.run.failed_step()), (RunStatus::Failed, Some("b")));

    // While last steps run, of a run that was going to end well.
    let mut run = Driver::start(LAST, json!({}));
    run.succeed(1, "r1:a@1", json!(1)).succeed(2, "r1:b@1", json!(1)).succeed(3, "r1:tell@1", json!(1));
    run.feed(4, cancel());
    assert_eq!(run.run.status(), RunStatus::Waiting, "a cancel changes nothing any more");
    run.feed(5, halt());
    assert_eq!(run.run.status(), RunStatus::Cancelled);
    let before = run.run.clone();
    run.feed(6, halt());
    assert_eq!(run.run, before, "what comes after the end changes nothing");

    // With nothing under way.
    let mut run =
        Driver::start("id: w\nsteps: {wait: {type: delay, delay_sec: 9}}\nfinally: {f: {topic: job.f}}", json!({}));
    run.feed(1, halt());
    assert_eq!((run.run.status(), run.dispatched().len()), (RunStatus::Cancelled, 0));
}

#[test]
fn a_halt_halts_the_runs_that_are_carried_out_too() {
    let mut run = Driver::start("id: w\nsteps: {s: {type: subworkflow, workflow: other}}", json!({}));
    run.feed(1, cancel()).feed(2, halt());
    let forced = run.effects.iter().filter_map(|effect| match effect {
        RunEffect::Child(ChildEffect::StopChild { force, .. }) => Some(*force),
        _ => None,
    });
    assert_eq!(forced.collect::<Vec<_>>(), [false, true]);
}

#[test]
fn whatever_is_stopped_with_its_block_has_a_line_of_its_own() {
    let waiting = "
id: w
steps:
  a: {topic: job.a}
  ask: {type: approval}
  data: {type: input}
  heard: {type: signal, signal: go}
  nap: {type: delay, delay_sec: 100}
  again: {topic: job.again, retry: {max_retries: 1, initial_backoff_sec: 50}}
  late: {topic: job.late, depends_on: [ask]}
";
    let busy = JobStatusReport::Failed(crate::job::Failure::retryable("busy", "later"));
    let ended = [
        "step_cancelled again",
        "step_cancelled ask",
        "step_cancelled data",
        "step_cancelled heard",
        "step_cancelled nap",
    ];
    let mut run = Driver::start(waiting, json!({}));
    run.finish(1, "r1:again@1", busy).finish(2, "r1:a@1", fatal());
    let mut lines = lines_from(&run, "run_unwinding");
    assert_eq!((lines.remove(0), lines.pop()), ("run_unwinding".into(), Some("run_status a".into())));
    lines.sort_unstable();
    assert_eq!(lines, ended);

    let race = "id: w\nsteps: {race: {type: parallel, join: any, steps: {a: {topic: job.a}, ask: {type: approval}}}}";
    let mut run = Driver::start(race, json!({}));
    run.succeed(1, "r1:a@1", json!(1));
    assert_eq!(run.run.status(), RunStatus::Succeeded);
    assert!(lines_from(&run, "step_group_stopping").contains(&"step_cancelled ask".to_owned()));
}

#[test]
fn a_worker_that_is_told_to_stop_has_no_longer_than_its_job_had() {
    let mut run = Driver::start("id: w\nsteps: {a: {topic: job.a, timeout_sec: 5}}", json!({}));
    run.feed(2, cancel());
    assert_eq!(run.run.next_due(), Some(at(5)));
    run.feed(5, RunInput::Tick);
    assert_eq!(run.run.status(), RunStatus::Cancelled);
}

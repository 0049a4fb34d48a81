//! An output that is too large for a record is never read as if there were none.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use coretex_core::{
    runtime::{Options, PlaneError},
    testing::{Reply, ScriptedJob, TestPlane},
    workflow::{Run, RunStatus},
};
use serde_json::json;

/// Runs `steps` after a step `e` whose output is kept by pointer.
fn after_a_large_output(steps: &str) -> Run {
    let mut options = Options::default();
    options.inline_bytes = 100;
    let work = |_: &ScriptedJob| Reply::succeed(json!({"list": ["x".repeat(200), "y"], "ok": true}));
    TestPlane::builder()
        .options(options)
        .workflow(format!("id: w\nsteps:\n  e: {{topic: job.e, output_path: kept}}\n{steps}"))
        .worker("job.e", work)
        .worker("job.x", |job: &ScriptedJob| Reply::succeed(json!({"saw": job.input})))
        .run(async |plane| {
            let run = plane.start("w", json!({})).await?;
            let run = plane.run_to_end(&run).await?;
            Ok::<_, PlaneError>(run)
        })
        .unwrap()
        .unwrap()
}

#[test]
fn whatever_reads_an_output_kept_by_pointer_fails_by_name() {
    for reader in [
        "f: {depends_on: [e], topic: job.x, for_each: steps.e.output.list}",
        "f: {depends_on: [e], topic: job.x, input: '${steps.e.output}'}",
        "f: {depends_on: [e], topic: job.x, input: {n: 'first: ${steps.e.output.list[0]}'}}",
        "f: {depends_on: [e], topic: job.x, input: {all: '${steps}'}}",
        "f: {depends_on: [e], topic: job.x, input: {e: '${steps[\"e\"].output.ok}'}}",
        "f: {depends_on: [e], topic: job.x, input: {e: '${has(steps.e.output.gone)}'}}",
        "f: {depends_on: [e], topic: job.x, input: {e: '${default(steps.e.output.ok, false)}'}}",
        "f: {depends_on: [e], topic: job.x, input: {e: '${values(steps.e)}'}}",
        "f: {depends_on: [e], topic: job.x, condition: steps.e.output.ok}",
        "f: {depends_on: [e], type: condition, condition: '!steps.e.output.ok'}",
        "f: {depends_on: [e], type: transform, output: {list: '${steps.e.output.list}'}}",
        "f: {depends_on: [e], type: transform, output: {list: '${ctx.kept.list}'}}",
        "f: {depends_on: [e], type: switch, cases: [{when: steps.e.output.ok, then: [g]}]}\n  g: {depends_on: [f], topic: job.x}",
    ] {
        let run = after_a_large_output(&format!("  {reader}\n"));
        assert_eq!(run.status(), RunStatus::Failed, "{reader}");
        let failure = run.failure().unwrap();
        assert_eq!(&*failure.code, "output_by_pointer", "{reader}: {}", failure.message);
        assert!(failure.message.contains(":e@1"), "{reader}: {}", failure.message);
    }
}

#[test]
fn the_failure_names_step_size_bound_and_pointer() {
    let run = after_a_large_output("  f: {depends_on: [e], type: transform, output: '${steps.e.output.ok}'}\n");
    let message = run.failure().unwrap().message.to_string().replace(run.id().unwrap().as_str(), "RUN");
    assert_eq!(
        message,
        "template: expression `steps.e.output.ok` failed at 1:1: the output of step `e` has 227 bytes, which \
         `inline_bytes` does not allow in a record, and is kept behind the pointer `redis://res:RUN:e@1`; pass on \
         `steps.e.result_ptr`, or make the output smaller"
    );
}

#[test]
fn the_output_of_a_run_does_not_leave_out_what_lies_elsewhere() {
    let run = after_a_large_output("output: {list: '${steps.e.output.list}'}\n");
    assert_eq!(&*run.failure().unwrap().code, "output_by_pointer");
}

#[test]
fn the_pointer_can_be_passed_on() {
    let run = after_a_large_output(
        "  f: {depends_on: [e], type: transform, output: {ptr: '${steps.e.result_ptr}', ok: '${steps.e.status}'}}\n",
    );
    let output = run.step("f").unwrap().output.clone().unwrap().value.unwrap();
    let pointer = format!("redis://res:{}:e@1", run.id().unwrap());
    assert_eq!(*output, json!({"ptr": pointer, "ok": "succeeded"}));
}

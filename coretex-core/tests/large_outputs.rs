//! An output that is too large for a record is read from the blob store by the expressions that look into it, up to a bound,
//! and never as if there were none.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use coretex_core::{
    runtime::{Options, PlaneError, RerunRequest},
    testing::{Reply, ScriptedJob, TestPlane},
    workflow::{Run, RunStatus},
};
use serde_json::json;

/// Runs `steps` after a step `e` whose output is kept by pointer and is more than a decision may read.
fn after_a_large_output(steps: &str) -> Run {
    after_an_output(steps, 200)
}

/// Runs `steps` after a step `e` whose output is kept by pointer, where a decision may read so many bytes.
fn after_an_output(steps: &str, decision_bytes: u64) -> Run {
    let mut options = Options::default();
    options.inline_bytes = 100;
    options.decision_bytes = decision_bytes;
    let work = |_: &ScriptedJob| Reply::succeed(json!({"list": ["x".repeat(200), "y"], "ok": true}));
    TestPlane::builder()
        .options(options)
        .workflow(format!("id: w\nsteps:\n  e: {{topic: job.e, output_path: kept}}\n{steps}"))
        .worker("job.e", work)
        .worker("job.x", |job: &ScriptedJob| match job.input.to_string().len() {
            large @ 80.. => Reply::succeed(json!({"saw": large})),
            _ => Reply::succeed(json!({"saw": job.input})),
        })
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
         `steps.e.result_ptr`, or make the output smaller; one step reads at most 200 bytes of such outputs (`decision_bytes`)"
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

/// Every place where an expression may look into an output, and what comes of it.
const READERS: [(&str, &str); 17] = [
    (
        "f: {depends_on: [e], topic: job.x, for_each: steps.e.output.list, input: {}}",
        "[{\"saw\":211},{\"saw\":{\"item\":\"y\"}}]",
    ),
    ("f: {depends_on: [e], topic: job.x, input: '${steps.e.output}'}", "{\"saw\":227}"),
    (
        "f: {depends_on: [e], topic: job.x, input: {n: 'second: ${steps.e.output.list[1]}'}}",
        "{\"saw\":{\"n\":\"second: y\"}}",
    ),
    ("f: {depends_on: [e], topic: job.x, input: {all: '${steps.e}'}, condition: 'true'}", ""),
    ("f: {depends_on: [e], topic: job.x, input: {e: '${steps[\"e\"].output.ok}'}}", "{\"saw\":{\"e\":true}}"),
    ("f: {depends_on: [e], topic: job.x, input: {e: '${has(steps.e.output.gone)}'}}", "{\"saw\":{\"e\":false}}"),
    ("f: {depends_on: [e], topic: job.x, input: {e: '${default(steps.e.output.none, 7)}'}}", "{\"saw\":{\"e\":7}}"),
    ("f: {depends_on: [e], topic: job.x, condition: '!steps.e.output.ok'}", ""),
    ("f: {depends_on: [e], type: condition, condition: '!steps.e.output.ok'}", "false"),
    ("f: {depends_on: [e], type: transform, output: {last: '${steps.e.output.list[1]}'}}", "{\"last\":\"y\"}"),
    (
        "f: {depends_on: [e], type: switch, cases: [{when: steps.e.output.ok, then: [g]}]}\n  g: {depends_on: [f], topic: job.x, input: {}}",
        "{\"cases\":[\"0\"],\"taken\":[\"g\"]}",
    ),
    (
        "f: {depends_on: [e], type: loop, max_iterations: 3, until: steps.e.output.ok, next: '${size(steps.e.output.list)}', steps: {s: {type: transform, output: 1}}}",
        "2",
    ),
    (
        "f: {depends_on: [e], type: loop, max_iterations: 3, while: 'index < size(steps.e.output.list)', steps: {s: {type: transform, output: '${index}'}}}",
        "{\"s\":1}",
    ),
    (
        "f: {depends_on: [e], type: parallel, steps: {s: {type: transform, output: '${steps.e.output.list[1]}'}}}",
        "{\"s\":\"y\"}",
    ),
    (
        "f: {depends_on: [e], for_each: 'range(3)', type: transform, output: '${steps.e.output.list[1]}'}",
        "[\"y\",\"y\",\"y\"]",
    ),
    ("f: {depends_on: [e], type: delay, delay: '${size(steps.e.output.list)}'}", ""),
    ("f: {depends_on: [e], type: notify, input: {message: '${steps.e.output.list[1]}'}}", ""),
];

#[test]
fn whatever_reads_an_output_kept_by_pointer_reads_it() {
    for (reader, expected) in READERS {
        let run = after_an_output(&format!("  {reader}\n"), 1 << 20);
        assert_eq!(run.status(), RunStatus::Succeeded, "{reader}: {:?}", run.failure());
        let output = run.step("f").unwrap().output.clone().and_then(|output| output.value);
        if !expected.is_empty() {
            assert_eq!(output.unwrap().to_string(), expected, "{reader}");
        }
    }
}

#[test]
fn the_output_of_a_run_reads_it_too() {
    let run = after_an_output("output: {list: '${steps.e.output.list[1]}'}\n", 1 << 20);
    assert_eq!(run.output().map(|output| output.to_string()), Some(r#"{"list":"y"}"#.to_owned()));
}

/// Items that each make a large output and then look into it.
const ITEMS: &str = "
id: w
steps:
  each:
    for_each: 'range(30)'
    type: parallel
    steps:
      a: {topic: job.e, input: {}}
      b: {depends_on: [a], type: transform, output: '${steps.a.output.n}'}
  sum: {depends_on: [each], type: transform, output: '${size(steps.each.output)}'}
output: '${steps.sum.output}'";

#[test]
fn crashes_change_no_end() {
    use coretex_core::testing::FaultPlan;
    for crash in [None, Some(3), Some(17), Some(40)] {
        let mut options = Options::default();
        options.inline_bytes = 100;
        // Two of the outputs.
        options.decision_bytes = 3_000;
        let work = |job: &ScriptedJob| Reply::succeed(json!({"n": job.input["item"], "s": "x".repeat(1_000)}));
        let plan = crash.into_iter().fold(FaultPlan::new(1), FaultPlan::crash_after);
        let run = TestPlane::builder()
            .options(options)
            .faults(&plan.arm())
            .workflow(ITEMS)
            .worker("job.e", work)
            .run(async |plane| {
                let run = plane.start("w", json!({})).await?;
                let end = plane.run_to_end(&run).await?;
                let report = plane.ask(async |p| p.replay(plane.principal(), &run).await).await?;
                assert!(report.agrees());
                Ok::<_, PlaneError>(end)
            })
            .unwrap()
            .unwrap();
        assert_eq!(run.status(), RunStatus::Succeeded, "{crash:?}: {:?}", run.failure());
        for n in 0..30 {
            let output = run.step(&format!("b[{n}]")).unwrap().output.clone().unwrap().value.unwrap();
            assert_eq!(*output, json!(n), "{crash:?}");
        }
    }
}

#[test]
fn a_run_that_goes_on_from_another_reads_what_that_made() {
    let mut options = Options::default();
    options.inline_bytes = 100;
    let text = "id: w\nsteps:\n  e: {topic: job.e}\n  f: {depends_on: [e], topic: job.f, input: {n: '${size(steps.e.output.list)}'}}\n";
    let mut tries = 0;
    TestPlane::builder()
        .options(options)
        .workflow(text)
        .worker("job.e", |_: &ScriptedJob| Reply::succeed(json!({"list": ["x".repeat(200), "y"]})))
        .worker("job.f", move |job: &ScriptedJob| {
            tries += 1;
            if tries == 1 { Reply::fatal("boom") } else { Reply::succeed(json!({"saw": job.input})) }
        })
        .run(async |plane| {
            let first = plane.start("w", json!({})).await?;
            assert_eq!(plane.run_to_end(&first).await?.status(), RunStatus::Failed);
            let second = plane.ask(async |p| p.rerun(plane.principal(), &first, RerunRequest::new()).await).await?;
            let end = plane.run_to_end(&second).await?;
            assert_eq!(end.status(), RunStatus::Succeeded, "{:?}", end.failure());
            let output = end.step("f").unwrap().output.clone().unwrap().value.unwrap();
            assert_eq!(*output, json!({"saw": {"n": 2}}));
            Ok::<_, PlaneError>(())
        })
        .unwrap()
        .unwrap();
}

#[test]
fn an_output_that_is_gone_or_changed_is_not_read_as_another() {
    for other in [None, Some(r#"{"list": [], "ok": true}"#)] {
        let mut options = Options::default();
        options.inline_bytes = 100;
        let text = "id: w\nsteps:\n  e: {topic: job.e}\n  hold: {type: approval, depends_on: [e]}\n  f: {depends_on: [hold], type: transform, output: '${steps.e.output.ok}'}\n";
        TestPlane::builder()
            .options(options)
            .workflow(text)
            .worker("job.e", |_: &ScriptedJob| Reply::succeed(json!({"list": ["x".repeat(200)], "ok": true})))
            .run(async |plane| {
                let run = plane.start("w", json!({})).await?;
                plane.settle().await;
                let blobs = plane.plane()?.blobs();
                for entry in blobs.list("pin/", None, 10).await.unwrap() {
                    blobs.delete(&entry.key).await.unwrap();
                    if let Some(other) = other {
                        blobs.put(&entry.key, other.into()).await.unwrap();
                    }
                }
                plane.answer(&run, "hold", "ann", true).await?;
                let end = plane.run_to_end(&run).await?;
                let failure = end.failure().unwrap();
                assert_eq!(&*failure.code, "output_by_pointer");
                assert!(failure.message.contains("cannot be read there any more"), "{}", failure.message);
                Ok::<_, PlaneError>(())
            })
            .unwrap()
            .unwrap();
    }
}

//! Definitions that say what is not carried out, or that can never work.

use super::{Workflow, problems};

fn of_step(step: &str) -> Vec<String> {
    problems(&format!("id: w\nsteps:\n  a: {step}\n"))
}

#[test]
fn a_field_that_a_kind_does_not_carry_out_is_refused() {
    for (step, field) in [
        ("{type: approval, retry: {max_retries: 3}}", "retry"),
        ("{type: approval, retry: {on_exhausted: park}}", "retry"),
        ("{type: switch, cases: [{when: 'true', then: []}], retry: {max_retries: 1}}", "retry"),
        ("{type: parallel, steps: {b: {}}, retry: {max_retries: 1}}", "retry"),
        ("{type: condition, condition: 'true', retry: {max_retries: 1}}", "retry"),
        ("{type: approval, output_schema: {type: object}}", "output_schema"),
        ("{type: approval, input_schema: {type: object}}", "input_schema"),
        ("{type: signal, input: {a: 1}}", "input"),
        ("{type: transform, output: 1, topic: job.x}", "topic"),
        ("{type: storage, storage: {op: get, key: k}, meta: {capability: c}}", "meta"),
        ("{type: subworkflow, workflow: other, timeout_sec: 5}", "timeout_sec"),
        ("{topic: job.x, delay: 5s}", "delay"),
        ("{topic: job.x, delay_sec: 5}", "delay_sec"),
        ("{topic: job.x, delay_until: '2030-01-01T00:00:00Z'}", "delay_until"),
        ("{type: delay, delay: 1h, delay_sec: 5, delay_until: '2030-01-01T00:00:00Z'}", "delay"),
        ("{type: delay, delay: 1h, timeout_sec: 5}", "timeout_sec"),
        ("{compensate: {type: approval, retry: {max_retries: 1}}}", "compensate.retry"),
    ] {
        assert_eq!(of_step(step), [format!("steps.a.{field}: field_misplaced")], "{step}");
    }
}

#[test]
fn established_fields_that_change_nothing_are_taken_where_they_always_were() {
    for step in [
        "{type: approval, topic: job.x, worker_id: w, meta: {capability: c}, route_labels: {a: b}}",
        "{type: delay, delay_sec: 5, delay_until: '2030-01-01T00:00:00Z', timeout_sec: 9, input: {a: 1}}",
        "{type: condition, condition: 'true', topic: job.x, input: {a: 1}, timeout_sec: 5}",
        "{type: notify, topic: job.x, meta: {capability: c}, timeout_sec: 5}",
        "{type: transform, output: 1, input: {}}",
        "{topic: job.x, retry: {max_retries: 3}, timeout_sec: 5, meta: {}, input_schema: {}, output_schema: {}}",
    ] {
        assert!(of_step(step).is_empty(), "{step}: {:?}", of_step(step));
    }
}

#[test]
fn a_delay_without_a_time_is_refused() {
    assert_eq!(of_step("{type: delay}"), ["steps.a.delay: field_missing"]);
    assert!(of_step("{type: delay, delay: 0s}").is_empty());
}

#[test]
fn a_workflow_that_starts_itself_needs_something_that_ends_it() {
    let refused = [
        "a: {type: subworkflow, workflow: w}",
        "a: {type: subworkflow, workflow: w, depends_on: [b]}\n  b: {}",
        "g: {type: parallel, steps: {a: {type: subworkflow, workflow: w}}}",
        // A step that is skipped by its own gate lets those behind it go on.
        "a: {type: subworkflow, workflow: w, depends_on: [b]}\n  b: {condition: 'input.n > 0'}",
    ];
    for steps in refused {
        let found = problems(&format!("id: w\nsteps:\n  {steps}\n"));
        assert!(
            matches!(found.as_slice(), [one] if one.ends_with("a.workflow: workflow_recursive")),
            "{steps}: {found:?}"
        );
    }
    for steps in [
        "a: {type: subworkflow, workflow: w, condition: 'input.n > 0'}",
        "g: {type: parallel, condition: 'input.n > 0', steps: {a: {type: subworkflow, workflow: w}}}",
        "s: {type: switch, cases: [{when: 'input.n > 0', then: [a]}]}\n  a: {type: subworkflow, workflow: w}",
        "s: {type: switch, cases: [{when: 'input.n > 0', then: [b]}]}\n  b: {}\n  a: {type: subworkflow, workflow: w, depends_on: [b]}",
        "a: {type: subworkflow, workflow: w, for_each: input.l}",
        "a: {type: subworkflow, workflow: w, depends_on: [ask]}\n  ask: {type: approval}",
        "b: {on_error: a}\n  a: {type: subworkflow, workflow: w}",
        "a: {type: subworkflow, workflow: other}",
    ] {
        let found = problems(&format!("id: w\nsteps:\n  {steps}\n"));
        assert!(found.is_empty(), "{steps}: {found:?}");
    }
}

#[test]
fn a_step_that_reads_itself_is_refused() {
    for step in [
        "{type: transform, output: '${steps.a.output}'}",
        "{type: condition, condition: steps.a.output}",
        "{condition: 'steps.a.status == \"failed\"'}",
        "{topic: job.x, for_each: steps.a.output}",
        "{type: loop, max_iterations: 2, carry: '${steps.a.output}', steps: {b: {}}}",
    ] {
        assert_eq!(of_step(step), ["steps.a: step_not_visible"], "{step}");
    }
    let about_an_iteration = "id: w\nsteps:\n  l: {type: loop, until: steps.b.output, steps: {b: {}}}\n";
    assert!(Workflow::parse("w.yaml", about_an_iteration).is_ok());
}

#[test]
fn every_slip_is_told_at_once_with_its_place_and_in_plain_words() {
    let yaml = "
id: w
timeout_sec: soon
nmae: x
concurrency: {key: a, limit: many}
steps:
  a: {retry: {max_retries: -1, backof: 3, jitter: high}, depends_on: [b, 3], timeout_sec: 1.5}
  b: {type: storage, storage: {op: zap, key: k}}
  c: {type: storage, storage: {op: put}}
  d: {type: parallel, join: most, steps: {e: {name: [x]}}}
  f: {for_each: input.l, on_item_error: {tolerate: [1]}}
  g: {meta: {risk_tags: read}, continue_on_error: perhaps}
  h: []
  i: {type: switch, cases: [{when: 'true', than: [a]}]}
";
    let error = Workflow::parse("flow.yaml", yaml).expect_err("full of slips");
    let found: Vec<String> = error.problems.iter().map(|one| format!("{}: {}", one.path, one.code)).collect();
    for expected in [
        "timeout_sec: wrong_type",
        "nmae: unknown_field",
        "concurrency.limit: wrong_type",
        "steps.a.retry.max_retries: out_of_range",
        "steps.a.retry.backof: unknown_field",
        "steps.a.retry.jitter: wrong_type",
        "steps.a.depends_on[1]: wrong_type",
        "steps.a.timeout_sec: wrong_type",
        "steps.b.storage.op: value_unknown",
        "steps.c.storage: field_missing",
        "steps.d.join: value_unknown",
        "steps.d.steps.e.name: wrong_type",
        "steps.f.on_item_error: wrong_type",
        "steps.g.meta.risk_tags: wrong_type",
        "steps.g.continue_on_error: wrong_type",
        "steps.h: wrong_type",
        "steps.i.cases[0].than: unknown_field",
    ] {
        assert!(found.iter().any(|problem| problem == expected), "{expected} is missing in {found:#?}");
    }
    assert_eq!(found.len(), 17, "{found:#?}");
    let text = error.to_string();
    for inner in ["u32", "i64", "f64", "struct", "sequence", "Spec", "variant", "untagged", "line"] {
        assert!(!text.contains(inner), "{inner}: {text}");
    }
    assert!(text.contains("did you mean `name`?") && text.contains("use one of put, get, delete"), "{text}");
}

#[test]
fn every_bad_expression_of_a_template_is_told() {
    let found =
        problems("id: w\nsteps:\n  a: {input: {x: '${inptu.a}', y: {z: ['${1 +}', '${ok']}, fine: '${input.a}'}}\n");
    assert_eq!(
        found,
        [
            "steps.a.input.x: expression_invalid",
            "steps.a.input.y.z[0]: expression_invalid",
            "steps.a.input.y.z[1]: template_invalid",
        ]
    );
}

//! Definitions whose expressions contradict their own schemas are refused, with the place.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use coretex_core::workflow::Workflow;

fn workflow(condition: &str) -> String {
    format!(
        "
id: typed
input_schema:
  type: object
  additionalProperties: false
  properties: {{ service: {{ type: string }}, limit: {{ type: integer }} }}
steps:
  fetch:
    topic: job.fetch
    input: {{ service: \"${{input.service}}\" }}
    output_schema: {{ type: object, additionalProperties: false, properties: {{ rows: {{ type: array }}, at: {{ type: string }} }} }}
  report:
    topic: job.report
    depends_on: [fetch]
    condition: {condition}
"
    )
}

#[test]
fn expressions_are_checked_against_the_schemas_of_the_workflow() {
    for fine in [
        "size(steps.fetch.output.rows) > input.limit",
        "has(steps.fetch.output.other)",
        "steps.fetch.output.?other == 1",
        "steps.fetch.status == 'succeeded' && ctx.anything > 1",
        "timestamp(steps.fetch.output.at) < timestamp(ctx.deadline)",
    ] {
        let parsed = Workflow::parse("typed.yaml", &workflow(fine));
        assert!(parsed.is_ok_and(|workflow| workflow.warnings().is_empty()), "{fine}");
    }
    for (wrong, message) in [
        ("steps.fetch.output.rosw", "did you mean `rows`?"),
        ("input.servise == 'a'", "did you mean `service`?"),
        ("steps.fetch.output.rows > 3", "`>` does not apply to `steps.fetch.output.rows`, which is a list"),
        ("input.limit.matches('a')", "`matches` takes a string, and `input.limit` is a number"),
    ] {
        let Err(error) = Workflow::parse("typed.yaml", &workflow(wrong)) else { panic!("{wrong}") };
        let [problem] = &*error.problems else { panic!("{error:?}") };
        assert_eq!((problem.code, &*problem.path), ("expression_invalid", "steps.report.condition"));
        assert!(problem.message.contains(message), "{}", problem.message);
    }
    let parsed = Workflow::parse("typed.yaml", &workflow("input.limit == '3'")).unwrap();
    let codes: Vec<_> = parsed.warnings().iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["never_equal"]);
}

#[test]
fn what_is_known_of_items_steps_and_the_run_is_checked() {
    let text = |field: &str| {
        format!(
            "
id: typed
input_schema:
  type: object
  additionalProperties: false
  properties:
    text: {{ type: string }}
    open: {{ type: array }}
    rows: {{ type: array, items: {{ type: object, additionalProperties: false, properties: {{ id: {{ type: integer }}, tags: {{ type: array, items: {{ type: string }} }} }} }} }}
steps:
  ap: {{ type: approval }}
  sw: {{ type: switch, cases: [{{ when: 'true', then: [] }}] }}
  c: {{ type: condition, condition: 'true' }}
  each:
    type: parallel
    for_each: input.rows
    depends_on: [ap, sw, c]
    steps:
      x: {{ topic: job.x, for_each: item.tags, input: {{ v: \"${{item}}\" }} }}
      y: {{ topic: job.x, {field} }}
  opened: {{ topic: job.x, for_each: input.open, input: {{ v: \"${{item.any.thing}}\" }} }}
"
        )
    };
    for fine in [
        "item.id + index",
        "item.?zz",
        "steps.ap.output.by",
        "steps.ap.error.code",
        "steps.ap.status",
        "steps.sw.output.taken[0]",
        "steps.c.output ? 1 : 2",
        "run.id",
        "run.error.message",
        "steps.ap.result_ptr",
    ] {
        let parsed = Workflow::parse("typed.yaml", &text(&format!("input: {{ v: \"${{{fine}}}\" }}")));
        assert!(parsed.is_ok(), "{fine}: {parsed:?}");
    }
    for wrong in [
        "item.zz",
        "item.id.zz",
        "index.foo",
        "run.idd",
        "run.error.cod",
        "steps.ap.output.zz",
        "steps.ap.outputs",
        "steps.ap.error.cod",
        "steps.sw.output.zz",
        "steps.c.output.zz",
        "item.tags[0] * 2",
    ] {
        let parsed = Workflow::parse("typed.yaml", &text(&format!("input: {{ v: \"${{{wrong}}}\" }}")));
        let Err(error) = parsed else { panic!("{wrong}") };
        let [problem] = &*error.problems else { panic!("{error:?}") };
        assert_eq!((problem.code, &*problem.path), ("expression_invalid", "steps.each.steps.y.input.v"), "{wrong}");
    }
    let inner = text("for_each: item.tags, input: { v: \"${item.zz}\" }");
    assert!(Workflow::parse("typed.yaml", &inner).unwrap_err().to_string().contains("is a string"));
    for (list, is_refused) in [("input.text", true), ("index", true), ("item", true), ("input.rows", false)] {
        let parsed = Workflow::parse("typed.yaml", &text(&format!("for_each: {list}")));
        let found = parsed.map_err(|error| format!("{}: {}", error.problems[0].path, error.code()));
        let wanted = "steps.each.steps.y.for_each: wrong_type";
        assert_eq!(found.err().as_deref(), is_refused.then_some(wanted), "{list}");
    }
}

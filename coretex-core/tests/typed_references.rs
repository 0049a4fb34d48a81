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

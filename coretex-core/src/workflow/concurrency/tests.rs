use serde_json::json;

use super::*;

fn workflow(concurrency: Value) -> Result<Workflow, crate::workflow::DefinitionError> {
    let document = json!({"id": "w", "concurrency": concurrency, "steps": {"a": {"topic": "job.a"}}});
    Workflow::from_value("test", document)
}

fn slot(concurrency: Value, input: &Value) -> Result<Slot, String> {
    let workflow = workflow(concurrency).unwrap();
    workflow.concurrency().unwrap().slot(workflow.id(), input).map_err(|error| error.to_string())
}

#[test]
fn what_is_not_written_has_a_meaning() {
    let expected = Slot { key: "w".into(), limit: 1, policy: ConcurrencyPolicy::Queue };
    assert_eq!(slot(json!({}), &json!({})), Ok(expected));
    let bare = Workflow::parse("test", "id: w\nsteps: {a: {topic: job.a}}").unwrap();
    assert!(bare.concurrency().is_none());
}

#[test]
fn a_key_is_a_text_number_or_boolean() {
    let key = |template: &str, input: Value| slot(json!({"key": template}), &input).map(|slot| slot.key.to_string());
    assert_eq!(key("${input.host}", json!({"host": "a/b"})), Ok("a/b".into()));
    assert_eq!(key("host ${input.host}", json!({"host": 7})), Ok("host 7".into()));
    assert_eq!(key("${input.n}", json!({"n": 7})), Ok("7".into()));
    assert_eq!(key("${input.n}", json!({"n": true})), Ok("true".into()));
    for (template, input) in [
        ("${input.n}", json!({})),
        ("${input.n}", json!({"n": null})),
        ("${input.n}", json!({"n": [1]})),
        ("${input.n}", json!({"n": ""})),
        ("${input.n}", json!({"n": "x".repeat(201)})),
        ("${input.n}", json!({"n": "a\nb"})),
    ] {
        assert!(key(template, input.clone()).is_err(), "{template} over {input}");
    }
}

#[test]
fn every_slip_is_named_with_its_place() {
    let problems = |concurrency: Value| {
        let error = workflow(concurrency).unwrap_err();
        error.problems.into_iter().map(|problem| (problem.code, problem.path)).collect::<Vec<_>>()
    };
    assert_eq!(
        problems(json!({"limit": 0, "policy": "drop", "key": "${steps.a.output}"})),
        [
            ("out_of_range", "concurrency.limit".to_owned()),
            ("concurrency_policy_unknown", "concurrency.policy".to_owned()),
            ("expression_invalid", "concurrency.key".to_owned()),
        ]
    );
    assert_eq!(problems(json!({"limit": 10_001})).len(), 1);
    assert_eq!(problems(json!({"place": 1})).first().map(|(code, _)| *code), Some("unknown_field"));
}

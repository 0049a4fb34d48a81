use axum::body::Body;
use serde_json::{Value, json};

use crate::rig::Rig;

async fn step(rig: &Rig, run: &str, id: &str) -> Value {
    rig.get(&format!("/api/v1/workflow-runs/{run}")).await.is(200).json()["steps"][id].clone()
}

/// The run when its step waits for somebody.
async fn waits(rig: &Rig, run: &str, id: &str) {
    for _ in 0..100_000 {
        if step(rig, run, id).await["status"] == "waiting" {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("step {id} does not wait");
}

#[tokio::test]
async fn data_is_given_to_a_step_and_to_an_item() {
    let rig = Rig::start().await;
    let schema = json!({"type": "object", "required": ["n"]});
    let steps = json!({
        "one": {"type": "input", "output_schema": schema},
        "each": {"type": "input", "for_each": "[1, 2]"},
    });
    rig.workflow("w", steps).await;
    let run = rig.start_run("w", json!({})).await;
    let path = format!("/api/v1/workflow-runs/{run}/steps");
    assert_eq!(rig.post(&format!("{path}/one/input"), "").await.is(400).code(), "body_missing");
    assert_eq!(rig.post(&format!("{path}/one/input"), "{").await.is(400).code(), "json_malformed");
    assert_eq!(rig.post(&format!("{path}/one/input"), "{}").await.is(400).code(), "step_data_invalid");
    assert_eq!(rig.post(&format!("{path}/two/input"), "{}").await.is(404).code(), "step_not_found");
    assert_eq!(rig.post(&format!("{path}/each%5B7%5D/input"), "{}").await.is(404).code(), "step_not_found");
    assert_eq!(rig.post(&format!("{path}/each/input"), "{}").await.is(409).code(), "step_not_waiting");
    rig.post(&format!("{path}/one/input"), r#"{"n": 1}"#).await.is(204);
    rig.post(&format!("{path}/one/input"), r#"{"n": 1}"#).await.is(204);
    assert_eq!(rig.post(&format!("{path}/one/input"), r#"{"n": 2}"#).await.is(409).code(), "step_not_waiting");
    rig.post(&format!("{path}/each%5B0%5D/input"), "null").await.is(204);
    let long = format!("/api/v1/workflows/w/runs/{run}/steps/each%5B1%5D/input");
    assert_eq!(rig.post(&long.replace("/w/", "/v/"), "[]").await.is(404).code(), "run_not_found");
    rig.post(&long, r#"["any", "JSON"]"#).await.is(204);
    rig.ended(&run).await;
    assert_eq!(step(&rig, &run, "one").await["output"], json!({"n": 1}));
    assert_eq!(step(&rig, &run, "each").await["output"], json!([null, ["any", "JSON"]]));
    let none = "/api/v1/workflow-runs/none/steps/one/input";
    assert_eq!(rig.post(none, "{}").await.is(404).code(), "run_not_found");
}

#[tokio::test]
async fn a_signal_is_taken_once_however_often_it_comes() {
    let rig = Rig::start().await;
    let steps = json!({
        "first": {"type": "signal", "signal": "go"},
        "second": {"type": "signal", "signal": "go", "depends_on": ["first"]},
        "third": {"type": "signal", "signal": "so far", "depends_on": ["second"]},
    });
    rig.workflow("w", steps).await;
    let run = rig.start_run("w", json!({})).await;
    let path = format!("/api/v1/workflow-runs/{run}/signals");
    let send = Rig::request("POST", &format!("{path}/go")).header("idempotency-key", "s-1");
    rig.send(send.body(Body::from(r#"{"n": 1}"#)).unwrap()).await.is(204);
    rig.post(&format!("{path}/go?id=s-1"), r#"{"n": 1}"#).await.is(204);
    assert_eq!(step(&rig, &run, "first").await["output"], json!({"n": 1}));
    assert_eq!(step(&rig, &run, "second").await["status"], "waiting", "a repeat is no second signal");
    // One that comes early is kept; the payload may be left out.
    rig.post(&format!("{path}/so%20far"), "").await.is(204);
    rig.post(&format!("{path}/go?id=s-2"), "2").await.is(204);
    rig.ended(&run).await;
    assert_eq!(
        (step(&rig, &run, "second").await["output"].clone(), step(&rig, &run, "third").await["status"].clone()),
        (json!(2), json!("succeeded"))
    );

    assert_eq!(rig.post(&format!("{path}/go"), "{}").await.is(409).code(), "run_ended");
    assert_eq!(rig.post(&format!("{path}/go"), "{").await.is(400).code(), "json_malformed");
    assert_eq!(rig.post(&format!("{path}/a%0Ab"), "{}").await.is(400).code(), "signal_invalid");
    let odd = Rig::request("POST", &format!("{path}/go")).header("idempotency-key", "\u{e9}");
    assert_eq!(rig.send(odd.body(Body::empty()).unwrap()).await.is(400).code(), "idempotency_key_invalid");
    assert_eq!(rig.post("/api/v1/workflow-runs/none/signals/go", "{}").await.is(404).code(), "run_not_found");
}

#[tokio::test]
async fn a_parked_step_goes_on_as_it_is_told() {
    let rig = Rig::start().await;
    let parked = json!({"topic": "job.test.fail", "retry": {"on_exhausted": "park"}});
    let steps =
        json!({"a": parked, "b": parked, "c": parked, "d": {"topic": "job.test.echo", "depends_on": ["a", "b"]}});
    rig.workflow("w", steps).await;
    let run = rig.start_run("w", json!({"x": 1})).await;
    for id in ["a", "b", "c"] {
        waits(&rig, &run, id).await;
    }
    let path = |step: &str| format!("/api/v1/workflow-runs/{run}/steps/{step}/resolve");
    for (body, code) in [
        (json!({}), "field_invalid"),
        (json!({"action": "hope"}), "field_invalid"),
        (json!({"action": "retry", "output": 1}), "field_invalid"),
        (json!({"action": "skip", "reason": "no"}), "field_invalid"),
    ] {
        assert_eq!(rig.post(&path("a"), body.to_string()).await.is(400).code(), code, "{body}");
    }
    assert_eq!(rig.post(&path("a"), "").await.is(400).code(), "body_missing");
    assert_eq!(rig.post(&path("z"), r#"{"action": "skip"}"#).await.is(404).code(), "step_not_found");
    assert_eq!(rig.post(&path("d"), r#"{"action": "skip"}"#).await.is(409).code(), "step_not_waiting");

    rig.post(&path("a"), r#"{"action": "retry"}"#).await.is(204);
    waits(&rig, &run, "a").await;
    rig.post(&path("a"), r#"{"action": "complete", "output": {"n": 1}}"#).await.is(204);
    rig.post(&path("b"), r#"{"action": "skip"}"#).await.is(204);
    let long = format!("/api/v1/workflows/w/runs/{run}/steps/c/resolve");
    rig.post(&long, r#"{"action": "fail", "reason": "it is no use"}"#).await.is(204);
    rig.ended(&run).await;
    let a = step(&rig, &run, "a").await;
    assert_eq!((&a["status"], &a["output"]), (&json!("succeeded"), &json!({"n": 1})));
    assert_eq!(step(&rig, &run, "b").await["status"], "skipped");
    let c = step(&rig, &run, "c").await;
    assert_eq!((&c["status"], &c["error"]["code"]), (&json!("failed"), &json!("broken")), "as the last try did");
    let timeline = rig.get(&format!("/api/v1/workflow-runs/{run}/timeline")).await.json();
    let resolved = |event: &&Value| event["type"] == "step_resolved";
    let last = timeline.as_array().unwrap().iter().rfind(resolved).unwrap();
    assert_eq!((&last["message"], &last["data"]["by"]), (&json!("it is no use"), &json!("api")));
    let actions = timeline.as_array().unwrap().iter().filter(resolved);
    let actions: Vec<&str> = actions.map(|event| event["data"]["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["retry", "complete", "skip", "fail"]);
    assert_eq!(rig.post(&path("c"), r#"{"action": "retry"}"#).await.is(409).code(), "step_not_waiting");
}

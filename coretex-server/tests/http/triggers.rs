use serde_json::json;

use crate::rig::{Rig, keys};

#[tokio::test]
async fn events_are_taken_gathered_and_started() {
    let rig = Rig::start().await;
    let triggers = json!({
        "two": {"type": "batch", "window_sec": 600, "max_items": 2},
        "calm": {"type": "debounce", "window_sec": 600, "key": "${input.k}"},
    });
    let body = json!({"id": "w", "triggers": triggers, "steps": {"a": {"topic": "job.test.echo"}}});
    rig.post("/api/v1/workflows", body.to_string()).await.is(201);
    let first = rig.post("/api/v1/workflows/w/triggers/two", r#"{"n": 1}"#).await.is(202).json();
    assert_eq!(keys(&first), ["key", "repeated", "run_id"]);
    let second = rig.post("/api/v1/workflows/w/triggers/two", r#"{"n": 2}"#).await.is(202).json();
    assert_eq!(first["run_id"], second["run_id"]);
    let run = second["run_id"].as_str().unwrap();
    while rig.get(&format!("/api/v1/workflow-runs/{run}")).await.status == 404 {
        tokio::task::yield_now().await;
    }
    rig.ended(run).await;
    let shown = rig.get(&format!("/api/v1/workflow-runs/{run}")).await.is(200).json();
    assert_eq!(shown["input"], json!({"items": [{"n": 1}, {"n": 2}]}));

    let send = Rig::request("POST", "/api/v1/workflows/w/triggers/calm").header("idempotency-key", "e-1");
    rig.send(send.body(r#"{"k": "a/b"}"#.into()).unwrap()).await.is(202);
    let again = Rig::request("POST", "/api/v1/workflows/w/triggers/calm").header("idempotency-key", "e-1");
    let again = rig.send(again.body(r#"{"k": "a/b"}"#.into()).unwrap()).await.is(202).json();
    assert_eq!(again["repeated"], true);
    let gathered = rig.get("/api/v1/workflows/w/triggers").await.is(200).json();
    assert_eq!((&gathered["items"][0]["key"], &gathered["items"][0]["events"]), (&json!("a/b"), &json!(1)));
    rig.post("/api/v1/workflows/w/triggers/calm/flush?key=a%2Fb", "").await.is(204);
    rig.post("/api/v1/workflows/w/triggers/calm", r#"{"k": "c"}"#).await.is(202);
    rig.delete("/api/v1/workflows/w/triggers/calm?key=c").await.is(204);
    assert_eq!(rig.delete("/api/v1/workflows/w/triggers/calm?key=c").await.is(404).code(), "trigger_empty");
    assert_eq!(rig.post("/api/v1/workflows/w/triggers/none", "{}").await.is(404).code(), "trigger_not_found");
    assert_eq!(rig.post("/api/v1/workflows/w/triggers/calm", "{}").await.is(400).code(), "trigger_key_invalid");
    assert_eq!(rig.post("/api/v1/workflows/w/triggers/two", "[]").await.is(400).code(), "run_input_invalid");
}

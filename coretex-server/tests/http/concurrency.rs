use serde_json::json;

use crate::rig::Rig;

#[tokio::test]
async fn who_waits_and_who_holds_a_place_is_told() {
    let rig = Rig::start().await;
    let body = json!({"id": "w", "concurrency": {"key": "${input.k}"}, "steps": {"a": {"type": "approval"}}});
    rig.post("/api/v1/workflows", body.to_string()).await.is(201);
    let mut runs = Vec::new();
    for priority in ["batch", "batch", "critical"] {
        let path = format!("/api/v1/workflows/w/runs?priority={priority}");
        runs.push(rig.post(&path, r#"{"k": "x/y"}"#).await.is(200).text_of("run_id"));
    }
    let waiting = rig.get("/api/v1/queued-starts?key=x%2Fy").await.is(200).json();
    let items: Vec<_> = waiting["items"].as_array().unwrap().iter().map(|item| item["run_id"].clone()).collect();
    assert_eq!(items, [json!(runs[2]), json!(runs[1])], "the more urgent first");
    assert_eq!(waiting["items"][0]["priority"], "critical");
    let all = rig.get("/api/v1/queued-starts").await.is(200).json();
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
    let holders = rig.get("/api/v1/concurrency-slots").await.is(200).json();
    assert_eq!((&holders["items"][0]["run_id"], &holders["items"][0]["key"]), (&json!(runs[0]), &json!("x/y")));
    let pending = rig.get(&format!("/api/v1/workflow-runs/{}", runs[1])).await.is(200).json();
    assert_eq!((&pending["status"], &pending["started_at"]), (&json!("pending"), &json!(null)));
    rig.post(&format!("/api/v1/workflows/w/runs/{}/cancel", runs[2]), "").await.is(204);
    assert_eq!(rig.get("/api/v1/queued-starts").await.is(200).json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(rig.post("/api/v1/workflows/w/runs?priority=high", "{}").await.is(400).code(), "query_invalid");
    assert_eq!(rig.post("/api/v1/workflows/w/runs", "{}").await.is(400).code(), "concurrency_key_invalid");
}

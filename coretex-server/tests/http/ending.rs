use serde_json::json;

use crate::rig::Rig;

#[tokio::test]
async fn a_run_that_is_stuck_in_its_last_steps_is_ended_by_force() {
    let rig = Rig::start().await;
    let body = json!({
        "id": "w",
        "steps": {"a": {"type": "transform", "output": 1}},
        "finally": {"ask": {"type": "approval"}},
    });
    rig.post("/api/v1/workflows", body.to_string()).await.is(201);
    let run = rig.start_run("w", json!({})).await;
    let (path, cancel) = (format!("/api/v1/workflow-runs/{run}"), format!("/api/v1/workflows/w/runs/{run}/cancel"));
    rig.post(&cancel, "").await.is(204);
    assert_eq!(rig.get(&path).await.is(200).json()["phase"], "finalizing", "it is about to end already");
    assert_eq!(rig.post(&format!("{cancel}?force=perhaps"), "").await.is(400).code(), "query_invalid");
    rig.post(&format!("{cancel}?force=true&reason=stuck"), "").await.is(204);
    assert_eq!(rig.get(&path).await.is(200).json()["status"], "cancelled");
    let lines = rig.get(&format!("{path}/timeline")).await.is(200).json();
    let halted = lines.as_array().unwrap().iter().find(|line| line["type"] == "run_halted").unwrap();
    assert_eq!(halted["message"], "stuck");
    rig.delete(&path).await.is(204);
}

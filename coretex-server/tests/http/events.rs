use axum::body::Body;
use coretex_core::value::Value;
use serde_json::json;

use crate::rig::Rig;

/// Ids and data of server-sent events.
fn parse(text: &str) -> Vec<(u64, Value)> {
    let blocks = text.split("\n\n").filter(|block| block.contains("data: "));
    let field = |block: &str, name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    blocks
        .map(|block| (field(block, "id: ").parse().unwrap(), serde_json::from_str(&field(block, "data: ")).unwrap()))
        .collect()
}

#[tokio::test]
async fn a_run_is_followed_from_any_event_to_its_end() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"a": {"topic": "job.test.echo"}, "b": {"type": "approval", "depends_on": ["a"]}})).await;
    let id = rig.start_run("w", json!({})).await;
    let path = format!("/api/v1/workflow-runs/{id}/events");
    // The stream is open while the run goes on: the answer comes while it is followed.
    let (followed, ()) = tokio::join!(rig.get(&path), async {
        let answer = format!("/api/v1/approvals/{id}:b/approve");
        while rig.post(&answer, "").await.status != 200 {
            tokio::task::yield_now().await;
        }
    });
    let followed = followed.is(200);
    assert_eq!(followed.headers["content-type"], "text/event-stream");
    let events = parse(&followed.text);
    let ids: Vec<u64> = events.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    assert!(events.iter().all(|(id, event)| event["seq"] == *id));
    let timeline = rig.get(&format!("/api/v1/workflow-runs/{id}/timeline")).await.json();
    assert_eq!(timeline, Value::Array(events.iter().map(|(_, event)| event.clone()).collect()));

    let last = ids.len() as u64;
    let resumed = parse(&rig.get(&format!("{path}?from={}", last - 1)).await.is(200).text);
    assert_eq!(resumed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [last - 1, last]);
    let request = Rig::request("GET", &path).header("last-event-id", (last - 1).to_string());
    let resumed = parse(&rig.send(request.body(Body::empty()).unwrap()).await.is(200).text);
    assert_eq!(resumed.len(), 1);
    // Nothing more will come: browsers stop asking at 204.
    for after in [last, last + 5] {
        let request = Rig::request("GET", &path).header("last-event-id", after.to_string());
        rig.send(request.body(Body::empty()).unwrap()).await.is(204);
    }
    let request = Rig::request("GET", &path).header("last-event-id", "x");
    assert_eq!(rig.send(request.body(Body::empty()).unwrap()).await.is(400).code(), "query_invalid");
}

use serde_json::json;

use crate::rig::{Rig, has_keys, keys};

#[tokio::test]
async fn a_job_given_up_is_listed_tried_again_and_forgotten() {
    let rig = Rig::start().await;
    let mut ids = Vec::new();
    for topic in ["job.test.fail", "job.banned.x"] {
        let id = rig.post("/api/v1/jobs", json!({"topic": topic}).to_string()).await.is(200).text_of("job_id");
        rig.job_in(&id, if topic == "job.banned.x" { "DENIED" } else { "FAILED" }).await;
        ids.push(id);
    }
    let list = rig.get("/api/v1/dlq").await.is(200).json();
    let denied = &list[0];
    has_keys(denied, &["job_id", "topic", "status", "reason", "reason_code", "last_state", "attempts", "created_at"]);
    assert_eq!(denied["job_id"], ids[1]);
    assert_eq!(denied["status"], "JOB_STATUS_DENIED");
    assert_eq!(denied["reason_code"], "safety_denied");
    assert_eq!(list[1]["reason_code"], "broken");

    let page = rig.get("/api/v1/dlq/page?limit=1").await.is(200).json();
    assert_eq!(keys(&page), ["items", "next_cursor"]);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let next = page["next_cursor"].as_str().unwrap();
    let rest = rig.get(&format!("/api/v1/dlq/page?limit=1&cursor={next}")).await.is(200).json();
    assert_eq!(rest["items"][0]["job_id"], ids[0]);

    let retried = rig.post(&format!("/api/v1/dlq/{}/retry", ids[0]), "").await.is(200).text_of("job_id");
    assert!(retried.starts_with(&format!("{}-retry-", ids[0])), "{retried}");
    rig.job_in(&retried, "FAILED").await;
    assert_eq!(rig.post(&format!("/api/v1/dlq/{}/retry", ids[0]), "").await.is(404).code(), "dead_letter_not_found");
    for id in [&ids[1], &ids[1], &retried] {
        rig.delete(&format!("/api/v1/dlq/{id}")).await.is(204);
    }
    assert_eq!(rig.get("/api/v1/dlq").await.is(200).text, "[]");
}

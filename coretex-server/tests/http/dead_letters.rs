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
    let again = rig.post(&format!("/api/v1/dlq/{}/retry", ids[0]), "").await.is(200).text_of("job_id");
    assert_eq!(again, retried, "a repeat is answered as the first");
    assert_eq!(rig.post("/api/v1/dlq/none/retry", "").await.is(404).code(), "dead_letter_not_found");
    for id in [&ids[1], &ids[1], &retried] {
        rig.delete(&format!("/api/v1/dlq/{id}")).await.is(204);
    }
    assert_eq!(rig.get("/api/v1/dlq").await.is(200).text, "[]");
}

#[tokio::test]
async fn letters_are_found_by_kind_and_shown_whole() {
    let rig = Rig::start().await;
    let steps = json!({"a": {"topic": "job.test.fail", "meta": {"risk_tags": ["write"]}}});
    rig.workflow("w", steps).await;
    let run = rig.start_run("w", json!({"x": 1})).await;
    rig.ended(&run).await;
    for _ in 0..3 {
        let id =
            rig.post("/api/v1/jobs", json!({"topic": "job.test.fail"}).to_string()).await.is(200).text_of("job_id");
        rig.job_in(&id, "FAILED").await;
    }
    let denied = rig.post("/api/v1/jobs", json!({"topic": "job.banned.x"}).to_string()).await.is(200).text_of("job_id");
    rig.job_in(&denied, "DENIED").await;

    let groups = rig.get("/api/v1/dlq/groups").await.is(200).json();
    assert_eq!(keys(&groups), ["items", "next_cursor"]);
    let groups = groups["items"].as_array().unwrap();
    let group = groups.iter().find(|group| group["code"] == "broken").unwrap();
    assert_eq!((groups.len(), &group["count"], &group["pattern"]), (2, &json!(4), &json!("it is broken")));
    has_keys(group, &["fingerprint", "topic", "first_seen", "last_seen", "examples"]);

    let fingerprint = group["fingerprint"].as_str().unwrap();
    for (filter, count) in [
        (format!("fingerprint={fingerprint}"), 4),
        (format!("fingerprint={fingerprint}&workflow_id=w"), 1),
        (format!("run_id={run}"), 1),
        ("code=safety_denied".into(), 1),
        ("topic=job.test.fail&tenant_id=default".into(), 4),
        ("created_after=2000-01-01T00:00:00Z".into(), 5),
        ("created_before=946684800".into(), 0),
    ] {
        let list = rig.get(&format!("/api/v1/dlq?{filter}")).await.is(200).json();
        assert_eq!(list.as_array().unwrap().len(), count, "{filter}");
    }
    assert_eq!(rig.get("/api/v1/dlq?tenant_id=other").await.is(403).code(), "tenant_mismatch");
    assert_eq!(rig.get("/api/v1/dlq?created_after=soon").await.is(400).code(), "query_invalid");
    assert_eq!(rig.get("/api/v1/dlq?topic=odd").await.is(400).code(), "id_invalid");

    let letter = rig.get(&format!("/api/v1/dlq/{run}:a@1")).await.is(200).json();
    assert_eq!((&letter["context"], &letter["risk_tags"]), (&json!({"x": 1}), &json!(["write"])));
    assert_eq!((&letter["safety_decision"], &letter["worker_id"]), (&json!("ALLOW"), &json!("w-1")));
    assert_eq!(
        (&letter["run_id"], &letter["state"], &letter["reason"]),
        (&json!(run), &json!("FAILED"), &json!("it is broken"))
    );
    has_keys(&letter, &["safety_snapshot", "safety_rule_id", "labels", "meta", "priority", "principal", "fingerprint"]);
    assert_eq!(rig.get("/api/v1/dlq/none").await.is(404).code(), "dead_letter_not_found");
}

#[tokio::test]
async fn a_letter_is_tried_again_with_another_input_which_stays_beside_the_first() {
    let rig = Rig::start().await;
    let steps = json!({"a": {
        "topic": "job.test.fail", "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
        "retry": {"max_retries": 0, "on_exhausted": "park"},
    }});
    rig.workflow("w", steps).await;
    let run = rig.start_run("w", json!({"n": 1})).await;
    let job = format!("{run}:a@1");
    rig.job_in(&job, "FAILED").await;
    let path = format!("/api/v1/dlq/{job}/retry");
    let refused = rig.post(&path, json!({"input": {"n": "one"}}).to_string()).await.is(400);
    assert_eq!(refused.code(), "step_data_invalid");
    let body = json!({"input": {"n": 2}, "reason": "mended"}).to_string();
    let answer = rig.post(&path, body.clone()).await.is(200).json();
    assert_eq!(answer["job_id"], format!("{run}:a@2"));
    assert_eq!((&answer["way"], &answer["edited"], &answer["retry_of"]), (&json!("step"), &json!(true), &json!(job)));
    assert_eq!(rig.post(&path, body).await.is(200).json(), answer);
    let other = rig.post(&path, json!({"input": {"n": 3}}).to_string()).await.is(409);
    assert_eq!(other.code(), "dead_letter_retried");
    let kept = rig.get(&format!("/api/v1/dlq/{job}")).await.is(200).json();
    assert_eq!((&kept["context"], &kept["retried"]["input"]), (&json!({"n": 1}), &json!({"n": 2})));
    assert_eq!(kept["retried"]["reason"], "mended");
    rig.job_in(&format!("{run}:a@2"), "FAILED").await;
}

#[tokio::test]
async fn many_are_counted_tried_again_and_removed() {
    let rig = Rig::start().await;
    for _ in 0..5 {
        let id =
            rig.post("/api/v1/jobs", json!({"topic": "job.test.fail"}).to_string()).await.is(200).text_of("job_id");
        rig.job_in(&id, "FAILED").await;
    }
    for verb in ["retry", "delete"] {
        let refused = rig.post(&format!("/api/v1/dlq/{verb}"), "").await.is(400);
        assert_eq!(refused.code(), "dead_letter_query_empty");
    }
    let count = |n| json!({"dry_run": true, "count": n, "more": false});
    let told =
        rig.post("/api/v1/dlq/retry", json!({"code": "broken", "dry_run": true}).to_string()).await.is(200).json();
    assert_eq!((&told["count"], &told["more"]), (&count(5)["count"], &count(5)["more"]));
    let body = json!({"code": "broken", "reason": "again"}).to_string();
    let page = rig.post("/api/v1/dlq/retry?limit=3", body.clone()).await.is(200).json();
    assert_eq!(page["items"].as_array().unwrap().len(), 3);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = rig.post(&format!("/api/v1/dlq/retry?limit=3&cursor={cursor}"), body).await.is(200).json();
    let items = rest["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "what failed again meanwhile is newer, and not met");
    for item in page["items"].as_array().unwrap().iter().chain(items) {
        assert_eq!(item["way"], "job");
        rig.job_in(item["retried_as"].as_str().unwrap(), "FAILED").await;
    }
    let removed = rig.post("/api/v1/dlq/delete", json!({"all": true}).to_string()).await.is(200).json();
    assert_eq!((removed["items"].as_array().unwrap().len(), &removed["next_cursor"]), (5, &json!(null)));
    assert_eq!(rig.get("/api/v1/dlq/groups").await.is(200).json()["items"], json!([]));
}

use serde_json::json;

use crate::rig::Rig;

#[tokio::test]
async fn parameters_that_say_nothing_are_refused_with_what_they_should_say() {
    let rig = Rig::start().await;
    for (path, words) in [
        ("/api/v1/workflow-runs?limit=1001", "1 to 1,000"),
        ("/api/v1/approvals?limit=-1", "whole number"),
        ("/api/v1/workflow-runs?created_after=yesterday", "2030-01-31T09:00:00Z"),
    ] {
        let refused = rig.get(path).await.is(400);
        assert!(refused.text.contains(words), "{path}: {}", refused.text);
        assert_eq!(refused.code(), "query_invalid");
    }
    rig.get("/api/v1/workflow-runs?limit=1000").await.is(200);
    let refused = rig.post("/api/v1/jobs", r#"{"topic": "job.test.echo", "priority": "urgent"}"#).await.is(400);
    assert!(refused.text.contains("interactive"), "{}", refused.text);
}

#[tokio::test]
async fn a_cursor_is_good_for_the_list_that_gave_it_out() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"one": {"type": "approval"}, "two": {"type": "approval"}})).await;
    let run = rig.start_run("w", json!({})).await;
    for topic in ["job.test.fail", "job.test.fail"] {
        let id = rig.post("/api/v1/jobs", json!({"topic": topic}).to_string()).await.is(200).text_of("job_id");
        rig.job_in(&id, "FAILED").await;
    }
    let first = async |list: &str| {
        let page = rig.get(&format!("/api/v1/{list}?limit=1")).await.is(200).json();
        page["next_cursor"].as_str().unwrap().to_owned()
    };
    let (approvals, letters) = (first("approvals").await, first("dlq/page").await);
    let second = rig.get(&format!("/api/v1/approvals?cursor={approvals}")).await.is(200).json();
    assert_eq!(
        second["items"][0]["job_id"].as_str().or(second["items"][0]["id"].as_str()),
        Some(&*format!("{run}:two"))
    );
    for (list, cursor) in
        [("approvals", &*letters), ("dlq/page", &*approvals), ("approvals", "odd"), ("queued-starts", &*letters)]
    {
        let refused = rig.get(&format!("/api/v1/{list}?cursor={cursor}")).await.is(400);
        assert_eq!(refused.code(), "cursor_invalid", "{list}");
    }
}

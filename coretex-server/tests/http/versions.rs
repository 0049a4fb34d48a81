use axum::body::Body;
use serde_json::{Value, json};

use crate::rig::{Rig, has_keys};

fn steps(topic: &str) -> Value {
    json!({"a": {"topic": topic}, "b": {"type": "approval", "depends_on": ["a"]}})
}

#[tokio::test]
async fn versions_are_listed_shown_compared_and_rolled_back() {
    let rig = Rig::start().await;
    let put = async |topic: &str, note: &str| {
        let body = json!({"id": "w", "steps": steps(topic)}).to_string();
        let stored = rig.post(&format!("/api/v1/workflows?note={note}"), body).await.is(201);
        assert_eq!(stored.json(), json!({"id": "w"}), "nothing but the id");
        stored.headers["x-workflow-version"].to_str().unwrap().to_owned()
    };
    assert_eq!(put("job.test.echo", "first").await, "1");
    assert_eq!(put("job.test.echo", "again").await, "1");
    let run = rig.start_run("w", json!({"x": 1})).await;
    assert_eq!(put("job.test.fail", "second").await, "2");

    let list = rig.get("/api/v1/workflows/w/versions").await.is(200).json();
    let numbers: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|version| &version["number"]).collect();
    assert_eq!(numbers, [&json!(2), &json!(1)]);
    has_keys(&list["items"][0], &["digest", "org_id", "created_by", "created_at", "note", "current"]);
    assert_eq!((&list["items"][0]["current"], &list["items"][1]["current"]), (&json!(true), &json!(false)));
    let digest = list["items"][1]["digest"].as_str().unwrap();
    for name in ["1", digest] {
        let shown = rig.get(&format!("/api/v1/workflows/w/versions/{name}")).await.is(200).json();
        assert_eq!(shown["definition"]["steps"]["a"]["topic"], "job.test.echo");
    }
    assert_eq!(rig.get("/api/v1/workflows/w/versions/9").await.is(404).code(), "version_not_found");
    assert_eq!(rig.get("/api/v1/workflows/w/versions/odd").await.is(400).code(), "version_invalid");
    assert_eq!(rig.get("/api/v1/workflows/none/versions").await.is(404).code(), "workflow_not_found");

    let diff = rig.get("/api/v1/workflows/w/diff").await.is(200).json();
    let field = json!({"path": "topic", "old": "job.test.echo", "new": "job.test.fail"});
    assert_eq!(diff["diff"]["changed"], json!([{"step": "a", "fields": [field]}]));
    assert_eq!((&diff["from"]["number"], &diff["to"]["number"]), (&json!(1), &json!(2)));
    assert_eq!(diff["affected_runs"][0]["run_id"], run);
    has_keys(&diff["affected_runs"][0], &["status", "done", "under_way", "ahead"]);

    let started = rig.post("/api/v1/workflows/w/runs?version=1", "{}").await.is(200).text_of("run_id");
    let shown = rig.get(&format!("/api/v1/workflow-runs/{started}")).await.is(200).json();
    assert_eq!(shown["definition"], digest);
    let back = rig.post("/api/v1/workflows/w/rollback", r#"{"version": 1, "note": "it broke"}"#).await.is(200).json();
    assert_eq!((&back["number"], &back["source"], &back["note"]), (&json!(3), &json!(1), &json!("it broke")));
    assert_eq!(rig.post("/api/v1/workflows/w/rollback", "{}").await.is(400).code(), "field_invalid");
}

#[tokio::test]
async fn a_run_is_restarted_and_a_workflow_in_use_is_not_removed() {
    let rig = Rig::start().await;
    rig.workflow("w", steps("job.test.echo")).await;
    let old = rig.start_run("w", json!({"x": 1})).await;
    rig.workflow("w", json!({"only": {"topic": "job.test.echo"}})).await;
    let refused = rig.delete("/api/v1/workflows/w").await.is(409);
    assert_eq!(refused.code(), "workflow_in_use");
    assert!(refused.text_of("detail").contains(&old), "{}", refused.text);

    let new = rig.post(&format!("/api/v1/workflow-runs/{old}/restart"), "").await.is(200).text_of("run_id");
    rig.ended(&new).await;
    let shown = rig.get(&format!("/api/v1/workflow-runs/{new}")).await.is(200).json();
    assert_eq!((&shown["status"], &shown["labels"]), (&json!("succeeded"), &json!({"restart_of": old})));
    assert_eq!(rig.get(&format!("/api/v1/workflow-runs/{old}")).await.json()["status"], "cancelled");
    let found = rig.get(&format!("/api/v1/workflow-runs?label=restart_of={old}&view=summary")).await.is(200).json();
    assert_eq!(found["items"][0]["id"], new);
    let body = Body::from(r#"{"version": "9"}"#);
    assert_eq!(
        rig.post(&format!("/api/v1/workflow-runs/{old}/restart"), body).await.is(404).code(),
        "version_not_found"
    );
    rig.delete("/api/v1/workflows/w").await.is(204);

    rig.workflow("v", steps("job.test.echo")).await;
    rig.start_run("v", json!({})).await;
    assert_eq!(rig.delete("/api/v1/workflows/v?force=perhaps").await.is(400).code(), "query_invalid");
    rig.delete("/api/v1/workflows/v?force=true").await.is(204);
}

#[tokio::test]
async fn runs_are_found_by_what_is_known_of_them() {
    let rig = Rig::start().await;
    rig.workflow("ok", json!({"a": {"topic": "job.test.echo"}})).await;
    rig.workflow("bad", json!({"a": {"topic": "job.test.fail"}})).await;
    let mut runs = Vec::new();
    for (workflow, label) in [("ok", "env=prod"), ("ok", "env=test"), ("bad", "env=prod")] {
        let path = format!("/api/v1/workflows/{workflow}/runs?label={label}&label=by=me&team_id=red");
        runs.push(rig.post(&path, "{}").await.is(200).text_of("run_id"));
        rig.ended(&runs[runs.len() - 1]).await;
    }
    let find = async |query: &str| {
        let page = rig.get(&format!("/api/v1/workflow-runs?view=summary&{query}")).await.is(200).json();
        let ids = page["items"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<String>>()
    };
    let [first, second, third] = [0, 1, 2].map(|n: usize| runs[n].clone());
    let prefix = &first[..8];
    for (query, wanted) in [
        ("label=env=prod", vec![&third, &first]),
        ("label=env=prod&label=by=me&workflow_id=ok", vec![&first]),
        ("status=succeeded,failed", vec![&third, &second, &first]),
        ("status=succeeded&status=running", vec![&second, &first]),
        ("has_error=true", vec![&third]),
        ("has_error=0&team_id=red", vec![&second, &first]),
        ("error_code=broken", vec![&third]),
        ("error_code=other", vec![]),
        ("created_after=2020-01-01T00:00:00Z&limit=1", vec![&third]),
        ("created_before=1600000000", vec![]),
        ("updated_after=4000000000", vec![]),
        (&format!("id_prefix={first}"), vec![&first]),
        (&format!("id_prefix={prefix}&label=env=test&status=failed"), vec![]),
    ] {
        assert_eq!(find(query).await.iter().collect::<Vec<_>>(), wanted, "{query}");
    }
    for wrong in
        ["label=odd", "has_error=perhaps", "status=odd", "created_after=soon", "updated_before=-9223372036854775808"]
    {
        let refused = rig.get(&format!("/api/v1/workflow-runs?{wrong}")).await.is(400);
        assert_eq!(refused.code(), "query_invalid", "{wrong}");
    }
    assert_eq!(rig.get("/api/v1/workflow-runs?cursor=odd").await.is(400).code(), "cursor_invalid");
    let bare = rig.get("/api/v1/workflows/ok/runs?limit=1&label=by=me").await.is(200);
    assert_eq!(bare.json()[0]["id"], second.as_str());
    let next = bare.headers["x-next-cursor"].to_str().unwrap();
    let rest = rig.get(&format!("/api/v1/workflows/ok/runs?limit=5&cursor={next}")).await.is(200).json();
    assert_eq!((rest.as_array().unwrap().len(), &rest[0]["id"]), (1, &json!(first)));
}

#[tokio::test]
async fn what_is_old_is_counted_then_removed() {
    let rig = Rig::start().await;
    rig.workflow("w", json!({"a": {"topic": "job.test.echo"}})).await;
    let run = rig.start_run("w", json!({})).await;
    rig.ended(&run).await;
    let ask = async |age: &str, dry_run: bool| {
        let body = json!({"retention": {"succeeded": age}, "dry_run": dry_run}).to_string();
        rig.post("/api/v1/prune", body).await.is(200).json()
    };
    assert_eq!(ask("1d", false).await, json!({"dry_run": false, "classes": []}));
    let class = json!({"class": "succeeded", "count": 1, "samples": [run]});
    assert_eq!(ask("0s", true).await, json!({"dry_run": true, "classes": [class]}));
    rig.get(&format!("/api/v1/workflow-runs/{run}")).await.is(200);
    let timelines = json!({"retention": {"timelines": "0s"}}).to_string();
    assert_eq!(rig.post("/api/v1/prune", timelines).await.is(200).json()["classes"][0]["class"], "timelines");
    assert_eq!(rig.get(&format!("/api/v1/workflow-runs/{run}/timeline")).await.is(200).json(), json!([]));
    rig.get(&format!("/api/v1/workflow-runs/{run}/events")).await.is(204);
    assert_eq!(ask("0s", false).await["classes"], json!([class]));
    rig.get(&format!("/api/v1/workflow-runs/{run}")).await.is(404);
    for wrong in [r#"{"retention": {"succeeded": "soon"}}"#, r#"{"retention": {"odd": "1d"}}"#, "{}"] {
        assert_eq!(rig.post("/api/v1/prune", wrong).await.is(400).code(), "field_invalid", "{wrong}");
    }
}

#[tokio::test]
async fn runs_are_moved_onto_a_version_and_refused_with_reasons() {
    let rig = Rig::start().await;
    rig.workflow("w", steps("job.test.echo")).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(rig.start_run("w", json!({"x": 1})).await);
    }
    for run in &runs {
        let path = format!("/api/v1/workflow-runs/{run}");
        while rig.get(&path).await.json()["steps"]["b"]["status"] != "waiting" {
            tokio::task::yield_now().await;
        }
    }
    rig.workflow("w", json!({"b": {"type": "approval"}})).await;
    let one = format!("/api/v1/workflow-runs/{}/migrate", runs[0]);
    let seen = rig.post(&one, r#"{"dry_run": true}"#).await.is(200).json();
    assert_eq!((&seen["outcome"], &seen["refusals"][0]["code"]), (&json!("refused"), &json!("step_removed")));
    let refused = rig.post(&one, "").await.is(409);
    assert_eq!(refused.code(), "migration_refused");
    assert_eq!(refused.json()["refusals"], seen["refusals"]);
    has_keys(&refused.json()["refusals"][0], &["code", "step", "message"]);

    let mut better = steps("job.test.echo");
    better["c"] = json!({"topic": "job.test.echo", "depends_on": ["b"], "input": "${steps.a.output}"});
    rig.workflow("w", better).await;
    let seen = rig.post(&one, r#"{"dry_run": true, "version": 3}"#).await.is(200).json();
    assert_eq!(seen["outcome"], "can_move");
    let late = rig.post(&one, r#"{"at": 1}"#).await.is(409).json();
    assert_eq!(late["refusals"][0]["code"], "run_moved_on");
    let body = json!({"at": seen["at"], "reason": "it keeps more"}).to_string();
    let moved = rig.post(&one, body).await.is(200).json();
    assert_eq!((&moved["outcome"], &moved["definition"]), (&json!("moved"), &seen["definition"]));
    assert_eq!(rig.post(&one, "").await.is(200).json(), moved, "asked again, the answer is the same");

    let all = "/api/v1/workflows/w/migrate?limit=1";
    let page = rig.post(all, r#"{"dry_run": true, "from": 1}"#).await.is(200).json();
    assert_eq!((&page["dry_run"], &page["items"][0]["outcome"]), (&json!(true), &json!("can_move")));
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = rig.post(&format!("{all}&cursor={cursor}"), r#"{"status": ["waiting"]}"#).await.is(200).json();
        found.extend(page["items"].as_array().unwrap().iter().map(|run| run["outcome"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.replace('/', "%2F"),
            None => break,
        }
    }
    assert_eq!(found, ["moved", "moved"]);
    for run in &runs {
        rig.post(&format!("/api/v1/workflows/w/runs/{run}/steps/b/approve"), r#"{"approved":true}"#).await.is(204);
        rig.ended(run).await;
        let shown = rig.get(&format!("/api/v1/workflow-runs/{run}")).await.json();
        assert_eq!((&shown["status"], &shown["steps"]["c"]["output"]), (&json!("succeeded"), &json!({"x": 1})));
        assert_eq!(shown["past_definitions"].as_array().map(Vec::len), Some(1));
    }
    let lines = rig.get(&format!("/api/v1/workflow-runs/{}/timeline", runs[0])).await.json();
    let line = lines.as_array().unwrap().iter().find(|line| line["type"] == "run_migrated").unwrap().clone();
    assert_eq!(line["message"], "it keeps more");
    assert_eq!(rig.post(&one, r#"{"version": 9}"#).await.is(404).code(), "version_not_found");
    assert_eq!(rig.post("/api/v1/workflow-runs/none/migrate", "").await.is(404).code(), "run_not_found");
}

//! The server is killed, or stopped in order, under its workers: they connect again and everything ends.

use std::time::Duration;

use coretex_server::client::{Client, Sent};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use super::{
    common::{KEY, Server},
    process::{Process, TOPIC},
};

async fn ended(client: &Client, run: &str) -> serde_json::Value {
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let shown = client.get(&format!("/api/v1/workflow-runs/{run}")).await.unwrap();
        if shown["status"] != "running" && shown["status"] != "pending" {
            return shown;
        }
        assert!(tokio::time::Instant::now() < until, "{shown}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_find_a_server_that_was_restarted() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let address = server.address.clone();
    let client = server.client();
    let workflow = json!({"id": "two", "steps": {
        "a": {"topic": TOPIC, "input": "${input}"},
        "b": {"topic": TOPIC, "input": "${steps.a.output}", "depends_on": ["a"]},
    }});
    client.post("/api/v1/workflows", Sent::json(&workflow)).await.unwrap();
    let (started, mut starts) = unbounded_channel();
    let url = address.replace("http://", "ws://");
    let _workers = ["w1", "w2"].map(|id| Process::start(&url, KEY, id, 50, started.clone()));
    let mut runs = Vec::new();
    for round in 0..3 {
        for n in 0..10 {
            let answer = client.post("/api/v1/workflows/two/runs", Sent::json(&json!({"n": n}))).await.unwrap();
            runs.push(answer["run_id"].as_str().unwrap().to_owned());
        }
        // Some are under way.
        for _ in 0..4 {
            tokio::time::timeout(Duration::from_secs(60), starts.recv()).await.unwrap().unwrap();
        }
        if round == 2 {
            // In order: the workers are told to connect again.
            server.terminate();
            assert!(server.ended().success());
        } else {
            server.kill();
        }
        server = Server::start_at(data.path(), &address);
    }
    for run in runs {
        let shown = ended(&client, &run).await;
        assert_eq!(shown["status"], "succeeded", "{shown}");
    }
}

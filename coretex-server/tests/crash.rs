//! Kills the server at random moments under load and looks at what is left: nothing acknowledged is lost, nothing is
//! applied twice, everything ends.
//!
//! `CORETEX_CRASH_ROUNDS` is how many kills there must be (100), `CORETEX_CRASH_SECONDS` how long there is for them
//! (300), `CORETEX_CRASH_SEED` repeats a sequence of moments.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{Dice, OPENING, Server};
use coretex_core::value::Value;
use coretex_server::client::{Client, ClientError, Sent};
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::sync::mpsc;

const CLIENTS: usize = 4;
/// Runs started between two kills, at most.
const PER_ROUND: u64 = 60;

/// Two steps side by side, then one that needs both, then one more: parallel results and a chain.
fn workflow() -> Value {
    json!({"id": "crash", "steps": {
        "a": {"topic": "job.demo.a"},
        "b": {"topic": "job.demo.b"},
        "c": {"topic": "job.demo.c", "depends_on": ["a", "b"], "input": {"a": "${steps.a.output.n}", "b": "${steps.b.output.n}"}},
        "d": {"topic": "job.demo.d", "depends_on": ["c"], "input": "${steps.c.output}"},
    }})
}

#[derive(Debug, Default)]
struct Book {
    /// Keys whose start was not answered: the outcome is open until it is repeated.
    open: BTreeSet<u64>,
    /// Key to run, as acknowledged.
    runs: BTreeMap<u64, String>,
    /// Runs that were not seen ended yet.
    under_way: BTreeSet<u64>,
    next: u64,
}

impl Book {
    fn take(&mut self, limit: u64) -> Option<u64> {
        if let Some(key) = self.open.pop_first() {
            return Some(key);
        }
        (self.next < limit).then(|| {
            self.next += 1;
            self.next
        })
    }

    fn acknowledged(&mut self, key: u64, run: String) {
        if let Some(before) = self.runs.get(&key) {
            assert_eq!(before, &run, "key {key} started two runs");
        } else {
            self.runs.insert(key, run);
            self.under_way.insert(key);
        }
    }
}

/// Starts runs until the server goes, and tells of each that was acknowledged.
async fn load(client: Client, book: Arc<Mutex<Book>>, limit: u64, told: mpsc::UnboundedSender<()>) {
    loop {
        let Some(key) = book.lock().unwrap().take(limit) else { return };
        let sent = Sent::json(&json!({"n": key})).header("idempotency-key", format!("crash-{key}"));
        match client.post("/api/v1/workflows/crash/runs", sent).await {
            Ok(answer) => {
                book.lock().unwrap().acknowledged(key, answer["run_id"].as_str().unwrap().to_owned());
                // Nobody counts any more once the server is to be killed.
                let _gone = told.send(());
            }
            Err(ClientError::Unreachable { .. } | ClientError::Broken { .. }) => {
                book.lock().unwrap().open.insert(key);
                return;
            }
            Err(error) => panic!("key {key}: {error}"),
        }
    }
}

/// What a run that has ended must look like, whatever happened to the server.
fn judge(key: u64, run: &Value, timeline: &[Value]) {
    assert_eq!(run["status"], "succeeded", "{run}");
    assert_eq!(run["steps"]["d"]["output"], json!({"a": key, "b": key}), "{run}");
    let numbers: Vec<u64> = timeline.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=timeline.len() as u64).collect::<Vec<_>>());
    for step in ["a", "b", "c", "d"] {
        for kind in ["step_dispatched", "step_completed"] {
            let count = timeline.iter().filter(|event| event["step_id"] == step && event["type"] == kind).count();
            assert_eq!(count, 1, "{kind} of {step} in {timeline:?}");
        }
    }
    let ends = timeline.iter().filter(|event| event["type"] == "run_status").count();
    assert_eq!(ends, 2, "{timeline:?}");
}

/// Looks at runs that were acknowledged; true for those that have ended, and then all is as it must be.
async fn look(client: &Client, runs: Vec<(u64, String)>) -> Result<Vec<(u64, bool)>, ClientError> {
    let looks = runs.into_iter().map(|(key, id)| async move {
        let run = client.get(&format!("/api/v1/workflow-runs/{id}")).await?;
        let ended = !matches!(run["status"].as_str(), Some("running" | "waiting" | "pending"));
        if ended {
            let timeline = client.get(&format!("/api/v1/workflow-runs/{id}/timeline?limit=1000")).await?;
            judge(key, &run, timeline.as_array().unwrap());
        }
        Ok((key, ended))
    });
    stream::iter(looks).buffer_unordered(CLIENTS).collect::<Vec<_>>().await.into_iter().collect()
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_is_applied_twice() {
    let (wanted, seconds) = (variable("CORETEX_CRASH_ROUNDS", 100), variable("CORETEX_CRASH_SECONDS", 300));
    let began = tokio::time::Instant::now();
    let mut dice = Dice::roll();
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    server.client().post("/api/v1/workflows", Sent::json(&workflow())).await.unwrap();
    server.kill();

    let book = Arc::new(Mutex::new(Book::default()));
    let mut rounds = 0;
    while rounds < wanted && began.elapsed() < Duration::from_secs(seconds) {
        rounds += 1;
        if dice.below(5) == 0 {
            // While it opens its files and takes up what was under way.
            let phase = OPENING[usize::try_from(dice.below(OPENING.len() as u64)).unwrap()];
            Server::kill_when_it_says(data.path(), phase);
            continue;
        }
        let server = Server::start(data.path());
        let client = server.client();
        let pending: Vec<(u64, String)> = {
            let book = book.lock().unwrap();
            book.under_way.iter().map(|key| (*key, book.runs[key].clone())).collect()
        };
        for (key, ended) in look(&client, pending).await.unwrap() {
            if ended {
                book.lock().unwrap().under_way.remove(&key);
            }
        }
        let limit = book.lock().unwrap().next + PER_ROUND;
        let (told, mut acknowledged) = mpsc::unbounded_channel();
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| tokio::spawn(load(client.clone(), book.clone(), limit, told.clone()))).collect();
        drop(told);
        // After the last one the load is over, and what it started goes on.
        for _ in 0..dice.below(PER_ROUND) {
            if acknowledged.recv().await.is_none() {
                break;
            }
        }
        server.kill();
        for client in clients {
            client.await.unwrap();
        }
    }

    let server = Server::start(data.path());
    let client = server.client();
    load(client.clone(), book.clone(), 0, mpsc::unbounded_channel().0).await;
    let all: Vec<(u64, String)> = book.lock().unwrap().runs.clone().into_iter().collect();
    let mut left = all.clone();
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    while !left.is_empty() {
        let ended = look(&client, left.clone()).await.unwrap();
        let ended: BTreeSet<u64> = ended.into_iter().filter(|(_, ended)| *ended).map(|(key, _)| key).collect();
        left.retain(|(key, _)| !ended.contains(key));
        assert!(left.is_empty() || tokio::time::Instant::now() < patience, "these do not end: {left:?}");
    }
    let distinct: BTreeSet<&String> = all.iter().map(|(_, run)| run).collect();
    assert_eq!(distinct.len(), all.len());
    eprintln!("{rounds} kills, {} runs acknowledged, all ended, {:.1} s", all.len(), began.elapsed().as_secs_f64());
    assert!(rounds >= wanted, "{rounds} of {wanted} kills in {seconds} s; give more time with CORETEX_CRASH_SECONDS");
}

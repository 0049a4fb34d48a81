//! Workers of the SDK, connected by address.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use coretex_core::{
    ports::{BlobKey, BusErrorKind},
    value::Value,
};
use coretex_server::WorkerSockets;
use coretex_worker::{JobContext, JobError, Progress, RawInput, RawOutput, State, Worker};
use serde_json::json;
use tokio::sync::Notify;

use super::rig::{KEY, Rig, ms};

async fn echo(RawInput(input): RawInput) -> RawOutput {
    RawOutput(input)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_needs_an_address_and_nothing_else() {
    let rig = Rig::start().await;
    let worker = rig.worker::<()>("w1").pool("default").handle("job.a", echo).build().unwrap().start().await.unwrap();
    assert_eq!(rig.run("job.a", json!({"text": "ä"})).await, json!({"text": "ä"}));
    let known = rig.plane.workers();
    assert_eq!(known.iter().map(|worker| &*worker.worker_id).collect::<Vec<_>>(), ["w1"]);
    assert_eq!(known[0].topics, ["job.a"]);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_inputs_and_outputs_go_through_the_blob_store() {
    let rig = Rig::start().await;
    let worker = rig.worker::<()>("w1").handle("job.a", echo).build().unwrap().start().await.unwrap();
    let large = json!({"text": "\u{1}".repeat(100_000)});
    let step = json!({"id": "one", "steps": {"s": {"topic": "job.a", "input": "${input}"}}});
    rig.workflow(step).await;
    let run = rig.start_run("one", large.clone()).await;
    let ended = rig.ended(&run).await;
    let output = ended.step("s").unwrap().output.clone().unwrap();
    let read = async |pointer: &str| -> Value {
        let key = BlobKey::parse(pointer.trim_start_matches("redis://")).unwrap();
        serde_json::from_slice(&rig.blobs.get(&key).await.unwrap().unwrap()).unwrap()
    };
    assert_eq!(read(&output.pointer.unwrap()).await, large);
    assert_eq!(read(&format!("ctx:{run}:s@1")).await, large);
    worker.drain().await;
}

async fn flaky(State(tries): State<Arc<AtomicU32>>) -> Result<RawOutput, JobError> {
    match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Err(JobError::retry_after("not yet", ms(1))),
        tries => Ok(RawOutput(json!(tries).into())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_travel_with_their_details() {
    let rig = Rig::start().await;
    let tries = Arc::new(AtomicU32::new(0));
    let worker = rig.worker("w1").handle("job.a", flaky).with_state(tries);
    let worker = worker.build().unwrap().start().await.unwrap();
    rig.workflow(json!({"id": "one", "output": "${steps.s.output}", "steps": {
        "s": {"topic": "job.a", "retry": {"max_retries": 1}},
    }}))
    .await;
    let run = rig.start_run("one", json!({})).await;
    assert_eq!(**rig.ended(&run).await.output().unwrap(), json!(1), "the second try");
    worker.drain().await;
}

#[derive(Clone)]
struct Gate {
    begun: Arc<Notify>,
    go: Arc<Notify>,
    times: Arc<AtomicU32>,
}

async fn gated(State(gate): State<Gate>, context: JobContext, progress: Progress) -> Result<RawOutput, JobError> {
    gate.times.fetch_add(1, Ordering::SeqCst);
    gate.begun.notify_one();
    gate.go.notified().await;
    // The connection may be gone; that is no reason to fail.
    let _told = progress.report(50, "half").await;
    Ok(RawOutput(json!(context.delivery()).into()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_on_over_a_broken_connection() {
    let rig = Rig::with(WorkerSockets::default().with_grace(ms(20_000))).await;
    let proxy = super::peer::Proxy::start(rig.address).await;
    let gate = Gate { begun: Arc::default(), go: Arc::default(), times: Arc::default() };
    let worker = Worker::connect(proxy.url()).api_key(KEY).id("w1").handle("job.a", gated).with_state(gate.clone());
    let worker = worker.build().unwrap().start().await.unwrap();
    rig.workflow(json!({"id": "one", "output": "${steps.s.output}", "steps": {"s": {"topic": "job.a"}}})).await;
    let run = rig.start_run("one", json!({})).await;
    gate.begun.notified().await;
    proxy.cut();
    gate.go.notify_one();
    let ended = tokio::time::timeout(ms(20_000), rig.ended(&run)).await.unwrap();
    assert_eq!(**ended.output().unwrap(), json!(1), "the first delivery counted");
    assert_eq!(gate.times.load(Ordering::SeqCst), 1, "it was not run twice");
    assert!(proxy.connections() >= 2);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_reaches_the_worker() {
    async fn until_cancelled(State(begun): State<Arc<Notify>>, cancel: coretex_worker::Cancel) -> Result<(), JobError> {
        begun.notify_one();
        cancel.cancelled().await;
        Err(JobError::cancelled())
    }
    let rig = Rig::start().await;
    let begun = Arc::new(Notify::new());
    let worker = rig.worker("w1").handle("job.a", until_cancelled).with_state(begun.clone());
    let worker = worker.build().unwrap().start().await.unwrap();
    rig.workflow(json!({"id": "one", "steps": {"s": {"topic": "job.a"}}})).await;
    let run = rig.start_run("one", json!({})).await;
    begun.notified().await;
    rig.plane.cancel_run(&super::rig::principal(), &run, "no need").await.unwrap();
    rig.ended(&run).await;
    worker.drain().await;
    assert_eq!(worker.stats().cancelled, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_is_told_at_the_start() {
    let rig = Rig::start().await;
    let start =
        |key: &str| Worker::connect::<()>(rig.url()).api_key(key).handle("job.a", echo).build().unwrap().start();
    let error = start("wrong").await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (BusErrorKind::Denied.code(), false));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("api_key_wrong"), "{source}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_workers_with_one_id_the_newer_stays() {
    let rig = Rig::start().await;
    let older = rig.worker::<()>("w1").handle("job.a", echo).build().unwrap().start().await.unwrap();
    let newer = rig.worker::<()>("w1").handle("job.a", echo).build().unwrap().start().await.unwrap();
    // It does not come back to take the place again.
    older.stopped().await;
    assert_eq!(rig.run("job.a", json!({"n": 7})).await, json!({"n": 7}));
    newer.drain().await;
}

//! No-op jobs per second through the memory bus with one worker, beside the cost of hops over bounded channels on
//! the same runtime in the same run: the machine's own price of handing something to another task.
//!
//! `cargo bench -p coretex-worker --bench handler`

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use coretex_core::{
    ports::{Bus, Message, Payload, Subscribe, SystemClock, memory::MemoryBus},
    protocol::{BusPacket, JobRequest},
};
use coretex_worker::{Input, JobError, Output, RawInput, RawOutput, Worker};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

const JOBS: usize = 200_000;
const WINDOW: usize = 256;
const ROUNDS: usize = 3;

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let jobs = if std::env::args().any(|argument| argument == "--bench") { JOBS } else { 2_000 };
    for threads in [1, 2] {
        println!("runtime with {threads} thread(s)");
        let runtime = runtime(threads);
        best("  bus alone: publish, deliver, ack, result, ack", jobs, || runtime.block_on(bus_alone(jobs, WINDOW)));
        best("  no-op handler, 256 jobs in flight", jobs, || runtime.block_on(worker(jobs, WINDOW, Kind::NoOp)));
        best("  typed input and output, 256 in flight", jobs, || runtime.block_on(worker(jobs, WINDOW, Kind::Typed)));
        best("  no-op handler, one at a time", jobs / 10, || runtime.block_on(worker(jobs / 10, 1, Kind::NoOp)));
        best("  bus alone, one at a time", jobs / 10, || runtime.block_on(bus_alone(jobs / 10, 1)));
        best("  bounded channel, two hops, 256 in flight", jobs, || runtime.block_on(channels(jobs, WINDOW)));
        best("  bounded channel, two hops, one at a time", jobs / 10, || runtime.block_on(channels(jobs / 10, 1)));
        best("  spawn of an empty task", jobs, || runtime.block_on(spawns(jobs)));
    }
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(threads).enable_time().build().unwrap()
}

/// Runs a case unless the command line names another one.
fn best(name: &str, jobs: usize, mut round: impl FnMut() -> Duration) {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    if wanted.is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let best = (0..ROUNDS).map(|_| round()).min().unwrap();
    let each = best.as_secs_f64() / jobs as f64;
    println!("{name:<52} {:>9.0} ns  {:>9.0} /s", each * 1e9, 1.0 / each);
}

#[derive(Clone, Copy)]
enum Kind {
    NoOp,
    Typed,
}

async fn no_op(RawInput(input): RawInput) -> RawOutput {
    RawOutput(input)
}

async fn typed(Input((a, b)): Input<(u64, String)>) -> Result<Output<(u64, String)>, JobError> {
    Ok(Output((a + 1, b)))
}

fn requests(jobs: usize) -> Vec<Message> {
    let subject: Arc<str> = "job.bench".into();
    let input = Arc::new(json!([1, "a string of some length"]));
    let message = |n: usize| {
        let request = JobRequest {
            job_id: format!("0198a9f0-0000-7000-8000-000000000000:step-{n}@1"),
            topic: "job.bench".into(),
            tenant_id: "acme".into(),
            ..JobRequest::default()
        };
        let packet = BusPacket {
            trace_id: "0198a9f0-0000-7000-8000-000000000001".into(),
            sender_id: "plane".into(),
            protocol_version: 1,
            payload: Some(request.into()),
            ..BusPacket::default()
        };
        Message::new(Arc::clone(&subject), packet).with_payload(Some(Payload(Arc::clone(&input))))
    };
    (0..jobs).map(message).collect()
}

/// Publishes with `window` jobs in flight and takes the results.
async fn pump(bus: &Arc<dyn Bus>, jobs: usize, window: usize) -> Duration {
    let mut results = bus.subscribe(Subscribe::group("sys.job.result", "bench")).await.unwrap();
    let mut requests = requests(jobs).into_iter();
    let begun = Instant::now();
    for message in requests.by_ref().take(window) {
        bus.publish(message).await.unwrap();
    }
    for _ in 0..jobs {
        let result = results.next().await.unwrap();
        result.ack_now();
        black_box(&result);
        if let Some(message) = requests.next() {
            bus.publish(message).await.unwrap();
        }
    }
    begun.elapsed()
}

async fn worker(jobs: usize, window: usize, kind: Kind) -> Duration {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(Arc::new(SystemClock)));
    let builder = Worker::builder(Arc::clone(&bus)).max_parallel(64);
    let builder = match kind {
        Kind::NoOp => builder.handle("job.bench", no_op),
        Kind::Typed => builder.handle("job.bench", typed),
    };
    let worker = builder.build().unwrap().start().await.unwrap();
    let pump_bus = Arc::clone(&bus);
    let took = tokio::spawn(async move { pump(&pump_bus, jobs, window).await }).await.unwrap();
    worker.drain().await;
    assert_eq!(worker.stats().succeeded, jobs as u64);
    took
}

/// The same traffic with a loop in the worker's place that only echoes.
async fn bus_alone(jobs: usize, window: usize) -> Duration {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(Arc::new(SystemClock)));
    let mut topic = bus.subscribe(Subscribe::group("job.bench", "job.bench")).await.unwrap();
    let echo = Arc::clone(&bus);
    let subject: Arc<str> = "sys.job.result".into();
    let echo = tokio::spawn(async move {
        while let Some(delivery) = topic.next().await {
            let message = Message { subject: Arc::clone(&subject), ..delivery.message.clone() };
            echo.publish(message).await.unwrap();
            delivery.ack_now();
        }
    });
    let pump_bus = Arc::clone(&bus);
    let took = tokio::spawn(async move { pump(&pump_bus, jobs, window).await }).await.unwrap();
    echo.abort();
    took
}

async fn channels(jobs: usize, window: usize) -> Duration {
    let (to, mut from) = tokio::sync::mpsc::channel::<usize>(1024);
    let (back, mut results) = tokio::sync::mpsc::channel::<usize>(1024);
    tokio::spawn(async move {
        while let Some(n) = from.recv().await {
            back.send(n).await.unwrap();
        }
    });
    tokio::spawn(async move {
        let begun = Instant::now();
        for n in 0..window {
            to.send(n).await.unwrap();
        }
        for n in window..jobs + window {
            black_box(results.recv().await.unwrap());
            if n < jobs {
                to.send(n).await.unwrap();
            }
        }
        begun.elapsed()
    })
    .await
    .unwrap()
}

async fn spawns(jobs: usize) -> Duration {
    tokio::spawn(async move {
        let begun = Instant::now();
        let slots = Arc::new(tokio::sync::Semaphore::new(64));
        for _ in 0..jobs {
            let permit = Arc::clone(&slots).acquire_owned().await.unwrap();
            tokio::spawn(async move { drop(permit) });
        }
        begun.elapsed()
    })
    .await
    .unwrap()
}

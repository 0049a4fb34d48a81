//! `cargo run --release -p coretex-bench --example large -- [ITEMS] [IN_FLIGHT_MIB] [DIRECTORY]`
//!
//! A `for_each` whose items each get 900 kB of input, over the embedded store, and small runs beside it: what the large run
//! holds, and how long the others wait. Printed are the resident bytes, and the latency of a small run while the large one
//! is under way by that of one alone.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use coretex_core::{
    governance::Principal,
    job::{RunId, WorkflowId},
    policy::{Outcome, fixed},
    runtime::{ControlPlane, Options, StartRequest},
    workflow::{RunStatus, Workflow},
};
use coretex_store::embedded::EmbeddedStore;
use coretex_worker::{JobError, Worker};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TEXT: usize = 900_000;
const ALONE: Duration = Duration::from_secs(2);

async fn noop() -> Result<(), JobError> {
    Ok(())
}

/// Starts a run and waits for its end.
async fn run(plane: &ControlPlane, me: &Principal, workflow: &str, input: Arc<Value>) -> anyhow::Result<RunId> {
    let id = plane.start(me, StartRequest::new(WorkflowId::parse(workflow)?, input)).await?;
    let end = plane.wait(me, &id).await.context("the run does not end")?;
    anyhow::ensure!(end.status() == RunStatus::Succeeded, "the run is {}: {:?}", end.status().as_str(), end.failure());
    Ok(id)
}

/// Latencies of small runs, one after the other until `done` says so, in milliseconds, sorted.
async fn small(plane: ControlPlane, me: Principal, done: impl Fn() -> bool) -> anyhow::Result<Vec<f64>> {
    let mut took = Vec::new();
    while !done() {
        let began = Instant::now();
        run(&plane, &me, "small", Arc::new(json!({}))).await?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}

fn at(sorted: &[f64], quantile: f64) -> f64 {
    sorted.get(((sorted.len() as f64 - 1.0) * quantile).round() as usize).copied().unwrap_or_default()
}

/// A line of `/proc/self/status`, in MiB.
fn memory(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kib = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>();
    kib.unwrap_or_default() / 1024.0
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let items: usize = args.next().map_or(Ok(2_000), |items| items.parse())?;
    let mut options = Options::default();
    if let Some(mib) = args.next() {
        options.in_flight_bytes = mib.parse::<u64>()? << 20;
    }
    let scratch = tempfile::tempdir()?;
    let dir = args.next().map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let store = Arc::new(EmbeddedStore::open(dir).await?);
    let plane = ControlPlane::builder(fixed(Outcome::Allow)).options(options).store(store).start().await?;
    let me = Principal::service("bench");
    let worker = Worker::builder(plane.bus()).pool("bench").handle("job.bench.noop", noop).max_parallel(256).build()?;
    let worker = worker.start().await?;
    let large = "id: large\nsteps:\n  each: {topic: job.bench.noop, for_each: input.list, input: {s: '${input.s}'}}\n";
    for yaml in ["id: small\nsteps:\n  a: {topic: job.bench.noop}\n", large] {
        plane.put_workflow(&me, Workflow::parse("large.yaml", yaml)?).await?;
    }
    let began = Instant::now();
    let alone = small(plane.clone(), me.clone(), || began.elapsed() > ALONE).await?;
    let idle = memory("VmRSS");

    let over = Arc::new(AtomicBool::new(false));
    let beside = tokio::spawn(small(plane.clone(), me.clone(), {
        let over = over.clone();
        move || over.load(Ordering::Relaxed)
    }));
    let began = Instant::now();
    let input = json!({"s": "x".repeat(TEXT), "list": (0..items).collect::<Vec<_>>()});
    let result = run(&plane, &me, "large", Arc::new(input)).await;
    let took = began.elapsed();
    over.store(true, Ordering::Relaxed);
    let beside = beside.await??;
    let id = result?;
    let end = plane.run(&me, &id).await?;

    println!("{items} items of {} kB in {:.1} s", TEXT / 1000, took.as_secs_f64());
    println!("resident: {idle:.0} MiB before, {:.0} MiB at most", memory("VmHWM"));
    println!("state of the run at its end: {:.1} MiB", end.weight() as f64 / 1_048_576.0);
    for (name, quantile) in [("median", 0.5), ("95 %", 0.95), ("99 %", 0.99), ("longest", 1.0)] {
        let (alone, beside) = (at(&alone, quantile), at(&beside, quantile));
        println!("a small run, {name}: {alone:.2} ms alone, {beside:.2} ms beside: {:.1} times", beside / alone);
    }
    worker.stop().await;
    plane.shutdown().await?;
    Ok(())
}

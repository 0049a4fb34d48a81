//! Runs a fixed number of chains of ten, and prints the steps done and the CPU time of one:
//! `cargo run --release -p coretex-bench --example steps -- RUNS [memory|DIR]`.
//!
//! For instruction counters, which want the same work every time. The instructions of a step are the difference of two
//! numbers of runs: `valgrind --tool=callgrind target/release/examples/steps 1000`, then 3000, and 20,000 steps more.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use coretex_core::{
    governance::Principal,
    job::WorkflowId,
    policy::{Outcome, fixed},
    ports::{Store, SystemClock, memory::MemoryStore},
    runtime::{ControlPlane, StartRequest},
    workflow::{RunStatus, Workflow},
};
use coretex_store::embedded::EmbeddedStore;
use coretex_worker::{JobError, Worker};
use serde_json::json;

/// As in the benchmark, so that the same code is counted.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STEPS: usize = 10;
const CLIENTS: usize = 64;

async fn noop() -> Result<(), JobError> {
    Ok(())
}

fn chain() -> String {
    let mut yaml = "id: bench\nsteps:\n".to_owned();
    for n in 0..STEPS {
        yaml.push_str(&format!("  s{n:03}: {{type: worker, topic: job.bench.noop"));
        if n > 0 {
            yaml.push_str(&format!(", depends_on: [s{:03}]", n - 1));
        }
        yaml.push_str("}\n");
    }
    yaml
}

async fn store(name: &str) -> anyhow::Result<Arc<dyn Store>> {
    if name == "memory" {
        return Ok(Arc::new(MemoryStore::new(Arc::new(SystemClock))));
    }
    let dir = PathBuf::from(name).join("data");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(Arc::new(EmbeddedStore::open(dir).await?))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let runs: usize = args.next().unwrap_or_else(|| "10000".into()).parse()?;
    let store = store(&args.next().unwrap_or_else(|| "memory".into())).await?;
    let principal = Principal::service("bench");
    let plane = ControlPlane::builder(fixed(Outcome::Allow)).store(store).start().await?;
    plane.put_workflow(&principal, Workflow::parse("bench.yaml", &chain())?).await?;
    let worker = Worker::builder(plane.bus()).pool("bench").handle("job.bench.noop", noop).max_parallel(256);
    let worker = worker.build()?.start().await?;
    let before = cpu_seconds();
    let left = Arc::new(AtomicUsize::new(runs));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (plane, principal, left) = (plane.clone(), principal.clone(), left.clone());
        clients.push(tokio::spawn(async move {
            let id = WorkflowId::parse("bench")?;
            let input = Arc::new(json!({"n": 1}));
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                let run = plane.start(&principal, StartRequest::new(id.clone(), input.clone())).await?;
                let run = plane.wait(&principal, &run).await?;
                anyhow::ensure!(run.status() == RunStatus::Succeeded, "a run ended {:?}", run.failure());
            }
            anyhow::Ok(())
        }));
    }
    for client in clients {
        client.await??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let per_step = (cpu_seconds() - before) * 1e6 / (runs * STEPS) as f64;
    println!("{} steps, {per_step:.2} us of CPU each", runs * STEPS);
    worker.stop().await;
    plane.shutdown().await?;
    Ok(())
}

/// CPU time of this process so far; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
    #[expect(clippy::cast_precision_loss, reason = "ticks are few")]
    let seconds = ticks as f64 / 100.0;
    seconds
}

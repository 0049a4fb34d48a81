//! `coretex-bench WORKLOAD|baseline --concurrency N --seconds S --store memory|DIR --json`
//!
//! Runs one workload against a control plane in this process, beside the raw limits of the same machine at the same
//! time, and prints ratios: absolute figures of a shared machine say little.

mod baseline;
mod raw;
mod workload;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use coretex_core::{
    policy::{Outcome, fixed},
    ports::{Store, SystemClock, memory::MemoryStore},
    runtime::ControlPlane,
};
use coretex_store::embedded::EmbeddedStore;
use serde_json::{Map, Value, json};

/// Jobs are made on one thread and freed on another, which the system's allocator answers with locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Which workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// One no-op step.
    W1,
    /// A chain of ten steps.
    W2,
    /// 1,000 parallel steps and a join.
    W3,
    /// Recovery of 1,000 runs in flight.
    W5,
    /// 10,000 parked runs: half a long delay, half an approval.
    W6,
    /// The first three over memory, and over the directory given, beside the stored baseline.
    Baseline,
}

#[derive(Clone, Debug, Parser)]
#[command(about = "Measures coretex against the raw limits of this machine")]
struct Args {
    /// Which workload.
    workload: Workload,
    /// Runs under way at once.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// `memory`, or a directory for the embedded store.
    #[arg(long, default_value = "memory")]
    store: String,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if args.workload == Workload::Baseline {
        let ratios = runtime.block_on(baseline::compare(&args))?;
        if args.json {
            println!("{}", Value::Object(ratios));
        }
        return Ok(());
    }
    let figures = runtime.block_on(measure(&args))?;
    if args.json {
        println!("{}", Value::Object(figures));
    } else {
        for (name, value) in &figures {
            println!("{name:<32} {value}");
        }
    }
    Ok(())
}

async fn measure(args: &Args) -> anyhow::Result<Map<String, Value>> {
    let mut figures = Map::new();
    let window = Duration::from_secs_f64(args.seconds);
    figures.insert("workload".into(), json!(format!("{:?}", args.workload)));
    figures.insert("store".into(), json!(args.store));
    figures.insert("concurrency".into(), json!(args.concurrency));
    let hops = raw::channel_hops(window.min(Duration::from_secs(1))).await;
    figures.insert("raw_channel_hops_per_s".into(), json!(hops.round()));
    let mut raw_sync_us = None;
    let mut raw_appends = None;
    if args.store != "memory" {
        let dir = PathBuf::from(&args.store);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let (p50, _) = raw::sync_latency(&dir, Duration::from_secs(1))?;
        let appends = raw::grouped_appends(&dir, 64, window.min(Duration::from_secs(2))).await?;
        figures.insert("raw_fdatasync_p50_us".into(), json!(p50.round()));
        figures.insert("raw_group_appends_per_s".into(), json!(appends.round()));
        (raw_sync_us, raw_appends) = (Some(p50), Some(appends));
    }
    let store = open(&args.store).await?;
    let cpu = raw::cpu_seconds();
    let result = match args.workload {
        Workload::W1 | Workload::W2 | Workload::W3 => {
            let plane = ControlPlane::builder(fixed(Outcome::Allow)).store(store.clone()).start().await?;
            workload::throughput(&plane, args.workload.into(), args.concurrency, window).await?
        }
        Workload::W5 => workload::recovery(store.clone(), 1_000).await?,
        Workload::W6 => workload::parked(store.clone(), 10_000).await?,
        Workload::Baseline => anyhow::bail!("`baseline` is not one workload"),
    };
    let cpu = raw::cpu_seconds() - cpu;
    figures.extend(result.figures);
    if result.steps > 0.0 {
        figures.insert("cpu_us_per_step".into(), json!((cpu / result.total_steps * 1e7).round() / 10.0));
        figures.insert("steps_per_channel_hop".into(), json!(ratio(result.steps, hops)));
    }
    if let (Some(appends), true) = (raw_appends, result.runs > 0.0) {
        figures.insert("runs_per_raw_append".into(), json!(ratio(result.runs, appends)));
        figures.insert("steps_per_raw_append".into(), json!(ratio(result.steps, appends)));
    }
    if let (Some(sync), Some(p50)) = (raw_sync_us, result.p50_us) {
        figures.insert("p50_minus_3_syncs_us".into(), json!((p50 - 3.0 * sync).round()));
    }
    Ok(figures)
}

fn ratio(a: f64, b: f64) -> f64 {
    (a / b * 10_000.0).round() / 10_000.0
}

async fn open(store: &str) -> anyhow::Result<Arc<dyn Store>> {
    if store == "memory" {
        return Ok(Arc::new(MemoryStore::new(Arc::new(SystemClock))));
    }
    let dir = PathBuf::from(store).join("data");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(Arc::new(EmbeddedStore::open(dir).await?))
}

/// What a workload measured.
#[derive(Debug, Default)]
struct Measured {
    figures: Map<String, Value>,
    runs: f64,
    steps: f64,
    total_steps: f64,
    p50_us: Option<f64>,
}

//! The workloads: what a host would do, as fast as it can.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use coretex_core::{
    governance::Principal,
    job::WorkflowId,
    policy::{Outcome, fixed},
    ports::Store,
    runtime::{ControlPlane, StartRequest},
    workflow::{RunStatus, Workflow},
};
use coretex_worker::{JobError, RunningWorker, Worker};
use serde_json::json;

use crate::{Measured, raw};

/// A workload by its shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    yaml: fn() -> String,
    steps: u32,
}

impl From<crate::Workload> for Shape {
    fn from(workload: crate::Workload) -> Self {
        match workload {
            crate::Workload::W2 => Self { yaml: || chain(10), steps: 10 },
            crate::Workload::W3 => Self { yaml: || fan_out(1_000), steps: 1_001 },
            _ => Self { yaml: || chain(1), steps: 1 },
        }
    }
}

fn chain(length: usize) -> String {
    let mut yaml = "id: bench\nsteps:\n".to_owned();
    for n in 0..length {
        yaml.push_str(&format!("  s{n:03}: {{type: worker, topic: job.bench.noop"));
        if n > 0 {
            yaml.push_str(&format!(", depends_on: [s{:03}]", n - 1));
        }
        yaml.push_str("}\n");
    }
    yaml
}

fn fan_out(width: usize) -> String {
    let mut yaml = "id: bench\nsteps:\n".to_owned();
    let mut names = Vec::new();
    for n in 0..width {
        yaml.push_str(&format!("  s{n:04}: {{type: worker, topic: job.bench.noop}}\n"));
        names.push(format!("s{n:04}"));
    }
    yaml.push_str(&format!("  zz-join: {{type: worker, topic: job.bench.noop, depends_on: [{}]}}\n", names.join(", ")));
    yaml
}

async fn noop() -> Result<(), JobError> {
    Ok(())
}

async fn worker(plane: &ControlPlane) -> anyhow::Result<RunningWorker> {
    Ok(Worker::builder(plane.bus())
        .pool("bench")
        .handle("job.bench.noop", noop)
        .max_parallel(256)
        .build()?
        .start()
        .await?)
}

/// Runs per second at `concurrency`, for `window` after a short warm-up.
pub(crate) async fn throughput(
    plane: &ControlPlane,
    shape: Shape,
    concurrency: usize,
    window: Duration,
) -> anyhow::Result<Measured> {
    let principal = Principal::service("bench");
    plane.put_workflow(&principal, Workflow::parse("bench.yaml", &(shape.yaml)())?).await?;
    let worker = worker(plane).await?;
    let warm_up = window.mul_f64(0.2);
    let begin = raw::now();
    let done = Arc::new(AtomicU64::new(0));
    let all = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for _ in 0..concurrency {
        let (plane, principal, done, all) = (plane.clone(), principal.clone(), done.clone(), all.clone());
        clients.push(tokio::spawn(async move {
            let id = WorkflowId::parse("bench")?;
            let input = Arc::new(json!({"n": 1}));
            let mut took = Vec::new();
            while begin.elapsed() < warm_up + window {
                let start = raw::now();
                let run = plane.start(&principal, StartRequest::new(id.clone(), input.clone())).await?;
                let run = plane.wait(&principal, &run).await?;
                anyhow::ensure!(run.status() == RunStatus::Succeeded, "a run ended {:?}", run.failure());
                all.fetch_add(1, Ordering::Relaxed);
                if begin.elapsed() > warm_up {
                    done.fetch_add(1, Ordering::Relaxed);
                    took.push(start.elapsed().as_secs_f64() * 1e6);
                }
            }
            anyhow::Ok(took)
        }));
    }
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await??);
    }
    let seconds = (begin.elapsed() - warm_up).as_secs_f64();
    worker.stop().await;
    plane.shutdown().await?;
    took.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let (runs, all) = (done.load(Ordering::Relaxed) as f64 / seconds, all.load(Ordering::Relaxed) as f64);
    let steps = runs * f64::from(shape.steps);
    let p50 = raw::percentile(&took, 0.5);
    let mut measured =
        Measured { runs, steps, total_steps: all * f64::from(shape.steps), p50_us: Some(p50), ..Measured::default() };
    measured.figures.insert("runs_per_s".into(), json!(runs.round()));
    measured.figures.insert("steps_per_s".into(), json!(steps.round()));
    measured.figures.insert("run_p50_us".into(), json!(p50.round()));
    measured.figures.insert("run_p99_us".into(), json!(raw::percentile(&took, 0.99).round()));
    Ok(measured)
}

/// Starts `count` runs that no worker serves, drops the control plane as a crash would, and takes them up again.
pub(crate) async fn recovery(store: Arc<dyn Store>, count: usize) -> anyhow::Result<Measured> {
    let principal = Principal::service("bench");
    let id = WorkflowId::parse("bench")?;
    let plane = ControlPlane::builder(fixed(Outcome::Allow)).store(store.clone()).start().await?;
    plane.put_workflow(&principal, Workflow::parse("bench.yaml", &chain(10))?).await?;
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push(plane.start(&principal, StartRequest::new(id.clone(), json!({}))).await?);
    }
    drop(plane);
    let begin = raw::now();
    let plane = ControlPlane::builder(fixed(Outcome::Allow)).store(store).start().await?;
    let resumed = plane.recovery().resumed;
    anyhow::ensure!(resumed == count, "{resumed} of {count} runs were taken up");
    let worker = worker(&plane).await?;
    // The first step of every run has come back from a worker: the run is under way again.
    for run in &runs {
        let mut watch = plane.watch(&principal, run, 1).await?;
        while let Some(event) = watch.next().await? {
            if event.kind == "step_completed" {
                break;
            }
        }
    }
    let resumed_ms = begin.elapsed().as_secs_f64() * 1e3;
    for run in &runs {
        plane.wait(&principal, run).await?;
    }
    let mut measured = Measured::default();
    measured.figures.insert("recovered_runs".into(), json!(resumed));
    measured.figures.insert("all_under_way_ms".into(), json!(resumed_ms.round()));
    measured.figures.insert("all_ended_ms".into(), json!((begin.elapsed().as_secs_f64() * 1e3).round()));
    worker.stop().await;
    plane.shutdown().await?;
    Ok(measured)
}

/// Starts `count` runs that wait, half for a month and half for a human, and weighs them.
pub(crate) async fn parked(store: Arc<dyn Store>, count: usize) -> anyhow::Result<Measured> {
    let principal = Principal::service("bench");
    let plane = ControlPlane::builder(fixed(Outcome::Allow)).store(store).start().await?;
    let delay = "id: delay\nsteps:\n  wait: {type: delay, delay_sec: 2592000}\n  then: {type: worker, topic: job.bench.noop, depends_on: [wait]}\n";
    let approval = "id: approval\nsteps:\n  ask: {type: approval, name: May I?}\n  then: {type: worker, topic: job.bench.noop, depends_on: [ask]}\n";
    for yaml in [delay, approval] {
        plane.put_workflow(&principal, Workflow::parse("bench.yaml", yaml)?).await?;
    }
    let idle = raw::resident_bytes();
    let begin = raw::now();
    let mut clients = Vec::new();
    for client in 0..64 {
        let (plane, principal) = (plane.clone(), principal.clone());
        clients.push(tokio::spawn(async move {
            for n in (client..count).step_by(64) {
                let id = WorkflowId::parse(if n % 2 == 0 { "delay" } else { "approval" })?;
                plane.start(&principal, StartRequest::new(id, json!({"incident": n, "service": "checkout"}))).await?;
            }
            anyhow::Ok(())
        }));
    }
    for client in clients {
        client.await??;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let grown = raw::resident_bytes() - idle;
    let mut measured = Measured::default();
    measured.figures.insert("parked_runs".into(), json!(count));
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    measured.figures.insert("starts_per_s".into(), json!((count as f64 / seconds).round()));
    measured.figures.insert("resident_idle_mib".into(), json!((idle / 1048576.0 * 10.0).round() / 10.0));
    measured.figures.insert("resident_above_idle_mib".into(), json!((grown / 1048576.0 * 10.0).round() / 10.0));
    plane.shutdown().await?;
    Ok(measured)
}

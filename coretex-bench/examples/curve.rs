//! `cargo run --release -p coretex-bench --example curve`
//!
//! How the cost of a step grows with the size of a run: the same work for 100, 1,000 and 10,000 items of a `for_each`, and for
//! a graph of 10, 100 and 1,000 steps; decided and folded by hand, and through a control plane over memory. What is
//! printed for each is the time of one item or step, and the largest size by the smallest: 1 is a cost that does not grow.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use coretex_core::{
    governance::Principal,
    job::{Effect, Facts, JobId, JobInput, JobResult, JobStatusReport, Output, RunId},
    policy::{Outcome, fixed},
    ports::PolicyEngine,
    runtime::{ControlPlane, StartRequest},
    scheduler::Routes,
    value::Limits,
    workflow::{Run, RunEffect, RunInput, RunStatus, StartRun, Transition, Workflow, decide, start},
};
use coretex_worker::{JobError, Worker};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Repeats until so much time was measured, so that small sizes are not noise, and so often, so that large ones are not.
const ENOUGH: Duration = Duration::from_millis(300);
const OFTEN: usize = 5;

const ITEMS: [usize; 3] = [100, 1_000, 10_000];
const STEPS: [usize; 3] = [10, 100, 1_000];

fn items() -> anyhow::Result<Arc<Workflow>> {
    let yaml = "id: items\nsteps:\n  each: {topic: job.bench.noop, for_each: input.list, input: {n: '${item}'}}\n";
    Ok(Arc::new(Workflow::parse("items.yaml", yaml)?))
}

/// Steps in layers of ten, each waiting for one of the layer before.
fn graph(size: usize) -> anyhow::Result<Arc<Workflow>> {
    let mut steps = serde_json::Map::new();
    for n in 0..size {
        let before: Vec<String> = n.checked_sub(10).map(|before| format!("s{before:05}")).into_iter().collect();
        steps.insert(format!("s{n:05}"), json!({"topic": "job.bench.noop", "depends_on": before}));
    }
    Ok(Arc::new(Workflow::from_value("graph", json!({"id": format!("graph-{size}"), "steps": steps}))?))
}

/// Decides and folds a whole run; every job succeeds in the order in which it was dispatched. The time of starting it, and
/// that of all.
fn play(workflow: &Arc<Workflow>, input: &Arc<Value>) -> anyhow::Result<(Duration, Duration)> {
    let (policy, routes) = (fixed(Outcome::Allow).snapshot(), Routes::open());
    let facts = Facts {
        now: jiff_now()?,
        seed: 1,
        policy: &*policy,
        routes: &routes,
        default_job_timeout: Duration::from_secs(9_000),
        stop_grace: Duration::from_secs(10),
        payload_limits: Limits::default(),
        gate: Default::default(),
        bounds: Default::default(),
        outputs: None,
    };
    let began = Instant::now();
    let mut run = Run::new(workflow.clone());
    let mut open: VecDeque<JobId> = VecDeque::new();
    let begin = StartRun::new(RunId::parse("curve")?, input.clone(), "bench".into());
    take(&mut run, &mut open, start(workflow, begin, &facts)?);
    let started = began.elapsed();
    while let Some(job) = open.pop_front() {
        let output = Output { value: Some(Arc::new(json!(1))), ..Output::default() };
        let status = JobStatusReport::Succeeded(output);
        let result = JobResult { job: job.clone(), worker: "bench".into(), status, execution_ms: 1 };
        let input = RunInput::Job { job, input: JobInput::Finished { result, fenced: true } };
        let transition = decide(&run, input, &facts)?;
        take(&mut run, &mut open, transition);
    }
    anyhow::ensure!(run.status() == RunStatus::Succeeded, "the run is {}", run.status().as_str());
    Ok((started, began.elapsed()))
}

fn take(run: &mut Run, open: &mut VecDeque<JobId>, transition: Transition) {
    run.replay(&transition.events);
    open.extend(transition.effects.into_iter().filter_map(|effect| match effect {
        RunEffect::Job(Effect::Dispatch { spec, .. }) => Some(spec.id.clone()),
        _ => None,
    }));
}

fn jiff_now() -> anyhow::Result<jiff::Timestamp> {
    Ok(jiff::Timestamp::from_second(1_893_456_000)?)
}

/// The least time of one call, in microseconds: what disturbs a measurement only adds to it.
fn least(mut call: impl FnMut() -> anyhow::Result<Duration>) -> anyhow::Result<f64> {
    let (mut best, mut total, mut times) = (Duration::MAX, Duration::ZERO, 0);
    while total < ENOUGH || times < OFTEN {
        times += 1;
        let took = call()?;
        best = best.min(took);
        total += took;
    }
    Ok(best.as_secs_f64() * 1e6)
}

fn show(what: &str, sizes: [usize; 3], costs: &[f64]) {
    let each: Vec<String> = sizes.iter().zip(costs).map(|(size, cost)| format!("{size:>6}: {cost:>7.2} us")).collect();
    let ratio = costs.last().zip(costs.first()).map_or(0.0, |(last, first)| last / first);
    println!("{what:<44} {}   largest by smallest {ratio:.2}", each.join("  "));
}

fn list(size: usize) -> Arc<Value> {
    Arc::new(json!({"list": (0..size).collect::<Vec<_>>()}))
}

fn main() -> anyhow::Result<()> {
    let workflow = items()?;
    let cost = |size: usize| Ok(least(|| Ok(play(&workflow, &list(size))?.1))? / size as f64);
    let costs = ITEMS.iter().map(|size| cost(*size)).collect::<anyhow::Result<Vec<f64>>>()?;
    show("an item, decided and folded", ITEMS, &costs);

    let nothing = Arc::new(json!({}));
    let graphs = STEPS.iter().map(|size| Ok((*size, graph(*size)?))).collect::<anyhow::Result<Vec<_>>>()?;
    let cost = |(size, flow): &(usize, Arc<Workflow>)| Ok(least(|| Ok(play(flow, &nothing)?.0))? / *size as f64);
    let costs = graphs.iter().map(cost).collect::<anyhow::Result<Vec<f64>>>()?;
    show("starting, for each step of the graph", STEPS, &costs);
    let cost = |(size, flow): &(usize, Arc<Workflow>)| Ok(least(|| Ok(play(flow, &nothing)?.1))? / *size as f64);
    let costs = graphs.iter().map(cost).collect::<anyhow::Result<Vec<f64>>>()?;
    show("a step of the graph, decided and folded", STEPS, &costs);

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(through_a_plane(&workflow, &graphs))
}

async fn through_a_plane(items: &Arc<Workflow>, graphs: &[(usize, Arc<Workflow>)]) -> anyhow::Result<()> {
    let plane = ControlPlane::builder(fixed(Outcome::Allow)).start().await?;
    let me = Principal::service("bench");
    let worker = Worker::builder(plane.bus()).pool("bench").handle("job.bench.noop", noop).max_parallel(256).build()?;
    let running = worker.start().await?;
    for workflow in std::iter::once(items).chain(graphs.iter().map(|(_, flow)| flow)) {
        plane.put_workflow(&me, Workflow::compile("curve", workflow.spec().clone())?).await?;
    }
    let mut costs = Vec::new();
    for size in ITEMS {
        costs.push(run(&plane, &me, items, &list(size)).await? / size as f64);
    }
    show("an item, through a control plane", ITEMS, &costs);
    let mut costs = Vec::new();
    for (size, workflow) in graphs {
        costs.push(run(&plane, &me, workflow, &Arc::new(json!({}))).await? / *size as f64);
    }
    show("a step, through a control plane", STEPS, &costs);
    running.stop().await;
    plane.shutdown().await?;
    Ok(())
}

async fn noop() -> Result<(), JobError> {
    Ok(())
}

/// The least time of a whole run, in microseconds.
async fn run(plane: &ControlPlane, me: &Principal, workflow: &Workflow, input: &Arc<Value>) -> anyhow::Result<f64> {
    let (mut best, mut total, mut times) = (Duration::MAX, Duration::ZERO, 0);
    while total < ENOUGH || times < OFTEN {
        times += 1;
        let began = Instant::now();
        let id = plane.start(me, StartRequest::new(workflow.id().clone(), input.clone())).await?;
        let end = plane.wait(me, &id).await.context("the run does not end")?;
        anyhow::ensure!(end.status() == RunStatus::Succeeded, "the run is {}", end.status().as_str());
        best = best.min(began.elapsed());
        total += began.elapsed();
    }
    Ok(best.as_secs_f64() * 1e6)
}

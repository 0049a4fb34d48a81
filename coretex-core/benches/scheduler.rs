//! What scheduling costs: a decision over 1,000 workers, and a queue of up to 100,000 jobs.
//!
//! `cargo bench -p coretex-core --bench scheduler`

use std::{hint::black_box, sync::Arc, time::Instant};

use coretex_core::{
    job::{JobId, JobSpec, Priority, TenantId, Topic},
    protocol::Heartbeat,
    scheduler::{Ask, Ending, FleetRules, Routes, Scheduler, StrategyKind, Submitted},
};
use jiff::Timestamp;

/// Prints the best of several rounds, in nanoseconds per operation.
fn report(name: &str, nanoseconds: f64) {
    println!("{name:<64} {nanoseconds:>10.0} ns");
}

fn job(n: usize, topic: &str, tenant: &str, priority: Priority) -> Result<Ask, Box<dyn std::error::Error>> {
    Ok(Ask::of(Arc::new(JobSpec {
        id: JobId::parse(&format!("job-{n}"))?,
        attempt: 1,
        topic: Topic::parse_job(topic)?,
        tenant: TenantId::parse(tenant)?,
        team: "".into(),
        principal: "".into(),
        meta: Arc::default(),
        labels: Default::default(),
        priority,
        memory_id: "".into(),
        adapter_id: None,
        trace_id: "".into(),
        workflow: None,
        run: None,
        step: None,
        item: None,
        index: None,
        timeout: None,
        input: Arc::default(),
    })))
}

fn scheduler(
    pools: usize,
    workers: usize,
    slots: i32,
    strategy: &str,
    now: Timestamp,
) -> Result<Scheduler, Box<dyn std::error::Error>> {
    let topics: Vec<String> = (0..pools).map(|n| format!("job.t{n}: p{n}")).collect();
    let named: Vec<String> = (0..pools).map(|n| format!("p{n}: {{strategy: {strategy}}}")).collect();
    let text = format!("topics: {{{}}}\npools: {{{}}}", topics.join(", "), named.join(", "));
    let mut scheduler = Scheduler::new(Arc::new(Routes::parse("pools.yaml", &text)?), FleetRules::default());
    for n in 0..workers {
        let beat = Heartbeat {
            worker_id: format!("worker-{n}"),
            pool: format!("p{}", n % pools),
            max_parallel_jobs: slots,
            cpu_load: 20.0,
            ..Heartbeat::default()
        };
        scheduler.heartbeat(&beat, now, n as u64);
    }
    Ok(scheduler)
}

/// A job comes, gets a worker and ends.
fn decisions(pools: usize, strategy: StrategyKind, now: Timestamp) -> Result<(), Box<dyn std::error::Error>> {
    const JOBS: usize = 20_000;
    let mut best = [f64::MAX; 2];
    let mut seed = 0;
    for _ in 0..5 {
        let mut scheduler = scheduler(pools, 1_000, 8, strategy.name(), now)?;
        let asks = (0..JOBS)
            .map(|n| job(n, &format!("job.t{}", n % pools), "tenant", Priority::Batch))
            .collect::<Result<Vec<Ask>, _>>()?;
        let ids: Vec<JobId> = asks.iter().map(|ask| ask.job.id.clone()).collect();
        let (mut placing, mut ending) = (0.0, 0.0);
        let mut asks = asks.into_iter();
        // Four of eight slots are busy while it goes on.
        for batch in ids.chunks(4_000) {
            let start = Instant::now();
            for ask in asks.by_ref().take(batch.len()) {
                seed += 1;
                if !matches!(black_box(scheduler.submit(ask, now, seed)), (Submitted::Placed(_), _)) {
                    return Err("a job had to wait".into());
                }
            }
            placing += start.elapsed().as_secs_f64();
            let start = Instant::now();
            for id in batch {
                black_box(scheduler.finish(id, Ending::Served, Some(std::time::Duration::from_millis(100)), now, seed));
            }
            ending += start.elapsed().as_secs_f64();
        }
        for (best, took) in best.iter_mut().zip([placing, ending]) {
            *best = best.min(took * 1e9 / JOBS as f64);
        }
    }
    let [placing, ending] = best;
    report(&format!("place, 1,000 workers in {pools} pools, {}", strategy.name()), placing);
    report(&format!("lease over, 1,000 workers in {pools} pools, {}", strategy.name()), ending);
    Ok(())
}

/// `waiting` jobs of 1,000 tenants behind one busy pool: one ends, the next one goes, another comes.
fn queue(waiting: usize, limits: &str, now: Timestamp) -> Result<(), Box<dyn std::error::Error>> {
    const SERVED: usize = 2_000;
    let text = format!("topics: {{job.a: p}}\npools: {{p: {{max_queue: 1000000}}}}\nlimits: [{limits}]");
    let mut scheduler = Scheduler::new(Arc::new(Routes::parse("pools.yaml", &text)?), FleetRules::default());
    let beat = Heartbeat { worker_id: "w".into(), pool: "p".into(), max_parallel_jobs: 50, ..Heartbeat::default() };
    scheduler.heartbeat(&beat, now, 0);
    let tenants: Vec<String> = (0..1_000).map(|n| format!("tenant-{n}")).collect();
    let priorities = [Priority::Batch, Priority::Interactive, Priority::Critical, Priority::Batch];
    let make = |n: usize| {
        job(
            n,
            "job.a",
            tenants.get(n % 1_000).map_or("x", String::as_str),
            priorities.get((n / 1_000) % 4).copied().unwrap_or_default(),
        )
    };
    let start = Instant::now();
    let mut running = Vec::new();
    for n in 0..waiting + 50 {
        if let (Submitted::Placed(placed), _) = scheduler.submit(make(n)?, now, n as u64) {
            running.push(placed.ask.job.id.clone());
        }
    }
    let pushing = start.elapsed().as_secs_f64() * 1e9 / (waiting + 50) as f64;
    let mut best = f64::MAX;
    let mut next = waiting + 50;
    for _ in 0..5 {
        let fresh: Result<Vec<Ask>, _> = (next..next + SERVED).map(make).collect();
        next += SERVED;
        let start = Instant::now();
        for ask in fresh? {
            let Some(id) = running.pop() else { return Err("nothing runs".into()) };
            let outcome = scheduler.finish(&id, Ending::Served, None, now, 0);
            running.extend(outcome.placed.iter().map(|placed| placed.ask.job.id.clone()));
            if let (Submitted::Placed(placed), _) = scheduler.submit(ask, now, 0) {
                running.push(placed.ask.job.id.clone());
            }
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / SERVED as f64);
    }
    let with = if limits.is_empty() { "no limits" } else { "a limit for each tenant and one for all" };
    report(&format!("queue, {waiting} jobs, {with}: a job comes"), pushing);
    report(&format!("queue, {waiting} jobs, {with}: one ends, one goes, one comes"), best);
    Ok(())
}

/// A heartbeat, with nothing and with something waiting.
fn heartbeats(now: Timestamp) -> Result<(), Box<dyn std::error::Error>> {
    let mut scheduler = scheduler(100, 1_000, 1, "least_loaded", now)?;
    let beats: Vec<Heartbeat> = (0..1_000)
        .map(|n| Heartbeat {
            worker_id: format!("worker-{n}"),
            pool: format!("p{}", n % 100),
            max_parallel_jobs: 1,
            cpu_load: (n % 80) as f32,
            ..Heartbeat::default()
        })
        .collect();
    for (name, waiting) in [("nothing waits", 0), ("jobs wait in every pool", 5_000)] {
        for n in 0..waiting {
            black_box(scheduler.submit(job(n, &format!("job.t{}", n % 100), "tenant", Priority::Batch)?, now, 0));
        }
        let mut best = f64::MAX;
        for _ in 0..20 {
            let start = Instant::now();
            for beat in &beats {
                black_box(scheduler.heartbeat(beat, now, 0));
            }
            best = best.min(start.elapsed().as_secs_f64() * 1e9 / beats.len() as f64);
        }
        report(&format!("heartbeat, 1,000 workers, {name}"), best);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = Timestamp::from_second(1_800_000_000)?;
    for strategy in StrategyKind::ALL {
        decisions(100, strategy, now)?;
    }
    decisions(1, StrategyKind::LeastLoaded, now)?;
    decisions(1, StrategyKind::TwoChoices, now)?;
    for waiting in [1_000, 10_000, 100_000] {
        queue(waiting, "", now)?;
        queue(waiting, "{name: a, key: tenant, max_concurrent: 1}, {name: b, key: topic, max_concurrent: 40}", now)?;
    }
    heartbeats(now)
}

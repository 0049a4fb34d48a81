//! The trace against a scheduler, event by event.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
    time::Duration,
};

use coretex_core::{
    job::{JobId, JobSpec, Priority, TenantId, Topic},
    protocol::Heartbeat,
    scheduler::{Ask, Ending, FleetRules, Outcome, Placed, Routes, Scheduler, StrategyKind, Submitted},
};
use jiff::Timestamp;

use super::{
    report::Report,
    trace::{ADAPTER_LOAD, TENANTS, TOPICS, Trace},
};

const BEAT: i64 = 10_000_000;
const SECOND: i64 = 1_000_000;
/// A job whose result is older than this is no use to whoever waits for it.
const PATIENCE: i64 = 60 * SECOND;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive(usize),
    /// The end of an attempt on a worker, in the worker's life so numbered.
    End {
        job: usize,
        attempt: u32,
        worker: usize,
        life: u32,
    },
    Stop(usize, usize),
    Return(usize),
    Beat(usize),
    Tick,
}

#[derive(Clone, Debug, Default)]
struct JobRun {
    attempt: u32,
    failed: u32,
    done: u32,
    started: Option<i64>,
}

#[derive(Clone, Debug, Default)]
struct WorkerRun {
    up: bool,
    frozen: bool,
    life: u32,
    /// Results that it could not send while it was frozen.
    late: Vec<(usize, u32)>,
    /// Jobs that it was sent while it was frozen, with the seconds that they take: it finds them when it goes on.
    inbox: Vec<(usize, u32, f64)>,
    adapters: Vec<usize>,
    busy: u32,
}

struct Sim<'a> {
    trace: &'a Trace,
    scheduler: Scheduler,
    now: i64,
    seed: u64,
    events: BinaryHeap<Reverse<(i64, u64, Event)>>,
    numbered: u64,
    jobs: Vec<JobRun>,
    workers: Vec<WorkerRun>,
    by_id: HashMap<Arc<str>, usize>,
    left: usize,
    report: Report,
    /// Batch jobs served in this window, and whether each tenant had some waiting all the time.
    served: [u32; TENANTS],
    waiting: [u32; TENANTS],
    backlogged: [bool; TENANTS],
}

pub(crate) fn run(trace: &Trace, kind: StrategyKind) -> anyhow::Result<Report> {
    let pool = format!("{{strategy: {}, max_queue: 1000000, max_wait_seconds: 86400}}", kind.name());
    let text = format!("topics: {{'job.>': p}}\npools: {{p: {pool}}}");
    let routes = Arc::new(Routes::parse("pools.yaml", &text)?);
    let mut sim = Sim {
        trace,
        scheduler: Scheduler::new(routes, FleetRules::default()),
        now: 0,
        seed: 1,
        events: BinaryHeap::new(),
        numbered: 0,
        jobs: vec![JobRun::default(); trace.jobs.len()],
        workers: vec![WorkerRun { up: true, ..WorkerRun::default() }; trace.workers.len()],
        by_id: (0..trace.workers.len()).map(|n| (worker_id(n).into(), n)).collect(),
        left: trace.jobs.len(),
        report: Report::new(kind.name()),
        served: [0; TENANTS],
        waiting: [0; TENANTS],
        backlogged: [true; TENANTS],
    };
    for (n, job) in trace.jobs.iter().enumerate() {
        sim.at(micros(job.at), Event::Arrive(n));
    }
    for (n, worker) in trace.workers.iter().enumerate() {
        sim.at(i64::try_from(n)? * BEAT / 200, Event::Beat(n));
        for (outage, (at, ..)) in worker.outages.iter().enumerate() {
            sim.at(micros(*at), Event::Stop(n, outage));
        }
    }
    sim.at(SECOND, Event::Tick);
    while sim.left > 0
        && let Some(Reverse((at, _, event))) = sim.events.pop()
    {
        sim.now = at;
        sim.seed += 1;
        sim.handle(event)?;
    }
    Ok(sim.end())
}

impl Sim<'_> {
    fn at(&mut self, at: i64, event: Event) {
        self.numbered += 1;
        self.events.push(Reverse((at, self.numbered, event)));
    }

    fn time(&self) -> anyhow::Result<Timestamp> {
        Ok(Timestamp::from_microsecond(1_800_000_000 * SECOND + self.now)?)
    }

    fn handle(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Arrive(job) => self.submit(job),
            Event::End { job, attempt, worker, life } => self.end_of(job, attempt, worker, life),
            Event::Stop(worker, outage) => {
                self.stop(worker, outage);
                Ok(())
            }
            Event::Return(worker) => self.come_back(worker),
            Event::Beat(worker) => {
                self.at(self.now + BEAT, Event::Beat(worker));
                if self.workers.get(worker).is_some_and(|worker| worker.up) { self.beat(worker) } else { Ok(()) }
            }
            Event::Tick => self.tick(),
        }
    }

    fn submit(&mut self, job: usize) -> anyhow::Result<()> {
        let (Some(told), Some(run)) = (self.trace.jobs.get(job), self.jobs.get_mut(job)) else { return Ok(()) };
        run.attempt += 1;
        let priority = [Priority::Critical, Priority::Interactive, Priority::Batch];
        let spec = JobSpec {
            id: JobId::parse(&job_id(job, run.attempt))?,
            attempt: run.attempt,
            topic: Topic::parse_job(TOPICS.get(told.topic).map_or("", |(topic, _)| topic))?,
            tenant: TenantId::parse(&format!("tenant-{}", told.tenant))?,
            team: "".into(),
            principal: "".into(),
            meta: Arc::default(),
            labels: Default::default(),
            priority: priority.get(told.priority).copied().unwrap_or_default(),
            memory_id: "".into(),
            adapter_id: told.adapter.map(|adapter| format!("adapter-{adapter}").into()),
            trace_id: "".into(),
            workflow: None,
            run: None,
            step: None,
            item: None,
            index: None,
            timeout: None,
            input: Arc::default(),
        };
        let deadline = 1_800_000_000 * SECOND + micros(told.at) + PATIENCE;
        if told.priority == 2
            && let Some(waiting) = self.waiting.get_mut(told.tenant)
        {
            *waiting += 1;
        }
        // The scheduler gives up what waits beyond its deadline; here every job is to be done, so only `cheapest` is told.
        let ask = Ask::of(Arc::new(spec));
        let ask = if self.report.strategy == "cheapest" && told.priority < 2 {
            ask.with_deadline(deadline.max(self.time()?.as_microsecond() + PATIENCE))
        } else {
            ask
        };
        let (now, seed) = (self.time()?, self.seed);
        let (answer, outcome) = self.scheduler.submit(ask, now, seed);
        self.follow(&outcome)?;
        match answer {
            Submitted::Placed(placed) => self.start(&placed),
            Submitted::Waiting { .. } => Ok(()),
            Submitted::Refused(refusal) => anyhow::bail!("{refusal}"),
        }
    }

    fn start(&mut self, placed: &Placed) -> anyhow::Result<()> {
        let (job, attempt) = parse(placed.ask.job.id.as_str())?;
        let Some(&worker) = self.by_id.get(&placed.worker) else { anyhow::bail!("an unknown worker") };
        let (Some(told), Some(run)) = (self.trace.jobs.get(job), self.jobs.get_mut(job)) else { return Ok(()) };
        let (Some(machine), Some(state)) = (self.trace.workers.get(worker), self.workers.get_mut(worker)) else {
            return Ok(());
        };
        run.started.get_or_insert(self.now);
        if told.priority == 2
            && let (Some(served), Some(waiting)) = (self.served.get_mut(told.tenant), self.waiting.get_mut(told.tenant))
        {
            *served += 1;
            *waiting = waiting.saturating_sub(1);
        }
        let mut took = told.work / machine.speed.get(told.topic).copied().unwrap_or(1.0);
        if let Some(adapter) = told.adapter {
            if !state.adapters.contains(&adapter) {
                took += ADAPTER_LOAD;
                self.report.loads += 1;
            }
            state.adapters.retain(|other| *other != adapter);
            state.adapters.push(adapter);
            if state.adapters.len() > 8 {
                state.adapters.remove(0);
            }
        }
        self.report.cost += machine.price * took;
        if state.frozen {
            state.inbox.push((job, attempt, took));
        } else if state.up {
            state.busy += 1;
            let life = state.life;
            self.at(self.now + micros(took), Event::End { job, attempt, worker, life });
        }
        // What is sent to a worker that is down, and not yet known to be, comes to nothing until the worker is missed.
        Ok(())
    }

    fn end_of(&mut self, job: usize, attempt: u32, worker: usize, life: u32) -> anyhow::Result<()> {
        let Some(state) = self.workers.get_mut(worker) else { return Ok(()) };
        if state.frozen && state.life == life {
            state.late.push((job, attempt));
            return Ok(());
        }
        if !state.up || state.life != life {
            return Ok(());
        }
        state.busy = state.busy.saturating_sub(1);
        self.result(job, attempt)
    }

    /// A result arrives. It counts if its attempt still has the lease.
    fn result(&mut self, job: usize, attempt: u32) -> anyhow::Result<()> {
        let id = JobId::parse(&job_id(job, attempt))?;
        let (now, seed) = (self.time()?, self.seed);
        let Some(lease) = self.scheduler.lease(&id) else {
            self.report.fenced += 1;
            return Ok(());
        };
        let took = Duration::from_micros(u64::try_from(now.as_microsecond() - lease.since.as_microsecond())?);
        let outcome = self.scheduler.finish(&id, Ending::Served, Some(took), now, seed);
        let (Some(told), Some(run)) = (self.trace.jobs.get(job), self.jobs.get_mut(job)) else { return Ok(()) };
        if run.failed < told.failures {
            run.failed += 1;
            self.report.retried += 1;
            self.at(self.now + SECOND, Event::Arrive(job));
        } else {
            run.done += 1;
            if run.done == 1 {
                self.left -= 1;
            }
            let waited = run.started.unwrap_or(self.now) - micros(told.at);
            let total = self.now - micros(told.at);
            self.report.done(told.priority, waited, total);
        }
        self.follow(&outcome)
    }

    fn follow(&mut self, outcome: &Outcome) -> anyhow::Result<()> {
        for placed in &outcome.placed {
            self.start(placed)?;
        }
        // Only `cheapest` is told deadlines; what is given up is asked for again.
        for (ask, refusal) in &outcome.refused {
            anyhow::ensure!(refusal.is_retryable(), "{refusal}");
            let (job, _) = parse(ask.job.id.as_str())?;
            self.report.given_up += 1;
            self.at(self.now, Event::Arrive(job));
        }
        Ok(())
    }

    fn stop(&mut self, worker: usize, outage: usize) {
        let Some((_, length, freezes)) =
            self.trace.workers.get(worker).and_then(|told| told.outages.get(outage)).copied()
        else {
            return;
        };
        let Some(state) = self.workers.get_mut(worker) else { return };
        state.up = false;
        state.frozen = freezes;
        if !freezes {
            state.life += 1;
        }
        self.report.outages += 1;
        self.at(self.now + micros(length), Event::Return(worker));
    }

    fn come_back(&mut self, worker: usize) -> anyhow::Result<()> {
        let Some(state) = self.workers.get_mut(worker) else { return Ok(()) };
        let late = std::mem::take(&mut state.late);
        let froze = std::mem::take(&mut state.frozen);
        state.up = true;
        if !froze {
            state.adapters.clear();
            state.busy = 0;
            // A new process says that it has none of the jobs that the old one was sent.
            let lost = self.scheduler.held_by(&worker_id(worker));
            self.lose(&lost)?;
        }
        let Some(state) = self.workers.get_mut(worker) else { return Ok(()) };
        state.busy = state.busy.saturating_sub(u32::try_from(late.len())?);
        state.busy += u32::try_from(state.inbox.len())?;
        let (inbox, life) = (std::mem::take(&mut state.inbox), state.life);
        for (job, attempt, took) in inbox {
            self.at(self.now + micros(took), Event::End { job, attempt, worker, life });
        }
        for (job, attempt) in late {
            self.result(job, attempt)?;
        }
        self.beat(worker)
    }

    fn lose(&mut self, jobs: &[JobId]) -> anyhow::Result<()> {
        for id in jobs {
            let (job, _) = parse(id.as_str())?;
            let (now, seed) = (self.time()?, self.seed);
            let outcome = self.scheduler.finish(id, Ending::Fault, None, now, seed);
            self.report.lost_leases += 1;
            self.follow(&outcome)?;
            self.at(self.now, Event::Arrive(job));
        }
        Ok(())
    }

    fn beat(&mut self, worker: usize) -> anyhow::Result<()> {
        let Some(told) = self.trace.workers.get(worker) else { return Ok(()) };
        let beat = Heartbeat {
            worker_id: worker_id(worker),
            pool: "p".into(),
            max_parallel_jobs: i32::try_from(told.slots)?,
            labels: [("cost_per_second".to_owned(), told.price.to_string())].into(),
            ..Heartbeat::default()
        };
        let (now, seed) = (self.time()?, self.seed);
        let outcome = self.scheduler.heartbeat(&beat, now, seed);
        self.follow(&outcome)
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        let (now, seed) = (self.time()?, self.seed);
        let outcome = self.scheduler.tick(now, seed);
        self.follow(&outcome)?;
        for worker in self.scheduler.missing(now) {
            let lost = self.scheduler.held_by(&worker);
            self.lose(&lost)?;
        }
        let up = self.workers.iter().zip(&self.trace.workers).filter(|(state, _)| state.up);
        let (busy, slots) = up.fold((0, 0), |(busy, slots), (state, told)| (busy + state.busy, slots + told.slots));
        self.report.sample(busy, slots, self.scheduler.backlog());
        for (backlogged, waiting) in self.backlogged.iter_mut().zip(self.waiting) {
            *backlogged &= waiting > 0;
        }
        if (self.now / SECOND) % 20 == 0 {
            let counted: Vec<u32> = self
                .served
                .iter()
                .zip(self.backlogged)
                .filter(|(_, backlogged)| *backlogged)
                .map(|(n, _)| *n)
                .collect();
            self.report.window(&counted);
            self.served = [0; TENANTS];
            self.backlogged = [true; TENANTS];
        }
        self.at(self.now + SECOND, Event::Tick);
        Ok(())
    }

    fn end(mut self) -> Report {
        self.report.lost = self.jobs.iter().filter(|job| job.done == 0).count();
        self.report.twice = self.jobs.iter().filter(|job| job.done > 1).count();
        self.report.seconds = self.now as f64 / 1e6;
        self.report
    }
}

fn worker_id(n: usize) -> String {
    format!("worker-{n}")
}

fn job_id(job: usize, attempt: u32) -> String {
    format!("job-{job}-{attempt}")
}

fn parse(id: &str) -> anyhow::Result<(usize, u32)> {
    let mut parts = id.split('-').skip(1);
    let (job, attempt) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    Ok((job.parse()?, attempt.parse()?))
}

fn micros(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}

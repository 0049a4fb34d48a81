//! The rules of the room, each by a table or a story; the model in `model.rs` plays them all against a naive judge.

mod config;
mod limits;
mod model;
mod placement;
mod queue;
mod weaknesses;
mod workers;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::*;
use crate::{
    job::{JobId, JobSpec, Priority, TenantId, Topic},
    policy::JobMeta,
    protocol::Heartbeat,
};

/// A job to be, with what a test cares for.
#[derive(Clone, Debug)]
struct Job {
    spec: JobSpec,
    placement: Placement,
}

fn job(id: &str) -> Job {
    let spec = JobSpec {
        id: JobId::parse(id).expect("a legal id"),
        attempt: 1,
        topic: Topic::parse_job("job.a").expect("a legal topic"),
        tenant: TenantId::default(),
        team: "".into(),
        principal: "".into(),
        meta: Arc::default(),
        labels: Default::default(),
        priority: Priority::Batch,
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
    };
    Job { spec, placement: Placement::default() }
}

impl Job {
    fn topic(mut self, topic: &str) -> Self {
        self.spec.topic = Topic::parse_job(topic).expect("a legal topic");
        self
    }

    fn tenant(mut self, tenant: &str) -> Self {
        self.spec.tenant = TenantId::parse(tenant).expect("a legal tenant");
        self
    }

    fn priority(mut self, priority: Priority) -> Self {
        self.spec.priority = priority;
        self
    }

    fn label(mut self, key: &str, value: &str) -> Self {
        self.spec.labels.insert(key, value);
        self
    }

    fn requires(mut self, capability: &str) -> Self {
        let mut meta = JobMeta::clone(&self.spec.meta);
        meta.requires.push(capability.into());
        self.spec.meta = Arc::new(meta);
        self
    }

    fn placed(mut self, change: impl FnOnce(&mut Placement)) -> Self {
        change(&mut self.placement);
        self
    }

    fn ask(self) -> Ask {
        if self.placement == Placement::default() {
            Ask::of(Arc::new(self.spec))
        } else {
            Ask::placed(Arc::new(self.spec), self.placement)
        }
    }
}

fn beat(id: &str, pool: &str, slots: i32) -> Heartbeat {
    Heartbeat { worker_id: id.into(), pool: pool.into(), max_parallel_jobs: slots, ..Heartbeat::default() }
}

/// A scheduler, its time, and what came of each step.
#[derive(Debug)]
struct World {
    scheduler: Scheduler,
    now: i64,
    seed: u64,
    workers: BTreeMap<String, Heartbeat>,
}

impl World {
    fn new(pools: &str) -> Self {
        let routes = Routes::parse("pools.yaml", pools).expect("a legal document");
        let scheduler = Scheduler::new(Arc::new(routes), FleetRules::default());
        Self { scheduler, now: 1_800_000_000_000_000, seed: 7, workers: BTreeMap::new() }
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_microsecond(self.now).expect("in range")
    }

    fn step(&mut self) -> (Timestamp, u64) {
        self.seed += 1;
        (self.at(), self.seed)
    }

    /// A worker with so many slots joins a pool, or says that it is still there.
    fn worker(&mut self, id: &str, pool: &str, slots: i32) -> Vec<String> {
        self.beat(beat(id, pool, slots))
    }

    fn beat(&mut self, beat: Heartbeat) -> Vec<String> {
        let (now, seed) = self.step();
        let outcome = self.scheduler.heartbeat(&beat, now, seed);
        self.workers.insert(beat.worker_id.clone(), beat);
        placed(&outcome)
    }

    /// `worker`, `waiting in pool`, or the code.
    fn submit(&mut self, ask: Ask) -> String {
        let (now, seed) = self.step();
        let (answer, others) = self.scheduler.submit(ask, now, seed);
        assert_eq!(placed(&others), Vec::<String>::new(), "time alone let nobody go");
        match answer {
            Submitted::Placed(placed) => placed.worker.to_string(),
            Submitted::Waiting { pool } => format!("waiting in {pool}"),
            Submitted::Refused(refusal) => refusal.code().to_owned(),
        }
    }

    fn finish(&mut self, id: &str) -> Vec<String> {
        self.end(id, Ending::Served, Some(Duration::from_secs(1)))
    }

    fn end(&mut self, id: &str, ending: Ending, took: Option<Duration>) -> Vec<String> {
        let (now, seed) = self.step();
        let outcome = self.scheduler.finish(&JobId::parse(id).expect("a legal id"), ending, took, now, seed);
        placed(&outcome)
    }

    /// Time passes; workers say that they are still there.
    fn pass(&mut self, seconds: u64) -> Outcome {
        self.now += i64::try_from(seconds).expect("in range") * 1_000_000;
        let mut all = Outcome::default();
        for beat in self.workers.values().cloned().collect::<Vec<_>>() {
            let (now, seed) = self.step();
            all.placed.extend(self.scheduler.heartbeat(&beat, now, seed).placed);
        }
        let found = self.tick();
        all.placed.extend(found.placed);
        all.refused.extend(found.refused);
        all
    }

    fn tick(&mut self) -> Outcome {
        let (now, seed) = self.step();
        self.scheduler.tick(now, seed)
    }
}

/// `job on worker`, in order.
fn placed(outcome: &Outcome) -> Vec<String> {
    outcome.placed.iter().map(|placed| format!("{} on {}", placed.ask.job.id, placed.worker)).collect()
}

/// `job code`, in order.
fn refused(outcome: &Outcome) -> Vec<String> {
    outcome.refused.iter().map(|(ask, refusal)| format!("{} {}", ask.job.id, refusal.code())).collect()
}

//! The scheduler against a naive judge: plain lists, every rule checked by looking at everything.
//!
//! Random steps over several pools, tenants, limits and constraints. After each step the judge replays what was placed and
//! refused, and checks that it was allowed, that nobody with a better claim was passed over, and that nothing that could
//! go still waits.

use std::collections::BTreeSet;

use proptest::prelude::{Strategy, TestCaseError, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

const POOLS: &str = "
topics: {job.a: p, job.b: q, job.c: [q, p]}
pools:
  p: {ageing_seconds: 5, max_wait_seconds: 40, max_queue: 12}
  q: {strategy: two_choices, ageing_seconds: 5, max_wait_seconds: 40, tenant_weights: {t1: 3}}
limits:
  - {name: by-tenant, key: tenant, max_concurrent: 4}
  - {name: by-topic, key: topic, topics: [job.b], max_concurrent: 3}
  - {name: by-label, key: labels.k, max_concurrent: 1}
";
/// Name, pool, slots, whether it has the label.
const WORKERS: [(&str, &str, i32, bool); 5] =
    [("p1", "p", 1, true), ("p2", "p", 2, false), ("q1", "q", 2, true), ("q2", "q", 1, false), ("q3", "q", 1, false)];

#[derive(Clone, Debug)]
enum Step {
    Submit { tenant: u8, topic: u8, priority: u8, key: u8, gpu: bool, apart: bool, max: u8 },
    Finish(usize),
    Withdraw(usize),
    Pass(u8),
    Beat(usize),
    Left(usize),
    Drain(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let submit = (0..4_u8, 0..3_u8, 0..3_u8, 0..8_u8, any::<bool>(), 0..6_u8, 0..6_u8).prop_map(
        |(tenant, topic, priority, key, gpu, apart, max)| Step::Submit {
            tenant,
            topic,
            priority,
            key,
            gpu: gpu && apart < 3,
            apart: apart == 0,
            max,
        },
    );
    prop_oneof![
        10 => submit,
        6 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::Withdraw),
        2 => (0..8_u8).prop_map(Step::Pass),
        2 => (0..WORKERS.len()).prop_map(Step::Beat),
        1 => (0..WORKERS.len()).prop_map(Step::Left),
        1 => (0..WORKERS.len(), any::<bool>()).prop_map(|(worker, draining)| Step::Drain(worker, draining)),
    ]
}

/// A job, as the judge knows it.
#[derive(Clone, Debug)]
struct Known {
    id: String,
    tenant: String,
    topic: String,
    priority: usize,
    key: Option<String>,
    gpu: bool,
    apart: bool,
    max: Option<u32>,
    pool: String,
    since: i64,
    number: usize,
}

impl Known {
    /// Jobs that meet the same limits and constraints keep their order.
    fn flow(&self) -> (&str, &str, Option<&str>, bool, bool, Option<u32>) {
        (&self.tenant, &self.topic, self.key.as_deref(), self.gpu, self.apart, self.max)
    }

    fn level(&self, now: i64) -> usize {
        let risen = usize::try_from((now - self.since) / 5_000_000).expect("in range");
        self.priority.saturating_sub(risen)
    }
}

#[derive(Debug, Default)]
struct Judge {
    waiting: Vec<Known>,
    running: Vec<(Known, String)>,
    present: BTreeSet<String>,
    draining: BTreeSet<String>,
}

impl Judge {
    fn gates_open(&self, job: &Known) -> bool {
        let count = |same: &dyn Fn(&Known) -> bool| self.running.iter().filter(|(other, _)| same(other)).count();
        let of_tenant = count(&|other| other.tenant == job.tenant);
        of_tenant < 4
            && job.max.is_none_or(|max| of_tenant < max as usize)
            && (job.topic != "job.b" || count(&|other| other.topic == "job.b") < 3)
            && job.key.as_ref().is_none_or(|key| count(&|other| other.key.as_ref() == Some(key)) < 1)
    }

    fn takes(&self, job: &Known, worker: &str) -> bool {
        let Some((name, pool, slots, gpu)) = WORKERS.iter().find(|(name, ..)| *name == worker) else { return false };
        let here: Vec<&Known> = self.running.iter().filter(|(_, on)| on == name).map(|(job, _)| job).collect();
        self.present.contains(*name)
            && !self.draining.contains(*name)
            && *pool == job.pool
            && (!job.gpu || *gpu)
            && !(job.apart && here.iter().any(|other| other.apart))
            && here.len() < usize::try_from(*slots).expect("positive")
    }

    fn could_go(&self, job: &Known) -> bool {
        self.gates_open(job) && WORKERS.iter().any(|(name, ..)| self.takes(job, name))
    }

    /// One job was placed: it was allowed, and nobody in its pool had a better claim.
    fn place(&mut self, job: &Known, worker: &str, now: i64) -> Result<(), TestCaseError> {
        prop_assert!(self.gates_open(job), "a limit is passed by {job:?}");
        prop_assert!(self.takes(job, worker), "{worker} cannot take {job:?}");
        for other in self.waiting.iter().filter(|other| other.pool == job.pool && other.id != job.id) {
            let first = (other.since, other.number) < (job.since, job.number);
            let same = other.flow() == job.flow() && other.level(now) == job.level(now);
            prop_assert!(!(same && first), "{} goes before {}, which is older", job.id, other.id);
            let higher = other.level(now) < job.level(now);
            prop_assert!(!(higher && self.could_go(other)), "{} goes before {}, which is higher", job.id, other.id);
        }
        self.waiting.retain(|other| other.id != job.id);
        self.running.push((job.clone(), worker.to_owned()));
        Ok(())
    }

    /// Everything that a step led to, in order.
    fn follow(&mut self, outcome: &Outcome, now: i64) -> Result<(), TestCaseError> {
        for (ask, refusal) in &outcome.refused {
            let id = ask.job.id.as_str();
            let job = self.waiting.iter().find(|job| job.id == id).cloned();
            let job = job.ok_or_else(|| TestCaseError::fail(format!("{id} did not wait")))?;
            prop_assert!(now - job.since >= 40_000_000, "{id} is given up too early: {refusal}");
            self.waiting.retain(|other| other.id != id);
        }
        for placed in &outcome.placed {
            let id = placed.ask.job.id.as_str();
            let job = self.waiting.iter().find(|job| job.id == id).cloned();
            let job = job.ok_or_else(|| TestCaseError::fail(format!("{id} did not wait")))?;
            self.place(&job, &placed.worker, now)?;
        }
        Ok(())
    }

    fn settled(&self, world: &World) -> Result<(), TestCaseError> {
        for job in &self.waiting {
            prop_assert!(!self.could_go(job), "{job:?} waits and could go");
            prop_assert!(world.now - job.since < 40_000_000, "{} waits for too long", job.id);
        }
        prop_assert_eq!(self.waiting.len(), world.scheduler.backlog());
        prop_assert_eq!(self.running.len(), world.scheduler.running());
        for (name, ..) in WORKERS {
            let here = self.running.iter().filter(|(_, on)| on == name).count();
            let counted = world.scheduler.fleet().worker(name).map_or(0, WorkerView::leased);
            prop_assert_eq!(here, counted as usize, "{}", name);
        }
        Ok(())
    }
}

fn heartbeat(world: &mut World, worker: usize) -> Outcome {
    let (name, pool, slots, gpu) = WORKERS[worker];
    let mut told = beat(name, pool, slots);
    if gpu {
        told.labels.insert("gpu".into(), "yes".into());
    }
    let (now, seed) = world.step();
    world.scheduler.heartbeat(&told, now, seed)
}

fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::new(POOLS);
    let mut judge = Judge::default();
    for (worker, (name, ..)) in WORKERS.iter().enumerate() {
        heartbeat(&mut world, worker);
        judge.present.insert((*name).into());
    }
    for (number, step) in steps.into_iter().enumerate() {
        world.now += 1_000;
        match step {
            Step::Submit { tenant, topic, priority, key, gpu, apart, max } => {
                submit(&mut world, &mut judge, number, (tenant, topic, priority, key, gpu, apart, max))?;
            }
            Step::Finish(n) if !judge.running.is_empty() => {
                let (job, _) = judge.running.remove(n % judge.running.len());
                let (now, seed) = world.step();
                let id = JobId::parse(&job.id).expect("legal");
                let outcome = world.scheduler.finish(&id, Ending::Served, None, now, seed);
                judge.follow(&outcome, world.now)?;
            }
            Step::Withdraw(n) if !judge.waiting.is_empty() => {
                let job = judge.waiting.remove(n % judge.waiting.len());
                let (now, seed) = world.step();
                let outcome = world.scheduler.withdraw(&JobId::parse(&job.id).expect("legal"), now, seed);
                judge.follow(&outcome, world.now)?;
            }
            Step::Pass(seconds) => {
                world.now += i64::from(seconds) * 1_000_000;
                for (worker, (name, ..)) in WORKERS.iter().enumerate() {
                    if judge.present.contains(*name) {
                        let outcome = heartbeat(&mut world, worker);
                        judge.follow(&outcome, world.now)?;
                    }
                }
                let outcome = world.tick();
                judge.follow(&outcome, world.now)?;
            }
            Step::Beat(worker) => {
                judge.present.insert(WORKERS[worker].0.into());
                let outcome = heartbeat(&mut world, worker);
                judge.follow(&outcome, world.now)?;
            }
            Step::Left(worker) => {
                judge.present.remove(WORKERS[worker].0);
                world.scheduler.worker_left(WORKERS[worker].0);
            }
            Step::Drain(worker, draining) => {
                let (now, seed) = world.step();
                let name = WORKERS[worker].0;
                if draining {
                    judge.draining.insert(name.into())
                } else {
                    judge.draining.remove(name)
                };
                let outcome = world.scheduler.drain_worker(name, draining, now, seed).expect("known");
                judge.follow(&outcome, world.now)?;
            }
            Step::Finish(_) | Step::Withdraw(_) => {}
        }
        judge.settled(&world)?;
    }
    Ok(())
}

type Wish = (u8, u8, u8, u8, bool, bool, u8);

fn submit(world: &mut World, judge: &mut Judge, number: usize, wish: Wish) -> Result<(), TestCaseError> {
    let (tenant, topic, priority, key, gpu, apart, max) = wish;
    let mut known = Known {
        id: format!("j{number}"),
        tenant: format!("t{tenant}"),
        topic: ["job.a", "job.b", "job.c"][usize::from(topic)].into(),
        priority: usize::from(priority),
        key: (key < 3).then(|| format!("k{key}")),
        gpu,
        apart,
        max: (max == 1 || max == 2).then_some(u32::from(max)),
        pool: String::new(),
        since: world.now,
        number,
    };
    let mut wanted = job(&known.id).tenant(&known.tenant).topic(&known.topic);
    wanted = wanted.priority([Priority::Critical, Priority::Interactive, Priority::Batch][usize::from(priority)]);
    if let Some(key) = &known.key {
        wanted = wanted.label("k", key);
    }
    if gpu {
        wanted = wanted.placed(|placement| drop(placement.selector.insert("gpu".into(), "yes".into())));
    }
    if apart {
        wanted = wanted.placed(|placement| placement.anti_affinity.push("x".into()));
    }
    let ask = wanted.ask().with_tenant_max(known.max.unwrap_or(0));
    let (now, seed) = world.step();
    let (answer, others) = world.scheduler.submit(ask, now, seed);
    judge.follow(&others, world.now)?;
    match answer {
        Submitted::Placed(placed) => {
            known.pool = placed.pool.to_string();
            judge.place(&known, &placed.worker, world.now)
        }
        Submitted::Waiting { pool } => {
            known.pool = pool.to_string();
            judge.waiting.push(known);
            Ok(())
        }
        Submitted::Refused(refusal) => {
            prop_assert_eq!(refusal.code(), "pool_overloaded");
            let waiting = judge.waiting.iter().filter(|job| job.pool == "p").count();
            prop_assert!(waiting >= 12, "the queue of p is full at 12: {}", waiting);
            Ok(())
        }
    }
}

proptest! {
    #[test]
    fn every_step_is_what_a_naive_judge_allows(steps in prop::collection::vec(step(), 1..150)) {
        play(steps)?;
    }
}

//! The scheduler as one value: pools, workers, limits and what has a lease. Every method is a step of a pure machine:
//! the time and the seed are arguments, and what follows is returned.

mod insight;
mod leases;
mod pool;
mod pump;
mod refusal;
mod restore;
mod submit;
mod workers;

use std::{collections::HashMap, sync::Arc, time::Duration};

use foldhash::fast::RandomState;
use jiff::Timestamp;

use self::pool::Pool;
pub use self::{
    insight::{LeaseView, Reason, WaitView},
    pool::PoolState,
    refusal::Refusal,
};
use super::{
    Fleet, FleetRules, Routes,
    placement::{Ask, Latencies},
    queue::{Gates, Pass, QueueRules},
    worker::WorkerIndex,
};
use crate::job::JobId;

/// What became of a job that was submitted.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// It has a worker. The slot is taken from this moment.
    Placed(Placed),
    /// It waits in a pool's queue.
    Waiting {
        /// The pool.
        pool: Arc<str>,
    },
    /// It was not let in.
    Refused(Refusal),
}

/// A job that got a worker.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The job and what it asked.
    pub ask: Arc<Ask>,
    /// The pool.
    pub pool: Arc<str>,
    /// The worker.
    pub worker: Arc<str>,
    /// Whether the worker listens on its own address. Others get the job over the topic.
    pub direct: bool,
    /// How long it waited.
    pub waited: Duration,
}

impl Placed {
    /// Where to send the job: the worker's own address, if it said that it listens there, or the topic.
    #[must_use]
    pub fn subject(&self) -> Arc<str> {
        match crate::protocol::subjects::worker_jobs(&self.worker) {
            Ok(subject) if self.direct => subject.into(),
            _ => self.ask.job.topic.shared(),
        }
    }
}

/// What a step led to, besides its own answer.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Jobs that got a worker, in the order decided.
    pub placed: Vec<Placed>,
    /// Jobs that were given up.
    pub refused: Vec<(Arc<Ask>, Refusal)>,
}

/// A job under a lease.
#[derive(Clone, Debug)]
struct Held {
    ask: Arc<Ask>,
    pass: Arc<Pass>,
    worker: WorkerIndex,
    pool: u32,
    since: i64,
}

/// Routing, placement, queues and limits of every pool that one owner holds.
///
/// Invariant: after every step, no waiting job could go: each waits for a gate that is shut, for a slot that does not
/// exist, or for a pool that is paused.
#[derive(Clone, Debug)]
pub struct Scheduler {
    routes: Arc<Routes>,
    fleet: Fleet,
    latencies: Latencies,
    gates: Gates,
    pools: Vec<Pool>,
    by_name: HashMap<Arc<str>, u32, RandomState>,
    /// Pool and number of each job that waits.
    waiting: HashMap<JobId, (u32, u64), RandomState>,
    held: HashMap<JobId, Held, RandomState>,
    numbers: u64,
    /// The pool served last.
    turn: u32,
}

impl Scheduler {
    /// A scheduler without workers and jobs.
    #[must_use]
    pub fn new(routes: Arc<Routes>, rules: FleetRules) -> Self {
        Self {
            routes,
            fleet: Fleet::new(rules),
            latencies: Latencies::default(),
            gates: Gates::default(),
            pools: Vec::new(),
            by_name: HashMap::default(),
            waiting: HashMap::default(),
            held: HashMap::default(),
            numbers: 0,
            turn: 0,
        }
    }

    /// The routes in force.
    #[must_use]
    pub const fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// The workers.
    #[must_use]
    pub const fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// What was learnt about how long jobs take.
    #[must_use]
    pub const fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// Puts other routes in force. Jobs that wait stay in their pools and meet the limits that they came with.
    pub fn set_routes(&mut self, routes: Arc<Routes>, now: Timestamp, seed: u64) -> Outcome {
        self.routes = routes;
        self.fleet.assign_all(&self.routes);
        for pool in &mut self.pools {
            pool.queue.set_rules(QueueRules::of(self.routes.pool(&pool.name)));
        }
        self.look_everywhere(now.as_microsecond(), seed)
    }

    /// Pauses, drains or resumes a pool.
    pub fn set_pool_state(&mut self, pool: &str, state: PoolState, now: Timestamp, seed: u64) -> Outcome {
        let index = self.pool_index(&pool.into());
        if let Some(pool) = self.pool_mut(index) {
            pool.state = state;
        }
        self.look_everywhere(now.as_microsecond(), seed)
    }

    fn pool_index(&mut self, name: &Arc<str>) -> u32 {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let index = u32::try_from(self.pools.len()).unwrap_or(u32::MAX);
        self.pools.push(Pool::new(index, name, &self.routes));
        self.by_name.insert(name.clone(), index);
        index
    }

    fn pool(&self, index: u32) -> Option<&Pool> {
        self.pools.get(index as usize)
    }

    fn pool_mut(&mut self, index: u32) -> Option<&mut Pool> {
        self.pools.get_mut(index as usize)
    }
}

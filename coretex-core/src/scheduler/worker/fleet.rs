//! All workers, by id and by pool.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{BreakerRules, Ending, WorkerState, WorkerView};
use crate::{
    protocol::{Handshake, Heartbeat},
    scheduler::{Routes, micros},
};

/// Where a worker stands in its fleet; given to another only after it was forgotten.
pub(crate) type WorkerIndex = usize;

/// The pool of workers that name neither a pool nor topics.
const DEFAULT_POOL: &str = "default";

/// How workers are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FleetRules {
    /// How often a worker sends a heartbeat.
    pub beat: Duration,
    /// Beats in a row that make it missing.
    pub missed: u32,
    /// Silence after which a worker without leases is forgotten.
    pub forget: Duration,
    /// Most workers; a flood of made-up ids must not fill the memory.
    pub max_workers: usize,
    /// Load in percent from which a worker gets no more jobs; the established 90.
    pub overloaded_at: f32,
    /// When it is quarantined, and how it comes back.
    pub breaker: BreakerRules,
}

impl Default for FleetRules {
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(10),
            missed: 3,
            forget: Duration::from_secs(600),
            max_workers: 10_000,
            overloaded_at: 90.0,
            breaker: BreakerRules::default(),
        }
    }
}

impl FleetRules {
    /// Silence after which a worker is missing, in microseconds.
    pub(crate) fn silence(&self) -> i64 {
        micros(self.beat.saturating_mul(self.missed))
    }
}

/// Workers, by id and by pool. A worker serves the pool that it names; one that names none serves the pools that map its
/// topics; one that says neither serves `default`.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    rules: FleetRules,
    workers: Vec<Option<WorkerView>>,
    unused: Vec<WorkerIndex>,
    by_id: HashMap<Arc<str>, WorkerIndex>,
    pools: HashMap<Arc<str>, Vec<WorkerIndex>>,
}

impl Fleet {
    /// A fleet without workers.
    #[must_use]
    pub fn new(rules: FleetRules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// How workers are judged.
    #[must_use]
    pub const fn rules(&self) -> &FleetRules {
        &self.rules
    }

    /// A worker by its id.
    #[must_use]
    pub fn worker(&self, id: &str) -> Option<&WorkerView> {
        self.at(*self.by_id.get(id)?)
    }

    /// Every worker, in no order.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerView> {
        self.workers.iter().flatten()
    }

    /// The workers of a pool.
    pub fn of_pool(&self, pool: &str) -> impl Iterator<Item = &WorkerView> {
        self.crew(pool).iter().filter_map(|index| self.at(*index))
    }

    pub(crate) fn crew(&self, pool: &str) -> &[WorkerIndex] {
        self.pools.get(pool).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn at(&self, index: WorkerIndex) -> Option<&WorkerView> {
        self.workers.get(index)?.as_ref()
    }

    pub(crate) fn index(&self, id: &str) -> Option<WorkerIndex> {
        self.by_id.get(id).copied()
    }

    /// The pools of a worker.
    pub(crate) fn pools_of(&self, worker: &WorkerView, routes: &Routes) -> Vec<Arc<str>> {
        if !worker.pool.is_empty() {
            return vec![worker.pool.clone()];
        }
        let mut pools: Vec<Arc<str>> = Vec::new();
        for topic in &worker.topics {
            for pool in routes.mapped(topic) {
                if !pools.contains(&pool) {
                    pools.push(pool);
                }
            }
        }
        if pools.is_empty() {
            pools.push(DEFAULT_POOL.into());
        }
        pools
    }

    /// Takes a heartbeat. `None` when it has no id or there is no room.
    pub(crate) fn heartbeat(&mut self, beat: &Heartbeat, routes: &Routes, now: i64) -> Option<WorkerIndex> {
        let index = self.enter(&beat.worker_id)?;
        let worker = self.workers.get_mut(index)?.as_mut()?;
        let (pool, new) = (worker.pool.clone(), worker.seen_at == i64::MIN);
        worker.gone = false;
        worker.beat(beat, now);
        if new || pool != worker.pool {
            self.assign(index, routes);
        }
        Some(index)
    }

    /// Takes a handshake. `None` when it has no id or there is no room.
    pub(crate) fn handshake(&mut self, handshake: &Handshake, routes: &Routes, now: i64) -> Option<WorkerIndex> {
        let index = self.enter(&handshake.component_id)?;
        let worker = self.workers.get_mut(index)?.as_mut()?;
        worker.gone = false;
        worker.introduce(handshake, now);
        self.assign(index, routes);
        Some(index)
    }

    /// Says that a worker left, without waiting for its silence.
    pub(crate) fn left(&mut self, id: &str) -> Option<WorkerIndex> {
        let index = self.index(id)?;
        self.workers.get_mut(index)?.as_mut()?.gone = true;
        Some(index)
    }

    /// Lets a worker finish, or takes that back. Whether there is such a worker.
    pub(crate) fn drain(&mut self, id: &str, draining: bool) -> Option<WorkerIndex> {
        let index = self.index(id)?;
        self.workers.get_mut(index)?.as_mut()?.draining = draining;
        Some(index)
    }

    /// Gives a worker that nobody has heard of the time to speak.
    pub(crate) fn expect(&mut self, index: WorkerIndex, now: i64) {
        if let Some(worker) = self.workers.get_mut(index).and_then(Option::as_mut) {
            worker.expected_at = worker.expected_at.max(now);
        }
    }

    pub(crate) fn take(
        &mut self,
        index: WorkerIndex,
        keys: impl Iterator<Item = u64>,
        adapter: Option<&Arc<str>>,
        now: i64,
    ) {
        if let Some(worker) = self.workers.get_mut(index).and_then(Option::as_mut) {
            worker.take(keys, adapter, now);
        }
    }

    pub(crate) fn give_back(&mut self, index: WorkerIndex, keys: impl Iterator<Item = u64>, ending: Ending, now: i64) {
        let rules = self.rules.breaker;
        if let Some(worker) = self.workers.get_mut(index).and_then(Option::as_mut) {
            worker.give_back(keys, ending, now, &rules);
        }
    }

    /// A worker by its id, made if nobody has heard of it: a lease from before a restart may name one.
    pub(crate) fn enter(&mut self, id: &str) -> Option<WorkerIndex> {
        if let Some(index) = self.by_id.get(id) {
            return Some(*index);
        }
        if id.is_empty() || self.by_id.len() >= self.rules.max_workers {
            return None;
        }
        let worker = WorkerView::new(id);
        let key = worker.id.clone();
        let index = match self.unused.pop() {
            Some(index) => {
                *self.workers.get_mut(index)? = Some(worker);
                index
            }
            None => {
                self.workers.push(Some(worker));
                self.workers.len() - 1
            }
        };
        self.by_id.insert(key, index);
        Some(index)
    }

    /// Sorts every worker into its pools again, after the routes changed.
    pub(crate) fn assign_all(&mut self, routes: &Routes) {
        for index in 0..self.workers.len() {
            self.assign(index, routes);
        }
    }

    fn assign(&mut self, index: WorkerIndex, routes: &Routes) {
        let Some(pools) = self.at(index).map(|worker| self.pools_of(worker, routes)) else { return };
        self.unassign(index);
        for pool in pools {
            self.pools.entry(pool).or_default().push(index);
        }
    }

    fn unassign(&mut self, index: WorkerIndex) {
        self.pools.retain(|_, crew| {
            crew.retain(|other| *other != index);
            !crew.is_empty()
        });
    }

    /// Whether any of a crew could take some job. Stops at the first.
    pub(crate) fn has_room(&self, crew: &[WorkerIndex], now: i64) -> bool {
        crew.iter().filter_map(|index| self.at(*index)).any(|worker| {
            worker.free() > 0
                && worker.load.highest() < self.rules.overloaded_at
                && worker.state(now, &self.rules) == WorkerState::Live
        })
    }

    /// Forgets workers that have been silent for long and hold nothing. O(workers).
    pub(crate) fn forget(&mut self, now: i64) -> Vec<WorkerIndex> {
        let longest = micros(self.rules.forget);
        let mut gone = Vec::new();
        for index in 0..self.workers.len() {
            let Some(worker) = self.at(index) else { continue };
            let silent = now.saturating_sub(worker.seen_at.max(worker.expected_at)) > longest;
            if silent && worker.leased == 0 {
                gone.push(index);
                let id = worker.id.clone();
                self.by_id.remove(&id);
                self.unassign(index);
                if let Some(place) = self.workers.get_mut(index) {
                    *place = None;
                }
                self.unused.push(index);
            }
        }
        gone
    }

    /// Workers of a pool by state: live, draining, quarantined, missing.
    #[must_use]
    pub fn census(&self, pool: &str, now: i64) -> [usize; 4] {
        let mut counts = [0; 4];
        for worker in self.of_pool(pool) {
            let [live, draining, quarantined, missing] = &mut counts;
            *match worker.state(now, &self.rules) {
                WorkerState::Live => live,
                WorkerState::Draining => draining,
                WorkerState::Quarantined => quarantined,
                WorkerState::Missing => missing,
            } += 1;
        }
        counts
    }
}

//! One worker.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use super::{Breaker, BreakerRules, BreakerState, Ending, FleetRules};
use crate::protocol::{Handshake, Heartbeat};

/// Adapters that a worker is taken to hold: the last ones it was sent jobs for.
const ADAPTERS: usize = 8;

/// Label of the heartbeats of a worker that takes no more jobs.
const DRAINING: &str = "coretex.draining";

/// Loads in percent, 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Processors.
    pub cpu: f32,
    /// Graphics processors.
    pub gpu: f32,
    /// Memory.
    pub memory: f32,
}

impl Load {
    /// The highest of them.
    #[must_use]
    pub fn highest(&self) -> f32 {
        self.cpu.max(self.gpu).max(self.memory)
    }
}

/// What a job on this worker costs, in whatever unit the labels `cost_per_job` and `cost_per_second` use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Price {
    /// For each job.
    pub per_job: f64,
    /// For each second of work.
    pub per_second: f64,
}

/// Whether a worker gets jobs, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It does.
    Live,
    /// It finishes what it has.
    Draining,
    /// It failed too often; a probe goes out when its time is over.
    Quarantined,
    /// It has been silent for too long.
    Missing,
}

impl WorkerState {
    /// The word in answers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Draining => "draining",
            Self::Quarantined => "quarantined",
            Self::Missing => "missing",
        }
    }
}

/// A worker, as it is known now. Times are microseconds of the clock that the caller hands in.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// Its id.
    pub id: Arc<str>,
    /// The pool that it names; may be empty.
    pub pool: Arc<str>,
    /// Topics it serves; empty when it did not say.
    pub topics: BTreeSet<String>,
    /// What it can do, lower case.
    pub capabilities: BTreeSet<String>,
    /// Free keys and values; a placement selector compares them.
    pub labels: BTreeMap<String, String>,
    /// Where it runs.
    pub region: Arc<str>,
    /// What kind of worker it is.
    pub kind: Arc<str>,
    /// Its library and version.
    pub version: Arc<str>,
    /// How busy its machine is.
    pub load: Load,
    /// Jobs it takes at once; 1 when it did not say.
    pub slots: u32,
    /// Whether it listens on its own address, `worker.<id>.jobs`, as its handshake says (`direct_dispatch`). Other
    /// workers get jobs over the topic.
    pub direct: bool,
    /// What it costs.
    pub price: Price,
    /// When it was last heard of.
    pub seen_at: i64,
    /// Its circuit breaker.
    pub breaker: Breaker,
    /// Whether it says when it begins a job, as its handshake says (`progress`).
    pub announces: bool,
    pub(super) draining: bool,
    /// It says itself that it takes no more jobs.
    pub(super) leaving: bool,
    pub(super) gone: bool,
    /// Since when it is expected to speak, of a worker that a lease from before names.
    pub(super) expected_at: i64,
    /// Jobs under a lease here.
    pub(super) leased: u32,
    /// Jobs that it works on for somebody else.
    pub(super) foreign: u32,
    /// Jobs beyond our leases in the last heartbeat.
    excess: u32,
    /// Adapters in memory, newest last: as its label `adapters` says, and what it was sent since.
    pub(super) adapters: VecDeque<Arc<str>>,
    /// Affinity keys of the jobs that it has.
    pub(super) keys: HashMap<u64, u32, foldhash::fast::RandomState>,
}

impl WorkerView {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            pool: "".into(),
            topics: BTreeSet::new(),
            capabilities: BTreeSet::new(),
            labels: BTreeMap::new(),
            region: "".into(),
            kind: "".into(),
            version: "".into(),
            load: Load::default(),
            slots: 1,
            direct: false,
            price: Price::default(),
            seen_at: i64::MIN,
            breaker: Breaker::default(),
            announces: false,
            draining: false,
            leaving: false,
            gone: false,
            expected_at: i64::MIN,
            leased: 0,
            foreign: 0,
            excess: 0,
            adapters: VecDeque::new(),
            keys: HashMap::default(),
        }
    }

    /// Takes what a heartbeat says. Loads that are no numbers count as zero.
    pub(super) fn beat(&mut self, beat: &Heartbeat, now: i64) {
        let percent = |load: f32| if load.is_finite() { load.clamp(0.0, 100.0) } else { 0.0 };
        self.seen_at = now;
        set(&mut self.pool, beat.pool.trim());
        set(&mut self.region, &beat.region);
        set(&mut self.kind, &beat.r#type);
        self.load =
            Load { cpu: percent(beat.cpu_load), gpu: percent(beat.gpu_utilization), memory: percent(beat.memory_load) };
        self.slots = u32::try_from(beat.max_parallel_jobs).unwrap_or(0).max(1);
        // A heartbeat may cross a result on its way: only what two in a row count beyond our leases is somebody else's.
        let excess = u32::try_from(beat.active_jobs).unwrap_or(0).saturating_sub(self.leased);
        self.foreign = excess.min(std::mem::replace(&mut self.excess, excess));
        let same = self.capabilities.len() == beat.capabilities.len()
            && beat.capabilities.iter().all(|name| self.capabilities.contains(name));
        if !same {
            self.capabilities = beat.capabilities.iter().map(|name| name.trim().to_lowercase()).collect();
        }
        if self.labels != beat.labels {
            self.labels.clone_from(&beat.labels);
            self.leaving = self.labels.get(DRAINING).is_some_and(|text| text == "true");
            let price = |key: &str| {
                let price = self.labels.get(key).and_then(|text| text.trim().parse::<f64>().ok());
                price.filter(|price| price.is_finite() && *price >= 0.0).unwrap_or(0.0)
            };
            self.price = Price { per_job: price("cost_per_job"), per_second: price("cost_per_second") };
            if let Some(list) = self.labels.get("adapters") {
                let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
                self.adapters = names.map(Into::into).collect();
            }
        }
    }

    pub(super) fn introduce(&mut self, handshake: &Handshake, now: i64) {
        self.seen_at = now;
        set(&mut self.version, &handshake.sdk_version);
        let speaks = |name: &str| handshake.capabilities.get(name).copied().unwrap_or(false);
        (self.direct, self.announces) = (speaks("direct_dispatch"), speaks("progress"));
        self.topics = handshake.ready_topics.iter().cloned().collect();
    }

    /// Whether and why it gets jobs, or not.
    #[must_use]
    pub fn state(&self, now: i64, rules: &FleetRules) -> WorkerState {
        let silent = now > self.silent_at(rules);
        match self.breaker.state(now) {
            _ if silent || self.gone => WorkerState::Missing,
            BreakerState::Open { .. } => WorkerState::Quarantined,
            _ if self.draining || self.leaving => WorkerState::Draining,
            BreakerState::HalfOpen { .. } if !self.breaker.admits(now, &rules.breaker) => WorkerState::Quarantined,
            _ => WorkerState::Live,
        }
    }

    /// When it counts as missing unless it is heard of, in microseconds: after this moment.
    pub(crate) fn silent_at(&self, rules: &FleetRules) -> i64 {
        self.seen_at.max(self.expected_at).saturating_add(rules.silence())
    }

    /// Whether it said goodbye, or its connection is gone.
    #[must_use]
    pub const fn has_left(&self) -> bool {
        self.gone
    }

    /// Jobs that it works on, of ours and of others.
    #[must_use]
    pub const fn busy(&self) -> u32 {
        self.leased.saturating_add(self.foreign)
    }

    /// Jobs of ours that it has.
    #[must_use]
    pub const fn leased(&self) -> u32 {
        self.leased
    }

    /// Jobs that it can still take.
    #[must_use]
    pub const fn free(&self) -> u32 {
        self.slots.saturating_sub(self.busy())
    }

    /// Whether it has the adapter in memory, as far as is known.
    #[must_use]
    pub fn has_adapter(&self, adapter: &str) -> bool {
        self.adapters.iter().any(|loaded| **loaded == *adapter)
    }

    /// Jobs with this affinity key that it has.
    pub(crate) fn holding(&self, key: u64) -> u32 {
        self.keys.get(&key).copied().unwrap_or(0)
    }

    pub(super) fn take(&mut self, keys: impl Iterator<Item = u64>, adapter: Option<&Arc<str>>, now: i64) {
        self.leased = self.leased.saturating_add(1);
        self.breaker.sent(now);
        for key in keys {
            *self.keys.entry(key).or_default() += 1;
        }
        if let Some(adapter) = adapter {
            self.adapters.retain(|loaded| loaded != adapter);
            self.adapters.push_back(adapter.clone());
            if self.adapters.len() > ADAPTERS {
                self.adapters.pop_front();
            }
        }
    }

    pub(super) fn give_back(
        &mut self,
        keys: impl Iterator<Item = u64>,
        ending: Ending,
        now: i64,
        rules: &BreakerRules,
    ) {
        self.leased = self.leased.saturating_sub(1);
        self.breaker.ended(ending, now, rules);
        for key in keys {
            if let Some(count) = self.keys.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.keys.remove(&key);
                }
            }
        }
    }
}

fn set(place: &mut Arc<str>, text: &str) {
    if **place != *text {
        *place = text.into();
    }
}

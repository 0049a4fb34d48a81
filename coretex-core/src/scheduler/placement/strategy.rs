//! Which of the workers that may take a job gets it.

use std::{cmp::Ordering, fmt};

use super::{
    Ask,
    latency::{Predicted, TopicLatency, nothing_known},
};
use crate::scheduler::{
    hash::{hash_text, unit},
    worker::{WorkerIndex, WorkerView},
};

/// How good a worker is for a job; the least is taken. The tier counts first, then the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Lower tiers are better whatever the values.
    pub tier: u8,
    /// Lower is better; the unit is the strategy's.
    pub value: f64,
}

impl Score {
    /// Which is better; the lesser is.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        self.tier.cmp(&other.tier).then(self.value.total_cmp(&other.value))
    }
}

/// Which workers a strategy looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// All of the pool.
    All,
    /// So many that fit, drawn by the seed.
    Some(usize),
}

/// What a strategy may know besides the job and the worker.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The time, in microseconds.
    pub now: i64,
    pub(crate) topic: Option<&'a TopicLatency>,
}

impl Known<'_> {
    /// How long a job of this topic takes on the worker.
    pub(crate) fn predict(&self, worker: WorkerIndex) -> Predicted {
        self.topic.map_or_else(nothing_known, |topic| topic.predict(worker, self.now))
    }
}

/// A worker that fits, with its place.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The worker.
    pub worker: &'a WorkerView,
    pub(crate) index: WorkerIndex,
}

/// Chooses among workers that fit. Pure: equal arguments give equal scores. Hard constraints, `preferred_worker_id` and
/// affinity keys are seen to before any strategy is asked.
pub trait Strategy: fmt::Debug + Send + Sync {
    /// Its name in configuration.
    fn name(&self) -> &'static str;

    /// Which workers it looks at.
    fn look(&self) -> Look {
        Look::All
    }

    /// How good a worker is for a job.
    fn score(&self, ask: &Ask, candidate: Candidate<'_>, known: &Known<'_>) -> Score;
}

/// The strategies that configuration can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StrategyKind {
    /// The least loaded worker.
    #[default]
    LeastLoaded,
    /// The less loaded of two drawn by chance.
    TwoChoices,
    /// The worker that is predicted to finish first.
    Predicted,
    /// The cheapest worker that is predicted to meet the deadline.
    Cheapest,
    /// A worker that has the job's adapter in memory.
    Adapter,
    /// The same worker for the same key.
    Sticky,
}

impl StrategyKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::LeastLoaded, Self::TwoChoices, Self::Predicted, Self::Cheapest, Self::Adapter, Self::Sticky];

    /// Its name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least_loaded",
            Self::TwoChoices => "two_choices",
            Self::Predicted => "predicted",
            Self::Cheapest => "cheapest",
            Self::Adapter => "adapter",
            Self::Sticky => "sticky",
        }
    }

    /// The strategy of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What it does.
    #[must_use]
    pub fn strategy(self) -> &'static dyn Strategy {
        match self {
            Self::LeastLoaded => &LeastLoaded,
            Self::TwoChoices => &TwoChoices,
            Self::Predicted => &PredictedCompletion,
            Self::Cheapest => &Cheapest,
            Self::Adapter => &AdapterAffinity,
            Self::Sticky => &Sticky,
        }
    }
}

/// How full a worker is with one job more, from 0, and half of how busy its machine is. The machine's load is a heartbeat
/// old; slots are counted at once, so a burst spreads.
fn load(worker: &WorkerView) -> f64 {
    let slots = f64::from(worker.slots.max(1));
    (f64::from(worker.busy()) + 1.0) / slots + f64::from(worker.load.highest()) / 200.0
}

/// The least loaded worker.
#[derive(Clone, Copy, Debug)]
pub struct LeastLoaded;

impl Strategy for LeastLoaded {
    fn name(&self) -> &'static str {
        "least_loaded"
    }

    fn score(&self, _: &Ask, candidate: Candidate<'_>, _: &Known<'_>) -> Score {
        Score { tier: 0, value: load(candidate.worker) }
    }
}

/// The less loaded of two drawn by chance (Mitzenmacher, *The power of two choices in randomized load balancing*, 2001):
/// nearly as even as looking at all, at a cost that does not grow with the pool.
#[derive(Clone, Copy, Debug)]
pub struct TwoChoices;

impl Strategy for TwoChoices {
    fn name(&self) -> &'static str {
        "two_choices"
    }

    fn look(&self) -> Look {
        Look::Some(2)
    }

    fn score(&self, _: &Ask, candidate: Candidate<'_>, _: &Known<'_>) -> Score {
        Score { tier: 0, value: load(candidate.worker) }
    }
}

/// The time that a job is expected to take here: the estimate, longer on a machine that is busy (a full one takes it for
/// half as long again).
fn completion(candidate: Candidate<'_>, known: &Known<'_>) -> f64 {
    let worker = candidate.worker;
    let slots = f64::from(worker.slots.max(1));
    known.predict(candidate.index).mean * (1.0 + 0.5 * f64::from(worker.busy()) / slots)
}

/// The worker that is predicted to finish first. The value is microseconds.
#[derive(Clone, Copy, Debug)]
pub struct PredictedCompletion;

impl Strategy for PredictedCompletion {
    fn name(&self) -> &'static str {
        "predicted"
    }

    fn score(&self, _: &Ask, candidate: Candidate<'_>, known: &Known<'_>) -> Score {
        Score { tier: 0, value: completion(candidate, known) }
    }
}

/// The cheapest worker that is predicted to meet the deadline, two deviations included; when none does, the one that
/// misses it by least. The price is `cost_per_job + cost_per_second * predicted seconds`.
#[derive(Clone, Copy, Debug)]
pub struct Cheapest;

impl Strategy for Cheapest {
    fn name(&self) -> &'static str {
        "cheapest"
    }

    fn score(&self, ask: &Ask, candidate: Candidate<'_>, known: &Known<'_>) -> Score {
        let took = completion(candidate, known);
        let late = ask.deadline_at.is_some_and(|deadline| {
            let left = deadline.saturating_sub(known.now) as f64;
            took + 2.0 * known.predict(candidate.index).deviation > left
        });
        if late {
            return Score { tier: 1, value: took };
        }
        let price = candidate.worker.price;
        // Among equal prices, the less loaded: a millionth of a unit is no price.
        Score { tier: 0, value: price.per_job + price.per_second * took / 1e6 + load(candidate.worker) * 1e-6 }
    }
}

/// A worker that has the job's adapter in memory; among those, and for jobs without one, the least loaded.
#[derive(Clone, Copy, Debug)]
pub struct AdapterAffinity;

impl Strategy for AdapterAffinity {
    fn name(&self) -> &'static str {
        "adapter"
    }

    fn score(&self, ask: &Ask, candidate: Candidate<'_>, _: &Known<'_>) -> Score {
        let cold = ask.job.adapter_id.as_deref().is_some_and(|adapter| !candidate.worker.has_adapter(adapter));
        Score { tier: u8::from(cold), value: load(candidate.worker) }
    }
}

/// The same worker for the same key while it has room, and the same next one after it (rendezvous hashing: Thaler and
/// Ravishankar, 1998). A worker that comes or goes moves only its own keys.
#[derive(Clone, Copy, Debug)]
pub struct Sticky;

impl Strategy for Sticky {
    fn name(&self) -> &'static str {
        "sticky"
    }

    fn score(&self, ask: &Ask, candidate: Candidate<'_>, _: &Known<'_>) -> Score {
        let key = ask.placement.sticky_key.as_deref().unwrap_or_else(|| ask.job.tenant.as_str());
        let rank = unit(hash_text(hash_text(0, key), &candidate.worker.id));
        // A worker with more slots draws more keys, in proportion.
        Score { tier: 0, value: -rank.ln() / f64::from(candidate.worker.slots.max(1)) }
    }
}

//! How long a job of a topic takes on a worker, learnt from jobs that ended.
//!
//! Observations are weighted by age, `w = exp(-age / tau)` with `tau` of ten minutes (forward decay: Cormode,
//! Shkapenyuk, Srivastava and Xu, 2009), which gives a mean `m`, a deviation `s` and a decayed count `n` in constant
//! space. What a worker showed is blended with what its topic shows everywhere:
//!
//! ```text
//! estimate(topic, worker) = (n * m_worker + 5 * m_topic) / (n + 5)        credibility: Bühlmann, 1967
//! m_topic                 = (n * m        + 1 * 1 s    ) / (n + 1)
//! ```
//!
//! Cold start follows from it: a worker that showed nothing is taken to be as fast as its topic, a topic that showed
//! nothing to take a second, and a worker that was slow once is tried again as its observation fades.

use std::{collections::HashMap, sync::Arc, time::Duration};

use foldhash::fast::RandomState;

use crate::scheduler::worker::WorkerIndex;

/// The age at which an observation weighs a third (1/e).
const TAU: f64 = 600e6;
/// Observations of its topic that a worker's estimate starts with.
const PRIOR: f64 = 5.0;
/// What a job takes when nothing is known, in microseconds.
const UNKNOWN: f64 = 1e6;
/// Topics that are remembered; the one not seen for longest goes first.
const MAX_TOPICS: usize = 10_000;

/// A decayed mean and deviation, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    count: f64,
    sum: f64,
    squares: f64,
    at: i64,
}

impl Estimate {
    /// Adds an observation.
    pub fn observe(&mut self, took: Duration, now: i64) {
        let took = took.as_secs_f64() * 1e6;
        let kept = self.faded(now);
        self.count = self.count * kept + 1.0;
        self.sum = self.sum * kept + took;
        self.squares = self.squares * kept + took * took;
        self.at = self.at.max(now);
    }

    /// Observations that still count.
    #[must_use]
    pub fn count(&self, now: i64) -> f64 {
        self.count * self.faded(now)
    }

    /// Their mean, in microseconds; `None` without any.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 1e-9).then(|| self.sum / self.count)
    }

    /// Their standard deviation, in microseconds.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        self.mean().map_or(0.0, |mean| (self.squares / self.count - mean * mean).max(0.0).sqrt())
    }

    fn faded(&self, now: i64) -> f64 {
        let age = now.saturating_sub(self.at).max(0) as f64;
        (-age / TAU).exp()
    }
}

/// What is known about one topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicLatency {
    all: Estimate,
    workers: HashMap<WorkerIndex, Estimate, RandomState>,
}

/// What is known about every topic.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    topics: HashMap<Arc<str>, TopicLatency, RandomState>,
}

/// A prediction, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    /// The expected time.
    pub mean: f64,
    /// Its deviation.
    pub deviation: f64,
}

impl TopicLatency {
    /// What a job takes on a worker.
    pub(crate) fn predict(&self, worker: WorkerIndex, now: i64) -> Predicted {
        let n = self.all.count(now);
        let topic = blend(self.all.mean(), n, UNKNOWN, 1.0);
        let own = self.workers.get(&worker);
        let mean = own.map_or(topic, |own| blend(own.mean(), own.count(now), topic, PRIOR));
        let deviation = own.filter(|own| own.count(now) > PRIOR).unwrap_or(&self.all).deviation();
        Predicted { mean, deviation }
    }
}

fn blend(mean: Option<f64>, count: f64, prior: f64, weight: f64) -> f64 {
    mean.map_or(prior, |mean| (count * mean + weight * prior) / (count + weight))
}

impl Latencies {
    /// Learns that a job of `topic` took `took` on a worker.
    pub(crate) fn observe(&mut self, topic: &Arc<str>, worker: WorkerIndex, took: Duration, now: i64) {
        if !self.topics.contains_key(topic) && self.topics.len() >= MAX_TOPICS {
            let oldest = self.topics.iter().min_by_key(|(_, known)| known.all.at).map(|(topic, _)| topic.clone());
            oldest.map(|topic| self.topics.remove(&topic));
        }
        let known = self.topics.entry(topic.clone()).or_default();
        known.all.observe(took, now);
        known.workers.entry(worker).or_default().observe(took, now);
    }

    pub(crate) fn topic(&self, topic: &str) -> Option<&TopicLatency> {
        self.topics.get(topic)
    }

    /// Forgets a worker, whose place another may get.
    pub(crate) fn forget(&mut self, worker: WorkerIndex) {
        for known in self.topics.values_mut() {
            known.workers.remove(&worker);
        }
    }

    /// What a job of the topic takes anywhere, in microseconds.
    #[must_use]
    pub fn expected(&self, topic: &str, now: i64) -> Predicted {
        let nobody = WorkerIndex::MAX;
        self.topic(topic).map_or(Predicted { mean: UNKNOWN, deviation: 0.0 }, |known| known.predict(nobody, now))
    }
}

pub(crate) const fn nothing_known() -> Predicted {
    Predicted { mean: UNKNOWN, deviation: 0.0 }
}

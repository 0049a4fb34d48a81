//! Topics to pools, as configuration says: immutable, cheap to share, replaced as a whole.

mod limit;
pub(crate) mod pattern;
mod pools;
pub(crate) mod read;
mod replace;
mod timeouts;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use self::pattern::TopicMap;
pub use self::{
    limit::{LimitRule, Rate},
    pools::{PoolConfig, PoolShare, PoolsDocument},
    read::{ConfigError, ConfigProblem},
    replace::{Changes, Documents, Routing, RoutingDiff, Source},
    timeouts::{AttemptTimeouts, ReconcilerTimeouts, Timeouts, TopicTimeouts, WorkflowTimeouts},
};
use super::hash::{hash_text, unit};
use crate::{
    job::{JobSpec, Topic},
    value::{Value, document},
};

/// The pool of a control plane without configuration.
const DEFAULT_POOL: &str = "default";

/// Why a job has nowhere to go. The code is `no_pool_mapping`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRoute {
    /// Nothing is mapped.
    #[error("topic `{0}` has no pool; map it under `topics:` in pools.yaml")]
    Unmapped(String),
    /// Something is mapped, but does not offer enough.
    #[error("topic `{topic}` is mapped to {pools}, none of which offers {missing}; add it to the pool's `requires:`")]
    Requires {
        /// The topic.
        topic: String,
        /// The mapped pools.
        pools: String,
        /// What is missing in the first of them.
        missing: String,
    },
    /// The job prefers a pool that does not serve its topic.
    #[error("topic `{topic}` is not mapped to the preferred pool `{pool}`; map it, or prefer one of {pools}")]
    Preferred {
        /// The topic.
        topic: String,
        /// The pool that the job names.
        pool: String,
        /// The mapped pools.
        pools: String,
    },
}

/// Compiled routes with what the pools are configured to do, the keyed limits and the timeouts. Looking up a topic costs
/// a step per word.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    open: bool,
    topics: TopicMap<Arc<[Offer]>>,
    document: Arc<PoolsDocument>,
    default_pool: Arc<PoolConfig>,
    timeouts: Arc<Timeouts>,
}

/// A pool as one topic sees it.
#[derive(Clone, Debug)]
struct Offer {
    name: Arc<str>,
    weight: Option<u32>,
    config: Arc<PoolConfig>,
}

impl Routes {
    /// Sends every topic to the pool `default`, whatever it requires: what a host gets that configures nothing.
    #[must_use]
    pub fn open() -> Self {
        Self { open: true, ..Self::default() }
    }

    /// Reads `pools.yaml` or its JSON form; `name` is used in messages.
    ///
    /// # Errors
    /// `pools_invalid` with every problem and its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let value = document::parse(name, text).map_err(|error| ConfigError::document("pools_invalid", &error))?;
        Self::from_value(name, value)
    }

    /// Reads an already parsed pools document; `name` is used in messages.
    ///
    /// # Errors
    /// As [`Routes::parse`].
    pub fn from_value(name: &str, value: Value) -> Result<Self, ConfigError> {
        Ok(Self::compile(PoolsDocument::from_value(name, &value)?))
    }

    /// Compiles a document. Pools that `topics` names and `pools` does not are pools that offer nothing special.
    #[must_use]
    pub fn compile(document: PoolsDocument) -> Self {
        let mut configs: BTreeMap<Arc<str>, Arc<PoolConfig>> = BTreeMap::new();
        let mut topics = TopicMap::default();
        for (topic, shares) in &document.topics {
            let offers = shares.iter().map(|share| {
                let config = configs
                    .entry(share.pool.clone())
                    .or_insert_with(|| Arc::new(document.pools.get(&*share.pool).cloned().unwrap_or_default()));
                Offer { name: share.pool.clone(), weight: share.weight, config: config.clone() }
            });
            topics.insert(topic, offers.collect());
        }
        Self { topics, document: Arc::new(document), ..Self::default() }
    }

    /// The same routes with other timeouts.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = Arc::new(timeouts);
        self
    }

    /// What `timeouts.yaml` says.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The longest time of an attempt, from its own wish or from `timeouts.yaml`; `None` when neither says.
    #[must_use]
    pub fn attempt_timeout(&self, job: &JobSpec) -> Option<Duration> {
        let workflow = job.workflow.as_ref().map(AsRef::as_ref);
        job.timeout.or_else(|| self.timeouts.attempt(job.topic.as_str(), workflow).timeout)
    }

    /// Whether nothing is configured: every topic goes to the pool `default`.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// What the pool is configured to do; the defaults for a pool that the document does not describe.
    #[must_use]
    pub fn pool(&self, name: &str) -> &PoolConfig {
        self.document.pools.get(name).unwrap_or(&self.default_pool)
    }

    /// The document that it was compiled from; empty for [`Routes::open`].
    #[must_use]
    pub fn document(&self) -> &PoolsDocument {
        &self.document
    }

    /// The keyed limits.
    #[must_use]
    pub fn limits(&self) -> &[Arc<LimitRule>] {
        &self.document.limits
    }

    /// The pool for a job of `topic` that requires `requires`: the first mapped pool that offers everything.
    ///
    /// # Errors
    /// [`NoRoute`], saying what to change.
    pub fn route(&self, topic: &Topic, requires: &[String]) -> Result<Arc<str>, NoRoute> {
        if self.open {
            // A name of its own: all cores would count references to one that they share.
            return Ok(DEFAULT_POOL.into());
        }
        let pools = self.pools_of(topic.as_str(), requires, None, "")?;
        pools.into_iter().next().ok_or_else(|| NoRoute::Unmapped(topic.to_string()))
    }

    /// Every pool that may take a job, the best first, never empty.
    ///
    /// Without weights the order written is the preference. With weights, each pool comes first for its part of the
    /// jobs, decided by `id` alone (weighted rendezvous hashing, Schindelhauer and Schomaker 2005): the same job has
    /// the same order everywhere, and a changed weight moves no more jobs than it must. `preferred` narrows to one pool.
    ///
    /// # Errors
    /// [`NoRoute`], saying what to change.
    pub fn pools_of(
        &self,
        topic: &str,
        requires: &[String],
        preferred: Option<&str>,
        id: &str,
    ) -> Result<Vec<Arc<str>>, NoRoute> {
        if self.open {
            return Ok(vec![preferred.map_or_else(|| DEFAULT_POOL.into(), Into::into)]);
        }
        let offers = self.topics.get(topic).ok_or_else(|| NoRoute::Unmapped(topic.to_owned()))?;
        let names = || offers.iter().map(|offer| format!("`{}`", offer.name)).collect::<Vec<_>>().join(", ");
        let wanted = |offer: &&Offer| preferred.is_none_or(|pool| pool == &*offer.name);
        let mut missing = None;
        let mut fitting: Vec<&Offer> = Vec::new();
        for offer in offers.iter().filter(wanted) {
            match lacks(offer, requires) {
                None => fitting.push(offer),
                Some(need) => missing = missing.or(Some(need)),
            }
        }
        if fitting.is_empty() {
            return Err(match (missing, preferred) {
                (None, Some(pool)) => {
                    NoRoute::Preferred { topic: topic.to_owned(), pool: pool.to_owned(), pools: names() }
                }
                (missing, _) => NoRoute::Requires {
                    topic: topic.to_owned(),
                    pools: names(),
                    missing: format!("`{}`", missing.unwrap_or_default()),
                },
            });
        }
        if fitting.len() > 1 && fitting.iter().any(|offer| offer.weight.is_some()) {
            let seed = hash_text(0, id);
            let rank = |offer: &Offer| {
                let weight = f64::from(offer.weight.unwrap_or(1));
                // The least wins: an exponential variable of rate `weight`.
                -unit(hash_text(seed, &offer.name)).ln() / weight
            };
            let mut ranked: Vec<(f64, &Offer)> = fitting.into_iter().map(|offer| (rank(offer), offer)).collect();
            ranked.retain(|(_, offer)| preferred.is_some() || offer.weight != Some(0));
            ranked.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            fitting = ranked.into_iter().map(|(_, offer)| offer).collect();
            if fitting.is_empty() {
                return Err(NoRoute::Unmapped(topic.to_owned()));
            }
        }
        Ok(fitting.into_iter().map(|offer| offer.name.clone()).collect())
    }

    /// The pools mapped to a topic, whatever they offer.
    pub(crate) fn mapped(&self, topic: &str) -> Vec<Arc<str>> {
        self.topics.get(topic).into_iter().flat_map(|offers| offers.iter()).map(|offer| offer.name.clone()).collect()
    }

    /// Every pool that the document names.
    pub fn pool_names(&self) -> impl Iterator<Item = &str> {
        let mapped = self.document.topics.values().flatten().map(|share| &*share.pool);
        let mut names: Vec<&str> = mapped.chain(self.document.pools.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter()
    }
}

fn lacks(offer: &Offer, requires: &[String]) -> Option<String> {
    let has = |need: &str| {
        let need = need.trim();
        offer.config.offers.contains(need) || offer.config.offers.contains(need.to_lowercase().as_str())
    };
    requires.iter().find(|need| !has(need)).cloned()
}

//! `pools.yaml`: which pools serve which topics, what each offers, and how each schedules.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    ConfigError,
    limit::{self, LimitRule},
    pattern,
    read::Reader,
};
use crate::{
    scheduler::{autoscale::ScaleRule, placement::StrategyKind},
    value::Value,
};

/// A pools document that was read and found legal.
#[derive(Clone, Debug, Default)]
pub struct PoolsDocument {
    /// Topic or pattern to its pools, in the order written.
    pub topics: BTreeMap<String, Vec<PoolShare>>,
    /// Pool to what is said about it.
    pub pools: BTreeMap<String, PoolConfig>,
    /// Keyed limits, which count over all pools.
    pub limits: Vec<Arc<LimitRule>>,
}

/// A pool of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolShare {
    /// Its name.
    pub pool: Arc<str>,
    /// Its part of the topic's jobs, when the topic is shared by weight; 0 takes none.
    pub weight: Option<u32>,
}

/// What is said about one pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// Capabilities on offer, lower case and trimmed; written under `requires`, the established name.
    pub offers: BTreeSet<String>,
    /// How a worker is chosen.
    pub strategy: StrategyKind,
    /// Most jobs that wait; one more is refused with `pool_overloaded`.
    pub max_queue: usize,
    /// Most jobs of one tenant that wait; one more is refused with `tenant_limit`.
    pub max_queue_per_tenant: usize,
    /// Longest wait; what waits longer is given up.
    pub max_wait: Duration,
    /// After each such time a waiting job counts as one priority higher.
    pub ageing: Duration,
    /// Shares of tenants; 1 unless told.
    pub tenant_weights: BTreeMap<String, u32>,
    /// How many workers it should have.
    pub autoscale: ScaleRule,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            offers: BTreeSet::new(),
            strategy: StrategyKind::default(),
            max_queue: 100_000,
            max_queue_per_tenant: usize::MAX,
            max_wait: Duration::from_secs(3_600),
            ageing: Duration::from_secs(300),
            tenant_weights: BTreeMap::new(),
            autoscale: ScaleRule::default(),
        }
    }
}

impl PoolsDocument {
    /// Reads a parsed document; `name` is used in messages.
    ///
    /// # Errors
    /// `pools_invalid` with every problem and its place.
    pub fn from_value(name: &str, value: &Value) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(name, "pools_invalid");
        let mut found = Self::default();
        let mut root = reader.object("", value);
        match root.take("topics") {
            Some(topics) => {
                for (topic, pools) in reader.object("topics", topics).entries() {
                    let place = format!("topics.{topic}");
                    if let Err(reason) = pattern::check(topic) {
                        reader.problem(&place, reason);
                    }
                    let shares = read_shares(&mut reader, &place, pools);
                    found.topics.insert(topic.clone(), shares);
                }
                if found.topics.is_empty() && (topics.is_object() || topics.is_null()) {
                    reader.problem("", "`topics` is empty; map at least one topic to a pool");
                }
            }
            None => reader.problem("", "`topics` is missing; map at least one topic to a pool"),
        }
        if let Some(pools) = root.take("pools") {
            for (pool, entry) in reader.object("pools", pools).entries() {
                let config = read_pool(&mut reader, &format!("pools.{pool}"), entry);
                found.pools.insert(pool.trim().to_owned(), config);
            }
        }
        if let Some(limits) = root.take("limits") {
            found.limits = limit::read(&mut reader, limits);
        }
        root.close(&mut reader);
        reader.finish(found)
    }
}

fn read_shares(reader: &mut Reader, place: &str, value: &Value) -> Vec<PoolShare> {
    let one = std::slice::from_ref(value);
    let (entries, listed): (&[Value], bool) = match value {
        Value::Array(entries) => (entries, true),
        _ => (one, false),
    };
    if entries.is_empty() {
        reader.problem(place, "name at least one pool");
    }
    let mut shares: Vec<PoolShare> = Vec::new();
    for (n, entry) in entries.iter().enumerate() {
        let place = if listed { format!("{place}[{n}]") } else { place.to_owned() };
        let share = match entry {
            Value::Object(_) => {
                let mut fields = reader.object(&place, entry);
                let pool = match fields.take("pool") {
                    Some(pool) => reader.text(&fields.place("pool"), pool),
                    None => {
                        reader.problem(&place, "name the `pool`");
                        None
                    }
                };
                let weight = fields.whole(reader, "weight", 0, 1_000_000).and_then(|weight| weight.try_into().ok());
                fields.close(reader);
                pool.map(|pool| PoolShare { pool: pool.into(), weight })
            }
            _ => reader.text(&place, entry).map(|pool| PoolShare { pool: pool.into(), weight: None }),
        };
        let Some(share) = share else { continue };
        if shares.iter().any(|other| other.pool == share.pool) {
            reader.problem(&place, format!("the pool `{}` is named twice", share.pool));
        }
        shares.push(share);
    }
    let weighted = shares.iter().filter(|share| share.weight.is_some()).count();
    if weighted != 0 && weighted != shares.len() {
        reader.problem(place, "give every pool a weight or none; without weights the order is the preference");
    }
    if weighted != 0 && shares.iter().all(|share| share.weight == Some(0)) {
        reader.problem(place, "every weight is 0, so no pool takes its jobs");
    }
    shares
}

fn read_pool(reader: &mut Reader, place: &str, value: &Value) -> PoolConfig {
    const MONTH: u64 = 31 * 24 * 3600;
    let mut config = PoolConfig::default();
    let mut fields = reader.object(place, value);
    if let Some(list) = fields.take("requires") {
        config.offers =
            reader.texts(&fields.place("requires"), list).iter().map(|text| text.trim().to_lowercase()).collect();
    }
    if let Some(name) = fields.take("strategy") {
        let place = fields.place("strategy");
        if let Some(name) = reader.text(&place, name) {
            match StrategyKind::from_name(&name) {
                Some(kind) => config.strategy = kind,
                None => {
                    let known = StrategyKind::ALL.map(|kind| format!("`{}`", kind.name())).join(", ");
                    reader.problem(&place, format!("`{name}` is no strategy; one of {known}"));
                }
            }
        }
    }
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    if let Some(most) = fields.whole(reader, "max_queue", 0, 10_000_000) {
        config.max_queue = count(most);
    }
    if let Some(most) = fields.whole(reader, "max_queue_per_tenant", 0, 10_000_000) {
        config.max_queue_per_tenant = count(most);
    }
    if let Some(longest) = fields.seconds(reader, "max_wait_seconds", 1, MONTH) {
        config.max_wait = longest;
    }
    if let Some(ageing) = fields.seconds(reader, "ageing_seconds", 1, MONTH) {
        config.ageing = ageing;
    }
    if let Some(weights) = fields.take("tenant_weights") {
        let place = fields.place("tenant_weights");
        for (tenant, weight) in reader.object(&place, weights).entries() {
            if let Some(weight) = reader.whole(&format!("{place}.{tenant}"), weight, 1, 1_000) {
                config.tenant_weights.insert(tenant.clone(), u32::try_from(weight).unwrap_or(1));
            }
        }
    }
    if let Some(rule) = fields.take("autoscale") {
        config.autoscale = ScaleRule::read(reader, &fields.place("autoscale"), rule);
    }
    if fields.take("pointer_store").is_some() {
        let place = fields.place("pointer_store");
        reader.problem(&place, "reserved: the control plane's own blobs are the only pointer store; leave it out");
    }
    fields.close(reader);
    config
}

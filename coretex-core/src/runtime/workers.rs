//! Workers that are alive, as far as their heartbeats say.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::protocol::{Handshake, Heartbeat};

/// Silence after which a worker counts as gone: three intervals of ten seconds.
const TTL: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);
/// Most workers kept; a flood of made-up ids must not fill the memory.
const MAX: usize = 10_000;

/// A worker, as its last heartbeat and handshake describe it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WorkerStatus {
    /// Its id.
    pub worker_id: String,
    /// The pool it serves.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// Where it runs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// What kind of worker it is.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// CPU load in percent.
    pub cpu_load: f32,
    /// GPU load in percent.
    pub gpu_utilization: f32,
    /// Jobs it works on.
    pub active_jobs: i32,
    /// Jobs it can work on at once.
    pub max_parallel_jobs: i32,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Free keys and values.
    pub labels: BTreeMap<String, String>,
    /// Topics it said it serves.
    pub topics: Vec<String>,
    /// When it was last heard of.
    pub seen_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct Workers(Mutex<BTreeMap<String, WorkerStatus>>);

impl Workers {
    pub(super) fn heartbeat(&self, beat: &Heartbeat, now: Timestamp) {
        self.update(&beat.worker_id, now, |worker| {
            worker.pool.clone_from(&beat.pool);
            worker.region.clone_from(&beat.region);
            worker.kind.clone_from(&beat.r#type);
            worker.cpu_load = beat.cpu_load;
            worker.gpu_utilization = beat.gpu_utilization;
            worker.active_jobs = beat.active_jobs;
            worker.max_parallel_jobs = beat.max_parallel_jobs;
            worker.capabilities.clone_from(&beat.capabilities);
            worker.labels.clone_from(&beat.labels);
        });
    }

    pub(super) fn handshake(&self, handshake: &Handshake, now: Timestamp) {
        self.update(&handshake.component_id, now, |worker| worker.topics.clone_from(&handshake.ready_topics));
    }

    /// Live workers by id.
    pub(super) fn live(&self, now: Timestamp) -> Vec<WorkerStatus> {
        let mut workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|_, worker| worker.seen_at.is_some_and(|seen| now.duration_since(seen) <= TTL));
        workers.values().cloned().collect()
    }

    fn update(&self, id: &str, now: Timestamp, change: impl FnOnce(&mut WorkerStatus)) {
        if id.is_empty() {
            return;
        }
        let mut workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if workers.len() >= MAX && !workers.contains_key(id) {
            return;
        }
        let worker = workers.entry(id.to_owned()).or_default();
        id.clone_into(&mut worker.worker_id);
        worker.seen_at = Some(now);
        change(worker);
    }
}

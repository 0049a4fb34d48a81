//! What a job asks of the scheduler.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    job::{JobSpec, Priority},
    scheduler::hash::hash_text,
};

/// Most that a job can weigh in fair sharing.
pub const MAX_COST: u32 = 16;
/// Labels of a job that say where it would like to run: the established ones, and the only ones that do.
const PREFERRED_POOL: &str = "preferred_pool";
const PREFERRED_WORKER: &str = "preferred_worker_id";

/// Where a job may run, and where it would like to. A field of its own: free labels of a job are never read as
/// constraints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Placement {
    /// Labels that the worker must have, with these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// Capabilities that the worker itself must advertise. `requires` asks the same of the pool.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Where the worker must run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The only pool to use; it must be mapped to the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_pool: Option<String>,
    /// The worker to use if it fits and has a free slot; any other that fits otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_worker_id: Option<String>,
    /// Keys of a group that likes to be together: a worker that has a job with one of them comes first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub affinity: Vec<String>,
    /// Keys of a group that must be apart: a worker that has a job with one of them is out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anti_affinity: Vec<String>,
    /// What the strategy `sticky` keeps on one worker; the tenant unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky_key: Option<String>,
    /// How urgent it is; what its run or request says unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

/// Most entries of a list or map in a placement.
const MOST_ENTRIES: usize = 32;
/// Longest text in a placement, in bytes.
const LONGEST_TEXT: usize = 256;

/// A field of a placement that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`placement.{field}`: {message}")]
pub struct PlacementError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl Placement {
    /// Judges its sizes: at most 32 entries in a list or map, and texts of 1 to 256 bytes.
    ///
    /// # Errors
    /// [`PlacementError`] with the first field that cannot be used.
    pub fn check(&self) -> Result<(), PlacementError> {
        let keys: Vec<&String> = self.selector.keys().collect();
        let fields: [(&'static str, Vec<&str>); 8] = [
            ("selector", keys.iter().map(|key| key.as_str()).collect()),
            ("capabilities", self.capabilities.iter().map(String::as_str).collect()),
            ("affinity", self.affinity.iter().map(String::as_str).collect()),
            ("anti_affinity", self.anti_affinity.iter().map(String::as_str).collect()),
            ("region", self.region.as_deref().into_iter().collect()),
            ("preferred_pool", self.preferred_pool.as_deref().into_iter().collect()),
            ("preferred_worker_id", self.preferred_worker_id.as_deref().into_iter().collect()),
            ("sticky_key", self.sticky_key.as_deref().into_iter().collect()),
        ];
        for (field, texts) in fields {
            if texts.len() > MOST_ENTRIES {
                let message = format!("{} entries are more than {MOST_ENTRIES}", texts.len());
                return Err(PlacementError { field, message });
            }
            if texts.iter().any(|text| text.trim().is_empty() || text.len() > LONGEST_TEXT) {
                return Err(PlacementError { field, message: format!("a text has 1 to {LONGEST_TEXT} bytes") });
            }
        }
        match self.selector.values().find(|value| value.len() > LONGEST_TEXT) {
            Some(_) => {
                let message = format!("a value has at most {LONGEST_TEXT} bytes");
                Err(PlacementError { field: "selector", message })
            }
            None => Ok(()),
        }
    }

    /// What the established labels `preferred_pool` and `preferred_worker_id` say; no other label is looked at.
    #[must_use]
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Self {
        let told = |key: &str| labels.get(key).map(|text| text.trim()).filter(|text| !text.is_empty()).map(Into::into);
        Self { preferred_pool: told(PREFERRED_POOL), preferred_worker_id: told(PREFERRED_WORKER), ..Self::default() }
    }
}

/// A job that wants a worker, with what the scheduler has to know about it.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The job.
    pub job: Arc<JobSpec>,
    /// Where it may run.
    pub placement: Arc<Placement>,
    /// When its result is no use any more, in microseconds: what waits longer is given up, and `cheapest` tries to meet
    /// it.
    pub deadline_at: Option<i64>,
    /// Policy's bound on jobs of the tenant that have a lease at once (`max_concurrent_jobs`).
    pub tenant_max: Option<u32>,
    /// What it weighs in fair sharing, 1 to [`MAX_COST`].
    pub cost: u32,
    affinity: Box<[u64]>,
    apart: Box<[u64]>,
    shape: u64,
}

impl Ask {
    /// What `job` asks, placed as its placement says, or else its established labels.
    #[must_use]
    pub fn of(job: Arc<JobSpec>) -> Self {
        let placement = match &job.placement {
            Some(placement) => Placement::clone(placement),
            None => Placement::from_labels(&job.labels),
        };
        Self::placed(job, placement)
    }

    /// What `job` asks, placed as told.
    #[must_use]
    pub fn placed(job: Arc<JobSpec>, placement: Placement) -> Self {
        let keys = |list: &[String]| list.iter().map(|key| hash_text(0, key)).collect();
        let mut ask = Self {
            affinity: keys(&placement.affinity),
            apart: keys(&placement.anti_affinity),
            shape: 0,
            job,
            placement: Arc::new(placement),
            deadline_at: None,
            tenant_max: None,
            cost: 1,
        };
        ask.shape = ask.digest();
        ask
    }

    /// With a time after which its result is no use, in microseconds.
    #[must_use]
    pub const fn with_deadline(mut self, at: i64) -> Self {
        self.deadline_at = Some(at);
        self
    }

    /// With a bound on jobs of its tenant; zero is no bound.
    #[must_use]
    pub fn with_tenant_max(mut self, max: u32) -> Self {
        self.tenant_max = (max > 0).then_some(max);
        self
    }

    /// With a weight in fair sharing, 1 to [`MAX_COST`].
    #[must_use]
    pub fn with_cost(mut self, cost: u32) -> Self {
        self.cost = cost.clamp(1, MAX_COST);
        self
    }

    /// Keys that it likes to be near.
    pub(crate) fn affinity(&self) -> &[u64] {
        &self.affinity
    }

    /// Keys that it must not be near.
    pub(crate) fn apart(&self) -> &[u64] {
        &self.apart
    }

    /// Every key that its worker is said to hold.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u64> {
        self.affinity.iter().chain(&self.apart).copied()
    }

    /// Equal for jobs that fit on the same workers.
    pub(crate) const fn shape(&self) -> u64 {
        self.shape
    }

    fn digest(&self) -> u64 {
        let placement = &*self.placement;
        let mut hash = hash_text(0, self.job.topic.as_str());
        for (key, value) in &placement.selector {
            hash = hash_text(hash_text(hash, key), value);
        }
        for name in &placement.capabilities {
            hash = hash_text(hash ^ 1, name);
        }
        for key in &placement.anti_affinity {
            hash = hash_text(hash ^ 2, key);
        }
        hash_text(hash ^ 3, placement.region.as_deref().unwrap_or_default())
    }
}

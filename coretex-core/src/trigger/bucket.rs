//! What has been gathered under one key.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    job::{IdError, RunId, TenantId, WorkflowId},
    schedule::run_id_of,
};

/// What a trigger makes of events under one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// How long an event waits for others.
    pub window: Duration,
    /// Which others.
    pub gather: Gather,
}

/// How events become one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Gather {
    /// They collapse: the run starts when none has come for a window.
    Debounce {
        /// It starts so long after the first one at the latest.
        max_wait: Duration,
        /// The run gets the input of the first one, rather than of the last.
        keep_first: bool,
    },
    /// They are collected: the run starts a window after the first one.
    Batch {
        /// It starts as soon as so many have come.
        max_items: u32,
    },
}

/// The generation that gathers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathering {
    /// When its first event came.
    pub first_at: Timestamp,
    /// Events so far.
    pub count: u32,
    /// How much of what one run can be given is taken, in millionths.
    pub weight: u64,
    /// When it is complete by itself.
    pub due: Timestamp,
    /// Its events are collected, rather than one kept of them.
    pub is_batch: bool,
}

/// A generation that is complete, and whose run is not known to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// Which.
    pub generation: u64,
    /// When its first event came.
    pub first_at: Timestamp,
    /// Its events.
    pub count: u32,
    /// When its run is to be started, or tried to.
    pub due: Timestamp,
    /// Whether its events are collected, rather than one kept of them.
    pub is_batch: bool,
    /// Refusals so far.
    #[serde(default)]
    pub tries: u32,
    /// The stable code of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Arc<str>>,
    /// Its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Arc<str>>,
}

/// What has been gathered under one key: the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Who owns it.
    pub tenant: TenantId,
    /// The workflow to start.
    pub workflow: WorkflowId,
    /// Its trigger.
    pub trigger: Arc<str>,
    /// The key; empty where the trigger has none.
    pub key: Arc<str>,
    /// On whose authority its runs are started: who sent the last event.
    pub principal: Arc<str>,
    /// Tells it from one of the same name that was there before.
    pub incarnation: Arc<str>,
    /// The number of the generation that gathers.
    pub generation: u64,
    /// What it has gathered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gathering: Option<Gathering>,
    /// Generations that are complete.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub firing: VecDeque<Firing>,
}

impl Bucket {
    /// A bucket that nothing is in.
    #[must_use]
    pub const fn new(
        tenant: TenantId,
        workflow: WorkflowId,
        trigger: Arc<str>,
        key: Arc<str>,
        principal: Arc<str>,
        incarnation: Arc<str>,
    ) -> Self {
        Self {
            tenant,
            workflow,
            trigger,
            key,
            principal,
            incarnation,
            generation: 0,
            gathering: None,
            firing: VecDeque::new(),
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gathering.is_none() && self.firing.is_empty()
    }

    /// When it next needs attention by itself.
    #[must_use]
    pub fn wake(&self) -> Option<Timestamp> {
        let gathering = self.gathering.iter().map(|gathering| gathering.due);
        self.firing.iter().map(|firing| firing.due).chain(gathering).min()
    }

    /// The id of the run of a generation whose first event came at `first_at`.
    ///
    /// # Errors
    /// Never.
    pub fn run_id(&self, generation: u64, first_at: Timestamp) -> Result<RunId, IdError> {
        run_id_of(first_at, &[b"trigger", self.incarnation.as_bytes(), &generation.to_be_bytes()])
    }
}

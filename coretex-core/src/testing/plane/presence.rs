//! What a scripted worker says of itself, and whether it is there.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::protocol::{ComponentRole, Handshake, Heartbeat, PROTOCOL_VERSION};

/// How often a scripted worker sends a heartbeat.
pub(super) const BEAT: Duration = Duration::from_secs(10);

/// What a scripted worker says of itself. It says so where pools are configured; a plane with open routes asks nobody.
#[derive(Clone, Debug)]
pub struct Presence {
    pub(super) id: String,
    pool: String,
    slots: u32,
    capabilities: Vec<String>,
    labels: BTreeMap<String, String>,
    region: String,
    direct: bool,
}

impl Presence {
    /// A worker with this id, for the pools of its topics, with sixteen slots. It listens on its own address.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            pool: String::new(),
            slots: 16,
            capabilities: Vec::new(),
            labels: BTreeMap::new(),
            region: String::new(),
            direct: true,
        }
    }

    /// Names its pool.
    #[must_use]
    pub fn pool(mut self, pool: impl Into<String>) -> Self {
        self.pool = pool.into();
        self
    }

    /// Takes so many jobs at once, as far as it says.
    #[must_use]
    pub const fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    /// Advertises a capability.
    #[must_use]
    pub fn capability(mut self, name: impl Into<String>) -> Self {
        self.capabilities.push(name.into());
        self
    }

    /// Has a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Runs in a region.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Gets its jobs over topics only.
    #[must_use]
    pub const fn by_topic(mut self) -> Self {
        self.direct = false;
        self
    }

    pub(super) fn handshake(&self, topic: &str) -> Handshake {
        let capabilities = [("progress".to_owned(), true), ("direct_dispatch".to_owned(), self.direct)];
        Handshake {
            component_id: self.id.clone(),
            role: ComponentRole::Worker.into(),
            supported_versions: vec![PROTOCOL_VERSION],
            capabilities: capabilities.into(),
            ready_topics: vec![topic.to_owned()],
            ..Handshake::default()
        }
    }

    pub(super) fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            worker_id: self.id.clone(),
            pool: self.pool.clone(),
            region: self.region.clone(),
            max_parallel_jobs: i32::try_from(self.slots).unwrap_or(i32::MAX),
            capabilities: self.capabilities.clone(),
            labels: self.labels.clone(),
            ..Heartbeat::default()
        }
    }
}

/// Whether a scripted worker works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// It does.
    Awake,
    /// Its process stands still: it takes nothing and says nothing until it goes on where it was.
    Frozen,
    /// Its process is gone, with what it had in hand.
    Dead,
}

/// A value that tasks wait for. Unlike a channel of tokio it wakes them in the order in which they came, so that runs repeat.
#[derive(Debug)]
pub(super) struct Shown<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy + PartialEq> Shown<T> {
    pub(super) fn new(value: T) -> Arc<Self> {
        Arc::new(Self { value: Mutex::new(value), changed: Notify::new() })
    }

    pub(super) fn set(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;
        self.changed.notify_waiters();
    }

    pub(super) fn get(&self) -> T {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes while the value is `wanted`.
    pub(super) async fn is(&self, wanted: T) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.get() == wanted {
                return;
            }
            changed.await;
        }
    }
}

/// The pulse of one worker.
pub(super) type Heart = Arc<Shown<Pulse>>;

//! What the store's handles, its writer and its checkpointer share.

use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicI64, Ordering},
};

use coretex_core::ports::{Change, ChangeSender, Clock, StoreError};
use tokio::sync::watch;

use super::{codec::Effect, layers::Layers, queue::Queue};

#[derive(Debug)]
pub(super) struct Shared {
    clock: Arc<dyn Clock>,
    /// The latest time told, in microseconds: time does not run backwards, whatever the clock does.
    now: AtomicI64,
    /// The data, or why there is none any more.
    layers: RwLock<Result<Layers, StoreError>>,
    pub(super) queue: Queue,
    watchers: Mutex<Vec<(String, ChangeSender)>>,
    checkpoint: Mutex<Checkpoint>,
    checkpoint_done: Condvar,
    /// How the writer ended, once it has and the directory is released.
    pub(super) ended: watch::Sender<Option<Result<(), StoreError>>>,
}

#[derive(Debug, Default)]
struct Checkpoint {
    running: bool,
    failed: Option<StoreError>,
}

impl Shared {
    pub(super) fn new(clock: Arc<dyn Clock>, now: i64, layers: Layers) -> Self {
        Self {
            clock,
            now: AtomicI64::new(now),
            layers: RwLock::new(Ok(layers)),
            queue: Queue::default(),
            watchers: Mutex::new(vec![]),
            checkpoint: Mutex::default(),
            checkpoint_done: Condvar::new(),
            ended: watch::Sender::new(None),
        }
    }

    /// The store's time in microseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        let now = self.clock.now().as_microsecond();
        self.now.fetch_max(now, Ordering::AcqRel).max(now)
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Result<Layers, StoreError>> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Result<Layers, StoreError>> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all reading and watching; gives back the data, to be dropped when nobody reads it.
    pub(super) fn shut(&self, why: StoreError) -> Option<Layers> {
        self.watchers().clear();
        let mut layers = self.write();
        // The first reason stays.
        if layers.is_err() {
            return None;
        }
        std::mem::replace(&mut *layers, Err(why)).ok()
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<(String, ChangeSender)>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(&self, prefix: &str, sender: ChangeSender) {
        self.watchers().push((prefix.to_owned(), sender));
    }

    /// What `effects` will be announced as; empty when nobody listens.
    pub(super) fn changes(&self, effects: &[Effect]) -> Vec<Change> {
        if self.watchers().is_empty() {
            return vec![];
        }
        let change = |effect: &Effect| match effect {
            Effect::Put { key, .. } | Effect::Delete { key } => Some(Change::Value(key.clone())),
            Effect::Append { stream, first, events } => {
                Some(Change::Stream(stream.clone(), first - 1 + events.len() as u64))
            }
            Effect::Trim { .. } => None,
        };
        effects.iter().filter_map(change).collect()
    }

    pub(super) fn announce(&self, changes: &[Change]) {
        let mut watchers = self.watchers();
        for change in changes {
            let (Change::Value(name) | Change::Stream(name, _)) = change else { continue };
            watchers.retain(|(prefix, sender)| !name.as_str().starts_with(prefix) || sender.offer(change.clone()));
        }
    }

    fn checkpoint(&self) -> MutexGuard<'_, Checkpoint> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn checkpoint_begins(&self) {
        self.checkpoint().running = true;
    }

    pub(super) fn checkpoint_ends(&self, result: Result<(), StoreError>) {
        let mut state = self.checkpoint();
        state.running = false;
        state.failed = result.err();
        drop(state);
        self.checkpoint_done.notify_all();
    }

    /// Waits until no checkpoint runs.
    pub(super) fn checkpoint_settled(&self) -> Result<(), StoreError> {
        let mut state = self.checkpoint();
        while state.running {
            state = self.checkpoint_done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failed.clone().map_or(Ok(()), Err)
    }
}

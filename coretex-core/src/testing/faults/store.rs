//! A store in which things go wrong.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Faults, plan::Fate};
use crate::ports::{
    Batch, Capabilities, Changes, Entry, Key, Page, Receipt, Scan, Store, StoreError, StoreErrorKind, StreamPage,
};

/// A [`Store`] over another one, in which things go wrong by plan. Cloning shares the handle and its end.
///
/// After a crash ([`FaultyStore::crash`], or by plan) every call on this handle is answered `Closed`; the store beneath
/// keeps everything applied so far and can be opened through a new handle.
#[derive(Clone, Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Faults,
    end: Arc<End>,
    keep_open: bool,
}

#[derive(Debug, Default)]
struct End {
    crashed: AtomicBool,
    told: Notify,
}

impl FaultyStore {
    /// Lets things go wrong in `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, faults: &Faults) -> Self {
        Self { inner, faults: faults.clone(), end: Arc::default(), keep_open: false }
    }

    /// Closing this handle leaves the store beneath open, for the next handle.
    #[must_use]
    pub const fn keep_open(mut self) -> Self {
        self.keep_open = true;
        self
    }

    /// Ends this handle now.
    pub fn crash(&self) {
        self.end.crashed.store(true, Ordering::Release);
        self.end.told.notify_waiters();
    }

    /// Whether this handle has ended.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.end.crashed.load(Ordering::Acquire)
    }

    /// Completes when this handle has ended.
    pub async fn crashed(&self) {
        loop {
            let told = self.end.told.notified();
            if self.is_crashed() {
                return;
            }
            told.await;
        }
    }

    fn enter(&self) -> Result<(), StoreError> {
        if self.is_crashed() { Err(StoreError::closed("the store has crashed")) } else { Ok(()) }
    }

    async fn before_read(&self) -> Result<(), StoreError> {
        self.enter()?;
        if self.faults.is_unreadable() {
            return Err(unavailable());
        }
        self.linger().await;
        self.enter()
    }

    async fn linger(&self) {
        for _ in 0..self.faults.slowness() {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.enter()?;
        self.inner.now().await
    }

    async fn commit(&self, batches: Vec<Batch>) -> Vec<Result<Receipt, StoreError>> {
        // Everything is judged, and the rest handed on, in the first poll: that is what orders commits.
        let mut fates = Vec::with_capacity(batches.len());
        let mut handed = Vec::with_capacity(batches.len());
        let mut crashes = false;
        for batch in batches {
            if crashes || self.is_crashed() {
                fates.push(None);
                continue;
            }
            let fate = self.faults.fate(&batch);
            crashes = matches!(fate, Fate::Last | Fate::LastUnanswered);
            if !matches!(fate, Fate::Refused | Fate::Unavailable) {
                handed.push(batch);
            }
            fates.push(Some(fate));
        }
        if crashes {
            self.end.crashed.store(true, Ordering::Release);
        }
        let mut results = if handed.is_empty() { Vec::new() } else { self.inner.commit(handed).await }.into_iter();
        if crashes {
            self.end.told.notify_waiters();
        }
        self.linger().await;
        let mut next = || results.next().unwrap_or_else(|| Err(StoreError::closed("the store gave no result")));
        fates
            .into_iter()
            .map(|fate| match fate {
                None => Err(StoreError::closed("the store has crashed")),
                Some(Fate::Applied | Fate::Last) => next(),
                Some(Fate::Unanswered | Fate::LastUnanswered) => next().and(Err(unavailable())),
                Some(Fate::Unavailable) => Err(unavailable()),
                Some(Fate::Refused) => Err(StoreError::conflict("refused by the fault plan")),
            })
            .collect()
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.before_read().await?;
        self.inner.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Page, StoreError> {
        self.before_read().await?;
        self.inner.scan(scan).await
    }

    async fn read(&self, stream: &Key, from: u64, limit: usize) -> Result<StreamPage, StoreError> {
        self.before_read().await?;
        self.inner.read(stream, from, limit).await
    }

    async fn watch(&self, prefix: &str) -> Result<Changes, StoreError> {
        self.enter()?;
        self.inner.watch(prefix).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        if self.keep_open {
            self.crash();
            return Ok(());
        }
        self.inner.close().await
    }
}

fn unavailable() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the fault plan keeps the store from answering; try again")
}

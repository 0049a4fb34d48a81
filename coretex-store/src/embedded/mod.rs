//! The store of a single machine: one directory, one process, no server.
//!
//! ```text
//! <path>/LOCK            held while a process has the directory open
//! <path>/FORMAT          what wrote this directory
//! <path>/base.redb       the folded state
//! <path>/journal/*.log   every group since the base was last written
//! ```
//!
//! A commit costs one write and one sync of the journal, shared by all commits that wait at that moment. What is in
//! the journal and not yet in the base is held in memory and seen by every read; now and then it is folded into the
//! base, one entry for each key touched, one chunk for each stream, however often they changed. After a crash the
//! journal is replayed over the base. Why it is built so, with numbers: `docs/adr/0003-embedded-store.md`.
//!
//! Reads answer from memory, or from the base in some microseconds when its pages are cached; they are done in the
//! calling task. A page of a scan holds a lock that delays the writer for the time it takes to look into memory.
//!
//! What is damaged is named, with its file, and not served. The one thing that cannot be told from a loss of power
//! is a journal whose last file was cut short: whoever truncates files by hand can remove the newest commits.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use async_trait::async_trait;
use coretex_core::ports::{
    Batch, Capabilities, Changes, Clock, Entry, Key, Page, Receipt, Scan, Store, StoreError, StoreErrorKind,
    StreamPage, SystemClock, change_channel,
};
use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::disk::{Disk, RealDisk};

mod base;
mod check;
mod codec;
mod error;
mod journal;
mod judge;
mod layers;
mod memtable;
mod open;
mod options;
mod queue;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

pub use check::{Report, check_integrity};
pub use options::Options;
use queue::Request;
use shared::Shared;

/// A durable [`Store`] in one directory. Cloning shares it.
///
/// Dropping the last handle without [`Store::close`] is safe and like a crash: the next start replays the journal.
///
/// ```
/// # async fn example() -> Result<(), coretex_core::ports::StoreError> {
/// use coretex_core::ports::{Batch, Condition, Store};
/// use coretex_store::embedded::EmbeddedStore;
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path();
/// let store = EmbeddedStore::open(path).await?;
/// let batch = Batch::new().put("greetings/first", "hello", Condition::Absent);
/// store.commit(vec![batch]).await.remove(0)?;
/// store.close().await?;
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Clone)]
pub struct EmbeddedStore {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.close(StoreError::closed("the store was closed"), Some(Request::Stop));
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // It catches its own panics. Joined, so that the directory is free when the handle is gone.
            let _ = writer.join();
        }
    }
}

impl EmbeddedStore {
    /// Opens the store in the directory at `path`, or makes one there.
    ///
    /// # Errors
    /// [`StoreErrorKind::Locked`] when another process has it open; [`StoreErrorKind::Corrupt`] and
    /// [`StoreErrorKind::Format`] when it cannot be read, naming the file; [`StoreErrorKind::Full`] and
    /// [`StoreErrorKind::Unavailable`] for what the disk says.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(Options::new(path.as_ref())).await
    }

    /// Opens the store with `options`.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub async fn open_with(options: Options) -> Result<Self, StoreError> {
        Self::open_on(options, Arc::new(RealDisk), Arc::new(SystemClock)).await
    }

    /// Opens the store on a disk and a clock of the caller's choice.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub async fn open_on(options: Options, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let (answer, opened) = oneshot::channel();
        // Replaying and checking may take a while, and nothing is known about the caller's runtime.
        let spawned = thread::Builder::new().name("coretex-open".to_owned()).spawn(move || {
            let _ = answer.send(open::open(&options, disk, clock));
        });
        let failed = |why: &str| StoreError::new(StoreErrorKind::Unavailable, format!("cannot open the store: {why}"));
        spawned.map_err(|error| failed(&error.to_string()))?;
        let (shared, writer) = opened.await.map_err(|_| failed("the thread that opens it has failed"))??;
        Ok(Self { handle: Arc::new(Handle { shared, writer: Mutex::new(Some(writer)) }) })
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new("embedded", true, true)
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.shared().read().as_ref().map_err(Clone::clone)?;
        Ok(Timestamp::from_microsecond(self.shared().now()).unwrap_or(Timestamp::MAX))
    }

    async fn commit(&self, batches: Vec<Batch>) -> Vec<Result<Receipt, StoreError>> {
        let count = batches.len();
        let (answer, answered) = oneshot::channel();
        if let Err(error) = self.shared().queue.push(batches, answer) {
            return vec![Err(error); count];
        }
        answered.await.unwrap_or_else(|_| {
            let message = "the store ended before it answered; whether the commit was made is unknown";
            vec![Err(StoreError::new(StoreErrorKind::Unavailable, message)); count]
        })
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let now = self.shared().now();
        let (found, base) = {
            let guard = self.shared().read();
            let layers = guard.as_ref().map_err(Clone::clone)?;
            (layers.in_memory(key), layers.below.base.clone())
        };
        let value = match found {
            Some(value) => value,
            None => base.get(key)?,
        };
        Ok(value.filter(|value| value.is_live(now)).map(|value| layers::entry(key, &value)))
    }

    async fn scan(&self, scan: Scan) -> Result<Page, StoreError> {
        let now = self.shared().now();
        let limit = scan.page_size();
        let mut scan = scan;
        let mut page = Page::default();
        loop {
            // One more than asked for tells whether there is more.
            let wanted = limit + 1;
            let (part, below) = {
                let guard = self.shared().read();
                let layers = guard.as_ref().map_err(Clone::clone)?;
                (layers.active_part(&scan, wanted), layers.below.clone())
            };
            let Some(part) = part else { break };
            match below.merge(part, &scan, now, wanted, &mut page)? {
                Some(reach) => scan.after = Some(reach),
                None => break,
            }
        }
        if page.entries.len() > limit {
            page.entries.truncate(limit);
            page.next = page.entries.last().map(|entry| entry.key.clone());
        }
        Ok(page)
    }

    async fn read(&self, stream: &Key, from: u64, limit: usize) -> Result<StreamPage, StoreError> {
        let (part, below) = {
            let guard = self.shared().read();
            let layers = guard.as_ref().map_err(Clone::clone)?;
            (layers.stream_part(stream, from, limit), layers.below.clone())
        };
        below.stream_page(part)
    }

    async fn watch(&self, prefix: &str) -> Result<Changes, StoreError> {
        let (sender, changes) = change_channel();
        // Under the lock that closing takes, so that no watcher is left behind.
        let guard = self.shared().read();
        guard.as_ref().map_err(Clone::clone)?;
        self.shared().watch(prefix, sender);
        Ok(changes)
    }

    async fn close(&self) -> Result<(), StoreError> {
        let mut ended = self.shared().ended.subscribe();
        self.shared().queue.close(StoreError::closed("the store was closed"), Some(Request::Close));
        // The shared part is alive as long as this handle, so the sender is, too.
        let result = ended.wait_for(Option::is_some).await.map(|result| result.clone());
        let writer = self.handle.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // It said that it has ended.
            let _ = writer.join();
        }
        result.ok().flatten().unwrap_or(Ok(()))
    }
}

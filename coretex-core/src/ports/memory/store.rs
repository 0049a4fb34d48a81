//! The store port in memory.
//!
//! One mutex over ordered values and streams. Nothing awaits inside, so a commit is applied whole at the first
//! poll of its future, which is also what orders commits. A batch is applied operation by operation, with a note
//! of how to take each back; a refused operation takes back what its batch had done, so that an accepted batch,
//! by far the most frequent, costs no second pass. It leaves durability to the adapters that have a disk.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use foldhash::HashMap;
use jiff::Timestamp;

use crate::ports::{
    Batch, Capabilities, Change, ChangeSender, Changes, Clock, Condition, Entry, Key, Op, OpResult, Page, Receipt,
    Scan, Store, StoreError, StreamPage, Version, change_channel, counter_after, expiry_after, limits,
};

/// A [`Store`] that forgets everything with the process. Cloning shares the data.
///
/// Linearizable and as strict as any adapter. A commit costs about a microsecond and `O(log n)` in the number of
/// values; a read holds the same mutex for the length of one page.
#[derive(Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    shared: Arc<Mutex<State>>,
}

impl MemoryStore {
    /// An empty store whose expiry follows `clock`. Logs once that nothing in it is durable.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        tracing::warn!(store = "memory", "not durable: everything is lost when the process ends");
        let state = State { now: clock.now(), ..State::default() };
        Self { clock, shared: Arc::new(Mutex::new(state)) }
    }

    /// Locks the state, moves its time on, and refuses when it is closed.
    fn enter(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let now = self.clock.now();
        // No code under this lock panics half-way through a change that it does not take back.
        let mut state = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(StoreError::closed("the memory store was closed"));
        }
        // A clock that is set back must not bring expired keys back.
        state.now = state.now.max(now);
        Ok(state)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new("memory", false, true)
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.enter()?.now)
    }

    async fn commit(&self, batches: Vec<Batch>) -> Vec<Result<Receipt, StoreError>> {
        match self.enter() {
            Ok(mut state) => {
                state.drop_expired();
                batches.into_iter().map(|batch| state.commit(batch)).collect()
            }
            Err(error) => batches.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let state = self.enter()?;
        Ok(state.live(key).map(|slot| slot.entry(key)))
    }

    async fn scan(&self, scan: Scan) -> Result<Page, StoreError> {
        Ok(self.enter()?.scan(&scan))
    }

    async fn read(&self, stream: &Key, from: u64, limit: usize) -> Result<StreamPage, StoreError> {
        Ok(self.enter()?.read(stream, from, limit))
    }

    async fn watch(&self, prefix: &str) -> Result<Changes, StoreError> {
        let mut state = self.enter()?;
        let (sender, changes) = change_channel();
        state.watchers.push(Watcher { prefix: prefix.to_owned(), sender });
        Ok(changes)
    }

    async fn close(&self) -> Result<(), StoreError> {
        let mut state = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { closed: true, ..State::default() };
        Ok(())
    }
}

#[derive(Default)]
struct State {
    values: BTreeMap<Key, Slot>,
    streams: HashMap<Key, Stream>,
    /// The keys with an expiry, soonest first; agrees with `values`.
    expiring: BTreeSet<(Timestamp, Key)>,
    /// The last version given to any key: one counter for all, so that a key that comes back goes on growing.
    version: u64,
    now: Timestamp,
    watchers: Vec<Watcher>,
    closed: bool,
    /// Of the batch that is applied; kept for its room.
    undo: Vec<Undo>,
}

#[derive(Clone)]
struct Slot {
    value: Bytes,
    version: Version,
    expires_at: Option<Timestamp>,
}

impl Slot {
    fn entry(&self, key: &Key) -> Entry {
        Entry { key: key.clone(), value: self.value.clone(), version: self.version, expires_at: self.expires_at }
    }
}

#[derive(Default)]
struct Stream {
    /// Events removed from the front so far: the number of the first one kept is `trimmed + 1`.
    trimmed: u64,
    events: VecDeque<Bytes>,
}

impl Stream {
    fn head(&self) -> u64 {
        self.trimmed + self.events.len() as u64
    }
}

struct Watcher {
    prefix: String,
    sender: ChangeSender,
}

/// How to take one operation back.
enum Undo {
    Value(Key, Option<Slot>),
    Appended(Key, usize),
    Trimmed(Key, Vec<Bytes>),
}

impl State {
    fn live(&self, key: &Key) -> Option<&Slot> {
        self.values.get(key).filter(|slot| slot.expires_at.is_none_or(|at| at > self.now))
    }

    /// Judges the condition on `key`; most writes have none, and need no look.
    fn judge(&self, condition: Condition, key: &Key) -> Result<(), StoreError> {
        if condition == Condition::Always {
            return Ok(());
        }
        condition.judge(key, self.live(key).map(|slot| slot.version))
    }

    fn drop_expired(&mut self) {
        while self.expiring.first().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, key)) = self.expiring.pop_first() {
                self.values.remove(&key);
            }
        }
    }

    fn commit(&mut self, batch: Batch) -> Result<Receipt, StoreError> {
        batch.check()?;
        let ops = batch.into_ops();
        let mut results = Vec::with_capacity(ops.len());
        let mut undo = std::mem::take(&mut self.undo);
        let applied = ops.into_iter().try_for_each(|op| {
            results.push(self.apply(op, &mut undo)?);
            Ok(())
        });
        match applied {
            Ok(()) if self.watchers.is_empty() => {}
            Ok(()) => self.announce(&undo, &results),
            Err(_) => {
                while let Some(step) = undo.pop() {
                    self.take_back(step);
                }
            }
        }
        undo.clear();
        self.undo = undo;
        applied.map(|()| Receipt { results })
    }

    fn apply(&mut self, op: Op, undo: &mut Vec<Undo>) -> Result<OpResult, StoreError> {
        match op {
            Op::Require { key, condition } => {
                self.judge(condition, &key)?;
                Ok(OpResult::Done)
            }
            Op::Put { key, value, condition, .. } => {
                self.judge(condition, &key)?;
                Ok(OpResult::Written(self.write(key, value, None, undo)))
            }
            Op::Delete { key, condition, .. } => {
                self.judge(condition, &key)?;
                if let Some(old) = self.replace(&key, None) {
                    undo.push(Undo::Value(key, Some(old)));
                }
                Ok(OpResult::Done)
            }
            Op::Add { key, delta, ceiling } => {
                let (value, expires_at) = match self.live(&key) {
                    Some(slot) => (Some(&slot.value[..]), slot.expires_at),
                    None => (None, None),
                };
                let sum = counter_after(&key, value, delta, ceiling)?;
                self.write(key, Bytes::from(sum.to_string()), expires_at, undo);
                Ok(OpResult::Added(sum))
            }
            Op::Expire { key, after } => {
                let Some(slot) = self.live(&key).cloned() else {
                    return Err(StoreError::conflict(format!("`{key}` has no value that could expire")));
                };
                let expires_at = Some(expiry_after(self.now, after));
                let old = self.replace(&key, Some(Slot { expires_at, ..slot }));
                undo.push(Undo::Value(key, old));
                Ok(OpResult::Done)
            }
            Op::Append { stream, expected, events } => {
                let count = events.len();
                let kept = match self.streams.get_mut(&stream) {
                    Some(kept) => {
                        expected.judge(&stream, kept.head())?;
                        kept
                    }
                    None => {
                        expected.judge(&stream, 0)?;
                        self.streams.entry(stream.clone()).or_default()
                    }
                };
                kept.events.extend(events);
                let head = kept.head();
                undo.push(Undo::Appended(stream, count));
                Ok(OpResult::Appended(head))
            }
            Op::Trim { stream, before } => {
                if let Some(kept) = self.streams.get_mut(&stream) {
                    let count = before.saturating_sub(1).saturating_sub(kept.trimmed);
                    let count = usize::try_from(count).unwrap_or(usize::MAX).min(kept.events.len());
                    let removed: Vec<Bytes> = kept.events.drain(..count).collect();
                    kept.trimmed += count as u64;
                    undo.push(Undo::Trimmed(stream, removed));
                }
                Ok(OpResult::Done)
            }
        }
    }

    fn write(&mut self, key: Key, value: Bytes, expires_at: Option<Timestamp>, undo: &mut Vec<Undo>) -> Version {
        self.version += 1;
        let version = Version(self.version);
        let old = self.replace(&key, Some(Slot { value, version, expires_at }));
        undo.push(Undo::Value(key, old));
        version
    }

    /// Sets or removes a value, keeps `expiring` in step, and returns what was there.
    fn replace(&mut self, key: &Key, slot: Option<Slot>) -> Option<Slot> {
        let new_expiry = slot.as_ref().and_then(|slot| slot.expires_at);
        let old = match slot {
            Some(slot) => self.values.insert(key.clone(), slot),
            None => self.values.remove(key),
        };
        let old_expiry = old.as_ref().and_then(|slot| slot.expires_at);
        if old_expiry != new_expiry {
            if let Some(at) = old_expiry {
                self.expiring.remove(&(at, key.clone()));
            }
            if let Some(at) = new_expiry {
                self.expiring.insert((at, key.clone()));
            }
        }
        old
    }

    fn take_back(&mut self, step: Undo) {
        match step {
            Undo::Value(key, old) => {
                self.replace(&key, old);
            }
            Undo::Appended(stream, count) => {
                if let Some(kept) = self.streams.get_mut(&stream) {
                    let keep = kept.events.len().saturating_sub(count);
                    kept.events.truncate(keep);
                    if kept.head() == 0 {
                        self.streams.remove(&stream);
                    }
                }
            }
            Undo::Trimmed(stream, removed) => {
                if let Some(kept) = self.streams.get_mut(&stream) {
                    kept.trimmed -= removed.len() as u64;
                    for event in removed.into_iter().rev() {
                        kept.events.push_front(event);
                    }
                }
            }
        }
    }

    /// Tells the watchers what an accepted batch did, in the order of its operations.
    fn announce(&mut self, done: &[Undo], results: &[OpResult]) {
        let mut heads = results.iter().filter_map(|result| match result {
            OpResult::Appended(head) => Some(*head),
            _ => None,
        });
        for step in done {
            let change = match step {
                Undo::Value(key, _) => Change::Value(key.clone()),
                Undo::Appended(stream, _) => Change::Stream(stream.clone(), heads.next().unwrap_or_default()),
                Undo::Trimmed(..) => continue,
            };
            let (Change::Value(name) | Change::Stream(name, _)) = &change else { continue };
            self.watchers
                .retain(|watcher| !name.as_str().starts_with(&watcher.prefix) || watcher.sender.offer(change.clone()));
        }
    }

    fn scan(&self, scan: &Scan) -> Page {
        let Some((low, high)) = scan.bounds() else { return Page::default() };
        let as_str = |bound: &Bound<String>| match bound {
            Bound::Included(text) => Bound::Included(Key::from(text.as_str())),
            Bound::Excluded(text) => Bound::Excluded(Key::from(text.as_str())),
            Bound::Unbounded => Bound::Unbounded,
        };
        let range = self.values.range::<Key, _>((as_str(&low), as_str(&high)));
        let live = |(key, slot): (&Key, &Slot)| slot.expires_at.is_none_or(|at| at > self.now).then(|| slot.entry(key));
        let wanted = scan.page_size() + 1;
        let mut entries: Vec<Entry> = if scan.reverse {
            range.rev().filter_map(live).take(wanted).collect()
        } else {
            range.filter_map(live).take(wanted).collect()
        };
        let more = entries.len() == wanted;
        entries.truncate(wanted - 1);
        let next = entries.last().filter(|_| more).map(|entry| entry.key.clone());
        Page { entries, next }
    }

    fn read(&self, stream: &Key, from: u64, limit: usize) -> StreamPage {
        let Some(kept) = self.streams.get(stream) else { return StreamPage::default() };
        let skip = from.saturating_sub(1).saturating_sub(kept.trimmed);
        let mut left = limits::PAGE_BYTES;
        let events: Vec<Bytes> = kept
            .events
            .iter()
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .take(limit.clamp(1, limits::PAGE))
            .enumerate()
            .take_while(|(index, event)| {
                let fits = *index == 0 || event.len() <= left;
                left = left.saturating_sub(event.len());
                fits
            })
            .map(|(_, event)| event.clone())
            .collect();
        StreamPage { first: kept.trimmed + skip + 1, events, head: kept.head() }
    }
}

#[cfg(test)]
#[cfg(feature = "conformance")]
mod conformance {
    use std::{sync::atomic::AtomicI64, time::Duration};

    use futures::future::BoxFuture;

    use super::*;
    use crate::testing::conformance::store::Fixture;

    /// A clock that a test moves by hand.
    #[derive(Debug, Default)]
    struct ManualClock(AtomicI64);

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millisecond(self.0.load(std::sync::atomic::Ordering::Acquire)).unwrap()
        }

        fn sleep_until(&self, _: Timestamp) -> BoxFuture<'static, ()> {
            Box::pin(async {})
        }
    }

    async fn fresh() -> Fixture {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        Fixture::new(store).with_advance(Arc::new(move |time: Duration| {
            let millis = i64::try_from(time.as_millis()).unwrap();
            clock.0.fetch_add(millis, std::sync::atomic::Ordering::AcqRel);
            Box::pin(async {})
        }))
    }

    crate::store_conformance!(fresh);
}

//! What is durable in the journal and not yet in the base, in memory.
//!
//! Holds only what was synced. One is active and grows; at a checkpoint it is frozen, written to the base by
//! another thread, and dropped. Every byte is copied out of what the caller gave, so that a small value never pins
//! a large buffer.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem::size_of,
};

use bytes::Bytes;
use coretex_core::ports::Key;

use super::codec::{Effect, Value};

/// What an entry of a map costs beside its own size: its share of the node or table, the allocations behind it.
const OVERHEAD: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Memtable {
    /// `None`: deleted, whatever lies below.
    pub(super) values: BTreeMap<Key, Option<Value>>,
    pub(super) streams: HashMap<Key, Tail>,
    /// Memory in use, estimated.
    pub(super) bytes: usize,
    /// The last group in here; that of the base before there is one.
    pub(super) lsn: u64,
    /// The store's time at the last group.
    pub(super) now: i64,
    /// The last version given.
    pub(super) version: u64,
}

/// The newest events of a stream.
#[derive(Debug)]
pub(super) struct Tail {
    /// The number before the first event in `events`.
    pub(super) before: u64,
    /// Events up to here were removed, in this layer or below; 0: none by this layer.
    pub(super) trimmed: u64,
    pub(super) events: VecDeque<Bytes>,
}

impl Tail {
    pub(super) fn head(&self) -> u64 {
        self.before + self.events.len() as u64
    }

    /// Appends to `out` events from number `from` on, as long as `fits` says so.
    pub(super) fn read(&self, from: u64, mut take: impl FnMut(&Bytes) -> bool) {
        let skip = usize::try_from(from.saturating_sub(self.before + 1)).unwrap_or(usize::MAX);
        for event in self.events.iter().skip(skip) {
            if !take(event) {
                return;
            }
        }
    }
}

impl Memtable {
    /// An empty one that goes on where `self` ends.
    pub(super) fn next(&self) -> Self {
        Self { lsn: self.lsn, now: self.now, version: self.version, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.streams.is_empty()
    }

    pub(super) fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Put { key, value } => {
                let bytes = Bytes::copy_from_slice(&value.bytes);
                self.set(key, Some(Value { bytes, ..value }));
            }
            Effect::Delete { key } => self.set(key, None),
            Effect::Append { stream, first, events } => {
                let tail = self.streams.entry(stream).or_insert_with_key(|stream| {
                    self.bytes += stream.as_str().len() + size_of::<(Key, Tail)>() + OVERHEAD;
                    Tail { before: first.saturating_sub(1), trimmed: 0, events: VecDeque::new() }
                });
                for event in events {
                    self.bytes += event.len() + size_of::<Bytes>() + 16;
                    tail.events.push_back(Bytes::copy_from_slice(&event));
                }
            }
            Effect::Trim { stream, trimmed, head } => {
                let tail = self.streams.entry(stream).or_insert_with_key(|stream| {
                    self.bytes += stream.as_str().len() + size_of::<(Key, Tail)>() + OVERHEAD;
                    Tail { before: head, trimmed: 0, events: VecDeque::new() }
                });
                tail.trimmed = tail.trimmed.max(trimmed);
                while tail.before < trimmed
                    && let Some(event) = tail.events.pop_front()
                {
                    tail.before += 1;
                    self.bytes = self.bytes.saturating_sub(event.len() + size_of::<Bytes>() + 16);
                }
            }
        }
    }

    fn set(&mut self, key: Key, value: Option<Value>) {
        let size = |value: &Option<Value>| value.as_ref().map_or(0, |value| value.bytes.len() + 16);
        self.bytes += size(&value);
        let fixed = key.as_str().len() + size_of::<(Key, Option<Value>)>() + OVERHEAD;
        match self.values.insert(key, value) {
            Some(old) => self.bytes = self.bytes.saturating_sub(size(&old)),
            None => self.bytes += fixed,
        }
    }
}

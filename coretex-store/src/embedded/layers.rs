//! What readers see: the active memtable over the frozen one over the base.
//!
//! Everything in here is durable. The three are changed together under one lock, held by readers only while they
//! look into memory; the frozen memtable and the view of the base never change, so they are read without it.

use std::{
    collections::{BTreeMap, btree_map},
    iter::{self, Peekable},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use coretex_core::ports::{Entry, Key, Page, Scan, StoreError, StreamPage, Version, limits};
use jiff::Timestamp;

use super::{
    base::{Head, SharedView, View},
    codec::{NEVER, Value},
    error::guarded,
    memtable::Memtable,
};

#[derive(Debug)]
pub(super) struct Layers {
    pub(super) active: Memtable,
    pub(super) below: Below,
}

/// The layers that do not change.
#[derive(Clone, Debug)]
pub(super) struct Below {
    pub(super) frozen: Option<Arc<Memtable>>,
    pub(super) base: SharedView,
}

/// An entry as readers get it.
pub(super) fn entry(key: &Key, value: &Value) -> Entry {
    let expires_at =
        (value.expires != NEVER).then(|| Timestamp::from_microsecond(value.expires).unwrap_or(Timestamp::MAX));
    Entry { key: key.clone(), value: value.bytes.clone(), version: Version(value.version), expires_at }
}

impl Layers {
    /// What the memtables say about `key`: `None` when nothing.
    pub(super) fn in_memory(&self, key: &Key) -> Option<Option<Value>> {
        let frozen = || self.below.frozen.as_ref().and_then(|frozen| frozen.values.get(key));
        self.active.values.get(key).or_else(frozen).cloned()
    }

    /// The value at `key`, expired or not.
    pub(super) fn value(&self, key: &Key) -> Result<Option<Value>, StoreError> {
        match self.in_memory(key) {
            Some(value) => Ok(value),
            None => self.below.base.get(key),
        }
    }

    /// Head of a stream, and how far it was trimmed.
    pub(super) fn head(&self, stream: &Key) -> Result<Head, StoreError> {
        let below = match self.active.streams.get(stream) {
            // What this layer has trimmed reaches beyond what lies below.
            Some(tail) if tail.trimmed > 0 => return Ok(Head { head: tail.head(), trimmed: tail.trimmed }),
            Some(_) | None => self.below.head(stream)?,
        };
        let head = self.active.streams.get(stream).map_or(below.head, |tail| tail.head());
        Ok(Head { head, ..below })
    }

    /// A first part of the page that `scan` asks for, as far as the entries of the active memtable in here reach.
    pub(super) fn active_part(&self, scan: &Scan, wanted: usize) -> Option<ActivePart> {
        let bounds = scan.bounds()?;
        let range = key_range(&self.active.values, &bounds);
        let copy = |(key, value): (&Key, &Option<Value>)| (key.clone(), value.clone());
        let entries: Vec<_> = if scan.reverse {
            range.rev().map(copy).take(wanted).collect()
        } else {
            range.map(copy).take(wanted).collect()
        };
        let reach = if entries.len() == wanted { entries.last().map(|(key, _)| key.clone()) } else { None };
        Some(ActivePart { entries, reach, bounds })
    }
}

type Bounds = (Bound<String>, Bound<String>);

/// Entries of the active memtable, taken under the lock.
pub(super) struct ActivePart {
    entries: Vec<(Key, Option<Value>)>,
    /// Up to here the part is complete; `None`: to the end.
    reach: Option<Key>,
    bounds: Bounds,
}

fn key_range<'a>(
    values: &'a BTreeMap<Key, Option<Value>>,
    (low, high): &Bounds,
) -> btree_map::Range<'a, Key, Option<Value>> {
    let bound = |bound: &Bound<String>| bound.as_ref().map(|text| Key::from(text.as_str()));
    values.range::<Key, _>((bound(low), bound(high)))
}

type Item = Result<(Key, Option<Value>), StoreError>;

fn peek_key<'a>(source: &'a mut Peekable<Box<dyn Iterator<Item = Item> + '_>>) -> Option<&'a Key> {
    source.peek().and_then(|item| item.as_ref().ok()).map(|(key, _)| key)
}

impl Below {
    fn head(&self, stream: &Key) -> Result<Head, StoreError> {
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.streams.get(stream));
        match frozen {
            Some(tail) if tail.trimmed > 0 => Ok(Head { head: tail.head(), trimmed: tail.trimmed }),
            Some(tail) => {
                let base = self.base.head(stream)?.unwrap_or_default();
                Ok(Head { head: tail.head(), ..base })
            }
            None => Ok(self.base.head(stream)?.unwrap_or_default()),
        }
    }

    /// Merges `part` with the layers below into `page`, up to `wanted` entries in all. Returns where to go on when
    /// `part` ended before the page was full.
    pub(super) fn merge(
        &self,
        part: ActivePart,
        scan: &Scan,
        now: i64,
        wanted: usize,
        page: &mut Page,
    ) -> Result<Option<Key>, StoreError> {
        let ActivePart { entries, reach, bounds } = part;
        let reverse = scan.reverse;
        let view: &View = &self.base;
        guarded(view.path(), || {
            let frozen: Box<dyn Iterator<Item = Item> + '_> = match &self.frozen {
                Some(frozen) => {
                    let copy = |(key, value): (&Key, &Option<Value>)| Ok((key.clone(), value.clone()));
                    let range = key_range(&frozen.values, &bounds);
                    if reverse { Box::new(range.rev().map(copy)) } else { Box::new(range.map(copy)) }
                }
                None => Box::new(iter::empty()),
            };
            let (low, high) = (bounds.0.as_ref().map(String::as_str), bounds.1.as_ref().map(String::as_str));
            let mut range = view.values.range::<&str>((low, high)).map_err(|e| view.fail(e))?;
            let base: Box<dyn Iterator<Item = Item> + '_> = Box::new(iter::from_fn(move || {
                let item = if reverse { range.next_back() } else { range.next() }?;
                Some(item.map_err(|e| view.fail(e)).and_then(|(key, record)| {
                    let text = key.value();
                    Ok((Key::from(text), Some(view.value(text, record.value())?)))
                }))
            }));
            let active: Box<dyn Iterator<Item = Item> + '_> = Box::new(entries.into_iter().map(Ok));
            let mut sources = [active.peekable(), frozen.peekable(), base.peekable()];
            while page.entries.len() < wanted {
                let mut next: Option<Key> = None;
                for source in &mut sources {
                    if let Some(Err(error)) = source.peek() {
                        return Err(error.clone());
                    }
                    if let Some(key) = peek_key(source)
                        && next.as_ref().is_none_or(|next| if reverse { key > next } else { key < next })
                    {
                        next = Some(key.clone());
                    }
                }
                // The part may have been used up before the layers below have more to show.
                let Some(next) = next else { return Ok(reach) };
                if reach.as_ref().is_some_and(|reach| if reverse { next < *reach } else { next > *reach }) {
                    return Ok(reach);
                }
                // The topmost layer that knows the key decides; the others step over it.
                let mut top = None;
                for source in &mut sources {
                    if peek_key(source) == Some(&next)
                        && let Some(item) = source.next()
                        && top.is_none()
                    {
                        top = Some(item?.1);
                    }
                }
                if let Some(Some(value)) = top
                    && value.is_live(now)
                {
                    page.entries.push(entry(&next, &value));
                }
            }
            Ok(None)
        })
    }
}

/// Collects a page of a stream.
struct Taker {
    events: Vec<Bytes>,
    limit: usize,
    bytes_left: usize,
    full: bool,
}

impl Taker {
    fn take(&mut self, event: Bytes) -> bool {
        if self.events.len() == self.limit || (!self.events.is_empty() && event.len() > self.bytes_left) {
            self.full = true;
            return false;
        }
        self.bytes_left = self.bytes_left.saturating_sub(event.len());
        self.events.push(event);
        true
    }
}

/// The part of a stream read that the lock is needed for.
pub(super) struct StreamPart {
    stream: Key,
    first: u64,
    limit: usize,
    /// Head, number before the first event, and the events asked for, of the active memtable.
    active: Option<(u64, u64, Taker)>,
    /// 0: not by the active memtable.
    trimmed: u64,
}

impl Layers {
    /// Takes what the active memtable has of the page.
    pub(super) fn stream_part(&self, stream: &Key, from: u64, limit: usize) -> StreamPart {
        let limit = limit.clamp(1, limits::PAGE);
        let from = from.max(1);
        let tail = self.active.streams.get(stream);
        let active = tail.map(|tail| {
            let mut taker = Taker { events: vec![], limit, bytes_left: limits::PAGE_BYTES, full: false };
            tail.read(from, |event| taker.take(event.clone()));
            (tail.head(), tail.before, taker)
        });
        let trimmed = tail.map_or(0, |tail| tail.trimmed);
        StreamPart { stream: stream.clone(), first: from, limit, active, trimmed }
    }
}

impl Below {
    /// Completes a page of a stream from the layers below.
    pub(super) fn stream_page(&self, part: StreamPart) -> Result<StreamPage, StoreError> {
        let StreamPart { stream, first, limit, active, trimmed } = part;
        // The common case: a reader that follows a stream, with all it wants in memory.
        if let Some((head, before, taker)) = active {
            if first > before {
                let first = first.max(trimmed + 1);
                return Ok(StreamPage { first, events: taker.events, head });
            }
            let mut page = self.lower_page(&stream, first, limit, trimmed)?;
            if page.1 {
                return Ok(StreamPage { head, ..page.0 });
            }
            let mut all = Taker { events: vec![], limit, bytes_left: limits::PAGE_BYTES, full: false };
            if page.0.events.is_empty() {
                page.0.first = first.max(trimmed.max(before) + 1);
            }
            for event in page.0.events.into_iter().chain(taker.events) {
                if !all.take(event) {
                    break;
                }
            }
            return Ok(StreamPage { first: page.0.first, events: all.events, head });
        }
        Ok(self.lower_page(&stream, first, limit, 0)?.0)
    }

    /// The page without the active memtable, and whether it is full.
    fn lower_page(
        &self,
        stream: &Key,
        from: u64,
        limit: usize,
        trimmed: u64,
    ) -> Result<(StreamPage, bool), StoreError> {
        let below = self.head(stream)?;
        let first = from.max(below.trimmed.max(trimmed) + 1);
        let mut taker = Taker { events: vec![], limit, bytes_left: limits::PAGE_BYTES, full: false };
        let tail = self.frozen.as_ref().and_then(|frozen| frozen.streams.get(stream));
        let base_head = match tail {
            Some(tail) => tail.before,
            None => below.head,
        };
        if first <= base_head {
            self.base.read(stream, first, &mut |event| taker.take(event))?;
            if !taker.full && taker.events.len() as u64 != base_head + 1 - first {
                return Err(self.base.damaged(stream.as_str()));
            }
        }
        if let Some(tail) = tail
            && !taker.full
        {
            tail.read(first, |event| taker.take(event.clone()));
        }
        Ok((StreamPage { first, events: taker.events, head: below.head }, taker.full))
    }
}

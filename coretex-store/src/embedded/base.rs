//! The base: the folded state in one redb file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `values` | key | crc, version, expiry, bytes |
//! | `expiry` | expiry, key | – |
//! | `streams` | stream | crc, head, number up to which events were removed |
//! | `chunks` | stream, 0, number of the first event | crc, count, events |
//! | `meta` | `state` | crc, what the base covers |
//!
//! Every value carries a checksum over key and value, since redb checks its own only when it repairs. A checkpoint is
//! one transaction with the number of the last group it covers, so that base and journal always fit together.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use coretex_core::ports::{Key, StoreError};
use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition, WriteTransaction,
};

use super::{
    codec::{NEVER, Reader, Value, put_bytes},
    error::{self, guarded},
    memtable::{Memtable, Tail},
};
use crate::disk::{Disk, RedbFile};

const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
const EXPIRY: TableDefinition<'_, (i64, &str), ()> = TableDefinition::new("expiry");
const STREAMS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("streams");
const CHUNKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("chunks");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Events of a stream are put together up to about this size, in bytes.
const CHUNK: usize = 256 << 10;
/// Most expired values that one checkpoint removes.
const SWEEP: usize = 50_000;

/// What the base covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// The last group of the journal that is in here.
    pub(super) lsn: u64,
    pub(super) version: u64,
    pub(super) now: i64,
    pub(super) store: u64,
    /// Bytes of live keys and values.
    pub(super) live: u64,
}

/// The file, held by whoever writes checkpoints.
#[derive(Debug)]
pub(super) struct Base {
    db: Database,
    path: PathBuf,
}

/// One state of the base, to be read.
#[derive(Debug)]
pub(super) struct View {
    path: PathBuf,
    pub(super) values: ReadOnlyTable<&'static str, &'static [u8]>,
    streams: ReadOnlyTable<&'static str, &'static [u8]>,
    chunks: ReadOnlyTable<&'static [u8], &'static [u8]>,
    pub(super) meta: Meta,
}

/// Head of a stream, and the number up to which its events were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) head: u64,
    pub(super) trimmed: u64,
}

impl Base {
    /// Opens the file at `path`, or makes it when `create`.
    pub(super) fn open(disk: &dyn Disk, path: PathBuf, cache: usize, create: bool) -> Result<Self, StoreError> {
        let file = disk.open(&path, create).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => error::damaged_at(&path, "it is missing"),
            _ => error::disk("open", &path, e),
        })?;
        if !create && file.is_empty().map_err(|e| error::disk("read", &path, e))? {
            return Err(error::damaged(&path, 0, "it is empty"));
        }
        guarded(&path, || {
            let mut builder = Database::builder();
            builder.set_cache_size(cache);
            let db = builder.create_with_backend(RedbFile::new(file)).map_err(|e| error::base(&path, e))?;
            Ok(Self { db, path: path.clone() })
        })
    }

    /// Makes the tables and the first state.
    pub(super) fn create_tables(&self, store: u64, now: i64) -> Result<(), StoreError> {
        guarded(&self.path, || {
            let txn = self.begin()?;
            {
                let fail = |e| error::base(&self.path, e);
                txn.open_table(VALUES).map_err(|e| fail(redb::Error::from(e)))?;
                txn.open_table(EXPIRY).map_err(|e| fail(redb::Error::from(e)))?;
                txn.open_table(STREAMS).map_err(|e| fail(redb::Error::from(e)))?;
                txn.open_table(CHUNKS).map_err(|e| fail(redb::Error::from(e)))?;
                self.put_meta(&txn, Meta { store, now, ..Meta::default() })?;
            }
            txn.commit().map_err(|e| error::base(&self.path, e))
        })
    }

    fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let mut txn = self.db.begin_write().map_err(|e| error::base(&self.path, e))?;
        txn.set_durability(Durability::Immediate).map_err(|e| error::base(&self.path, redb::Error::from(e)))?;
        // Two syncs instead of one, and no walk over the whole file after a crash: right for rare, large commits.
        txn.set_quick_repair(true);
        Ok(txn)
    }

    fn put_meta(&self, txn: &WriteTransaction, meta: Meta) -> Result<(), StoreError> {
        let mut record = Record::new("state".as_bytes());
        for field in [meta.lsn, meta.version, meta.now.cast_unsigned(), meta.store, meta.live] {
            record.0.extend_from_slice(&field.to_le_bytes());
        }
        let mut table = txn.open_table(META).map_err(|e| error::base(&self.path, e))?;
        table.insert("state", &record.finish("state".as_bytes())[..]).map_err(|e| error::base(&self.path, e))?;
        Ok(())
    }

    /// Walks every page and compares its checksum.
    pub(super) fn verify(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        guarded(&path, || match self.db.check_integrity() {
            Ok(true) => Ok(()),
            Ok(false) => Err(error::damaged_at(&path, "its pages did not agree with each other")),
            Err(error) => Err(error::base(&path, error)),
        })
    }

    /// Gives free space back to the file system.
    pub(super) fn compact(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        guarded(&path, || {
            self.db.compact().map_err(|e| error::base(&path, e))?;
            Ok(())
        })
    }

    /// The current state, to be read for as long as it is held.
    pub(super) fn view(&self) -> Result<View, StoreError> {
        guarded(&self.path, || {
            let txn = self.db.begin_read().map_err(|e| error::base(&self.path, e))?;
            let fail = |e: redb::TableError| error::base(&self.path, e);
            let meta = txn.open_table(META).map_err(fail)?;
            let meta = meta.get("state").map_err(|e| error::base(&self.path, e))?;
            let meta = meta.as_ref().and_then(|record| parse_meta(record.value()));
            Ok(View {
                path: self.path.clone(),
                values: txn.open_table(VALUES).map_err(fail)?,
                streams: txn.open_table(STREAMS).map_err(fail)?,
                chunks: txn.open_table(CHUNKS).map_err(fail)?,
                meta: meta.ok_or_else(|| error::damaged_at(&self.path, "what it covers is not recorded"))?,
            })
        })
    }

    /// Writes what `memory` holds, in one transaction. `now` is the store's time.
    pub(super) fn checkpoint(&self, memory: &Memtable, before: &View, now: i64) -> Result<(), StoreError> {
        guarded(&self.path, || {
            let txn = self.begin()?;
            let mut live = i64::try_from(before.meta.live).unwrap_or(i64::MAX);
            self.write_values(&txn, memory, now, &mut live)?;
            self.write_streams(&txn, memory, before, &mut live)?;
            let meta = Meta {
                lsn: memory.lsn,
                version: memory.version,
                now: now.max(memory.now),
                store: before.meta.store,
                live: u64::try_from(live).unwrap_or(0),
            };
            self.put_meta(&txn, meta)?;
            txn.commit().map_err(|e| error::base(&self.path, e))
        })
    }

    fn write_values(
        &self,
        txn: &WriteTransaction,
        memory: &Memtable,
        now: i64,
        live: &mut i64,
    ) -> Result<(), StoreError> {
        let fail = |e: redb::StorageError| error::base(&self.path, e);
        let mut values = txn.open_table(VALUES).map_err(|e| error::base(&self.path, e))?;
        let mut expiry = txn.open_table(EXPIRY).map_err(|e| error::base(&self.path, e))?;
        for (key, value) in &memory.values {
            let text = key.as_str();
            let value = value.as_ref().filter(|value| value.is_live(now));
            let old = match value {
                Some(value) => {
                    let record = value_record(text, value);
                    *live += (text.len() + record.len()).cast_signed() as i64;
                    values.insert(text, &record[..]).map_err(fail)?.map(|old| summary(old.value()))
                }
                None => values.remove(text).map_err(fail)?.map(|old| summary(old.value())),
            };
            let expires = value.map_or(NEVER, |value| value.expires);
            if let Some((len, old_expires)) = old {
                *live -= (text.len() + len).cast_signed() as i64;
                if old_expires != NEVER && old_expires != expires {
                    expiry.remove((old_expires, text)).map_err(fail)?;
                }
            }
            if expires != NEVER {
                expiry.insert((expires, text), ()).map_err(fail)?;
            }
        }
        sweep(&mut values, &mut expiry, now, live).map_err(fail)
    }

    fn write_streams(
        &self,
        txn: &WriteTransaction,
        memory: &Memtable,
        before: &View,
        live: &mut i64,
    ) -> Result<(), StoreError> {
        let fail = |e: redb::StorageError| error::base(&self.path, e);
        let mut heads = txn.open_table(STREAMS).map_err(|e| error::base(&self.path, e))?;
        let mut chunks = txn.open_table(CHUNKS).map_err(|e| error::base(&self.path, e))?;
        let mut touched: Vec<(&Key, &Tail)> = memory.streams.iter().collect();
        touched.sort_unstable_by_key(|(stream, _)| *stream);
        for (stream, tail) in touched {
            let text = stream.as_str();
            let old = before.head(stream)?.unwrap_or_default();
            let head = Head { head: tail.head(), trimmed: tail.trimmed.max(old.trimmed) };
            let mut record = Record::new(text.as_bytes());
            record.0.extend_from_slice(&head.head.to_le_bytes());
            record.0.extend_from_slice(&head.trimmed.to_le_bytes());
            heads.insert(text, &record.finish(text.as_bytes())[..]).map_err(fail)?;
            *live += if old == Head::default() { (text.len() + 20).cast_signed() as i64 } else { 0 };
            if head.trimmed > old.trimmed && old.head > old.trimmed {
                drop_chunks(&mut chunks, text, head.trimmed, live).map_err(fail)?;
            }
            let mut first = tail.before + 1;
            let mut events = tail.events.iter();
            while events.len() > 0 {
                let key = chunk_key(text, first);
                let mut record = Record::new(&key);
                record.0.extend_from_slice(&[0; 4]);
                let mut count = 0u32;
                while record.0.len() < CHUNK
                    && let Some(event) = events.next()
                {
                    put_bytes(&mut record.0, event);
                    count += 1;
                }
                if let Some(place) = record.0.get_mut(4..8) {
                    place.copy_from_slice(&count.to_le_bytes());
                }
                let record = record.finish(&key);
                *live += (key.len() + record.len()).cast_signed() as i64;
                chunks.insert(&key[..], &record[..]).map_err(fail)?;
                first += u64::from(count);
            }
        }
        Ok(())
    }
}

/// Removes values that expired, soonest first.
fn sweep(
    values: &mut Table<'_, &'static str, &'static [u8]>,
    expiry: &mut Table<'_, (i64, &'static str), ()>,
    now: i64,
    live: &mut i64,
) -> Result<(), redb::StorageError> {
    let mut due = vec![];
    for item in expiry.range((i64::MIN, "")..(now.saturating_add(1), ""))?.take(SWEEP) {
        let (at_key, ()) = item.map(|(key, _)| ((key.value().0, key.value().1.to_owned()), ()))?;
        due.push(at_key);
    }
    for (at, key) in due {
        expiry.remove((at, key.as_str()))?;
        let expired = values.get(key.as_str())?.map(|record| summary(record.value())).filter(|(_, e)| *e == at);
        if let Some((len, _)) = expired {
            values.remove(key.as_str())?;
            *live -= (key.len() + len).cast_signed() as i64;
        }
    }
    Ok(())
}

/// Removes the chunks of `stream` that hold nothing behind `trimmed`.
fn drop_chunks(
    chunks: &mut Table<'_, &'static [u8], &'static [u8]>,
    stream: &str,
    trimmed: u64,
    live: &mut i64,
) -> Result<(), redb::StorageError> {
    let mut gone = vec![];
    for item in chunks.range(&chunk_key(stream, 0)[..]..=&chunk_key(stream, trimmed)[..])? {
        let (key, record) = item?;
        let mut input = Reader(record.value());
        let (_, count) = (input.u32(), input.u32().unwrap_or(0));
        let first = key.value().last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        if first + u64::from(count) <= trimmed + 1 {
            gone.push((key.value().to_vec(), record.value().len()));
        }
    }
    for (key, len) in gone {
        chunks.remove(&key[..])?;
        *live -= (key.len() + len).cast_signed() as i64;
    }
    Ok(())
}

/// Bytes behind a checksum over them and their key.
struct Record(Vec<u8>);

impl Record {
    fn new(key: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(64 + key.len());
        bytes.extend_from_slice(&[0; 4]);
        Self(bytes)
    }

    fn finish(mut self, key: &[u8]) -> Vec<u8> {
        let sum = record_sum(key, self.0.get(4..).unwrap_or_default());
        if let Some(place) = self.0.get_mut(..4) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
        self.0
    }
}

fn record_sum(key: &[u8], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(bytes);
    hasher.finalize()
}

/// The bytes behind a valid checksum.
fn open_record<'a>(key: &[u8], record: &'a [u8]) -> Option<Reader<'a>> {
    let (sum, bytes) = record.split_at_checked(4)?;
    (Reader(sum).u32()? == record_sum(key, bytes)).then_some(Reader(bytes))
}

fn parse_meta(record: &[u8]) -> Option<Meta> {
    let mut input = open_record(b"state", record)?;
    let (lsn, version, now) = (input.u64()?, input.u64()?, input.i64()?);
    Some(Meta { lsn, version, now, store: input.u64()?, live: input.u64()? })
}

fn value_record(key: &str, value: &Value) -> Vec<u8> {
    let mut record = Record::new(key.as_bytes());
    record.0.reserve_exact(16 + value.bytes.len());
    record.0.extend_from_slice(&value.version.to_le_bytes());
    record.0.extend_from_slice(&value.expires.to_le_bytes());
    record.0.extend_from_slice(&value.bytes);
    record.finish(key.as_bytes())
}

/// Length and expiry of a value's record.
fn summary(record: &[u8]) -> (usize, i64) {
    let mut input = Reader(record);
    let expires = input.take(12).and_then(|_| input.i64());
    (record.len(), expires.unwrap_or(NEVER))
}

fn chunk_key(stream: &str, first: u64) -> Vec<u8> {
    // Keys hold no control characters, so the zero byte ends the name.
    let mut key = Vec::with_capacity(stream.len() + 9);
    key.extend_from_slice(stream.as_bytes());
    key.push(0);
    key.extend_from_slice(&first.to_be_bytes());
    key
}

impl View {
    pub(super) fn fail(&self, error: impl Into<redb::Error>) -> StoreError {
        error::base(&self.path, error)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn damaged(&self, name: &str) -> StoreError {
        error::damaged_at(&self.path, &format!("the checksum of `{name}` is wrong"))
    }

    /// The value in a record of the table of values.
    pub(super) fn value(&self, key: &str, record: &[u8]) -> Result<Value, StoreError> {
        let parse = || {
            let mut input = open_record(key.as_bytes(), record)?;
            let (version, expires) = (input.u64()?, input.i64()?);
            Some(Value { version, expires, bytes: Bytes::copy_from_slice(input.0) })
        };
        parse().ok_or_else(|| self.damaged(key))
    }

    pub(super) fn get(&self, key: &Key) -> Result<Option<Value>, StoreError> {
        guarded(&self.path, || {
            let record = self.values.get(key.as_str()).map_err(|e| self.fail(e))?;
            record.map(|record| self.value(key.as_str(), record.value())).transpose()
        })
    }

    pub(super) fn head(&self, stream: &Key) -> Result<Option<Head>, StoreError> {
        let text = stream.as_str();
        guarded(&self.path, || {
            let Some(record) = self.streams.get(text).map_err(|e| self.fail(e))? else { return Ok(None) };
            let parse = || {
                let mut input = open_record(text.as_bytes(), record.value())?;
                Some(Head { head: input.u64()?, trimmed: input.u64()? })
            };
            parse().map(Some).ok_or_else(|| self.damaged(text))
        })
    }

    /// Gives events of `stream`, whose numbers run from `from` to its head here, to `take`, until that says no.
    /// Returns the number behind the last one.
    pub(super) fn read(&self, stream: &Key, from: u64, take: &mut dyn FnMut(Bytes) -> bool) -> Result<(), StoreError> {
        let text = stream.as_str();
        guarded(&self.path, || {
            let start = {
                let mut before = self
                    .chunks
                    .range(&chunk_key(text, 0)[..]..=&chunk_key(text, from)[..])
                    .map_err(|e| self.fail(e))?;
                match before.next_back().transpose().map_err(|e| self.fail(e))? {
                    Some((key, _)) => key.value().last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)),
                    None => return Err(self.damaged(text)),
                }
            };
            let (low, high) = (chunk_key(text, start), chunk_key(text, u64::MAX));
            let mut number = start;
            for item in self.chunks.range(&low[..]..=&high[..]).map_err(|e| self.fail(e))? {
                let (key, record) = item.map_err(|e| self.fail(e))?;
                if key.value().last_chunk().map(|bytes| u64::from_be_bytes(*bytes)) != Some(number) {
                    return Err(self.damaged(text));
                }
                let record = record.value();
                let events = open_record(key.value(), record).ok_or_else(|| self.damaged(text))?;
                // One copy for the chunk; its events share it.
                let whole = Bytes::copy_from_slice(events.0);
                let mut input = Reader(&whole);
                for _ in 0..input.u32().ok_or_else(|| self.damaged(text))? {
                    let event = input.bytes().ok_or_else(|| self.damaged(text))?;
                    if number >= from && !take(whole.slice_ref(event)) {
                        return Ok(());
                    }
                    number += 1;
                }
            }
            Ok(())
        })
    }

    /// Reads everything and reports what is wrong with it.
    pub(super) fn walk(&self, report: &mut dyn FnMut(StoreError)) {
        let walked = guarded(&self.path, || {
            for item in self.values.iter().map_err(|e| self.fail(e))? {
                let (key, record) = item.map_err(|e| self.fail(e))?;
                if let Err(error) = self.value(key.value(), record.value()) {
                    report(error);
                }
            }
            for item in self.streams.iter().map_err(|e| self.fail(e))? {
                let (key, _) = item.map_err(|e| self.fail(e))?;
                self.walk_stream(&Key::from(key.value()), report);
            }
            Ok(())
        });
        if let Err(error) = walked {
            report(error);
        }
    }

    fn walk_stream(&self, stream: &Key, report: &mut dyn FnMut(StoreError)) {
        let walked = self.head(stream).and_then(|head| {
            let head = head.unwrap_or_default();
            let mut count = 0;
            if head.head > head.trimmed {
                self.read(stream, head.trimmed + 1, &mut |_| {
                    count += 1;
                    true
                })?;
            }
            if head.trimmed + count == head.head { Ok(()) } else { Err(self.damaged(stream.as_str())) }
        });
        if let Err(error) = walked {
            report(error);
        }
    }

    /// How many values and streams there are.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.values.len().unwrap_or(0), self.streams.len().unwrap_or(0))
    }
}

/// A shared view.
pub(super) type SharedView = Arc<View>;

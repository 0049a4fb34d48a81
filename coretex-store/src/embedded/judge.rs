//! Judges a group of batches, in order, against what is durable and what the group did so far.
//!
//! Changes nothing: what was accepted is a list of effects, to be made durable and then visible. A refused batch
//! takes its effects back, and with them everything that later batches of the group could have seen of it.

use std::collections::HashMap;

use bytes::Bytes;
use coretex_core::ports::{Batch, Key, Op, OpResult, Receipt, StoreError, Version, counter_after, expiry_after};
use jiff::Timestamp;

use super::{
    base::Head,
    codec::{Effect, Group, NEVER, Value},
    layers::Layers,
};

#[derive(Debug)]
pub(super) struct Judge<'a> {
    layers: &'a Layers,
    values: HashMap<Key, Option<Value>>,
    heads: HashMap<Key, Head>,
    undo: Vec<Undo>,
    group: Group,
    /// Bytes of the effects, roughly.
    size: usize,
}

#[derive(Debug)]
enum Undo {
    Value(Key, Option<Option<Value>>),
    Head(Key, Option<Head>),
}

impl<'a> Judge<'a> {
    /// Starts a group at `now`, behind `version`.
    pub(super) fn new(layers: &'a Layers, now: i64, version: u64) -> Self {
        let group = Group { now, version, effects: vec![] };
        Self { layers, values: HashMap::new(), heads: HashMap::new(), undo: vec![], group, size: 0 }
    }

    /// What was accepted.
    pub(super) fn finish(self) -> Group {
        self.group
    }

    /// Bytes of what was accepted so far, roughly.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Judges the next batch.
    pub(super) fn judge(&mut self, batch: Batch) -> Result<Receipt, StoreError> {
        batch.check()?;
        let (effects, size) = (self.group.effects.len(), self.size);
        self.undo.clear();
        let ops = batch.into_ops();
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            match self.op(op) {
                Ok(result) => results.push(result),
                Err(error) => {
                    self.group.effects.truncate(effects);
                    self.size = size;
                    self.take_back();
                    return Err(error);
                }
            }
        }
        Ok(Receipt { results })
    }

    fn take_back(&mut self) {
        // The version goes on: one that was given away must not come back as another's.
        while let Some(step) = self.undo.pop() {
            match step {
                Undo::Value(key, Some(old)) => drop(self.values.insert(key, old)),
                Undo::Value(key, None) => drop(self.values.remove(&key)),
                Undo::Head(key, Some(old)) => drop(self.heads.insert(key, old)),
                Undo::Head(key, None) => drop(self.heads.remove(&key)),
            }
        }
    }

    fn live(&self, key: &Key) -> Result<Option<Value>, StoreError> {
        let value = match self.values.get(key) {
            Some(value) => value.clone(),
            None => self.layers.value(key)?,
        };
        Ok(value.filter(|value| value.is_live(self.group.now)))
    }

    fn head(&self, stream: &Key) -> Result<Head, StoreError> {
        match self.heads.get(stream) {
            Some(head) => Ok(*head),
            None => self.layers.head(stream),
        }
    }

    fn op(&mut self, op: Op) -> Result<OpResult, StoreError> {
        match op {
            Op::Require { key, condition } => {
                let found = self.live(&key)?;
                condition.judge(&key, found.map(|value| Version(value.version)))?;
                Ok(OpResult::Done)
            }
            Op::Put { key, value, condition, .. } => {
                if condition != coretex_core::ports::Condition::Always {
                    let found = self.live(&key)?;
                    condition.judge(&key, found.map(|value| Version(value.version)))?;
                }
                Ok(OpResult::Written(self.write(key, value, NEVER)))
            }
            Op::Delete { key, condition, .. } => {
                let found = self.live(&key)?;
                condition.judge(&key, found.as_ref().map(|value| Version(value.version)))?;
                if found.is_some() {
                    self.set(key.clone(), None);
                    self.size += key.as_str().len() + 16;
                    self.group.effects.push(Effect::Delete { key });
                }
                Ok(OpResult::Done)
            }
            Op::Add { key, delta, ceiling } => {
                let found = self.live(&key)?;
                let sum = counter_after(&key, found.as_ref().map(|value| &value.bytes[..]), delta, ceiling)?;
                let expires = found.map_or(NEVER, |value| value.expires);
                self.write(key, Bytes::from(sum.to_string()), expires);
                Ok(OpResult::Added(sum))
            }
            Op::Expire { key, after } => {
                let Some(value) = self.live(&key)? else {
                    return Err(StoreError::conflict(format!("`{key}` has no value that could expire")));
                };
                let now = Timestamp::from_microsecond(self.group.now).unwrap_or(Timestamp::MAX);
                let expires = expiry_after(now, after).as_microsecond();
                self.put(key, Value { expires, ..value });
                Ok(OpResult::Done)
            }
            Op::Append { stream, expected, events } => {
                let Head { head, trimmed } = self.head(&stream)?;
                expected.judge(&stream, head)?;
                let after = head + events.len() as u64;
                self.size += stream.as_str().len() + 24;
                self.size += events.iter().map(|event| event.len() + 8).sum::<usize>();
                self.set_head(stream.clone(), Head { head: after, trimmed });
                self.group.effects.push(Effect::Append { stream, first: head + 1, events });
                Ok(OpResult::Appended(after))
            }
            Op::Trim { stream, before } => {
                let Head { head, trimmed } = self.head(&stream)?;
                let until = before.saturating_sub(1).min(head);
                if until > trimmed {
                    self.size += stream.as_str().len() + 24;
                    self.set_head(stream.clone(), Head { head, trimmed: until });
                    self.group.effects.push(Effect::Trim { stream, trimmed: until, head });
                }
                Ok(OpResult::Done)
            }
        }
    }

    fn write(&mut self, key: Key, bytes: Bytes, expires: i64) -> Version {
        self.group.version += 1;
        let version = self.group.version;
        self.put(key, Value { version, expires, bytes });
        Version(version)
    }

    fn put(&mut self, key: Key, value: Value) {
        self.size += key.as_str().len() + value.bytes.len() + 24;
        self.set(key.clone(), Some(value.clone()));
        self.group.effects.push(Effect::Put { key, value });
    }

    fn set(&mut self, key: Key, value: Option<Value>) {
        let old = self.values.insert(key.clone(), value);
        self.undo.push(Undo::Value(key, old));
    }

    fn set_head(&mut self, stream: Key, head: Head) {
        let old = self.heads.insert(stream.clone(), head);
        self.undo.push(Undo::Head(stream, old));
    }
}

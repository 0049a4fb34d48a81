//! What a group of accepted batches did, as bytes.
//!
//! The journal holds effects, not operations: a version, an expiry, a position are what the judgement gave, so
//! that replay needs no judgement and cannot come to another one. Little-endian throughout; nothing here trusts a
//! length that it read.

use bytes::Bytes;
use coretex_core::ports::Key;

/// No expiry, in microseconds since 1970.
pub(super) const NEVER: i64 = i64::MAX;

/// A value as it is kept in memory and in the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) version: u64,
    /// Microseconds since 1970; [`NEVER`] for none.
    pub(super) expires: i64,
    pub(super) bytes: Bytes,
}

impl Value {
    pub(super) const fn is_live(&self, now: i64) -> bool {
        self.expires > now
    }
}

/// One change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Put {
        key: Key,
        value: Value,
    },
    Delete {
        key: Key,
    },
    /// The events got the numbers from `first` on.
    Append {
        stream: Key,
        first: u64,
        events: Vec<Bytes>,
    },
    /// The events up to and including `trimmed` are gone; `head` is the head at that moment.
    Trim {
        stream: Key,
        trimmed: u64,
        head: u64,
    },
}

/// The effects of one group, with what the store must remember beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The store's time at the judgement, in microseconds since 1970.
    pub(super) now: i64,
    /// The last version given so far.
    pub(super) version: u64,
    pub(super) effects: Vec<Effect>,
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const APPEND: u8 = 3;
const TRIM: u8 = 4;

fn put_key(out: &mut Vec<u8>, key: &Key) {
    let text = key.as_str().as_bytes();
    // Keys have at most 512 bytes.
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(text);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // Values have at most 16 MiB.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

impl Group {
    /// Appends the group's bytes to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.now.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.effects.len()).unwrap_or(u32::MAX).to_le_bytes());
        for effect in &self.effects {
            match effect {
                Effect::Put { key, value } => {
                    out.push(PUT);
                    put_key(out, key);
                    out.extend_from_slice(&value.version.to_le_bytes());
                    out.extend_from_slice(&value.expires.to_le_bytes());
                    put_bytes(out, &value.bytes);
                }
                Effect::Delete { key } => {
                    out.push(DELETE);
                    put_key(out, key);
                }
                Effect::Append { stream, first, events } => {
                    out.push(APPEND);
                    put_key(out, stream);
                    out.extend_from_slice(&first.to_le_bytes());
                    out.extend_from_slice(&u32::try_from(events.len()).unwrap_or(u32::MAX).to_le_bytes());
                    for event in events {
                        put_bytes(out, event);
                    }
                }
                Effect::Trim { stream, trimmed, head } => {
                    out.push(TRIM);
                    put_key(out, stream);
                    out.extend_from_slice(&trimmed.to_le_bytes());
                    out.extend_from_slice(&head.to_le_bytes());
                }
            }
        }
    }

    /// Reads a group back; `None` when the bytes are not what [`Group::encode`] makes.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Reader(bytes);
        let (now, version, count) = (input.i64()?, input.u64()?, input.u32()?);
        let mut effects = Vec::with_capacity(usize::try_from(count).ok()?.min(bytes.len() / 3));
        for _ in 0..count {
            effects.push(match input.u8()? {
                PUT => {
                    let key = input.key()?;
                    let (version, expires) = (input.u64()?, input.i64()?);
                    let bytes = Bytes::copy_from_slice(input.bytes()?);
                    Effect::Put { key, value: Value { version, expires, bytes } }
                }
                DELETE => Effect::Delete { key: input.key()? },
                APPEND => {
                    let (stream, first, count) = (input.key()?, input.u64()?, input.u32()?);
                    let mut events = Vec::with_capacity(usize::try_from(count).ok()?.min(bytes.len() / 4));
                    for _ in 0..count {
                        events.push(Bytes::copy_from_slice(input.bytes()?));
                    }
                    Effect::Append { stream, first, events }
                }
                TRIM => Effect::Trim { stream: input.key()?, trimmed: input.u64()?, head: input.u64()? },
                _ => return None,
            });
        }
        input.0.is_empty().then_some(Self { now, version, effects })
    }
}

/// Takes little-endian fields off the front of some bytes; `None` when they end too soon.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.take(len)
    }

    fn key(&mut self) -> Option<Key> {
        let len = self.array().map(u16::from_le_bytes)?;
        let text = std::str::from_utf8(self.take(usize::from(len))?).ok()?;
        Some(Key::from(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_reads_back_and_every_shorter_piece_is_refused() {
        let value = Value { version: 7, expires: NEVER, bytes: Bytes::from_static(b"{}") };
        let effects = vec![
            Effect::Put { key: "runs/ä".into(), value },
            Effect::Delete { key: "runs/b".into() },
            Effect::Append { stream: "log".into(), first: 3, events: vec![Bytes::new(), Bytes::from_static(b"x")] },
            Effect::Trim { stream: "log".into(), trimmed: 2, head: 4 },
        ];
        let group = Group { now: -5, version: 7, effects };
        let mut bytes = vec![];
        group.encode(&mut bytes);
        assert_eq!(Group::decode(&bytes).as_ref(), Some(&group));
        for len in 0..bytes.len() {
            assert_eq!(Group::decode(&bytes[..len]), None);
        }
        bytes.push(0);
        assert_eq!(Group::decode(&bytes), None);
    }
}

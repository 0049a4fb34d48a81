//! Writes a message that was taken apart in canonical order.

use std::cmp::Ordering;

use super::{
    node::{Node, Slot},
    schema::{Field, Kind, Label, MessageType},
};
use crate::protocol::wire::{RECURSION_LIMIT, WireError, put_bytes, put_tag, put_varint, varint_len};

/// The order of map keys in canonical bytes: compare the common prefix bytewise; if one key is a prefix of the other,
/// the longer one comes first.
///
/// Not the plain order of bytes: `abc, ab, a, b`, and the empty key last.
#[must_use]
pub fn map_key_order(a: &[u8], b: &[u8]) -> Ordering {
    a.iter().zip(b).map(|(a, b)| a.cmp(b)).find(|order| order.is_ne()).unwrap_or_else(|| b.len().cmp(&a.len()))
}

/// One run over a message.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Leave out this field of the outermost message.
    pub(super) without: Option<u32>,
    /// Set when a field was met that the schema does not know.
    pub(super) saw_unknown: bool,
    pub(super) depth: usize,
}

impl Pass {
    /// The canonical form of the message in `parts`.
    pub(super) fn message(
        &mut self,
        message: &'static MessageType,
        parts: &[&[u8]],
        size: usize,
    ) -> Result<Vec<u8>, WireError> {
        self.write(message, parts, None, size)
    }

    /// The canonical form of the message in `parts`, with the unknown fields of the one in `under`.
    pub(super) fn merged(
        &mut self,
        message: &'static MessageType,
        parts: &[&[u8]],
        under: &[&[u8]],
        size: usize,
    ) -> Result<Vec<u8>, WireError> {
        self.write(message, parts, Some(under), size)
    }

    fn write(
        &mut self,
        message: &'static MessageType,
        parts: &[&[u8]],
        under: Option<&[&[u8]]>,
        size: usize,
    ) -> Result<Vec<u8>, WireError> {
        if self.depth >= RECURSION_LIMIT {
            return Err(WireError::TooDeep);
        }
        let mut node = Node::read(message, parts)?;
        let under = under.map(|parts| Node::read(message, parts)).transpose()?;
        let mut out = Vec::with_capacity(size);
        for (index, (field, slot)) in message.fields().iter().zip(&mut node.slots).enumerate() {
            if self.depth == 0 && self.without == Some(field.number()) {
                continue;
            }
            let below = under.as_ref().and_then(|node| node.slots.get(index));
            self.field(&mut out, field, slot, below)?;
        }
        self.saw_unknown |= !node.unknown.is_empty();
        for (_, raw) in &node.unknown {
            out.extend_from_slice(raw);
        }
        for (number, raw) in under.iter().flat_map(|node| &node.unknown) {
            if message.field(*number).is_none() {
                out.extend_from_slice(raw);
            }
        }
        Ok(out)
    }

    fn field(
        &mut self,
        out: &mut Vec<u8>,
        field: &Field,
        slot: &Slot<'_>,
        under: Option<&Slot<'_>>,
    ) -> Result<(), WireError> {
        let number = field.number();
        match slot {
            Slot::Absent => {}
            Slot::Message(_) => self.single(out, number, field.kind(), slot, under)?,
            Slot::Varint(_) | Slot::Fixed32(_) | Slot::Fixed64(_) | Slot::Bytes(_) => {
                if field.label() == Label::Choice || !is_default(slot) {
                    self.single(out, number, field.kind(), slot, under)?;
                }
            }
            Slot::Varints(numbers) => {
                let length = numbers.iter().map(|value| varint_len(*value)).sum::<usize>();
                put_tag(out, number, 2);
                put_varint(out, u64::try_from(length).unwrap_or(u64::MAX));
                for value in numbers {
                    put_varint(out, *value);
                }
            }
            // An empty packed field adds nothing to the list.
            Slot::Packed(packed) if packed.is_empty() => {}
            Slot::Packed(packed) => put_bytes(out, number, packed),
            Slot::List(items) => {
                let pairs = match under {
                    Some(Slot::List(below)) if below.len() == items.len() => Some(below),
                    _ => None,
                };
                for (index, item) in items.iter().enumerate() {
                    let below = pairs.and_then(|below| below.get(index)).copied();
                    match field.kind() {
                        Kind::Message(inner) => {
                            let below = below.as_ref().map(std::slice::from_ref);
                            let bytes = self.deeper(inner, &[item], below)?;
                            put_bytes(out, number, &bytes);
                        }
                        _ => put_bytes(out, number, item),
                    }
                }
            }
            Slot::Map(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_unstable_by(|(a, _), (b, _)| map_key_order(a, b));
                for (key, value) in entries {
                    let mut entry = Vec::new();
                    put_bytes(&mut entry, 1, key);
                    self.single(&mut entry, 2, field.kind(), value, None)?;
                    put_bytes(out, number, &entry);
                }
            }
        }
        Ok(())
    }

    /// Writes one value, also when it is the default.
    fn single(
        &mut self,
        out: &mut Vec<u8>,
        number: u32,
        kind: Kind,
        slot: &Slot<'_>,
        under: Option<&Slot<'_>>,
    ) -> Result<(), WireError> {
        match (kind, slot) {
            (Kind::Message(inner), Slot::Message(parts)) => {
                let below = match under {
                    Some(Slot::Message(below)) => Some(below.as_slice()),
                    _ => None,
                };
                let bytes = self.deeper(inner, parts, below)?;
                put_bytes(out, number, &bytes);
            }
            (_, Slot::Varint(value)) => {
                put_tag(out, number, 0);
                put_varint(out, *value);
            }
            (_, Slot::Fixed32(bits)) => {
                put_tag(out, number, 5);
                out.extend_from_slice(bits);
            }
            (_, Slot::Fixed64(bits)) => {
                put_tag(out, number, 1);
                out.extend_from_slice(bits);
            }
            (_, Slot::Bytes(bytes)) => put_bytes(out, number, bytes),
            // Reading fills a slot by the field's kind: no other pair exists.
            _ => {}
        }
        Ok(())
    }

    fn deeper(
        &mut self,
        message: &'static MessageType,
        parts: &[&[u8]],
        under: Option<&[&[u8]]>,
    ) -> Result<Vec<u8>, WireError> {
        self.depth = self.depth.saturating_add(1);
        let size = parts.iter().map(|part| part.len()).sum();
        let written = self.write(message, parts, under, size);
        self.depth = self.depth.saturating_sub(1);
        written
    }
}

/// Whether a value equals its default; only +0.0 does, so the bits decide.
fn is_default(slot: &Slot<'_>) -> bool {
    match slot {
        Slot::Varint(value) => *value == 0,
        Slot::Fixed32(bits) => *bits == [0; 4],
        Slot::Fixed64(bits) => *bits == [0; 8],
        Slot::Bytes(bytes) => bytes.is_empty(),
        _ => false,
    }
}

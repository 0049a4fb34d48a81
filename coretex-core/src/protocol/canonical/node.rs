//! One message taken apart: a slot per known field, and the unknown fields in the order of arrival.
//!
//! Follows the rules by which encoded messages merge: the last scalar wins, the parts of a message that occurs twice
//! are read one after the other, lists grow, a member of a oneof removes the others.

use std::collections::BTreeMap;

use super::schema::{Field, Kind, Label, MessageType};
use crate::protocol::wire::{WireError, WireField, WireValue, decode_varint, fields};

/// The content of one known field.
#[derive(Debug, Default)]
pub(super) enum Slot<'a> {
    /// The field does not occur.
    #[default]
    Absent,
    /// A number, already cut to its type and sign-extended.
    Varint(u64),
    /// A float by its bits, little endian.
    Fixed32([u8; 4]),
    /// A double by its bits, little endian.
    Fixed64([u8; 8]),
    /// Text or bytes.
    Bytes(&'a [u8]),
    /// A message, in the parts it arrived in.
    Message(Vec<&'a [u8]>),
    /// A list of varints.
    Varints(Vec<u64>),
    /// A list of fixed-size numbers, as they are packed.
    Packed(Vec<u8>),
    /// A list of texts, bytes or messages.
    List(Vec<&'a [u8]>),
    /// A map; the values are never `Absent` and never lists.
    Map(BTreeMap<&'a [u8], Slot<'a>>),
}

/// A message taken apart.
#[derive(Debug)]
pub(super) struct Node<'a> {
    /// One slot per field of the type, in the order of the table.
    pub(super) slots: Vec<Slot<'a>>,
    /// Unknown fields with their number.
    pub(super) unknown: Vec<(u32, &'a [u8])>,
}

impl<'a> Node<'a> {
    /// Reads a message from the parts it arrived in.
    pub(super) fn read(message: &'static MessageType, parts: &[&'a [u8]]) -> Result<Self, WireError> {
        let mut node = Self { slots: Vec::new(), unknown: Vec::new() };
        node.slots.resize_with(message.fields().len(), Slot::default);
        for part in parts {
            for wire in fields(part) {
                node.take(message, wire?)?;
            }
        }
        Ok(node)
    }

    fn take(&mut self, message: &'static MessageType, wire: WireField<'a>) -> Result<(), WireError> {
        let Some((index, field)) = message.field(wire.number) else {
            self.unknown.push((wire.number, wire.raw));
            return Ok(());
        };
        let Some(slot) = self.slots.get_mut(index) else {
            return Ok(());
        };
        let known = match field.label() {
            Label::One | Label::Choice => fill(slot, field, wire.value)?,
            Label::Many => extend(slot, field, wire.value)?,
            Label::Map => insert(slot, field, wire.value)?,
        };
        if !known {
            self.unknown.push((wire.number, wire.raw));
        } else if field.label() == Label::Choice {
            for (other, slot) in message.fields().iter().zip(&mut self.slots) {
                if other.label() == Label::Choice && other.number() != wire.number {
                    *slot = Slot::Absent;
                }
            }
        }
        Ok(())
    }
}

/// Takes a value that occurs once. False when the wire type is not the field's: then the field counts as unknown.
fn fill<'a>(slot: &mut Slot<'a>, field: &Field, value: WireValue<'a>) -> Result<bool, WireError> {
    *slot = match (field.kind(), value) {
        (Kind::Float, WireValue::Fixed32(bits)) => Slot::Fixed32(bits),
        (Kind::Double, WireValue::Fixed64(bits)) => Slot::Fixed64(bits),
        (Kind::String, WireValue::Bytes(text)) => Slot::Bytes(checked(field, text)?),
        (Kind::Bytes, WireValue::Bytes(bytes)) => Slot::Bytes(bytes),
        (Kind::Message(_), WireValue::Bytes(part)) => {
            let mut parts = match std::mem::take(slot) {
                Slot::Message(parts) => parts,
                _ => Vec::new(),
            };
            parts.push(part);
            Slot::Message(parts)
        }
        (kind, WireValue::Varint(number)) => match cut(kind, number) {
            Some(number) => Slot::Varint(number),
            None => return Ok(false),
        },
        _ => return Ok(false),
    };
    Ok(true)
}

/// Takes one more of a list; numbers may come packed or one by one.
fn extend<'a>(slot: &mut Slot<'a>, field: &Field, value: WireValue<'a>) -> Result<bool, WireError> {
    let kind = field.kind();
    match (kind, value) {
        (Kind::String, WireValue::Bytes(text)) => push(slot, checked(field, text)?),
        (Kind::Bytes | Kind::Message(_), WireValue::Bytes(bytes)) => push(slot, bytes),
        (Kind::Float, WireValue::Fixed32(bits)) => pack(slot, &bits),
        (Kind::Double, WireValue::Fixed64(bits)) => pack(slot, &bits),
        (Kind::Float, WireValue::Bytes(packed)) if packed.len() % 4 == 0 => pack(slot, packed),
        (Kind::Double, WireValue::Bytes(packed)) if packed.len() % 8 == 0 => pack(slot, packed),
        (Kind::Float | Kind::Double, WireValue::Bytes(_)) => return Err(WireError::Truncated),
        (kind, WireValue::Varint(number)) => match cut(kind, number) {
            Some(number) => count(slot, number),
            None => return Ok(false),
        },
        (kind, WireValue::Bytes(mut packed)) if cut(kind, 0).is_some() => {
            while !packed.is_empty() {
                let (number, used) = decode_varint(packed)?;
                packed = packed.get(used..).unwrap_or_default();
                count(slot, cut(kind, number).unwrap_or_default());
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Takes a map entry; the last entry of a key wins. False when it is none, or has an unknown field inside.
fn insert<'a>(slot: &mut Slot<'a>, field: &Field, value: WireValue<'a>) -> Result<bool, WireError> {
    let WireValue::Bytes(entry) = value else {
        return Ok(false);
    };
    let mut key: &[u8] = &[];
    let mut content = Slot::Absent;
    for wire in fields(entry) {
        let wire = wire?;
        let known = match (wire.number, wire.value) {
            (1, WireValue::Bytes(text)) => {
                key = checked(field, text)?;
                true
            }
            (2, value) => fill(&mut content, field, value)?,
            _ => false,
        };
        if !known {
            return Ok(false);
        }
    }
    if matches!(content, Slot::Absent) {
        content = default_of(field.kind());
    }
    if !matches!(slot, Slot::Map(_)) {
        *slot = Slot::Map(BTreeMap::new());
    }
    if let Slot::Map(entries) = slot {
        entries.insert(key, content);
    }
    Ok(true)
}

fn default_of<'a>(kind: Kind) -> Slot<'a> {
    match kind {
        Kind::String | Kind::Bytes => Slot::Bytes(&[]),
        Kind::Message(_) => Slot::Message(Vec::new()),
        Kind::Float => Slot::Fixed32([0; 4]),
        Kind::Double => Slot::Fixed64([0; 8]),
        _ => Slot::Varint(0),
    }
}

/// A varint as the field's type holds it, or nothing when the type is no varint.
fn cut(kind: Kind, number: u64) -> Option<u64> {
    match kind {
        Kind::Int64 | Kind::Uint64 => Some(number),
        Kind::Bool => Some(u64::from(number != 0)),
        // The low 32 bits, sign-extended.
        Kind::Int32 | Kind::Enum => {
            let low = u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
            Some(i64::from(low.cast_signed()).cast_unsigned())
        }
        _ => None,
    }
}

fn checked<'a>(field: &Field, text: &'a [u8]) -> Result<&'a [u8], WireError> {
    match std::str::from_utf8(text) {
        Ok(_) => Ok(text),
        Err(_) => Err(WireError::InvalidUtf8(field.number())),
    }
}

fn push<'a>(slot: &mut Slot<'a>, item: &'a [u8]) {
    match slot {
        Slot::List(items) => items.push(item),
        _ => *slot = Slot::List(vec![item]),
    }
}

fn pack(slot: &mut Slot<'_>, packed: &[u8]) {
    match slot {
        Slot::Packed(bytes) => bytes.extend_from_slice(packed),
        _ => *slot = Slot::Packed(packed.to_vec()),
    }
}

fn count(slot: &mut Slot<'_>, number: u64) {
    match slot {
        Slot::Varints(numbers) => numbers.push(number),
        _ => *slot = Slot::Varints(vec![number]),
    }
}

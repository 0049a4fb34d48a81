//! The protobuf wire format, one field at a time: varints, tags, and an iterator over the fields of a message.
//!
//! Reads borrowed bytes without copying and without knowing a schema; this is what keeps unknown fields alive and
//! what raw signatures are made over. Malformed bytes give a [`WireError`]; nothing here panics, and nesting of
//! groups is bounded by [`RECURSION_LIMIT`].

/// How deep messages and groups may nest.
pub const RECURSION_LIMIT: usize = 100;

/// Largest field number.
pub const MAX_FIELD_NUMBER: u32 = (1 << 29) - 1;

/// Why bytes are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("the message ends inside a field; it was cut off or is no protobuf message")]
    Truncated,
    /// A variable-length number does not fit 64 bits, or a tag does not fit 32.
    #[error("a number has too many bytes; the message is corrupt")]
    Overlong,
    /// The field number is zero.
    #[error("a field has number zero; the message is corrupt")]
    ZeroField,
    /// The wire type is 6 or 7.
    #[error("a field has wire type `{0}`, which does not exist; the message is corrupt")]
    WireType(u8),
    /// A group ends that did not start, or the other way round.
    #[error("a group is not closed properly; the message is corrupt")]
    Group,
    /// Messages or groups nest deeper than [`RECURSION_LIMIT`].
    #[error("messages nest deeper than {RECURSION_LIMIT} levels; send a flatter one")]
    TooDeep,
    /// A text field is not UTF-8.
    #[error("field {0} must be UTF-8 text")]
    InvalidUtf8(u32),
}

impl WireError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated => "wire_truncated",
            Self::Overlong => "wire_overlong_number",
            Self::ZeroField => "wire_zero_field",
            Self::WireType(_) => "wire_type_unknown",
            Self::Group => "wire_group_unbalanced",
            Self::TooDeep => "wire_too_deep",
            Self::InvalidUtf8(_) => "wire_invalid_utf8",
        }
    }
}

/// The value of one field, still without a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireValue<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1, little endian.
    Fixed64([u8; 8]),
    /// Wire type 2: text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 3, with everything inside still encoded.
    Group,
    /// Wire type 5, little endian.
    Fixed32([u8; 4]),
}

/// One field as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireField<'a> {
    /// 1 to [`MAX_FIELD_NUMBER`].
    pub number: u32,
    /// Its value.
    pub value: WireValue<'a>,
    /// Its bytes, tag included.
    pub raw: &'a [u8],
    /// Whether the tag, the length and a varint value use as few bytes as possible.
    pub minimal: bool,
}

/// Walks over the fields of a message in the order of arrival. After an error it ends.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// The fields of `message`.
#[must_use]
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<WireField<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let before = self.rest;
        let mut cursor = Cursor { rest: before, minimal: true };
        match cursor.field(0) {
            Ok((number, value)) => {
                let used = before.len().saturating_sub(cursor.rest.len());
                self.rest = cursor.rest;
                let raw = before.get(..used).unwrap_or_default();
                Some(Ok(WireField { number, value, raw, minimal: cursor.minimal }))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// A place in the bytes; remembers whether every number so far was minimal.
struct Cursor<'a> {
    rest: &'a [u8],
    minimal: bool,
}

impl<'a> Cursor<'a> {
    fn field(&mut self, depth: usize) -> Result<(u32, WireValue<'a>), WireError> {
        let (number, wire_type) = self.tag()?;
        if wire_type == END_GROUP {
            return Err(WireError::Group);
        }
        Ok((number, self.value(number, wire_type, depth)?))
    }

    fn tag(&mut self) -> Result<(u32, u8), WireError> {
        let before = self.rest.len();
        let tag = self.varint()?;
        let tag = u32::try_from(tag).map_err(|_| WireError::Overlong)?;
        // Like the reference decoder: a tag has at most five bytes, also when padded.
        if before.saturating_sub(self.rest.len()) > 5 {
            return Err(WireError::Overlong);
        }
        let wire_type = u8::try_from(tag & 7).unwrap_or(u8::MAX);
        match tag >> 3 {
            0 => Err(WireError::ZeroField),
            number => Ok((number, wire_type)),
        }
    }

    fn value(&mut self, number: u32, wire_type: u8, depth: usize) -> Result<WireValue<'a>, WireError> {
        match wire_type {
            0 => Ok(WireValue::Varint(self.varint()?)),
            1 => Ok(WireValue::Fixed64(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                Ok(WireValue::Bytes(self.take(length)?))
            }
            START_GROUP => {
                self.skip_group(number, depth)?;
                Ok(WireValue::Group)
            }
            5 => Ok(WireValue::Fixed32(self.array()?)),
            other => Err(WireError::WireType(other)),
        }
    }

    fn skip_group(&mut self, number: u32, depth: usize) -> Result<(), WireError> {
        if depth >= RECURSION_LIMIT {
            return Err(WireError::TooDeep);
        }
        loop {
            let (inner, wire_type) = self.tag()?;
            if wire_type == END_GROUP {
                return if inner == number { Ok(()) } else { Err(WireError::Group) };
            }
            self.value(inner, wire_type, depth.saturating_add(1))?;
        }
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let (value, used) = decode_varint(self.rest)?;
        self.minimal &= used == varint_len(value);
        self.rest = self.rest.get(used..).unwrap_or_default();
        Ok(value)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

const START_GROUP: u8 = 3;
const END_GROUP: u8 = 4;

/// The number at the start of `bytes`, and how many bytes it takes (1 to 10).
///
/// # Errors
/// The bytes end inside the number, or it does not fit 64 bits.
pub fn decode_varint(bytes: &[u8]) -> Result<(u64, usize), WireError> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().copied().take(10).enumerate() {
        if index == 9 && byte > 1 {
            return Err(WireError::Overlong);
        }
        // The tenth byte holds one bit: the shift is at most 63.
        value |= u64::from(byte & 0x7f).wrapping_shl(u32::try_from(index).unwrap_or(0).saturating_mul(7));
        if byte < 0x80 {
            return Ok((value, index.saturating_add(1)));
        }
    }
    Err(if bytes.len() < 10 { WireError::Truncated } else { WireError::Overlong })
}

/// How many bytes the shortest encoding of `value` takes.
#[must_use]
pub fn varint_len(value: u64) -> usize {
    let bits = u64::BITS.saturating_sub((value | 1).leading_zeros());
    usize::try_from(bits.div_ceil(7)).unwrap_or(10)
}

/// Appends the shortest encoding of `value`.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

/// Appends field `number` with wire type 2: its tag, its length and `bytes`.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, 2);
    put_varint(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(bytes);
}

/// Appends the tag of a field.
pub fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, (u64::from(number) << 3) | u64::from(wire_type));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_round_trip_in_the_shortest_form(value in any::<u64>(), shift in 0u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(decode_varint(&out).unwrap(), (value, out.len()));
        }

        #[test]
        fn fields_cover_the_message_or_end_with_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut seen = 0;
            for field in fields(&bytes) {
                match field {
                    Ok(field) => seen += field.raw.len(),
                    Err(_) => return Ok(()),
                }
            }
            prop_assert_eq!(seen, bytes.len());
        }
    }

    #[test]
    fn padded_numbers_are_read_but_marked() {
        let field = fields(&[0x20, 0x81, 0x00]).next().unwrap().unwrap();
        assert_eq!((field.number, field.value, field.minimal), (4, WireValue::Varint(1), false));
        let field = fields(&[0xa0, 0x00, 0x01]).next().unwrap().unwrap();
        assert!(!field.minimal);
    }

    #[test]
    fn deep_groups_are_refused() {
        let bytes = [0x0bu8; 5000];
        assert_eq!(fields(&bytes).next(), Some(Err(WireError::TooDeep)));
    }

    #[test]
    fn an_error_ends_the_walk() {
        let mut walk = fields(&[0x0a, 0x05, 0x01]);
        assert_eq!(walk.next(), Some(Err(WireError::Truncated)));
        assert_eq!(walk.next(), None);
    }
}

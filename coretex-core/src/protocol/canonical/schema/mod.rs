//! The schema as a static table: for every message its fields by number, with kind and label.
//!
//! Covers every message of the published package, the policy-studio ones included, and the three well-known types
//! they use, so that any of them can be encoded canonically. A test compares the table with the published schema.

mod bus;
mod policy;
mod safety;
mod well_known;

use self::well_known::ALL;
pub use self::{bus::*, policy::*, safety::*, well_known::*};

/// One message of the schema.
#[derive(Debug)]
pub struct MessageType {
    name: &'static str,
    fields: &'static [Field],
}

/// One field of a message.
#[derive(Debug)]
pub struct Field {
    number: u32,
    name: &'static str,
    kind: Kind,
    label: Label,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Kind {
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// Unsigned, 64 bits.
    Uint64,
    /// True or false.
    Bool,
    /// An open enumeration.
    Enum,
    /// 32 bits of floating point.
    Float,
    /// 64 bits of floating point.
    Double,
    /// UTF-8 text.
    String,
    /// Bytes.
    Bytes,
    /// A message.
    Message(&'static MessageType),
}

/// How often a field occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Label {
    /// At most once; the default value is left out, a message is not.
    One,
    /// Any number of times; numbers are packed.
    Many,
    /// A map from text to the field's kind.
    Map,
    /// A member of the message's only oneof: written also when it has the default value.
    Choice,
}

impl MessageType {
    const fn new(name: &'static str, fields: &'static [Field]) -> Self {
        Self { name, fields }
    }

    /// The name without the package, `JobRequest`; well-known types keep theirs (`google.protobuf.Timestamp`).
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its fields by ascending number.
    #[must_use]
    pub fn fields(&self) -> &'static [Field] {
        self.fields
    }

    /// The message type of that name, with or without a package.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        let short = name.strip_prefix("cordum.agent.v1.").unwrap_or(name);
        ALL.iter().copied().find(|message| message.name == short)
    }

    /// Every message type in the table.
    #[must_use]
    pub fn all() -> &'static [&'static Self] {
        ALL
    }

    /// Position and description of a field, in O(log n).
    pub(crate) fn field(&self, number: u32) -> Option<(usize, &'static Field)> {
        let index = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        self.fields.get(index).map(|field| (index, field))
    }
}

impl Field {
    /// Its number on the wire.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it holds; for a map, what the values are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How often it occurs.
    #[must_use]
    pub fn label(&self) -> Label {
        self.label
    }
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, label: Label::One }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, label: Label::Many }
}

const fn map(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, label: Label::Map }
}

const fn choice(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, label: Label::Choice }
}

//! Pointers: payloads travel by reference, never on the bus.
//!
//! On the wire a pointer is an opaque string. The one form that workers read is `redis://<key>`, where everything after
//! the scheme is the literal key: no host, no decoding. Inside the platform a pointer is scheme-neutral
//! ([`Pointer`]); the wire form is made at the edge.
//!
//! [`runtime_key`] is what Python workers accept, [`production_key`] and [`resource`] are the stricter rules of the
//! production profile.

pub mod resource;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The scheme that workers read.
pub const REDIS_SCHEME: &str = "redis://";

/// Longest key of the production profile, in bytes.
pub const MAX_PRODUCTION_KEY_BYTES: usize = 1024;

/// A reference to a payload, without saying which store holds it.
///
/// The text form is `ctx:<id>`, `res:<id>`, `art:<id>`, `mem:<id>`, or `opaque:` and the wire pointer for one that is
/// none of these. The id is never empty and may itself have colons.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Pointer {
    /// The input of a job, by job id.
    Context(String),
    /// The output of a job, by job id.
    Result(String),
    /// A kept output.
    Artifact(String),
    /// Something in a memory, `<memory id>:<key>`.
    Memory(String),
    /// A pointer made elsewhere. It is kept as it came and may not be readable.
    Opaque(String),
}

/// Why a pointer names no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PointerError {
    /// There is nothing.
    #[error("the pointer is empty; give one such as `redis://ctx:<job>`")]
    Empty,
    /// It is of a scheme that workers do not read.
    #[error("the pointer's scheme is not supported; use `redis://`")]
    UnsupportedScheme,
    /// There is nothing after the scheme.
    #[error("the pointer has no key after `redis://`")]
    MissingKey,
    /// It has blanks around it or is too long.
    #[error("the pointer has blanks around it or a key of more than {MAX_PRODUCTION_KEY_BYTES} bytes")]
    UntrimmedOrTooLong,
    /// The key has characters that the production profile does not allow.
    #[error("the pointer's key is not allowed in the production profile; use letters, digits and `:._-@[]`")]
    AmbiguousKey,
    /// The text form of a pointer has no known kind.
    #[error("the pointer has no known kind; use `ctx:`, `res:`, `art:`, `mem:` or `opaque:`")]
    UnknownKind,
}

impl PointerError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "pointer_empty",
            Self::UnsupportedScheme => "pointer_unsupported_scheme",
            Self::MissingKey => "pointer_missing_key",
            Self::UntrimmedOrTooLong => "pointer_untrimmed_or_too_long",
            Self::AmbiguousKey => "pointer_ambiguous_key",
            Self::UnknownKind => "pointer_unknown_kind",
        }
    }
}

impl Pointer {
    /// Reads a pointer from the wire. One that is no `redis://` pointer to a key of a known kind is kept as
    /// [`Opaque`](Self::Opaque).
    ///
    /// # Errors
    /// The pointer is empty.
    pub fn from_wire(wire: &str) -> Result<Self, PointerError> {
        if wire.is_empty() {
            return Err(PointerError::Empty);
        }
        let known = wire.strip_prefix(REDIS_SCHEME).and_then(Self::from_key);
        Ok(known.unwrap_or_else(|| Self::Opaque(wire.to_owned())))
    }

    /// The pointer as workers read it: `redis://` and the key, or the opaque pointer as it came.
    #[must_use]
    pub fn to_wire(&self) -> String {
        match self {
            Self::Opaque(wire) => wire.clone(),
            known => format!("{REDIS_SCHEME}{known}"),
        }
    }

    /// The pointer of a key such as `ctx:job-1`; nothing when the kind is not known or the id is empty.
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        let (kind, id) = key.split_once(':')?;
        if id.is_empty() {
            return None;
        }
        let id = id.to_owned();
        match kind {
            "ctx" => Some(Self::Context(id)),
            "res" => Some(Self::Result(id)),
            "art" => Some(Self::Artifact(id)),
            "mem" => Some(Self::Memory(id)),
            _ => None,
        }
    }

    /// The key in the store, `ctx:job-1`; an opaque pointer has one only if it is a `redis://` pointer.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        match self {
            Self::Opaque(wire) => runtime_key(wire).ok().map(str::to_owned),
            known => Some(known.to_string()),
        }
    }

    /// `ctx`, `res`, `art`, `mem` or `opaque`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Context(_) => "ctx",
            Self::Result(_) => "res",
            Self::Artifact(_) => "art",
            Self::Memory(_) => "mem",
            Self::Opaque(_) => "opaque",
        }
    }

    /// What follows the kind.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Context(id) | Self::Result(id) | Self::Artifact(id) | Self::Memory(id) | Self::Opaque(id) => id,
        }
    }

    /// Whether the platform did not make this pointer and may be unable to read it.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        matches!(self, Self::Opaque(_))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind(), self.id())
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Err(PointerError::Empty);
        }
        match text.strip_prefix("opaque:") {
            Some("") => Err(PointerError::MissingKey),
            Some(wire) => Ok(Self::Opaque(wire.to_owned())),
            None => Self::from_key(text).ok_or(PointerError::UnknownKind),
        }
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.to_string()
    }
}

impl TryFrom<String> for Pointer {
    type Error = PointerError;

    fn try_from(text: String) -> Result<Self, PointerError> {
        text.parse()
    }
}

/// The key a Python worker reads for a wire pointer: everything after `redis://`, taken literally.
///
/// # Errors
/// The pointer is empty, of another scheme, or has no key.
pub fn runtime_key(wire: &str) -> Result<&str, PointerError> {
    if wire.is_empty() {
        return Err(PointerError::Empty);
    }
    match wire.strip_prefix(REDIS_SCHEME) {
        None => Err(PointerError::UnsupportedScheme),
        Some("") => Err(PointerError::MissingKey),
        Some(key) => Ok(key),
    }
}

/// The key of a wire pointer by the rule of the production profile: letters, digits and `:._-@[]`, starting with a
/// letter or digit, no `..`, nothing that reads as `user@host`, at most [`MAX_PRODUCTION_KEY_BYTES`] bytes.
///
/// # Errors
/// The first rule that is broken.
pub fn production_key(wire: &str) -> Result<&str, PointerError> {
    let longest = REDIS_SCHEME.len().saturating_add(MAX_PRODUCTION_KEY_BYTES);
    if wire.trim() != wire || wire.len() > longest {
        return Err(PointerError::UntrimmedOrTooLong);
    }
    let key = wire.strip_prefix(REDIS_SCHEME).ok_or(PointerError::UnsupportedScheme)?;
    let bytes = key.as_bytes();
    let legal = bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b":._-@[]".contains(byte))
        && !key.contains("..");
    // `ctx:run:step@1` is a key; `user@host` would be read as credentials by URL parsers.
    let userinfo = key.split_once('@').is_some_and(|(before, _)| !before.contains(':'));
    if legal && !userinfo { Ok(key) } else { Err(PointerError::AmbiguousKey) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pointers_round_trip_through_both_forms(kind in 0usize..5, id in ".{1,20}") {
            let wire = match kind {
                0 => format!("redis://ctx:{id}"),
                1 => format!("redis://res:{id}"),
                2 => format!("redis://art:{id}"),
                3 => format!("redis://mem:{id}"),
                _ => id,
            };
            let pointer = Pointer::from_wire(&wire).unwrap();
            prop_assert_eq!(pointer.to_wire(), wire);
            prop_assert_eq!(pointer.to_string().parse::<Pointer>().unwrap(), pointer.clone());
            let json = serde_json::to_string(&pointer).unwrap();
            prop_assert_eq!(serde_json::from_str::<Pointer>(&json).unwrap(), pointer);
        }
    }

    #[test]
    fn pointers_of_other_shapes_stay_as_they_came() {
        for wire in ["s3://b/k", "redis://ctx/job-1", "redis://ctx:", "ctx:job-1", "echo://x", "REDIS://ctx:a"] {
            let pointer = Pointer::from_wire(wire).unwrap();
            assert!(pointer.is_opaque(), "{wire}");
            assert_eq!(pointer.to_wire(), wire);
        }
        assert_eq!(Pointer::from_wire(""), Err(PointerError::Empty));
        assert_eq!(Pointer::Opaque("redis://ctx/job-1".into()).key().as_deref(), Some("ctx/job-1"));
        assert_eq!(Pointer::Opaque("s3://b/k".into()).key(), None);
        assert_eq!("foo:bar".parse::<Pointer>(), Err(PointerError::UnknownKind));
    }
}

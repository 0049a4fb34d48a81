//! The rules for [`ResourceRef`], the verifiable pointer of the production profile.

use jiff::Timestamp;

use super::production_key;
use crate::protocol::ResourceRef;

/// Longest resolver id and longest purpose, in bytes.
pub const MAX_IDENTIFIER_BYTES: usize = 128;
/// Longest media type, in bytes.
pub const MAX_MEDIA_TYPE_BYTES: usize = 127;
/// Longest URI, in bytes.
pub const MAX_URI_BYTES: usize = 2048;
/// Longest authority in a URI, in bytes.
pub const MAX_AUTHORITY_BYTES: usize = 255;
/// Largest resource, in bytes.
pub const MAX_RESOURCE_BYTES: u64 = 1 << 30;

/// What is wrong with a resource reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// The resolver id has illegal characters or a wrong length.
    #[error("the resolver id is not canonical; use lower-case letters, digits and `._-`")]
    ResolverId,
    /// Nobody here resolves this id.
    #[error("the resolver is not installed; install it or use another one")]
    ResolverAbsent,
    /// The media type is not `type/subtype` in lower case.
    #[error("the media type is not canonical; use `type/subtype` in lower case without parameters")]
    MediaType,
    /// The purpose has illegal characters or a wrong length.
    #[error("the purpose is not canonical; use lower-case letters, digits and `._:-`")]
    Purpose,
    /// The digest has no 32 bytes.
    #[error("the SHA-256 digest must have 32 bytes")]
    Digest,
    /// The size is zero or above the bound.
    #[error("the size must be 1 to {MAX_RESOURCE_BYTES} bytes")]
    Size,
    /// The URI is empty, too long, or has characters that are not visible ASCII.
    #[error("the URI must be 1 to {MAX_URI_BYTES} visible ASCII characters")]
    UriText,
    /// The scheme is not in lower case, or there is none.
    #[error("the URI must start with a lower-case scheme and `://`")]
    UriScheme,
    /// The URI has credentials, a query, a fragment or escapes.
    #[error("the URI must have no credentials, query, fragment, backslash or escape")]
    UriParts,
    /// The authority is empty or too long.
    #[error("the URI must have an authority of 1 to {MAX_AUTHORITY_BYTES} bytes")]
    UriAuthority,
    /// The path has empty segments or dots.
    #[error("the URI's path must have no empty segment and no `..`")]
    UriPath,
    /// There is no expiry.
    #[error("the reference must say when it expires")]
    ExpiryMissing,
    /// The expiry is no valid time.
    #[error("the expiry is not a valid time")]
    ExpiryInvalid,
    /// The expiry is not in the future.
    #[error("the reference has expired; ask for a new one")]
    Expired,
    /// Pointer and reference name different things.
    #[error("the pointer and the reference beside it must name the same key")]
    Differs,
}

impl ResourceError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ResolverId => "resource_resolver_id",
            Self::ResolverAbsent => "resource_resolver_absent",
            Self::MediaType => "resource_media_type",
            Self::Purpose => "resource_purpose",
            Self::Digest => "resource_digest",
            Self::Size => "resource_size",
            Self::UriText => "resource_uri_text",
            Self::UriScheme => "resource_uri_scheme",
            Self::UriParts => "resource_uri_parts",
            Self::UriAuthority => "resource_uri_authority",
            Self::UriPath => "resource_uri_path",
            Self::ExpiryMissing => "resource_expiry_missing",
            Self::ExpiryInvalid => "resource_expiry_invalid",
            Self::Expired => "resource_expired",
            Self::Differs => "resource_differs",
        }
    }
}

/// Judges a reference by the rules that hold for every resolver.
///
/// # Errors
/// The first rule that is broken.
pub fn check(reference: &ResourceRef, resolvers: &[&str], now: Timestamp) -> Result<(), ResourceError> {
    let resolver = reference.resolver_id.as_str();
    rule(is_identifier(resolver, b"._-"), ResourceError::ResolverId)?;
    rule(resolvers.contains(&resolver), ResourceError::ResolverAbsent)?;
    rule(is_media_type(&reference.media_type), ResourceError::MediaType)?;
    rule(is_identifier(&reference.purpose, b"._:-"), ResourceError::Purpose)?;
    rule(reference.sha256.len() == 32, ResourceError::Digest)?;
    rule((1..=MAX_RESOURCE_BYTES).contains(&reference.size_bytes), ResourceError::Size)?;
    check_uri(&reference.uri)?;
    let expires = reference.expires_at.ok_or(ResourceError::ExpiryMissing)?;
    rule(expires.is_legal(), ResourceError::ExpiryInvalid)?;
    let now = (now.as_second(), now.subsec_nanosecond());
    rule((expires.seconds, expires.nanos) > now, ResourceError::Expired)
}

/// Judges a pointer and a reference that stand beside each other: both must name the same key. An absent one agrees.
///
/// # Errors
/// They differ, or one of them is no production pointer to a key.
pub fn check_same(wire: &str, reference: Option<&ResourceRef>) -> Result<(), ResourceError> {
    let Some(reference) = reference.filter(|_| !wire.is_empty()) else {
        return Ok(());
    };
    match (production_key(wire), production_key(&reference.uri)) {
        (Ok(left), Ok(right)) if left == right && reference.resolver_id == "redis" => Ok(()),
        _ => Err(ResourceError::Differs),
    }
}

fn check_uri(uri: &str) -> Result<(), ResourceError> {
    let length = uri.len();
    rule(
        (1..=MAX_URI_BYTES).contains(&length) && uri.bytes().all(|byte| byte.is_ascii_graphic()),
        ResourceError::UriText,
    )?;
    let (scheme, rest) = uri.split_once("://").ok_or(ResourceError::UriScheme)?;
    let canonical = (1..=32).contains(&scheme.len())
        && scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+.-".contains(&byte));
    rule(canonical && !rest.is_empty(), ResourceError::UriScheme)?;
    rule(!rest.contains(['@', '?', '#', '\\', '%']), ResourceError::UriParts)?;
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, Some(path)),
        None => (rest, None),
    };
    rule((1..=MAX_AUTHORITY_BYTES).contains(&authority.len()), ResourceError::UriAuthority)?;
    let normal = |segment: &str| !segment.is_empty() && segment != "." && !segment.contains("..");
    rule(path.is_none_or(|path| path.split('/').all(normal)), ResourceError::UriPath)
}

fn is_identifier(text: &str, punctuation: &[u8]) -> bool {
    text.len() <= MAX_IDENTIFIER_BYTES && is_word(text, punctuation)
}

fn is_media_type(text: &str) -> bool {
    text.len() <= MAX_MEDIA_TYPE_BYTES
        && text.split_once('/').is_some_and(|(kind, sub)| is_word(kind, b"!#$&^_.+-") && is_word(sub, b"!#$&^_.+-"))
}

/// A lower-case letter or digit, then more of them or of `punctuation`.
fn is_word(text: &str, punctuation: &[u8]) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().next().is_some_and(plain) && text.bytes().all(|byte| plain(byte) || punctuation.contains(&byte))
}

fn rule(holds: bool, broken: ResourceError) -> Result<(), ResourceError> {
    if holds { Ok(()) } else { Err(broken) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointer_and_reference_must_agree() {
        let mut reference =
            ResourceRef { resolver_id: "redis".into(), uri: "redis://ctx:a".into(), ..ResourceRef::default() };
        check_same("redis://ctx:a", Some(&reference)).unwrap();
        check_same("", Some(&reference)).unwrap();
        check_same("redis://ctx:a", None).unwrap();
        assert_eq!(check_same("redis://ctx:b", Some(&reference)), Err(ResourceError::Differs));
        reference.resolver_id = "s3".into();
        assert_eq!(check_same("redis://ctx:a", Some(&reference)), Err(ResourceError::Differs));
    }
}

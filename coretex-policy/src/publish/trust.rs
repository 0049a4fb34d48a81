//! Whose signature a bundle needs.

use super::Source;
use crate::error::BundleError;
#[cfg(feature = "signatures")]
use crate::error::{ErrorCode, Place};

/// Which bundles are taken.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Trust {
    /// All, whoever wrote them; signatures are not looked at.
    #[default]
    Anyone,
    /// Those that one of the keys signed. A wrong signature is refused in either case.
    #[cfg(feature = "signatures")]
    Keys {
        /// The keys.
        keys: Vec<PublicKey>,
        /// Whether a bundle without a signature is refused too.
        required: bool,
    },
}

impl Trust {
    #[cfg_attr(not(feature = "signatures"), expect(unused_variables, reason = "signatures are all that is looked at"))]
    pub(super) fn check(&self, source: &Source) -> Result<(), BundleError> {
        match self {
            Self::Anyone => Ok(()),
            #[cfg(feature = "signatures")]
            Self::Keys { keys, required } => match &source.signature {
                None if *required => Err(refusal(
                    source,
                    ErrorCode::Unsigned,
                    "is not signed",
                    "sign it with one of the trusted keys, or make signatures optional",
                )),
                None => Ok(()),
                Some(signature) if keys.iter().any(|key| key.signed(&source.signed_bytes(), signature)) => Ok(()),
                Some(_) => Err(refusal(
                    source,
                    ErrorCode::BadSignature,
                    "has a signature that no trusted key made over this id, origin and text",
                    "sign it again as it is now, or add its author's key",
                )),
            },
        }
    }
}

#[cfg(feature = "signatures")]
fn refusal(source: &Source, code: ErrorCode, what: &str, hint: &str) -> BundleError {
    let place = Place { source: source.id.as_str().into(), ..Place::default() };
    BundleError::new(code, place, format!("bundle `{}` {what}", source.id), hint)
}

/// An Ed25519 key that bundles are signed with ([RFC 8032](https://www.rfc-editor.org/rfc/rfc8032)).
#[cfg(feature = "signatures")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

#[cfg(feature = "signatures")]
impl PublicKey {
    /// Reads 32 bytes in hex or base64.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::BadSignature`] with `name` as its place, if it is no key.
    pub fn parse(name: &str, text: &str) -> Result<Self, BundleError> {
        let key = bytes::<32>(text).and_then(|bytes| ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok());
        key.filter(|key| !key.is_weak()).map(Self).ok_or_else(|| {
            let place = Place { source: name.into(), ..Place::default() };
            let message = format!("`{name}` is no Ed25519 public key");
            BundleError::new(ErrorCode::BadSignature, place, message, "give its 32 bytes in hex or base64")
        })
    }

    fn signed(&self, message: &[u8], signature: &str) -> bool {
        let signature = bytes::<64>(signature).map(|bytes| ed25519_dalek::Signature::from_bytes(&bytes));
        signature.is_some_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

#[cfg(feature = "signatures")]
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    use base64::Engine as _;

    let text = text.trim();
    if text.len() == N * 2 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        let mut out = [0; N];
        for (byte, at) in out.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        return Some(out);
    }
    base64::engine::general_purpose::STANDARD.decode(text).ok()?.try_into().ok()
}

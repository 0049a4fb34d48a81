//! A bundle as text: what is stored, signed and published.

use serde::{Deserialize, Serialize};

use super::Trust;
use crate::{
    bundle::{Bundle, Origin},
    error::BundleErrors,
};

/// A bundle as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The bundle's id.
    pub id: String,
    /// Who stands behind it.
    pub origin: Origin,
    /// The document.
    pub text: String,
    /// Ed25519 signature of [`signed_bytes`](Self::signed_bytes), in hex or base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl Source {
    /// A bundle without a signature.
    pub fn new(id: impl Into<String>, origin: Origin, text: impl Into<String>) -> Self {
        Self { id: id.into(), origin, text: text.into(), signature: None }
    }

    /// The same with a signature, in hex or base64.
    #[must_use]
    pub fn signed(mut self, signature: impl Into<String>) -> Self {
        self.signature = Some(signature.into());
        self
    }

    /// What a signature is made over. For the operator's own file it is the text alone, as it always was; for others id
    /// and origin come before it, so that a pack's text cannot pass as the security team's.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        match self.origin {
            Origin::Base => self.text.clone().into_bytes(),
            origin => format!("coretex policy bundle v1\n{}\n{}\n{}", origin.as_str(), self.id, self.text).into_bytes(),
        }
    }

    /// Checks signature and text.
    ///
    /// # Errors
    ///
    /// A signature that is missing or wrong; every mistake in the text.
    pub fn read(&self, trust: &Trust) -> Result<Bundle, BundleErrors> {
        trust.check(self)?;
        Bundle::parse(self.id.clone(), self.origin, &self.text)
    }
}

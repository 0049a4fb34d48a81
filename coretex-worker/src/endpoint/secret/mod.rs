//! Secrets by reference: `secret://env/NAME`, `secret://file/PATH`.
//!
//! A reference stands in the document, its value only in memory while a job needs it. Values are wiped when they are
//! dropped, have no `Debug` and no `Display`, and are taken out of everything that leaves the worker (`redact`).
//! References in the input of a job are never resolved: who submits a job would otherwise choose what to read.

mod env;
mod file;

use std::{collections::BTreeMap, fmt, sync::Arc};

use futures::future::BoxFuture;
use zeroize::Zeroizing;

pub use self::{env::EnvSecrets, file::FileSecrets};

/// The shortest secret: what is shorter cannot be taken out of texts without taking the texts apart.
const MIN_BYTES: usize = 4;
/// The longest secret, in bytes.
pub(crate) const MAX_BYTES: usize = 64 * 1024;
const SCHEME: &str = "secret://";

/// A value that must not be seen. Wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the value over.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value. Whatever copies it has to wipe the copy.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Where a secret is: `secret://<resolver>/<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    resolver: String,
    name: String,
}

impl SecretRef {
    /// Reads a reference.
    ///
    /// # Errors
    /// `secret_invalid` when it is not of the form `secret://<resolver>/<name>`.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let parts = text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/'));
        match parts {
            Some((resolver, name)) if !resolver.is_empty() && !name.is_empty() => {
                Ok(Self { resolver: resolver.to_owned(), name: name.to_owned() })
            }
            // The text may be the secret itself, pasted into the wrong field.
            _ => Err(SecretError::Invalid {
                reference: format!("{SCHEME}?"),
                reason: "it is no reference; write `secret://env/NAME` or `secret://file/PATH`".to_owned(),
            }),
        }
    }

    /// Who resolves it: `env`, `file`, or one that the host added.
    #[must_use]
    pub fn resolver(&self) -> &str {
        &self.resolver
    }

    /// Its name there.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.resolver, self.name)
    }
}

/// Why a secret cannot be had. Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There is none, or nobody resolves such references.
    #[error("secret `{reference}` is missing: {reason}")]
    Missing {
        /// The reference.
        reference: String,
        /// What to do.
        reason: String,
    },
    /// The reference or the value cannot be used.
    #[error("secret `{reference}` cannot be used: {reason}")]
    Invalid {
        /// The reference.
        reference: String,
        /// What to do.
        reason: String,
    },
    /// Where it lies did not answer; another attempt may find it.
    #[error("secret `{reference}` is out of reach: {reason}")]
    Unavailable {
        /// The reference.
        reference: String,
        /// What the place said.
        reason: String,
    },
}

impl SecretError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "secret_missing",
            Self::Invalid { .. } => "secret_invalid",
            Self::Unavailable { .. } => "secret_unavailable",
        }
    }

    /// Whether another attempt may find it.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Finds the value behind a reference. Asked for every job, so that a rotated secret is seen by the next one.
pub trait SecretResolver: fmt::Debug + Send + Sync + 'static {
    /// The value.
    ///
    /// # Errors
    /// See [`SecretError`]; texts must not hold the value or a part of it.
    fn resolve<'a>(&'a self, reference: &'a SecretRef) -> BoxFuture<'a, Result<Secret, SecretError>>;
}

/// The resolvers of a host, by the first word of a reference.
#[derive(Clone, Debug)]
pub struct Secrets(BTreeMap<String, Arc<dyn SecretResolver>>);

impl Default for Secrets {
    /// `env` alone.
    fn default() -> Self {
        Self(BTreeMap::new()).with("env", EnvSecrets)
    }
}

impl Secrets {
    /// Adds a resolver, in place of an older one of that name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, resolver: impl SecretResolver) -> Self {
        self.0.insert(name.into(), Arc::new(resolver));
        self
    }

    pub(crate) fn knows(&self, resolver: &str) -> bool {
        self.0.contains_key(resolver)
    }

    pub(crate) async fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let Some(resolver) = self.0.get(&reference.resolver) else {
            let reason = format!("nobody resolves `{}`; use `env` or `file`, or add a resolver", reference.resolver);
            return Err(SecretError::Missing { reference: reference.to_string(), reason });
        };
        let secret = resolver.resolve(reference).await?;
        let invalid = |reason: String| Err(SecretError::Invalid { reference: reference.to_string(), reason });
        match secret.expose().len() {
            ..MIN_BYTES => invalid(format!("its value is shorter than {MIN_BYTES} bytes; use a longer one")),
            length if length > MAX_BYTES => invalid(format!("its value is longer than {MAX_BYTES} bytes")),
            _ => Ok(secret),
        }
    }
}

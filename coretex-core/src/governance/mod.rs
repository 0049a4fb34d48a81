//! Who acts, on whose behalf, and what must not be seen.

mod principal;
mod secret;

pub use principal::{Principal, PrincipalKind};
pub use secret::{REDACTED, has_secret_reference, redact};

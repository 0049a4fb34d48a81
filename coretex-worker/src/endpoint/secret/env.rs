//! Secrets from the environment of this process.

use std::env::VarError;

use futures::future::{self, BoxFuture};

use super::{Secret, SecretError, SecretRef, SecretResolver};

/// `secret://env/NAME`: the environment variable `NAME` of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvSecrets;

impl SecretResolver for EnvSecrets {
    fn resolve<'a>(&'a self, reference: &'a SecretRef) -> BoxFuture<'a, Result<Secret, SecretError>> {
        let name = reference.name();
        // The standard library panics on such names.
        let found = if name.contains(['=', '\0']) { Err(VarError::NotPresent) } else { std::env::var(name) };
        let reference = || reference.to_string();
        Box::pin(future::ready(match found {
            Ok(value) => Ok(Secret::new(value)),
            Err(VarError::NotPresent) => Err(SecretError::Missing {
                reference: reference(),
                reason: format!("the environment variable `{name}` is not set; set it where the worker is started"),
            }),
            Err(VarError::NotUnicode(_)) => {
                Err(SecretError::Invalid { reference: reference(), reason: "its value is not UTF-8".to_owned() })
            }
        }))
    }
}

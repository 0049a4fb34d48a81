//! Secrets from files below one directory.

use std::{
    fs::File,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use futures::future::BoxFuture;
use zeroize::{Zeroize, Zeroizing};

use super::{MAX_BYTES, Secret, SecretError, SecretRef, SecretResolver};

/// `secret://file/PATH`: the file `PATH` below a directory, without the line feed at its end. Links are followed as long
/// as they stay below the directory, as mounted secrets need it.
#[derive(Clone, Debug)]
pub struct FileSecrets {
    root: PathBuf,
}

impl FileSecrets {
    /// Secrets below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl SecretResolver for FileSecrets {
    fn resolve<'a>(&'a self, reference: &'a SecretRef) -> BoxFuture<'a, Result<Secret, SecretError>> {
        Box::pin(async move {
            let (root, wanted) = (self.root.clone(), reference.clone());
            let read = tokio::task::spawn_blocking(move || read(&root, &wanted)).await;
            read.unwrap_or_else(|error| {
                Err(SecretError::Unavailable { reference: reference.to_string(), reason: error.to_string() })
            })
        })
    }
}

fn read(root: &Path, reference: &SecretRef) -> Result<Secret, SecretError> {
    let name = || reference.to_string();
    let relative = Path::new(reference.name());
    let failed = |error: io::Error| {
        let reason = error.to_string();
        match error.kind() {
            io::ErrorKind::NotFound => SecretError::Missing { reference: name(), reason },
            io::ErrorKind::PermissionDenied => SecretError::Invalid { reference: name(), reason },
            _ => SecretError::Unavailable { reference: name(), reason },
        }
    };
    let outside = || SecretError::Invalid {
        reference: name(),
        reason: "it leads out of the directory of secrets; name a file below it".to_owned(),
    };
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(outside());
    }
    let root = root.canonicalize().map_err(failed)?;
    let path = root.join(relative).canonicalize().map_err(failed)?;
    if !path.starts_with(&root) {
        return Err(outside());
    }
    let file = File::open(&path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(SecretError::Invalid { reference: name(), reason: "it is not a file".to_owned() });
    }
    // One buffer that does not grow: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 2));
    let limit = u64::try_from(MAX_BYTES + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Secret::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            Err(SecretError::Invalid { reference: name(), reason: "its value is not UTF-8".to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(root: &Path, name: &str) -> Result<String, &'static str> {
        let reference = SecretRef::parse(&format!("secret://file/{name}")).unwrap();
        let found = super::super::Secrets::default().with("file", FileSecrets::new(root)).resolve(&reference).await;
        found.map(|secret| secret.expose().to_owned()).map_err(|error| error.code())
    }

    #[tokio::test]
    #[cfg(unix)]
    async fn files_are_read_below_the_directory_and_nowhere_else() {
        let base = std::env::temp_dir().join(format!("coretex-secrets-{}", std::process::id()));
        let root = base.join("root");
        std::fs::create_dir_all(root.join("deep")).unwrap();
        std::fs::write(base.join("outside"), "outside-value").unwrap();
        std::fs::write(root.join("token"), "token-value\n").unwrap();
        std::fs::write(root.join("deep/two"), "two-value\r\n").unwrap();
        std::fs::write(root.join("short"), "abc").unwrap();
        std::fs::write(root.join("bytes"), [0xff, 0xfe, 0xfd, 0xfc]).unwrap();
        std::fs::write(root.join("long"), "x".repeat(MAX_BYTES + 1)).unwrap();
        std::os::unix::fs::symlink("deep/two", root.join("link")).unwrap();
        std::os::unix::fs::symlink("../outside", root.join("escape")).unwrap();
        let cases = [
            ("token", Ok("token-value")),
            ("deep/two", Ok("two-value")),
            ("link", Ok("two-value")),
            ("escape", Err("secret_invalid")),
            ("../outside", Err("secret_invalid")),
            ("deep/../../outside", Err("secret_invalid")),
            ("/etc/passwd", Err("secret_invalid")),
            ("deep", Err("secret_invalid")),
            ("short", Err("secret_invalid")),
            ("bytes", Err("secret_invalid")),
            ("long", Err("secret_invalid")),
            ("nothing", Err("secret_missing")),
        ];
        for (name, expected) in cases {
            assert_eq!(get(&root, name).await, expected.map(str::to_owned), "{name}");
        }
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[tokio::test]
    async fn a_secret_has_no_debug_form_and_a_wrong_reference_does_not_repeat_itself() {
        assert_eq!(format!("{:?}", Secret::new("hunter22".into())), "<redacted>");
        let error = SecretRef::parse("hunter22").unwrap_err();
        assert_eq!(error.code(), "secret_invalid");
        assert!(!error.to_string().contains("hunter22"));
    }
}

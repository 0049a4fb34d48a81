//! The API key: given, or made once and kept beside the data.

use std::{io::Write, path::Path};

use anyhow::Context;

/// Where the key came from.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) made: bool,
}

/// The key in the environment, as established names have it.
pub(crate) fn given() -> Option<Key> {
    let text = std::env::var("CORETEX_API_KEY").ok()?.trim().trim_matches('"').to_owned();
    (!text.is_empty()).then_some(Key { text, made: false })
}

/// The key in the environment; else the one kept in `<data>/api-key`, which is made if it is missing.
pub(crate) fn given_or_kept(data: &Path) -> anyhow::Result<Key> {
    if let Some(key) = given() {
        return Ok(key);
    }
    let path = data.join("api-key");
    let shown = path.display();
    if let Ok(text) = std::fs::read_to_string(&path)
        && text.trim().len() >= 16
    {
        return Ok(Key { text: text.trim().to_owned(), made: true });
    }
    std::fs::create_dir_all(data).with_context(|| format!("`{}` cannot be made", data.display()))?;
    // Two random ids: 244 bits from the system.
    let text = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).with_context(|| format!("`{shown}` cannot be written"))?;
    writeln!(file, "{text}").with_context(|| format!("`{shown}` cannot be written"))?;
    Ok(Key { text, made: true })
}

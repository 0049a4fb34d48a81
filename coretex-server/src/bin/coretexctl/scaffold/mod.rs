//! `worker new`: a crate with one worker, ready to run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};

/// What is written, and where.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("Cargo.toml.txt")),
    ("src/main.rs", include_str!("main.rs.txt")),
    ("README.md", include_str!("README.md.txt")),
    ("workflow.yaml", include_str!("workflow.yaml.txt")),
    (".gitignore", "/target\n"),
];

/// A crate to write.
#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// The crate's name and directory: lower case letters, digits, `-` and `_`.
    pub(crate) name: String,
    /// Take coretex from this directory, a checkout of it, instead of the registry.
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
}

/// Writes the crate into a directory of its name, which must not be there.
pub(crate) fn new(new: &New) -> anyhow::Result<ExitCode> {
    let name = new.name.as_str();
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(legal) || name.len() > 64 {
        bail!(
            "`{}` is no name of a crate; use a lower case letter, then letters, digits, `-` and `_`",
            name.escape_debug()
        );
    }
    let root = Path::new(name);
    if root.exists() {
        bail!("`{name}` is there already; give another name, or remove it");
    }
    let source = match &new.path {
        Some(path) => {
            let path = path.join("coretex-worker");
            let full = fs::canonicalize(&path).with_context(|| format!("`{}` is not there", path.display()))?;
            // As a TOML string.
            format!("path = {}", serde_json::to_string(&full.display().to_string())?)
        }
        None => format!("version = \"{}\"", env!("CARGO_PKG_VERSION")),
    };
    for (file, text) in FILES {
        let path = root.join(file);
        let text = text.replace("{name}", name).replace("{source}", &source).replace("{topic}", &topic(name));
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    println!("{name}: a worker for `{}`; its README says how to run it", topic(name));
    Ok(ExitCode::SUCCESS)
}

/// What the worker serves at first.
fn topic(name: &str) -> String {
    format!("job.{name}.hello")
}

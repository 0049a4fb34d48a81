//! `--endpoints`: existing things as workers in the server's process.

use std::path::PathBuf;

use anyhow::Context;
use coretex_worker::endpoint::{Endpoints, FileSecrets, Host, Secrets};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scripts, HTTP services, Lambda functions and containers that do jobs.
    #[arg(long, value_name = "FILE")]
    endpoints: Option<PathBuf>,
    /// Where `secret://file/PATH` of endpoints leads.
    #[arg(long, value_name = "DIR", requires = "endpoints")]
    secrets: Option<PathBuf>,
}

/// The document, judged and not yet started; none if none is asked for.
pub(crate) fn read(args: &Args) -> anyhow::Result<Option<Endpoints>> {
    let Some(path) = &args.endpoints else { return Ok(None) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("`{name}` cannot be read; check the path"))?;
    let mut secrets = Secrets::default();
    if let Some(directory) = &args.secrets {
        secrets = secrets.with("file", FileSecrets::new(directory));
    }
    Ok(Some(Endpoints::parse(&name, &text, &Host::default().secrets(secrets))?))
}

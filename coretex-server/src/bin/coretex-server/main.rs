//! `coretex-server`: the platform of one machine in one program.

mod demo;
#[cfg(feature = "endpoints")]
mod endpoints;
mod key;
mod run;
mod terminal;

use std::{io::IsTerminal, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Jobs are made on one thread and freed on another, which the system's allocator answers with locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Durable workflows with a policy gate, on one machine.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what it does: an incident is enriched, a human agrees, a summary is posted.
    Demo(demo::Args),
    /// Run a server to develop with: nothing to set up, everything under `.coretex`, every job allowed.
    Dev(run::DevArgs),
    /// Run a server in earnest: data directory, policy and key are yours to give.
    Serve(run::ServeArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let quiet = matches!(cli.verb, Verb::Demo(_));
    log(if quiet { "off" } else { "info" });
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return terminal::fail(&anyhow::anyhow!("the runtime does not start: {error}")),
    };
    let ended = runtime.block_on(async {
        match cli.verb {
            Verb::Demo(args) => demo::run(args).await,
            Verb::Dev(args) => run::dev(args).await,
            Verb::Serve(args) => run::serve(args).await,
        }
    });
    // A thread may still wait for the terminal.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| terminal::fail(&error))
}

/// Logs go to the error stream. `CORETEX_LOG` says which, such as `info` or `coretex_core=debug`.
fn log(default: &str) {
    let wanted = std::env::var("CORETEX_LOG").unwrap_or_else(|_| default.to_owned());
    let targets = wanted.parse::<Targets>().unwrap_or_else(|_| {
        terminal::warn(&format!("`CORETEX_LOG` is `{wanted}`, which is not understood; logging `{default}`"));
        default.parse().unwrap_or_default()
    });
    let coloured = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(coloured).with_target(false);
    tracing_subscriber::registry().with(targets).with(lines).init();
}

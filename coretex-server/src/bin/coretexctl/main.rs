//! `coretexctl`: the command line of a coretex server.
//!
//! Exit codes: 0 done, 1 not done, 2 the command was not understood, 3 the run that was watched did not succeed.

mod args;
mod call;
mod definitions;
mod dlq;
mod expr;
mod groups;
mod history;
mod migrations;
mod plan;
mod print;
mod scaffold;
mod schedules;
mod steps;
mod triggers;
mod watch;
mod why;

use std::process::ExitCode;

use clap::Parser;
use coretex_server::client::{Client, ClientError};

use args::{Cli, Command, Expr, Worker};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Expr(Expr::Eval(eval)) = &cli.command {
        return expr::eval(eval, cli.json).unwrap_or_else(|error| fail(&error));
    }
    if let Command::Worker(Worker::New(new)) = &cli.command {
        return scaffold::new(new).unwrap_or_else(|error| fail(&error));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::anyhow!("the runtime does not start: {error}")),
    };
    runtime.block_on(run(cli)).unwrap_or_else(|error| fail(&error))
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let key = cli.api_key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
    let client = Client::new(&cli.server)?.with_key(key).with_principal(cli.principal);
    call::call(&client, cli.command, cli.json).await
}

/// Says what went wrong, and what to do about it where that is known.
fn fail(error: &anyhow::Error) -> ExitCode {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    eprintln!("coretexctl: {text}");
    if let Some(hint) = error.downcast_ref::<ClientError>().and_then(hint) {
        eprintln!("{hint}");
    }
    ExitCode::FAILURE
}

fn hint(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Unreachable { .. } => Some(
            "  start a server with `coretex-server dev`, or say where it is: --server http://HOST:PORT, or CORETEX_SERVER",
        ),
        ClientError::Refused { code, .. } => match code.as_str() {
            "api_key_missing" => {
                Some("  give the key with --api-key, or CORETEX_API_KEY; `coretex-server dev` prints it at its start")
            }
            "api_key_wrong" => {
                Some("  the server was started with another key; `coretex-server dev` prints its key at its start")
            }
            "workflow_not_found" => Some("  `coretexctl workflow list` shows what there is"),
            "version_not_found" => Some("  `coretexctl workflow versions WORKFLOW` shows what there is"),
            "workflow_in_use" => Some("  wait for them, cancel them, or say --force"),
            "run_not_found" => Some("  `coretexctl run list` shows what there is"),
            "approval_not_found" => Some("  `coretexctl approval list` shows what waits"),
            "step_not_found" => Some("  `coretexctl run get RUN` shows its steps; an item or iteration is `STEP[n]`"),
            "step_not_waiting" => Some("  `coretexctl run why RUN` shows what each step waits for"),
            "event_not_found" => Some("  `coretexctl run timeline RUN` numbers the events"),
            "run_ended" => Some("  `coretexctl run rerun RUN` starts one that goes on from it"),
            _ => None,
        },
        _ => None,
    }
}

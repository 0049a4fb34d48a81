//! `coretexctl triggers`: events that are gathered until they start one run.

use clap::Subcommand;
use coretex_server::client::{Client, Sent};
use serde_json::{Value, json};

use crate::{
    call::{items, part, read_input, show},
    print::{Table, text},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Triggers {
    /// Send an event and print the id of the run that it will be part of.
    Send {
        /// The workflow.
        workflow: String,
        /// Its trigger.
        trigger: String,
        /// The input: JSON, a file, or `-` for the standard input.
        #[arg(long, value_name = "JSON|FILE")]
        input: Option<String>,
        /// Take at most one event of this id.
        #[arg(long, value_name = "ID")]
        event_id: Option<String>,
    },
    /// List what the triggers of a workflow have gathered.
    List {
        /// The workflow.
        workflow: String,
    },
    /// Start the run of what has been gathered now.
    Flush {
        /// The workflow.
        workflow: String,
        /// Its trigger.
        trigger: String,
        /// The key, where the trigger has one.
        #[arg(long, default_value = "")]
        key: String,
    },
    /// Forget what has been gathered, with runs that could not be started.
    Discard {
        /// The workflow.
        workflow: String,
        /// Its trigger.
        trigger: String,
        /// The key, where the trigger has one.
        #[arg(long, default_value = "")]
        key: String,
    },
}

pub(crate) async fn call(client: &Client, verb: Triggers, json: bool) -> anyhow::Result<()> {
    let path = |workflow: &str, rest: &str| format!("/api/v1/workflows/{}/triggers{rest}", part(workflow));
    match verb {
        Triggers::Send { workflow, trigger, input, event_id } => {
            let input = input.map(|given| read_input(&given)).transpose()?.unwrap_or_else(|| json!({}));
            let mut sent = Sent::json(&input);
            if let Some(id) = event_id {
                sent = sent.header("idempotency-key", id);
            }
            let receipt = client.post(&path(&workflow, &format!("/{}", part(&trigger))), sent).await?;
            show(&receipt, json, || println!("{}", text(&receipt, "run_id")));
        }
        Triggers::List { workflow } => {
            let page = client.get(&path(&workflow, "?limit=1000")).await?;
            show(&page, json, || {
                let mut table = Table::new(["TRIGGER", "KEY", "EVENTS", "DUE", "NOT STARTED"]);
                for bucket in page.get("items").map(items).into_iter().flatten() {
                    let refusals = bucket.get("starting").map(items).into_iter().flatten();
                    let codes: Vec<&str> = refusals.filter_map(|run| run.get("code").and_then(Value::as_str)).collect();
                    let cell = |name| text(bucket, name);
                    table.row([cell("trigger"), cell("key"), cell("events"), cell("due_at"), codes.join(",")]);
                }
                table.print("nothing has been gathered");
            });
        }
        Triggers::Flush { workflow, trigger, key } => {
            let rest = format!("/{}/flush?key={}", part(&trigger), part(&key));
            client.post(&path(&workflow, &rest), Sent::nothing()).await?;
        }
        Triggers::Discard { workflow, trigger, key } => {
            client.delete(&path(&workflow, &format!("/{}?key={}", part(&trigger), part(&key)))).await?;
        }
    }
    Ok(())
}

//! Moving runs onto another version of their workflow.

use std::process::ExitCode;

use coretex_server::client::{Client, Sent};
use serde_json::{Map, Value, json};

use crate::{
    args::{Migrate, MigrateAll},
    call::{items, part, query, show},
    print::{Table, pretty, text},
};

/// Runs asked for at a time.
const PAGE: &str = "200";

pub(crate) async fn run(client: &Client, migrate: Migrate, json: bool) -> anyhow::Result<ExitCode> {
    let Migrate { id, version, at, reason, dry_run } = migrate;
    let body = json!({"version": version, "at": at, "reason": reason, "dry_run": dry_run});
    let answer = client.post(&format!("/api/v1/workflow-runs/{}/migrate", part(&id)), Sent::json(&body)).await?;
    show(&answer, json, || {
        println!("{}", outcome(&answer));
        reasons(&answer).for_each(|reason| println!("  {reason}"));
    });
    Ok(if text(&answer, "outcome") == "refused" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(crate) async fn all(client: &Client, migrate: MigrateAll, json: bool) -> anyhow::Result<()> {
    let MigrateAll { id, to, from, status, label, reason, dry_run } = migrate;
    let mut labels = Map::new();
    for label in label {
        let Some((name, value)) = label.split_once('=') else {
            anyhow::bail!("`{label}` is no label; give NAME=VALUE")
        };
        labels.insert(name.to_owned(), value.into());
    }
    let body = json!({
        "to": to, "from": from, "status": status, "labels": labels, "reason": reason, "dry_run": dry_run,
    });
    let (mut runs, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/workflows/{}/migrate", part(&id));
        let path = query(&path, [("limit", PAGE.to_owned()), ("cursor", cursor)]);
        let page = client.post(&path, Sent::json(&body)).await?;
        runs.extend(page.get("items").map(items).unwrap_or_default().iter().cloned());
        cursor = text(&page, "next_cursor");
        if cursor.is_empty() {
            break;
        }
    }
    if json {
        pretty(&Value::Array(runs));
        return Ok(());
    }
    let mut table = Table::new(["RUN", "OUTCOME", "IN THE WAY"]);
    for run in &runs {
        let mut reasons = reasons(run);
        table.row([text(run, "run_id"), outcome(run), reasons.next().unwrap_or_default()]);
        for reason in reasons {
            table.row([String::new(), String::new(), reason]);
        }
    }
    table.print("no live run is under another version");
    Ok(())
}

fn outcome(run: &Value) -> String {
    text(run, "outcome").replace('_', " ")
}

fn reasons(run: &Value) -> impl Iterator<Item = String> {
    run.get("refusals").map(items).unwrap_or_default().iter().map(|refusal| {
        let step = text(refusal, "step");
        let place = if step.is_empty() { step } else { format!("{step}: ") };
        format!("{place}{} ({})", text(refusal, "message"), text(refusal, "code"))
    })
}

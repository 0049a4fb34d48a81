//! Versions and their differences, which runs are listed, what is removed.

use coretex_server::client::{Client, Sent};
use serde_json::{Map, Value, json};

use crate::{
    args::{Prune, RunFilter},
    call::{items, number, part, query, show},
    print::{Table, pretty, text},
};

pub(crate) async fn versions(client: &Client, id: &str, one: Option<String>, json: bool) -> anyhow::Result<()> {
    let path = format!("/api/v1/workflows/{}/versions", part(id));
    if let Some(version) = one {
        pretty(&client.get(&format!("{path}/{}", part(&version))).await?);
        return Ok(());
    }
    let page = client.get(&path).await?;
    show(&page, json, || {
        let mut table = Table::new(["VERSION", "DIGEST", "STORED", "BY", "SOURCE", "NOTE"]);
        for version in page.get("items").map(items).into_iter().flatten() {
            let current = if version.get("current") == Some(&Value::Bool(true)) { "*" } else { "" };
            table.row([
                format!("{}{current}", number(version, "number")),
                text(version, "digest").chars().take(12).collect(),
                text(version, "created_at").chars().take(19).collect(),
                text(version, "created_by"),
                text(version, "source"),
                text(version, "note"),
            ]);
        }
        table.print("no versions");
    });
    Ok(())
}

pub(crate) async fn diff(
    client: &Client,
    id: &str,
    from: Option<String>,
    to: Option<String>,
    json: bool,
) -> anyhow::Result<()> {
    let ends = [("from", from.unwrap_or_default()), ("to", to.unwrap_or_default())];
    let answer = client.get(&query(&format!("/api/v1/workflows/{}/diff", part(id)), ends)).await?;
    show(&answer, json, || describe(&answer));
    Ok(())
}

fn describe(answer: &Value) {
    let none = Value::Null;
    let member = |name: &str| answer.get(name).unwrap_or(&none);
    println!("version {} -> {}", number(member("from"), "number"), number(member("to"), "number"));
    let diff = member("diff");
    let list = |name: &str| diff.get(name).map(items).unwrap_or_default();
    let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for field in list("fields") {
        println!("  {}", change(field));
    }
    for step in list("removed") {
        println!("- {}", name(step));
    }
    for step in list("added") {
        println!("+ {}", name(step));
    }
    for rename in list("renamed") {
        println!("~ {} is now {}", text(rename, "from"), text(rename, "to"));
    }
    for step in list("changed") {
        for field in step.get("fields").map(items).unwrap_or_default() {
            println!("~ {}: {}", text(step, "step"), change(field));
        }
    }
    for (sign, edges) in [("-", "edges_removed"), ("+", "edges_added")] {
        for edge in list(edges) {
            println!("{sign} {} -> {}", text(edge, "from"), text(edge, "to"));
        }
    }
    let runs = answer.get("affected_runs").map(items).unwrap_or_default();
    if runs.is_empty() {
        return;
    }
    println!();
    let mut table = Table::new(["LIVE RUN", "STATUS", "DONE", "UNDER WAY", "AHEAD"]);
    for run in runs {
        table.row(["run_id", "status", "done", "under_way", "ahead"].map(|column| text(run, column)));
    }
    table.print("");
}

fn change(field: &Value) -> String {
    let side = |name: &str| field.get(name).map_or_else(|| "nothing".to_owned(), ToString::to_string);
    format!("{}: {} -> {}", text(field, "path"), side("old"), side("new"))
}

pub(crate) fn runs_path(filter: RunFilter) -> String {
    let mut parameters = vec![("view", "summary".to_owned()), ("limit", filter.limit.to_string())];
    parameters.push(("status", filter.status.join(",")));
    parameters.extend(filter.label.into_iter().map(|label| ("label", label)));
    if filter.has_error {
        parameters.push(("has_error", "true".to_owned()));
    }
    let optional = [
        ("workflow_id", filter.workflow),
        ("team_id", filter.team),
        ("created_after", filter.created_after),
        ("created_before", filter.created_before),
        ("updated_after", filter.updated_after),
        ("updated_before", filter.updated_before),
        ("id_prefix", filter.id_prefix),
        ("error_code", filter.error_code),
        ("cursor", filter.cursor),
    ];
    parameters.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    query("/api/v1/workflow-runs", parameters)
}

pub(crate) async fn prune(client: &Client, prune: Prune, json: bool) -> anyhow::Result<()> {
    let ages = [
        ("succeeded", prune.succeeded),
        ("failed", prune.failed),
        ("cancelled", prune.cancelled),
        ("timed_out", prune.timed_out),
        ("timelines", prune.timelines),
        ("dead_letters", prune.dead_letters),
        ("versions", prune.versions),
        ("blobs", prune.blobs),
    ];
    let retention: Map<String, Value> =
        ages.into_iter().filter_map(|(name, age)| Some((name.to_owned(), json!(age?)))).collect();
    if retention.is_empty() {
        anyhow::bail!("nothing is named, so everything is kept; say how old what may get, such as --succeeded 30d");
    }
    let body = json!({"retention": retention, "dry_run": prune.dry_run});
    let answer = client.post("/api/v1/prune", Sent::json(&body)).await?;
    show(&answer, json, || {
        let head = if prune.dry_run { "WOULD REMOVE" } else { "REMOVED" };
        let mut table = Table::new([head, "COUNT", "BYTES", "FOR INSTANCE"]);
        for class in answer.get("classes").map(items).into_iter().flatten() {
            let sample = class.get("samples").map(items).and_then(<[Value]>::first).and_then(Value::as_str);
            let count = number(class, "count").to_string();
            table.row([text(class, "class"), count, text(class, "bytes"), sample.unwrap_or_default().to_owned()]);
        }
        table.print("nothing is older than that");
    });
    Ok(())
}

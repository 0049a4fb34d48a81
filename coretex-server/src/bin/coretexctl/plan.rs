//! What a run would do, as a table.

use std::{collections::HashMap, path::Path};

use anyhow::bail;
use coretex_server::client::{Client, Sent};
use serde_json::{Value, json};

use crate::{
    call::{in_file, items, part, query, read_file, read_input, show},
    print::{Table, text},
};

/// The plan of the definition in a file, else of the workflow with that id.
pub(crate) async fn plan(
    client: &Client,
    workflow: &str,
    input: Option<&str>,
    version: Option<String>,
    json: bool,
) -> anyhow::Result<()> {
    let path = Path::new(workflow);
    let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    let is_file =
        workflow == "-" || workflow.contains('/') || matches!(kind, "yaml" | "yml" | "json") || path.is_file();
    let answer = if is_file {
        if input.is_some() || version.is_some() {
            bail!("--input and --version are for a stored workflow; `{workflow}` is a file");
        }
        let kind = if kind == "json" { "application/json" } else { "application/yaml" };
        let sent = Sent::text(read_file(path)?, kind);
        client.post("/api/v1/plan", sent).await.map_err(|error| in_file(error, path))?
    } else {
        let input = input.map(read_input).transpose()?;
        let path = format!("/api/v1/workflows/{}/plan", part(workflow));
        let path = query(&path, version.map(|version| ("version", version)));
        client.post(&path, Sent::json(&json!({"input": input}))).await?
    };
    show(&answer, json, || describe(&answer));
    Ok(())
}

fn describe(plan: &Value) {
    println!("workflow   {}", text(plan, "workflow_id"));
    println!();
    let steps = plan.get("steps").map(items).unwrap_or_default();
    let mut depths: HashMap<String, usize> = HashMap::new();
    let mut table = Table::new(["STEP", "TYPE", "AFTER", "IF", "TOPIC", "POOL", "POLICY"]);
    for step in steps {
        let depth = depths.get(&text(step, "group")).map_or(0, |depth| depth + 1);
        let id = text(step, "step_id");
        depths.insert(id.clone(), depth);
        let role = match text(step, "role").as_str() {
            "main" => String::new(),
            role => format!(" ({role})"),
        };
        let decision = step.get("decision").unwrap_or(&Value::Null);
        let cell = |member: &str| text(step, member);
        table.row([
            format!("{}{id}{role}", "  ".repeat(depth)),
            cell("type"),
            cell("depends_on"),
            cell("condition"),
            cell("topic"),
            cell("pool"),
            text(decision, "outcome").to_ascii_lowercase(),
        ]);
    }
    table.print("no steps");
    for step in steps {
        let delay = text(step, "delay");
        if !delay.is_empty() {
            println!("{}: waits for {delay}", text(step, "step_id"));
        }
        for branch in step.get("branches").map(items).unwrap_or_default() {
            let when = match text(branch, "when") {
                when if when.is_empty() => "otherwise".to_owned(),
                when => format!("when {when}"),
            };
            println!("{}: {when} -> {}", text(step, "step_id"), text(branch, "then"));
        }
    }
    let approvals = text(plan, "approvals");
    if !approvals.is_empty() {
        println!("\nneeds a human's yes: {}", approvals.replace(',', ", "));
    }
    let blocked = plan.get("blocked").and_then(Value::as_object);
    for (step, reason) in blocked.into_iter().flatten() {
        println!("\ncannot go as things are: {step}: {}", reason.as_str().unwrap_or_default());
    }
    let warnings = plan.get("warnings").and_then(Value::as_object);
    for (step, reason) in warnings.into_iter().flatten() {
        println!("\nwarning: {step}: {}", reason.as_str().unwrap_or_default());
    }
}

//! Why a run is not further, so that one look is enough: what it waits for, who can end that, and how.

use std::collections::BTreeMap;

use coretex_server::client::Client;
use serde_json::Value;

use crate::{
    call::{items, number, part, query, show},
    print::text,
};

/// Steps named in a line; the others are counted.
const NAMED: usize = 3;

pub(crate) async fn why(client: &Client, id: &str, json: bool) -> anyhow::Result<()> {
    let run = format!("/api/v1/workflow-runs/{}", part(id));
    let answer = client.get(&query(&format!("{run}/why"), [("limit", "1000".to_owned())])).await?;
    let waits = answer.get("waits").map(items).unwrap_or_default();
    if waits.is_empty() && !json {
        println!("it waits for nothing: {}", text(&client.get(&run).await?, "status"));
        return Ok(());
    }
    show(&answer, json, || {
        for line in lines(id, waits) {
            println!("{line}");
        }
        let left = number(&answer, "total") - i64::try_from(waits.len()).unwrap_or(i64::MAX);
        if left > 0 {
            println!("… and {left} more");
        }
    });
    Ok(())
}

/// One line for each thing that is waited for, with the steps that do; first those that end by themselves or by somebody,
/// last steps that only wait for other steps.
fn lines(run: &str, waits: &[Value]) -> Vec<String> {
    let mut steps: BTreeMap<(bool, String), Vec<String>> = BTreeMap::new();
    let mut hints: BTreeMap<String, String> = BTreeMap::new();
    let mut of_run = Vec::new();
    for wait in waits {
        let cause = cause(wait);
        let step = text(wait, "step_id");
        if step.is_empty() {
            // What the run waits for is told with its steps, where it has them.
            of_run.extend((text(wait, "cause") != "steps").then(|| format!("the run waits for {cause}")));
            let deadline = text(wait, "deadline");
            of_run.extend((!deadline.is_empty()).then(|| format!("the run is given up at {}", short(&deadline))));
            continue;
        }
        let only_others = matches!(text(wait, "cause").as_str(), "steps" | "group" | "phase" | "max_parallel");
        hints.entry(cause.clone()).or_insert_with(|| remedy(run, &step, wait));
        steps.entry((only_others, cause)).or_default().push(step);
    }
    let mut lines = of_run;
    for ((_, cause), names) in steps {
        let more = match names.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
        let verb = if names.len() == 1 { "waits" } else { "wait" };
        lines.push(format!("{}{more} {verb} for {cause}", names.join(", ")));
        lines.extend(hints.get(&cause).filter(|hint| !hint.is_empty()).map(|hint| format!("  {hint}")));
    }
    lines
}

/// What is waited for, the same for all steps that one thing lets go on.
fn cause(wait: &Value) -> String {
    let part = |member: &str| text(wait, member);
    let until = match part("until") {
        until if until.is_empty() => until,
        until => format!(", until {}", short(&until)),
    };
    match part("cause").as_str() {
        "steps" => part("steps").replace(',', ", "),
        "group" => {
            let stopping = if part("stopping") == "true" { "; what is left is being stopped" } else { "" };
            format!("its group: {} under way, {} not begun{stopping}", part("active"), part("waiting"))
        }
        "max_parallel" => {
            format!("other items of {}, of which {} may be under way at once", part("group"), part("limit"))
        }
        "timer" => match part("rule") {
            rule if rule.is_empty() => format!("a time{until}"),
            rule => format!("a time{until} ({rule})"),
        },
        "backoff" => format!("try {} after `{}`{until}", part("attempt"), part("code")),
        "throttled" => format!("rule `{}`, which says later{until}", part("rule_id")),
        "kernel" => "the policy kernel".to_owned(),
        "approval" => format!("a human's yes to {}{until}", part("approval_id")),
        "data" => format!("data{until}"),
        "signal" => format!("the signal `{}`{until}", part("name")),
        "operator" => format!("an operator; the last try failed with `{}`", part("code")),
        "pool" => {
            let workers = match wait.get("workers").and_then(Value::as_u64) {
                None => String::new(),
                Some(0) => "; NO live worker serves it".to_owned(),
                Some(1) => "; 1 live worker serves it".to_owned(),
                Some(count) => format!("; {count} live workers serve it"),
            };
            format!("a worker of pool `{}` for `{}`{workers}", part("pool"), part("topic"))
        }
        "placement" => match part("detail") {
            detail if detail.is_empty() => format!("a slot of a worker for `{}`", part("topic")),
            detail => format!("a slot: {detail}{until}"),
        },
        "worker" => format!("worker `{}`, which works on it{until}", part("worker_id")),
        "stopping" => format!("a worker that was told to stop{until}"),
        "child" => format!("run {}", part("run_id")),
        "place" => format!("a place under `{}`, held by {}", part("key"), part("held_by").replace(',', ", ")),
        "bus" => "the bus, to take an alert".to_owned(),
        "artifact" => format!("the blob store and artifact `{}`", part("key")),
        "phase" => format!("the other steps; the run is {}", part("phase")),
        other => other.to_owned(),
    }
}

/// A time to the second.
fn short(time: &str) -> String {
    time.chars().take(19).collect()
}

/// The command that ends the wait, where a person can.
fn remedy(run: &str, step: &str, wait: &Value) -> String {
    match text(wait, "cause").as_str() {
        "approval" => format!("coretexctl approval approve {}", text(wait, "approval_id")),
        "data" => format!("coretexctl steps input {run} '{step}' --data JSON"),
        "signal" => format!("coretexctl runs signal {run} '{}'", text(wait, "name")),
        "operator" => format!("coretexctl steps resolve {run} '{step}' retry|complete|skip|fail"),
        "child" => format!("coretexctl runs why {}", text(wait, "run_id")),
        "placement" if text(wait, "reason") == "workers" => "coretexctl worker list".to_owned(),
        "pool" if wait.get("workers").and_then(Value::as_u64) == Some(0) => "coretexctl worker list".to_owned(),
        _ => String::new(),
    }
}

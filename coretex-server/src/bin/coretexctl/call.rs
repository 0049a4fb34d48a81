//! From a command to calls, and from answers to lines.

use std::{io::Read, path::Path, process::ExitCode};

use anyhow::{Context, bail};
use coretex_server::client::{Client, ClientError, Sent};
use serde_json::{Value, json};

use crate::{
    args::{Approval, Command, Job, Question, Run, Worker, Workflow},
    definitions, dlq, groups, history, migrations, plan,
    print::{Table, pretty, text},
    schedules, steps, triggers, watch, why,
};

pub(crate) async fn call(client: &Client, command: Command, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        // Answered before there is a client.
        Command::Expr(_) | Command::Worker(Worker::New(_)) => {}
        Command::Workflow(verb) => workflow(client, verb, json).await?,
        Command::Run(verb) => return run(client, verb, json).await,
        Command::Step(verb) => steps::call(client, verb).await?,
        Command::Job(verb) => job(client, verb, json).await?,
        Command::Approval(verb) => approval(client, verb, json).await?,
        Command::Dlq(verb) => dlq::call(client, verb, json).await?,
        Command::Schedules(verb) => schedules::call(client, verb, json).await?,
        Command::Prune(prune) => definitions::prune(client, prune, json).await?,
        Command::Triggers(verb) => triggers::call(client, verb, json).await?,
        Command::Worker(Worker::List) => {
            let workers = client.get("/api/v1/workers").await?;
            show(&workers, json, || {
                let mut table = Table::new(["WORKER", "POOL", "JOBS", "TOPICS"]);
                for worker in items(&workers) {
                    let jobs = format!("{}/{}", number(worker, "active_jobs"), number(worker, "max_parallel_jobs"));
                    table.row([text(worker, "worker_id"), text(worker, "pool"), jobs, text(worker, "topics")]);
                }
                table.print("no worker was heard of in the last 30 seconds");
            });
        }
        Command::Status => {
            let status = client.get("/api/v1/status").await?;
            show(&status, json, || {
                let part = |name: &str, member: &str| text(status.get(name).unwrap_or(&Value::Null), member);
                println!("server    {} ({})", client.server(), part("build", "version"));
                println!("up        {} s", number(&status, "uptime_seconds"));
                println!(
                    "store     {} ({})",
                    part("store", "name"),
                    if part("redis", "ok") == "true" { "ok" } else { "does not answer" }
                );
                println!("bus       {}", part("bus", "name"));
                println!("policy    {}", part("policy", "snapshot"));
                println!("workers   {}", part("workers", "count"));
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn workflow(client: &Client, verb: Workflow, json: bool) -> anyhow::Result<()> {
    match verb {
        Workflow::Create { file, note } => {
            let body = read_file(&file)?;
            let as_json = file.extension().is_some_and(|kind| kind == "json");
            let kind = if as_json { "application/json" } else { "application/yaml" };
            let path = query("/api/v1/workflows", [("note", note)]);
            let answer = client.post(&path, Sent::text(body, kind)).await.map_err(|error| in_file(error, &file))?;
            for warning in answer.get("warnings").map(items).into_iter().flatten() {
                eprintln!(
                    "warning: {}: {}; {}",
                    text(warning, "path"),
                    text(warning, "message"),
                    text(warning, "help")
                );
            }
            show(&answer, json, || println!("{}", text(&answer, "id")));
        }
        Workflow::List => {
            let list = client.get("/api/v1/workflows").await?;
            show(&list, json, || {
                let mut table = Table::new(["WORKFLOW", "VERSION", "STEPS", "UPDATED", "NAME"]);
                for workflow in items(&list) {
                    let steps = workflow.get("steps").and_then(Value::as_object).map_or(0, serde_json::Map::len);
                    let updated = text(workflow, "updated_at").chars().take(19).collect();
                    table.row([
                        text(workflow, "id"),
                        text(workflow, "version"),
                        steps.to_string(),
                        updated,
                        text(workflow, "name"),
                    ]);
                }
                table.print("no workflows; store one with `coretexctl workflow create FILE`");
            });
        }
        Workflow::Get { id } => pretty(&client.get(&format!("/api/v1/workflows/{}", part(&id))).await?),
        Workflow::Delete { id, force } => {
            let path = format!("/api/v1/workflows/{}", part(&id));
            client.delete(&if force { query(&path, [("force", "true".to_owned())]) } else { path }).await?;
        }
        Workflow::Versions { id, version } => definitions::versions(client, &id, version, json).await?,
        Workflow::Diff { id, from, to } => definitions::diff(client, &id, from, to, json).await?,
        Workflow::Plan { workflow, input, version } => {
            plan::plan(client, &workflow, input.as_deref(), version, json).await?;
        }
        Workflow::Migrate(migrate) => migrations::all(client, migrate, json).await?,
        Workflow::Rollback { id, version, note } => {
            let path = format!("/api/v1/workflows/{}/rollback", part(&id));
            let answer = client.post(&path, Sent::json(&json!({"version": version, "note": note}))).await?;
            show(&answer, json, || println!("{}", text(&answer, "number")));
        }
    }
    Ok(())
}

async fn run(client: &Client, verb: Run, json: bool) -> anyhow::Result<ExitCode> {
    match verb {
        Run::Start { workflow, input, idempotency_key, priority, version, label, dry_run, watch: follow } => {
            let input = input.map(|given| read_input(&given)).transpose()?.unwrap_or_else(|| json!({}));
            let mut sent = Sent::json(&input);
            if let Some(key) = idempotency_key {
                sent = sent.header("idempotency-key", key);
            }
            let dry_run = dry_run.then(|| ("dry_run", "true".to_owned()));
            let labels = label.into_iter().map(|label| ("label", label)).chain(dry_run);
            let version = version.into_iter().map(|version| ("version", version));
            let priority = priority.into_iter().map(|priority| ("priority", priority));
            let path =
                query(&format!("/api/v1/workflows/{}/runs", part(&workflow)), labels.chain(version).chain(priority));
            let answer = client.post(&path, sent).await?;
            show(&answer, json, || println!("{}", text(&answer, "run_id")));
            if follow {
                return watch::follow(client, &text(&answer, "run_id"), json).await;
            }
        }
        Run::List(filter) => {
            let path = definitions::runs_path(filter);
            let page = client.get(&path).await?;
            show(&page, json, || {
                let mut table = Table::new(["RUN", "WORKFLOW", "STATUS", "CREATED", "ERROR"]);
                for run in page.get("items").map(items).into_iter().flatten() {
                    let created = text(run, "created_at").chars().take(19).collect();
                    table.row([
                        text(run, "id"),
                        text(run, "workflow_id"),
                        text(run, "status"),
                        created,
                        text(run, "error"),
                    ]);
                }
                table.print("no runs; start one with `coretexctl run start WORKFLOW`");
                let next = text(&page, "next_cursor");
                if !next.is_empty() {
                    eprintln!("there may be more: --cursor {next}");
                }
            });
        }
        Run::Queued { key } => {
            let key = key.map(|key| format!("&key={}", part(&key))).unwrap_or_default();
            let page = client.get(&format!("/api/v1/queued-starts?limit=1000{key}")).await?;
            show(&page, json, || {
                let mut table = Table::new(["RUN", "WORKFLOW", "KEY", "PRIORITY", "SINCE"]);
                for item in page.get("items").map(items).into_iter().flatten() {
                    let since = text(item, "queued_at").chars().take(19).collect();
                    let cell = |name| text(item, name);
                    table.row([cell("run_id"), cell("workflow_id"), cell("key"), cell("priority"), since]);
                }
                table.print("no run waits for a place");
            });
        }
        Run::Get { id } => {
            let run = client.get(&format!("/api/v1/workflow-runs/{}", part(&id))).await?;
            show(&run, json, || groups::describe(&run));
        }
        Run::Restart { id, version } => {
            let path = format!("/api/v1/workflow-runs/{}/restart", part(&id));
            let answer = client.post(&path, Sent::json(&json!({"version": version}))).await?;
            show(&answer, json, || println!("{}", text(&answer, "run_id")));
        }
        Run::Migrate(migrate) => return migrations::run(client, migrate, json).await,
        Run::Rerun(rerun) => return history::rerun(client, rerun, json).await,
        Run::Why { id } => why::why(client, &id, json).await?,
        Run::State { id, at } => history::state(client, &id, at, json).await?,
        Run::Replay { id } => return history::replay(client, &id, json).await,
        Run::Signal { id, name, payload, signal_id } => {
            steps::signal(client, &id, &name, payload.as_deref(), signal_id).await?;
        }
        Run::Cancel { id, reason, force } => {
            let workflow = workflow_of(client, &id).await?;
            let mut path = format!("/api/v1/workflows/{}/runs/{}/cancel?force={force}", part(&workflow), part(&id));
            if let Some(reason) = reason {
                path = format!("{path}&reason={}", part(&reason));
            }
            client.post(&path, Sent::nothing()).await?;
        }
        Run::Timeline { id } => {
            let mut events = Vec::new();
            loop {
                let from = events.len() + 1;
                let path = format!("/api/v1/workflow-runs/{}/timeline?limit=1000&from={from}", part(&id));
                let page = client.get(&path).await?;
                let page = items(&page);
                events.extend_from_slice(page);
                if page.len() < 1_000 {
                    break;
                }
            }
            if json {
                pretty(&Value::Array(events));
            } else {
                events.iter().for_each(watch::line);
            }
        }
        Run::Watch { id } => return watch::follow(client, &id, json).await,
        Run::Delete { id } => {
            client.delete(&format!("/api/v1/workflow-runs/{}", part(&id))).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn workflow_of(client: &Client, run: &str) -> anyhow::Result<String> {
    let run = client.get(&format!("/api/v1/workflow-runs/{}", part(run))).await?;
    Ok(text(&run, "workflow_id"))
}

async fn job(client: &Client, verb: Job, json: bool) -> anyhow::Result<()> {
    match verb {
        Job::Submit { topic, prompt, input, idempotency_key, capability, risk_tags, requires } => {
            let context = input.map(|given| read_input(&given)).transpose()?;
            let body = json!({
                "topic": topic, "prompt": prompt, "context": context, "idempotency_key": idempotency_key,
                "capability": capability, "risk_tags": risk_tags, "requires": requires,
            });
            let answer = client.post("/api/v1/jobs", Sent::json(&body)).await?;
            show(&answer, json, || println!("{}", text(&answer, "job_id")));
        }
        Job::Get { id } => {
            let job = client.get(&format!("/api/v1/jobs/{}", part(&id))).await?;
            show(&job, json, || {
                for name in [
                    "id",
                    "state",
                    "topic",
                    "safety_decision",
                    "safety_reason",
                    "worker_id",
                    "error_code",
                    "error_message",
                ] {
                    let value = text(&job, name);
                    if !value.is_empty() {
                        println!("{name:<16} {value}");
                    }
                }
                if let Some(result) = job.get("result").filter(|result| !result.is_null()) {
                    println!("result");
                    pretty(result);
                }
            });
        }
        Job::Cancel { id } => {
            let answer = client.post(&format!("/api/v1/jobs/{}/cancel", part(&id)), Sent::nothing()).await?;
            show(&answer, json, || println!("{}", text(&answer, "state")));
        }
    }
    Ok(())
}

async fn approval(client: &Client, verb: Approval, json: bool) -> anyhow::Result<()> {
    let answer = async |question: Question, verb: &str| {
        let path = format!("/api/v1/approvals/{}/{verb}", part(&question.id));
        client.post(&path, Sent::json(&json!({"reason": question.reason}))).await
    };
    match verb {
        Approval::List => {
            let page = client.get("/api/v1/approvals").await?;
            show(&page, json, || {
                let mut table = Table::new(["WAITS", "KIND", "SINCE", "QUESTION"]);
                for item in page.get("items").map(items).into_iter().flatten() {
                    let question = match text(item, "title") {
                        title if title.is_empty() => text(item, "policy_reason"),
                        title => title,
                    };
                    let since = text(item, "requested_at").chars().take(19).collect();
                    table.row([text(item, "approval_ref"), text(item, "kind"), since, question]);
                }
                table.print("nothing waits for a human");
            });
        }
        Approval::Approve(question) => drop(answer(question, "approve").await?),
        Approval::Reject(question) => drop(answer(question, "reject").await?),
    }
    Ok(())
}

pub(crate) fn show(value: &Value, json: bool, lines: impl FnOnce()) {
    if json { pretty(value) } else { lines() }
}

pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn number(value: &Value, member: &str) -> i64 {
    value.get(member).and_then(Value::as_i64).unwrap_or_default()
}

/// `path` with these parameters; those without a value are left out.
pub(crate) fn query<'a>(path: &str, parameters: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut path = path.to_owned();
    for (name, value) in parameters.into_iter().filter(|(_, value)| !value.is_empty()) {
        let joint = if path.contains('?') { '&' } else { '?' };
        path.push_str(&format!("{joint}{name}={}", part(&value)));
    }
    path
}

/// `text` as one part of a path or a query.
pub(crate) fn part(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The refusal of a definition, with the name of the file in the place of the request's body.
pub(crate) fn in_file(error: ClientError, file: &Path) -> ClientError {
    match error {
        ClientError::Refused { status, code, detail } => {
            let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
            let lines: Vec<String> = detail
                .split('\n')
                .map(|line| match line.strip_prefix("body:") {
                    Some(rest) => format!("{name}:{rest}"),
                    None => line.to_owned(),
                })
                .collect();
            ClientError::Refused { status, code, detail: lines.join("\n") }
        }
        other => other,
    }
}

pub(crate) fn read_file(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("the standard input cannot be read")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("`{}` cannot be read", path.display()))
}

/// JSON as given, or from the file of that name.
pub(crate) fn read_input(given: &str) -> anyhow::Result<Value> {
    let is_scalar = || serde_json::from_str::<Value>(given).is_ok();
    let inline = given.trim_start().starts_with(['{', '[', '"']) || is_scalar();
    let (name, text) =
        if inline { ("the JSON given", given.to_owned()) } else { (given, read_file(Path::new(given))?) };
    match coretex_core::value::document::parse(name, &text) {
        Ok(value) => Ok(value),
        Err(error) => bail!("{error}"),
    }
}

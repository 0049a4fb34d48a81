//! A run as lines: its timeline, and its timeline as it grows.

use std::{process::ExitCode, time::Duration};

use coretex_server::client::{Client, ClientError};
use serde_json::Value;

use crate::{call::part, groups::Folder, print::text};

/// How often a broken connection is taken up again before giving up, one second apart.
const TRIES: u32 = 30;

/// Follows a run until it has ended. 3 when it did not succeed.
pub(crate) async fn follow(client: &Client, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/workflow-runs/{}/events", part(id));
    let mut last: Option<String> = None;
    let mut folder = Folder::default();
    let mut failures = 0;
    loop {
        match read(client, &path, &mut last, &mut folder, json).await {
            Ok(()) => failures = 0,
            Err(error) if last.is_some() && passing(&error) && failures < TRIES => {
                failures += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        match client.get(&format!("/api/v1/workflow-runs/{}?view=summary", part(id))).await {
            Ok(run) => match text(&run, "status").as_str() {
                "succeeded" => return Ok(ExitCode::SUCCESS),
                "failed" | "cancelled" | "timed_out" => return Ok(ExitCode::from(3)),
                // The server ended the stream, not the run.
                _ => tokio::time::sleep(Duration::from_secs(1)).await,
            },
            Err(error) if passing(&error) && failures < TRIES => {
                failures += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn read(
    client: &Client,
    path: &str,
    last: &mut Option<String>,
    folder: &mut Folder,
    json: bool,
) -> Result<(), ClientError> {
    let mut events = client.events(path, last.as_deref()).await?;
    while let Some(data) = events.next().await? {
        if let Some(id) = events.last_id() {
            *last = Some(id.to_owned());
        }
        if json {
            println!("{data}");
        } else if let Ok(event) = serde_json::from_str(&data) {
            if folder.shows(&event) {
                line(&event);
            }
            if let Some(progress) = folder.progress(&event) {
                println!("{progress}");
            }
        }
    }
    Ok(())
}

/// Whether the server may be back in a moment.
fn passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::Broken { .. } => true,
        ClientError::Refused { status, .. } => *status == 503,
        _ => false,
    }
}

/// One event of a timeline.
pub(crate) fn line(event: &Value) {
    let time: String = text(event, "time").chars().skip(11).take(12).collect();
    let subject = match text(event, "step_id") {
        step if step.is_empty() => "run".to_owned(),
        step => step,
    };
    let mut rest = text(event, "status");
    let data = event.get("data").unwrap_or(&Value::Null);
    for (name, value) in [
        ("decision", text(data, "decision")),
        ("rule", text(data, "rule_id")),
        ("by", text(data, "by")),
        ("worker", text(data, "worker_id")),
        ("signal", text(data, "signal")),
        ("action", text(data, "action")),
        ("items", text(data, "items")),
        ("index", text(data, "index")),
    ] {
        if !value.is_empty() {
            rest.push_str(&format!("  {name}={value}"));
        }
    }
    let message = text(event, "message");
    if !message.is_empty() {
        rest.push_str(&format!("  {message}"));
    }
    println!("{:>4}  {time:<12}  {subject:<16}  {:<22}  {rest}", text(event, "seq"), text(event, "type"));
}

//! Time travel: a run as it was, a run that goes on from another, a log folded anew.

use std::process::ExitCode;

use coretex_server::client::{Client, Sent};
use serde_json::json;

use crate::{
    args::Rerun,
    call::{number, part, query, read_input, show},
    groups,
    print::text,
    watch,
};

pub(crate) async fn rerun(client: &Client, rerun: Rerun, json: bool) -> anyhow::Result<ExitCode> {
    let input = rerun.input.as_deref().map(read_input).transpose()?;
    let body = json!({
        "from_step": rerun.from_step, "at_event": rerun.at_event, "input": input,
        "fresh": rerun.fresh, "dry_run": rerun.dry_run,
    });
    let path = format!("/api/v1/workflow-runs/{}/rerun", part(&rerun.id));
    let mut sent = Sent::json(&body);
    if let Some(key) = rerun.idempotency_key {
        sent = sent.header("idempotency-key", key);
    }
    let answer = client.post(&path, sent).await?;
    show(&answer, json, || println!("{}", text(&answer, "run_id")));
    if rerun.watch {
        return watch::follow(client, &text(&answer, "run_id"), json).await;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn state(client: &Client, id: &str, at: u64, json: bool) -> anyhow::Result<()> {
    let path = format!("/api/v1/workflow-runs/{}/state", part(id));
    let run = client.get(&query(&path, [("at", at.to_string())])).await?;
    show(&run, json, || {
        println!("after      event {}, {}", text(&run, "at_event"), text(&run, "updated_at"));
        groups::describe(&run);
    });
    Ok(())
}

/// 1 when something that is stored is not what the log folds to.
pub(crate) async fn replay(client: &Client, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let report = client.get(&format!("/api/v1/workflow-runs/{}/replay", part(id))).await?;
    let is_right = |member: &str| report.get(member).and_then(serde_json::Value::as_bool) != Some(false);
    show(&report, json, || {
        println!("events     {}", number(&report, "events"));
        let say = |is_right: bool| if is_right { "as the events say" } else { "NOT as the events say" };
        let snapshot = if report.get("snapshot_agrees").is_some() { say(is_right("snapshot_agrees")) } else { "none" };
        println!("snapshot   {snapshot}");
        println!("in lists   {}", say(is_right("summary_agrees")));
    });
    Ok(if is_right("agrees") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

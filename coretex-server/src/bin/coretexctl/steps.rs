//! What a person tells the steps of a run: answers, data, signals, how a parked step goes on.

use coretex_server::client::{Client, Sent};
use serde_json::{Map, Value, json};

use crate::{
    args::{Step, StepOf},
    call::{part, query, read_input, workflow_of},
};

pub(crate) async fn call(client: &Client, verb: Step) -> anyhow::Result<()> {
    match verb {
        Step::Approve(step) => answer(client, &step, true).await,
        Step::Reject(step) => answer(client, &step, false).await,
        Step::Input { run, step, data } => {
            let data = read_input(&data)?;
            client.post(&path(&run, &step, "input"), Sent::json(&data)).await?;
            Ok(())
        }
        Step::Resolve { run, step, action, output, reason, input } => {
            let mut body = Map::from_iter([("action".to_owned(), json!(action.as_str()))]);
            if let Some(output) = output {
                body.insert("output".into(), read_input(&output)?);
            }
            if let Some(reason) = reason {
                body.insert("reason".into(), json!(reason));
            }
            if let Some(input) = input {
                body.insert("input".into(), read_input(&input)?);
            }
            client.post(&path(&run, &step, "resolve"), Sent::json(&Value::Object(body))).await?;
            Ok(())
        }
    }
}

fn path(run: &str, step: &str, verb: &str) -> String {
    format!("/api/v1/workflow-runs/{}/steps/{}/{verb}", part(run), part(step))
}

async fn answer(client: &Client, of: &StepOf, approved: bool) -> anyhow::Result<()> {
    let workflow = workflow_of(client, &of.run).await?;
    let path = format!("/api/v1/workflows/{}/runs/{}/steps/{}/approve", part(&workflow), part(&of.run), part(&of.step));
    client.post(&path, Sent::json(&json!({"approved": approved, "reason": of.reason}))).await?;
    Ok(())
}

pub(crate) async fn signal(
    client: &Client,
    run: &str,
    name: &str,
    payload: Option<&str>,
    id: Option<String>,
) -> anyhow::Result<()> {
    let path = format!("/api/v1/workflow-runs/{}/signals/{}", part(run), part(name));
    let path = query(&path, id.map(|id| ("id", id)));
    let sent = match payload {
        Some(payload) => Sent::json(&read_input(payload)?),
        None => Sent::nothing(),
    };
    client.post(&path, sent).await?;
    Ok(())
}

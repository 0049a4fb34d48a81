//! The workers of the demo: typed handlers that do real, small work on the sample's evidence.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use coretex_core::{ports::Bus, value::Value};
use coretex_server::client::{Client, ClientError, Sent};
use coretex_worker::{
    Input, JobContext, JobError, Output, Progress, RawInput, RawOutput, RunningWorker, State, Worker,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{evidence, receiver::Receiver, summary, summary::Summary};

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Incident {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) service: String,
    #[serde(default)]
    pub(super) severity: String,
    pub(super) evidence: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Evidence {
    note: String,
    files: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct ToSummarise {
    incident: Incident,
    evidence: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct ToPost {
    incident: String,
    summary: Summary,
}

#[derive(Debug, Serialize)]
struct Posted {
    note: String,
    accepted: bool,
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct Kit {
    webhook: Client,
    /// How long a step takes at least, so that eyes can follow.
    pace: Duration,
}

async fn fetch(
    Input(incident): Input<Incident>,
    State(kit): State<Kit>,
    progress: Progress,
) -> Result<Output<Evidence>, JobError> {
    let mut files = BTreeMap::new();
    let share = 100 / incident.evidence.len().max(1);
    for (done, name) in incident.evidence.iter().enumerate() {
        progress.report(u8::try_from(done * share).unwrap_or(100), format!("fetching {name}")).await?;
        let text = evidence(name).ok_or_else(|| {
            JobError::fatal("evidence_missing", format!("there is no evidence `{name}`; correct the incident"))
        })?;
        tokio::time::sleep(kit.pace / u32::try_from(incident.evidence.len()).unwrap_or(1)).await;
        files.insert(name.clone(), text.to_owned());
    }
    let bytes: usize = files.values().map(String::len).sum();
    let note = format!("{} files, {:.1} kB", files.len(), bytes as f64 / 1000.0);
    Ok(Output(Evidence { note, files }))
}

async fn summarise(Input(given): Input<ToSummarise>, State(kit): State<Kit>) -> Result<Output<Summary>, JobError> {
    tokio::time::sleep(kit.pace).await;
    summary::of(&given.incident, &given.evidence).map(Output)
}

async fn post(
    Input(given): Input<ToPost>,
    State(kit): State<Kit>,
    job: JobContext,
) -> Result<Output<Posted>, JobError> {
    tokio::time::sleep(kit.pace).await;
    // The same for every attempt and every repeat, so that the receiver takes one.
    let effect = job.job_id().split('@').next().unwrap_or_default().to_owned();
    let body = json!({"incident": given.incident, "summary": given.summary});
    let answer =
        kit.webhook.post("/", Sent::json(&body).header("idempotency-key", effect)).await.map_err(
            |error| match error {
                ClientError::Refused { status: 400..=499, .. } => JobError::fatal("webhook_refused", error),
                error => JobError::retry(error).with_code("webhook_unreachable"),
            },
        )?;
    let accepted = answer.get("accepted").and_then(Value::as_bool).unwrap_or_default();
    let note = if accepted { "the webhook took it" } else { "the webhook had it already" };
    Ok(Output(Posted { note: note.to_owned(), accepted }))
}

async fn echo(RawInput(input): RawInput) -> RawOutput {
    RawOutput(input)
}

/// The workers and the webhook that they post to.
#[derive(Debug)]
pub(crate) struct Crew {
    workers: Vec<RunningWorker>,
    pub(super) receiver: Arc<Receiver>,
}

impl Crew {
    /// Starts all of it on `bus`; what the webhook takes is kept in `data`.
    pub(crate) async fn start(bus: Arc<dyn Bus>, data: &Path, pace: Duration) -> anyhow::Result<Self> {
        let receiver = Receiver::start(&data.join("webhook.jsonl")).await?;
        let kit = Kit { webhook: Client::new(receiver.address())?, pace };
        let incident = Worker::builder(bus.clone())
            .id("incident-1")
            .pool("incident")
            .handle("job.incident.fetch", fetch)
            .handle("job.incident.summarise", summarise)
            .with_state(kit.clone());
        let outbound = Worker::builder(bus.clone())
            .id("outbound-1")
            .pool("outbound")
            .capability("network")
            .handle("job.incident.post", post)
            .with_state(kit);
        let echoes = Worker::builder::<()>(bus)
            .id("echo-1")
            .pool("default")
            .max_parallel(64)
            .handle("job.demo.>", echo)
            .handle("job.default", echo);
        let workers =
            vec![incident.build()?.start().await?, outbound.build()?.start().await?, echoes.build()?.start().await?];
        Ok(Self { workers, receiver })
    }

    /// Lets them finish.
    pub(crate) async fn drain(self) {
        for worker in &self.workers {
            worker.drain().await;
        }
    }
}

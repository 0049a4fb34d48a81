//! `demo`: one incident from end to end, on an embedded platform, and again after every crash.
//!
//! The files are those of `examples/incident-enricher`, built into the program. All state is below the data directory:
//! a demo that was killed finds its run there and goes on with it.

mod ask;
mod receiver;
mod show;
mod summary;
pub(crate) mod workers;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use coretex_core::{
    governance::Principal,
    job::{Answer, RunId, StepRunId, WorkflowId},
    ports::{Bus, SystemClock, memory::MemoryBus},
    runtime::{ControlPlane, RunQuery, StartRequest},
    scheduler::Routes,
    value::document,
    workflow::{Run, RunStatus, StepStatus, TimelineEvent, Workflow},
};
use coretex_policy::YamlPolicy;
use coretex_server::{Auth, Platform};
use tokio::net::TcpListener;

use self::{ask::Reply, receiver::Receiver, show::Show, workers::Crew};
use crate::{
    key::{self, Key},
    run, terminal,
};

macro_rules! example {
    ($file:literal) => {
        include_str!(concat!("../../../../../examples/incident-enricher/", $file))
    };
}

const INCIDENT: &str = example!("incident.json");
const EVIDENCE: [(&str, &str); 3] = [
    ("checkout.log", example!("evidence/checkout.log")),
    ("metrics.csv", example!("evidence/metrics.csv")),
    ("deploys.json", example!("evidence/deploys.json")),
];
const WORKFLOW: &str = "incident-enricher";
const GATE: &str = "approve";
/// How long a demo that nobody can answer at its terminal waits for an answer from elsewhere.
const PATIENCE: Duration = Duration::from_secs(60);

fn evidence(name: &str) -> Option<&'static str> {
    EVIDENCE.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The definition of the demo.
pub(crate) fn workflow() -> anyhow::Result<Workflow> {
    Ok(Workflow::parse("examples/incident-enricher/workflow.yaml", example!("workflow.yaml"))?)
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Agree without asking, for scripts.
    #[arg(long)]
    approve: bool,
    /// Where state lives. A demo that was killed goes on from there.
    #[arg(long, value_name = "DIR", default_value = ".coretex/demo")]
    data_dir: PathBuf,
    /// Where the API listens meanwhile; a free port when this one is taken.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    http_addr: SocketAddr,
    /// How long each step takes at least, in milliseconds, so that eyes can follow.
    #[arg(long, value_name = "MS", default_value_t = 300)]
    pace: u64,
}

/// A demo under way.
struct Demo {
    plane: ControlPlane,
    me: Principal,
    run: RunId,
    show: Show,
    receiver: Arc<Receiver>,
    args: Args,
    address: SocketAddr,
    key: Key,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !args.http_addr.ip().is_loopback() {
        bail!("the demo listens on this machine alone; give `--http-addr` an address like 127.0.0.1:8081");
    }
    let key = key::given_or_kept(&args.data_dir)?;
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(Arc::new(SystemClock)));
    let policy = YamlPolicy::from_yaml("safety.yaml", example!("safety.yaml"))?;
    let platform = Platform::new(&args.data_dir, policy)
        .bus(bus.clone())
        .routes(Routes::parse("pools.yaml", example!("pools.yaml"))?)
        .workflow(workflow()?);
    // The platform first: its lock on the directory covers what the webhook keeps there.
    let plane = platform.open().await?;
    let crew = Crew::start(bus, &args.data_dir, Duration::from_millis(args.pace)).await?;
    let listener = match TcpListener::bind(args.http_addr).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("127.0.0.1:0").await.context("no port of this machine is free")?,
    };
    let address = listener.local_addr()?;
    let api =
        tokio::spawn(coretex_server::serve(listener, plane.clone(), Auth::key(&key.text), std::future::pending()));

    let me = Principal::human("demo");
    let show = Show::new();
    show.header(&args.data_dir);
    let unfinished = unfinished(&plane, &me).await?;
    let (run, seen) = match &unfinished {
        Some(run) => (run.id().context("a run without an id")?.clone(), run.head()),
        None => (start(&plane, &me).await?, 0),
    };
    show.run(&run, unfinished.as_ref());
    let mut demo = Demo { plane: plane.clone(), me, run, show, receiver: crew.receiver.clone(), args, address, key };
    let code = demo.follow(seen).await;

    api.abort();
    crew.drain().await;
    plane.shutdown().await?;
    code
}

/// The newest run that has not ended.
async fn unfinished(plane: &ControlPlane, me: &Principal) -> anyhow::Result<Option<Run>> {
    let workflow = Some(WorkflowId::parse(WORKFLOW)?);
    let page = plane.runs(me, RunQuery { workflow, limit: 100, ..RunQuery::default() }).await?;
    for summary in page.items {
        // The list may lag behind the run itself.
        let run = plane.run(me, &RunId::parse(&summary.id)?).await?;
        if !run.status().is_terminal() {
            return Ok(Some(run));
        }
    }
    Ok(None)
}

async fn start(plane: &ControlPlane, me: &Principal) -> anyhow::Result<RunId> {
    let incident = document::parse_json("incident.json", INCIDENT.as_bytes())?;
    Ok(plane.start(me, StartRequest::new(WorkflowId::parse(WORKFLOW)?, incident)).await?)
}

/// What happens next in a demo.
enum Next {
    Event(Box<TimelineEvent>),
    Reply(Reply),
    Ended,
    Stop,
}

impl Demo {
    /// Shows the run from its beginning, events up to `seen` as past ones, and asks when it waits.
    async fn follow(&mut self, seen: u64) -> anyhow::Result<ExitCode> {
        let mut watch = self.plane.watch(&self.me, &self.run, 1).await?;
        let mut question: Option<ask::Question> = None;
        let mut stop = Box::pin(run::asked_to_stop());
        loop {
            let next = tokio::select! {
                event = watch.next() => event?.map_or(Next::Ended, |event| Next::Event(Box::new(event))),
                reply = ask::answered(question.as_mut()) => Next::Reply(reply),
                () = &mut stop => Next::Stop,
            };
            match next {
                Next::Event(event) => {
                    let run = self.plane.run(&self.me, &self.run).await?;
                    if event.step_id.as_deref() == Some(GATE)
                        && event.kind != "step_waiting"
                        && question.take().is_some()
                    {
                        terminal::say("");
                    }
                    self.show.event(&event, &run, event.seq <= seen);
                    let waits = run.step(GATE).is_some_and(|step| step.status == StepStatus::Waiting);
                    if event.kind == "step_waiting" && waits {
                        question = self.ask(&run).await?;
                    }
                }
                Next::Reply(Reply::Said(approved)) => {
                    question = None;
                    self.answer(approved).await?;
                }
                Next::Reply(Reply::Nobody) => {
                    self.show.nobody_answered();
                    return Ok(ExitCode::from(3));
                }
                Next::Stop => {
                    self.show.stopped();
                    return Ok(ExitCode::from(130));
                }
                Next::Ended => return self.end().await,
            }
        }
    }

    /// Shows what is to be decided, and decides it or asks.
    async fn ask(&self, run: &Run) -> anyhow::Result<Option<ask::Question>> {
        if self.args.approve {
            self.answer(true).await?;
            return Ok(None);
        }
        self.show.summary(run);
        let question = ask::Question::new(PATIENCE);
        if !question.at_terminal() {
            self.show.how_to_answer(&self.run, GATE, self.address, &self.key);
        }
        question.prompt();
        Ok(Some(question))
    }

    async fn answer(&self, approved: bool) -> anyhow::Result<()> {
        let reason = if self.args.approve { "demo --approve" } else { "" };
        let answer =
            Answer { approved, by: self.me.id.clone(), role: "".into(), reason: reason.into(), note: "".into() };
        match self.plane.answer_step(&self.me, &self.run, &StepRunId::parse(GATE)?, answer).await {
            // Somebody else was faster; the timeline says who.
            Err(error) if error.code() == "step_not_waiting" => Ok(()),
            answered => Ok(answered?),
        }
    }

    async fn end(&self) -> anyhow::Result<ExitCode> {
        let run = self.plane.run(&self.me, &self.run).await?;
        match run.status() {
            RunStatus::Succeeded => self.show.posted(&self.receiver.received(&format!("{}:post", self.run))),
            RunStatus::Failed if run.failed_step() == Some(GATE) => self.show.rejected(),
            _ => {
                self.show.look_further(&self.run, &self.args.data_dir);
                let why =
                    run.failure().map_or_else(|| run.status().as_str().to_owned(), |found| found.message.to_string());
                bail!("the run did not succeed: {why}");
            }
        }
        self.show.look_further(&self.run, &self.args.data_dir);
        Ok(ExitCode::SUCCESS)
    }
}

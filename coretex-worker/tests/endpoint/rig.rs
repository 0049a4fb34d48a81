//! A bus in this process, endpoints on it, and the ears of a control plane.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use coretex_core::{
    ports::{Bus, Message, Payload, Subscribe, Subscription, SystemClock, memory::MemoryBus},
    protocol::{Budget, BusPacket, JobCancel, JobMetadata, JobRequest, JobResult, JobStatus, subjects},
};
use coretex_worker::endpoint::{Endpoints, FileSecrets, Host, RunningEndpoints, Secrets};
use serde_json::Value;

pub(crate) const TOPIC: &str = "job.test";

/// How long a test waits for what must happen: long enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Ended {
    pub(crate) result: JobResult,
    pub(crate) output: Option<Value>,
}

impl Ended {
    pub(crate) fn status(&self) -> JobStatus {
        JobStatus::try_from(self.result.status).unwrap()
    }

    pub(crate) fn code(&self) -> &str {
        &self.result.error_code
    }

    pub(crate) fn text(&self) -> &str {
        &self.result.error_message
    }

    /// The output of a job that must have succeeded.
    #[track_caller]
    pub(crate) fn output(self) -> Value {
        assert_eq!(self.status(), JobStatus::Succeeded, "{}: {}", self.code(), self.text());
        self.output.unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn failed(&self, status: JobStatus, code: &str) {
        assert_eq!((self.status(), self.code()), (status, code), "{}", self.text());
    }

    /// Everything that left the worker, as one text.
    pub(crate) fn told(&self) -> String {
        format!("{:?} {:?}", self.result, self.output)
    }
}

pub(crate) struct Rig {
    pub(crate) bus: Arc<dyn Bus>,
    results: Box<dyn Subscription>,
    _running: RunningEndpoints,
}

/// A host whose files of secrets are in `directory`.
pub(crate) fn host(directory: &Path) -> Host {
    Host::default().secrets(Secrets::default().with("file", FileSecrets::new(directory)))
}

impl Rig {
    pub(crate) async fn start(document: &str) -> Self {
        Self::on(document, &Host::default()).await
    }

    pub(crate) async fn on(document: &str, host: &Host) -> Self {
        let endpoints = Endpoints::parse("endpoints.yaml", document, host).unwrap();
        let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new(Arc::new(SystemClock)));
        let results = bus.subscribe(Subscribe::group(subjects::JOB_RESULT, "plane")).await.unwrap();
        let running = endpoints.start(Arc::clone(&bus), None).await.unwrap();
        Self { bus, results, _running: running }
    }

    pub(crate) async fn send(&self, request: JobRequest, input: Value) {
        let topic = request.topic.clone();
        let packet = BusPacket { protocol_version: 1, payload: Some(request.into()), ..BusPacket::default() };
        let payload = Some(Payload(Arc::new(input)));
        self.bus.publish(Message::new(&*topic, packet).with_payload(payload)).await.unwrap();
    }

    pub(crate) async fn cancel(&self, job_id: &str) {
        let cancel = JobCancel { job_id: job_id.into(), ..JobCancel::default() };
        let packet = BusPacket { protocol_version: 1, payload: Some(cancel.into()), ..BusPacket::default() };
        self.bus.publish(Message::new(subjects::JOB_CANCEL, packet)).await.unwrap();
    }

    pub(crate) async fn result(&mut self) -> Ended {
        let delivery = tokio::time::timeout(PATIENCE, self.results.next()).await.expect("no result").unwrap();
        delivery.ack().await.unwrap();
        let result = delivery.message.packet.job_result().expect("a result").clone();
        Ended { result, output: delivery.message.payload.as_ref().map(|payload| (*payload.0).clone()) }
    }

    /// One job from its beginning to its end.
    pub(crate) async fn run(&mut self, input: Value) -> Ended {
        self.ask(job("r1:step@1"), input).await
    }

    pub(crate) async fn ask(&mut self, mut request: JobRequest, input: Value) -> Ended {
        // No two jobs of a rig are the same job.
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        request.job_id = format!("r{count}:step@1");
        self.send(request, input).await;
        self.result().await
    }
}

pub(crate) fn job(job_id: &str) -> JobRequest {
    JobRequest {
        job_id: job_id.into(),
        topic: TOPIC.into(),
        tenant_id: "acme".into(),
        labels: BTreeMap::from([("region".into(), "eu".into())]),
        ..JobRequest::default()
    }
}

pub(crate) fn due_in(millis: i64, request: JobRequest) -> JobRequest {
    JobRequest { budget: Some(Budget { deadline_ms: millis, ..Budget::default() }), ..request }
}

pub(crate) fn requiring(requires: &[&str]) -> JobRequest {
    let requires = requires.iter().map(|text| (*text).to_owned()).collect();
    JobRequest { meta: Some(JobMetadata { requires, ..JobMetadata::default() }), ..job("") }
}

pub(crate) fn constrained(constraints: &Value) -> JobRequest {
    JobRequest { env: BTreeMap::from([("CORETEX_POLICY_CONSTRAINTS".into(), constraints.to_string())]), ..job("") }
}

/// A directory of a test, removed with it.
#[derive(Debug)]
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A pipe with a name: who reads it learns when somebody writes.
    #[cfg(target_os = "linux")]
    pub(crate) fn pipe(&self) -> Pipe {
        let path = self.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Open for both, so that opening waits for nobody.
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        Pipe { path, lines: Some(std::io::BufReader::new(file)) }
    }
}

#[cfg(target_os = "linux")]
pub(crate) struct Pipe {
    pub(crate) path: PathBuf,
    lines: Option<std::io::BufReader<std::fs::File>>,
}

#[cfg(target_os = "linux")]
impl Pipe {
    /// The next line that somebody wrote.
    pub(crate) async fn line(&mut self) -> String {
        let mut lines = self.lines.take().unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
            (lines, line.trim().to_owned())
        });
        let (lines, line) = tokio::time::timeout(PATIENCE, read).await.expect("nobody wrote").unwrap();
        self.lines = Some(lines);
        line
    }
}

/// Whether a process is there and not a zombie.
#[cfg(target_os = "linux")]
pub(crate) fn is_alive(pid: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(')').next().unwrap_or_default().trim().chars().next();
    !matches!(state, Some('Z' | 'X') | None)
}

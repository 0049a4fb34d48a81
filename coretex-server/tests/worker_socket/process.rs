//! A worker in a process of its own: this test binary, asked to be one.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use coretex_core::value::Value;
use coretex_worker::{JobContext, RawOutput, Worker};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::mpsc::UnboundedSender,
};

const URL: &str = "CORETEX_TEST_WORKER_URL";
const KEY: &str = "CORETEX_TEST_WORKER_KEY";
const ID: &str = "CORETEX_TEST_WORKER_ID";
const WORK_MS: &str = "CORETEX_TEST_WORK_MS";
pub(crate) const TOPIC: &str = "job.process.work";

/// Says on its output which job it starts, works for a while, and gives back the input with its own id.
async fn work(context: JobContext) -> RawOutput {
    println!("started {}", context.job_id());
    tokio::time::sleep(Duration::from_millis(variable(WORK_MS).parse().unwrap())).await;
    let input = Value::clone(context.input());
    let (worker, attempt) = (context.worker_id(), context.attempt());
    RawOutput(json!({"n": input["n"], "worker": worker, "attempt": attempt, "delivery": context.delivery()}).into())
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Not a test: what [`Process::start`] runs.
#[tokio::test]
#[ignore = "it is the worker of other tests"]
async fn worker_process() {
    if variable(URL).is_empty() {
        return;
    }
    let worker = Worker::connect::<()>(variable(URL)).api_key(variable(KEY)).id(variable(ID)).max_parallel(4);
    let worker = worker.handle(TOPIC, work).build().unwrap();
    worker.run(std::future::pending()).await.unwrap();
}

/// The process. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    pub(crate) id: String,
}

impl Process {
    /// Starts worker `id`, whose jobs take `work_ms`; `started` is told its id and each job that it starts.
    pub(crate) fn start(
        url: &str,
        key: &str,
        id: &str,
        work_ms: u64,
        started: UnboundedSender<(String, String)>,
    ) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process::worker_process", "--ignored", "--nocapture"]);
        command.env(URL, url).env(KEY, key).env(ID, id).env(WORK_MS, work_ms.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = tokio::process::ChildStdout::from_std(child.stdout.take().unwrap()).unwrap();
        let worker = id.to_owned();
        drop(tokio::spawn(async move {
            let mut lines = BufReader::new(out).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // The test harness writes before the worker's first line.
                if let Some((_, job)) = line.split_once("started ") {
                    let _nobody_counts = started.send((worker.clone(), job.to_owned()));
                }
            }
        }));
        Self { child, id: id.to_owned() }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "{name}");
    }

    /// SIGSTOP: it is there, and does nothing.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL: no warning, no cleaning up. Gone already is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

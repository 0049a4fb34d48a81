//! A control plane with its API on a port of its own, in this process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use coretex_core::{
    governance::Principal,
    job::{RunId, WorkflowId},
    policy::{Outcome, fixed},
    ports::{Blobs, SystemClock, memory::MemoryBlobs},
    runtime::{ControlPlane, StartRequest},
    value::Value,
    workflow::{Run, Workflow},
};
use coretex_server::{Api, Auth, WorkerSockets};
use coretex_worker::{Worker, WorkerBuilder};
use tokio::net::TcpListener;

pub(crate) const KEY: &str = "k-1";

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) struct Rig {
    pub(crate) plane: ControlPlane,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) address: SocketAddr,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(WorkerSockets::default().with_grace(ms(200)).with_idle(ms(1_000))).await
    }

    pub(crate) async fn with(options: WorkerSockets) -> Self {
        let blobs: Arc<dyn Blobs> = Arc::new(MemoryBlobs::new(Arc::new(SystemClock)));
        let plane = ControlPlane::builder(fixed(Outcome::Allow)).blobs(blobs.clone()).start().await.unwrap();
        let app = Api::new(plane.clone(), Auth::key(KEY)).worker_sockets(options).into_router();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(tokio::spawn(async move { axum::serve(listener, app).await }));
        Self { plane, blobs, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// A worker that connects to it, in this process.
    pub(crate) fn worker<S>(&self, id: &str) -> WorkerBuilder<S> {
        Worker::connect(self.url()).api_key(KEY).id(id)
    }

    pub(crate) async fn workflow(&self, definition: Value) {
        let workflow = Workflow::parse("test", &definition.to_string()).unwrap();
        self.plane.put_workflow(&principal(), workflow).await.unwrap();
    }

    pub(crate) async fn start_run(&self, workflow: &str, input: Value) -> RunId {
        let request = StartRequest::new(WorkflowId::parse(workflow).unwrap(), input);
        self.plane.start(&principal(), request).await.unwrap()
    }

    pub(crate) async fn ended(&self, run: &RunId) -> Arc<Run> {
        let who = principal();
        let wait = self.plane.wait(&who, run);
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the run ends").unwrap()
    }

    /// The output of a run of one step on `topic`.
    pub(crate) async fn run(&self, topic: &str, input: Value) -> Value {
        let step = serde_json::json!({"id": "one", "output": "${steps.s.output}", "steps": {
            "s": {"topic": topic, "input": "${input}"}
        }});
        self.workflow(step).await;
        let run = self.start_run("one", input).await;
        let run = self.ended(&run).await;
        serde_json::to_value(run.output()).unwrap()
    }
}

pub(crate) fn principal() -> Principal {
    Principal::service("test")
}

//! A control plane with a worker and its API, without a socket.

use axum::{Router, body::Body, http::Request};
use coretex_core::{governance::Principal, job::RunId, runtime::ControlPlane, value::Value};
use coretex_policy::YamlPolicy;
use coretex_server::{Auth, router};
use coretex_worker::{JobError, RawInput, RawOutput, RunningWorker, Worker};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

pub(crate) const KEY: &str = "k-1";

const POLICY: &str = "
default_decision: allow
rules:
  - { id: gate, match: { topics: ['job.gated.*'] }, decision: require_approval, reason: look first, constraints: { budgets: { max_runtime_ms: 60000 } } }
  - { id: never, match: { topics: ['job.banned.*'] }, decision: deny, reason: not here }
";

pub(crate) struct Rig {
    pub(crate) plane: ControlPlane,
    app: Router,
    _worker: RunningWorker,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The stable code of a refusal, whose body and headers agree.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let problem = self.json();
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["type"], format!("urn:coretex:error:{}", problem["code"].as_str().unwrap()));
        assert!(!problem["title"].as_str().unwrap().is_empty() && !problem["detail"].as_str().unwrap().is_empty());
        assert_eq!(self.headers["x-error-code"], problem["code"].as_str().unwrap());
        problem["code"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn text_of(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap().to_owned()
    }
}

async fn echo(RawInput(input): RawInput) -> RawOutput {
    RawOutput(input)
}

async fn fail() -> Result<(), JobError> {
    Err(JobError::fatal("broken", "it is broken"))
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let policy = YamlPolicy::from_yaml("test", POLICY).unwrap();
        let plane = ControlPlane::builder(policy).start().await.unwrap();
        let worker = Worker::builder::<()>(plane.bus())
            .id("w-1")
            .handle("job.test.echo", echo)
            .handle("job.gated.echo", echo)
            .handle("job.test.fail", fail);
        let worker = worker.build().unwrap().start().await.unwrap();
        let app = router(plane.clone(), Auth::key(KEY));
        Self { plane, app, _worker: worker }
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(crate) fn request(method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder().method(method).uri(path).header("x-api-key", KEY)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Self::request("GET", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Self::request("DELETE", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(Self::request("POST", path).body(body.into()).unwrap()).await
    }

    /// Stores a workflow with these steps under `id`.
    pub(crate) async fn workflow(&self, id: &str, steps: Value) {
        let body = json!({"id": id, "name": "w", "org_id": "default", "steps": steps});
        self.post("/api/v1/workflows", body.to_string()).await.is(201);
    }

    pub(crate) async fn start_run(&self, workflow: &str, input: Value) -> String {
        self.post(&format!("/api/v1/workflows/{workflow}/runs"), input.to_string()).await.is(200).text_of("run_id")
    }

    pub(crate) async fn ended(&self, run: &str) {
        self.plane.wait(&Principal::service("test"), &RunId::parse(run).unwrap()).await.unwrap();
    }

    /// The job when it is in `state`; the platform works meanwhile.
    pub(crate) async fn job_in(&self, id: &str, state: &str) -> Value {
        for _ in 0..100_000 {
            let job = self.get(&format!("/api/v1/jobs/{id}")).await.is(200).json();
            if job["state"] == state {
                return job;
            }
            tokio::task::yield_now().await;
        }
        panic!("job {id} does not become {state}");
    }
}

/// The keys of an object, sorted.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// `wanted` are among the keys of `value`.
#[track_caller]
pub(crate) fn has_keys(value: &Value, wanted: &[&str]) {
    let missing: Vec<&&str> = wanted.iter().filter(|key| value.get(key).is_none()).collect();
    assert!(missing.is_empty(), "missing {missing:?} in {value}");
}

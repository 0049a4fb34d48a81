//! The engine's API over its socket: the few calls that a job needs.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use coretex_core::value::Value;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use tokio::{net::UnixStream, time::timeout};

use crate::{
    endpoint::net::exchange::{self, Open},
    job_error::{JobError, JobErrorKind},
};

/// The largest answer that is read as a whole.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// How long the engine may take to answer what it answers at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pauses before a removal that was refused is asked for again: six times, within 3.2 s.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(1_600);

/// An engine behind a socket. Each call is a connection of its own.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    socket: Arc<Path>,
}

impl Engine {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.into() }
    }

    pub(super) async fn create(&self, name: &str, request: &Value) -> Result<(), JobError> {
        let path = format!("/containers/create?name={name}");
        let (status, body) = self.call(Method::POST, &path, Some(request)).await?;
        match status {
            StatusCode::CREATED => Ok(()),
            StatusCode::NOT_FOUND => {
                let text = format!("{}; pull or import the image where the engine runs", told(&body));
                Err(JobError::fatal("container_image_missing", text))
            }
            _ => Err(refused("create", status, &body)),
        }
    }

    pub(super) async fn start(&self, name: &str) -> Result<(), JobError> {
        let (status, body) = self.call(Method::POST, &format!("/containers/{name}/start"), None).await?;
        if status == StatusCode::NO_CONTENT { Ok(()) } else { Err(refused("start", status, &body)) }
    }

    /// Waits for the end and tells the exit code.
    pub(super) async fn wait(&self, name: &str) -> Result<i64, JobError> {
        let path = format!("/containers/{name}/wait?condition=not-running");
        let (response, open) = self.open(Method::POST, &path, None).await?;
        let (status, body) = self.whole(response, open).await?;
        let exit = serde_json::from_slice::<Value>(&body).ok().and_then(|answer| answer.get("StatusCode")?.as_i64());
        exit.ok_or_else(|| refused("wait for", status, &body))
    }

    /// Whether the kernel ended it for its memory.
    pub(super) async fn ran_out_of_memory(&self, name: &str) -> Result<bool, JobError> {
        let (status, body) = self.call(Method::GET, &format!("/containers/{name}/json"), None).await?;
        let found = serde_json::from_slice::<Value>(&body).ok();
        let killed = found.as_ref().and_then(|answer| answer.get("State")?.get("OOMKilled")?.as_bool());
        killed.ok_or_else(|| refused("inspect", status, &body))
    }

    /// Asks it to end, and kills it when `grace` has passed.
    pub(super) async fn stop(&self, name: &str, grace: Duration) -> Result<(), JobError> {
        let path = format!("/containers/{name}/stop?t={}", grace.as_secs());
        let (response, open) = self.open(Method::POST, &path, None).await?;
        let (status, body) = self.whole(response, open).await?;
        match status {
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refused("stop", status, &body)),
        }
    }

    /// Kills and removes it with its volumes. What is not there is removed. An engine that still cleans up behind a
    /// container that has just ended may refuse, and is asked again.
    pub(super) async fn remove(&self, name: &str) -> Result<(), JobError> {
        let path = format!("/containers/{name}?force=true&v=true");
        let mut pause = FIRST_PAUSE;
        loop {
            let (status, body) = self.call(Method::DELETE, &path, None).await?;
            match status {
                StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::NOT_FOUND => return Ok(()),
                status if (status.is_server_error() || status == StatusCode::CONFLICT) && pause <= LAST_PAUSE => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                _ => return Err(refused("remove", status, &body)),
            }
        }
    }

    /// Containers with `label`, running or not.
    pub(super) async fn labelled(&self, label: &str) -> Result<Vec<Value>, JobError> {
        let filters = format!(r#"{{"label":["{label}"]}}"#);
        let mut path = "/containers/json?all=true&filters=".to_owned();
        for byte in filters.bytes() {
            path.push_str(&format!("%{byte:02X}"));
        }
        let (status, body) = self.call(Method::GET, &path, None).await?;
        serde_json::from_slice(&body).map_err(|_| refused("list", status, &body))
    }

    /// What it printed, from its beginning; with `follow` also what it is going to print.
    pub(super) async fn logs(&self, name: &str, follow: bool) -> Result<(Incoming, Open), JobError> {
        let path = format!("/containers/{name}/logs?follow={follow}&stdout=true&stderr=true");
        let (response, open) = self.open(Method::GET, &path, None).await?;
        if response.status() == StatusCode::OK {
            return Ok((response.into_body(), open));
        }
        let (status, body) = self.whole(response, open).await?;
        Err(refused("read", status, &body))
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Bytes), JobError> {
        let answered = async {
            let (response, open) = self.open(method, path, body).await?;
            self.whole(response, open).await
        };
        let late = || self.unavailable(&format!("it did not answer within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, answered).await.unwrap_or_else(|_| Err(late()))
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(Response<Incoming>, Open), JobError> {
        let unavailable = |error: &dyn std::fmt::Display| self.unavailable(&error.to_string());
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = Request::builder()
            .method(method)
            // Without a version: the newest that the engine speaks. What is used here is in all of them.
            .uri(path)
            .header(header::HOST, "engine")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| unavailable(&error))?;
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| unavailable(&error))?;
        exchange::send(stream, request).await.map_err(|error| unavailable(&error))
    }

    async fn whole(&self, response: Response<Incoming>, open: Open) -> Result<(StatusCode, Bytes), JobError> {
        let status = response.status();
        let read = exchange::collect(response.into_body(), MAX_ANSWER).await;
        drop(open);
        match read {
            Ok((body, true)) => Ok((status, body)),
            Ok((_, false)) => Err(self.unavailable("its answer is too large")),
            Err(error) => Err(self.unavailable(&error.to_string())),
        }
    }

    fn unavailable(&self, why: &str) -> JobError {
        let text = format!("the container engine at `{}` cannot be used: {why}", self.socket.display());
        JobError::new(JobErrorKind::Retryable, "container_engine_unavailable", text)
    }
}

/// The engine's own words.
fn told(body: &[u8]) -> String {
    let message = serde_json::from_slice::<Value>(body).ok();
    let message = message.as_ref().and_then(|answer| answer.get("message")?.as_str());
    let text = message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    text.get(..text.floor_char_boundary(1024)).unwrap_or_default().trim().to_owned()
}

fn refused(what: &str, status: StatusCode, body: &[u8]) -> JobError {
    let text = format!("the container engine does not {what} the container ({}): {}", status.as_u16(), told(body));
    if status.is_server_error() {
        return JobError::failed(text).with_code("container_engine_refused");
    }
    JobError::fatal("container_engine_refused", text)
}

//! The webhook of the demo: takes each effect once, and remembers what it took.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use coretex_core::value::Value;
use serde_json::json;
use tokio::net::TcpListener;

/// Listens on a free port of this machine.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: String,
    taken: Mutex<Taken>,
}

/// What was taken: one line of JSON each, written before it is answered.
#[derive(Debug)]
struct Taken {
    file: File,
    bodies: BTreeMap<String, Value>,
}

impl Receiver {
    pub(super) async fn start(path: &Path) -> anyhow::Result<Arc<Self>> {
        let taken = Taken::open(path).with_context(|| format!("`{}` cannot be used", path.display()))?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free for the webhook")?;
        let address = format!("http://{}", listener.local_addr()?);
        let this = Arc::new(Self { address, taken: Mutex::new(taken) });
        let router = Router::new().route("/", post(take)).with_state(this.clone());
        // It ends with the process.
        drop(tokio::spawn(async move { axum::serve(listener, router).await }));
        Ok(this)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What was taken under `key`; `null` for nothing.
    pub(super) fn received(&self, key: &str) -> Value {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.bodies.get(key).cloned().unwrap_or_default()
    }
}

impl Taken {
    fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line without an end was never answered.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        let lines = text.get(..whole).unwrap_or_default().lines();
        let bodies = lines
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|line| Some((line.get("key")?.as_str()?.to_owned(), line.get("body")?.clone())))
            .collect();
        Ok(Self { file, bodies })
    }

    /// Whether it is new.
    fn take(&mut self, key: &str, body: &Value) -> std::io::Result<bool> {
        if self.bodies.contains_key(key) {
            return Ok(false);
        }
        let line = format!("{}\n", json!({"key": key, "body": body}));
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()?;
        self.bodies.insert(key.to_owned(), body.clone());
        Ok(true)
    }
}

async fn take(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).ok_or(StatusCode::BAD_REQUEST)?;
    let mut taken = receiver.taken.lock().unwrap_or_else(PoisonError::into_inner);
    match taken.take(key, &body) {
        Ok(accepted) => Ok(Json(json!({"accepted": accepted}))),
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_is_taken_once_also_after_a_crash_in_the_middle_of_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("webhook.jsonl");
        assert!(Taken::open(&path).unwrap().take("r:post", &json!(1)).unwrap());
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"key\":\"r2:po").unwrap();
        let mut taken = Taken::open(&path).unwrap();
        assert!(!taken.take("r:post", &json!(1)).unwrap());
        assert!(taken.take("r2:post", &json!(2)).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}

//! What crashed workers left: found by label, removed at the start of an endpoint.
//!
//! A container names the process that made it (boot, process namespace, id, start time) and the time after which it is
//! nobody's. It is removed when that process is gone, which can be seen from within the same namespace, or when its time
//! is over, which can be seen from everywhere. A container of a worker that lives is never removed.

use std::{fs, path::Path, time::Duration};

use coretex_core::value::Value;
use jiff::Timestamp;
use serde_json::json;

use super::engine::Engine;
use crate::{endpoint::call::Call, job_error::JobError};

const ENDPOINT: &str = "io.coretex.endpoint";
const JOB: &str = "io.coretex.job";
const PROCESS: &str = "io.coretex.process";
const EXPIRES: &str = "io.coretex.expires";
const DIRECTORY: &str = "io.coretex.directory";
/// What the name of a job's directory begins with.
pub(super) const PREFIX: &str = "coretex-job-";
/// Beyond timeout and grace: what the engine may take to remove a container.
const SLACK: Duration = Duration::from_secs(120);

/// The labels of an endpoint's containers.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    endpoint: String,
    lifetime: Duration,
    process: String,
}

impl Labels {
    pub(super) fn new(endpoint: &str, lifetime_sec: u64) -> Self {
        let lifetime = Duration::from_secs(lifetime_sec).saturating_add(SLACK);
        let process = Process::of(std::process::id()).map(|process| process.to_string()).unwrap_or_default();
        Self { endpoint: endpoint.to_owned(), lifetime, process }
    }

    pub(super) fn of(&self, call: &Call, directory: &str) -> Value {
        let expires = call.now().checked_add(self.lifetime).unwrap_or(Timestamp::MAX).as_second();
        json!({
            ENDPOINT: self.endpoint,
            JOB: call.job.job_id(),
            PROCESS: self.process,
            EXPIRES: expires.to_string(),
            DIRECTORY: directory,
        })
    }
}

/// Removes what no living worker owns.
pub(super) async fn remove(engine: &Engine) -> Result<(), JobError> {
    let now = coretex_core::ports::Clock::now(&coretex_core::ports::SystemClock);
    for container in engine.labelled(ENDPOINT).await? {
        let label = |name: &str| container.get("Labels").and_then(|labels| labels.get(name)?.as_str());
        let id = container.get("Id").and_then(Value::as_str);
        if let Some(id) = id
            && is_left(label(PROCESS).unwrap_or_default(), label(EXPIRES).unwrap_or_default(), now)
        {
            engine.remove(id).await?;
            remove_directory(Path::new(label(DIRECTORY).unwrap_or_default()));
            tracing::info!(container = id, job_id = label(JOB), "removed a container that a crashed worker left");
        }
    }
    Ok(())
}

/// Removes a job's directory, and nothing that is not one. It may be gone, or on another machine.
fn remove_directory(path: &Path) {
    let name = path.file_name().and_then(|name| name.to_str());
    if path.parent() == Some(&*std::env::temp_dir()) && name.is_some_and(|name| name.starts_with(PREFIX)) {
        let _ = fs::remove_dir_all(path);
    }
}

fn is_left(process: &str, expires: &str, now: Timestamp) -> bool {
    let expired = expires.parse::<i64>().is_ok_and(|second| second < now.as_second());
    expired || Process::parse(process).is_some_and(|process| process.is_gone())
}

/// One process among all that ever ran, as far as this machine can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    boot: String,
    namespace: String,
    id: u32,
    started: String,
}

impl Process {
    fn of(id: u32) -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?.to_str()?.to_owned();
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name of the program stands in parentheses and may hold anything; the start time is the 20th word after it.
        let mut words = stat.rsplit_once(')')?.1.split_whitespace();
        let state = words.next()?;
        let started = words.nth(18)?.to_owned();
        (!matches!(state, "Z" | "X")).then_some(Self { boot, namespace, id, started })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/').map(str::to_owned);
        let (boot, namespace, id, started) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(Self { boot, namespace, id: id.parse().ok()?, started })
    }

    /// Certainly gone: not one that another namespace may know better.
    fn is_gone(&self) -> bool {
        let Some(own) = Self::of(std::process::id()) else { return false };
        own.boot == self.boot && own.namespace == self.namespace && Self::of(self.id).as_ref() != Some(self)
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/{}", self.boot, self.namespace, self.id, self.started)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_owns_is_left() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let (past, future) = ((now.as_second() - 1).to_string(), (now.as_second() + 1).to_string());
        let own = Process::of(std::process::id()).unwrap();
        assert_eq!(Process::parse(&own.to_string()), Some(own.clone()));
        assert!(!is_left(&own.to_string(), &future, now));
        assert!(is_left(&own.to_string(), &past, now));
        let reused = Process { started: "1".to_owned(), ..own.clone() };
        assert!(is_left(&reused.to_string(), &future, now));
        for elsewhere in [
            Process { namespace: "pid:[1]".to_owned(), ..reused.clone() },
            Process { boot: "other".to_owned(), ..reused },
        ] {
            assert!(!is_left(&elsewhere.to_string(), &future, now));
        }
        for unreadable in ["", "a/b", "a/b/c/d"] {
            assert!(!is_left(unreadable, "soon", now));
        }
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let id = child.id();
        child.wait().unwrap();
        assert_eq!(Process::of(id), None);
    }
}

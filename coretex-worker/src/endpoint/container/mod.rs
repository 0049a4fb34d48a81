//! Containers: one for each job, made, run, read and removed through the API of a Docker-compatible engine.
//!
//! The box is closed unless the document opens it: no network, a read-only root, no capabilities, no new privileges, a
//! user that is not root, bounded memory, processors, processes, open files and `/tmp`. Two places are shared with the
//! worker's host, in a directory of the job: `/coretex/input.json`, which is only read, and `/coretex/out`. The engine
//! has to run on the worker's machine for that, and its socket is as good as root there.
//!
//! Invariant: whatever happens to a job, its container goes: at its end, when its future is dropped, and, if the worker
//! died, at the next start of an endpoint (`leftovers`).

mod engine;
mod files;
mod leftovers;
mod logs;

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use coretex_core::{
    ports::{IdSource, SystemIds},
    value::{Template, Value},
};
use futures::future::BoxFuture;
use serde_json::json;
use tempfile::TempDir;

use self::{engine::Engine, leftovers::Labels, logs::Printed};
use super::{
    answer::{self, Answer},
    call::Call,
    exit::ExitCodes,
    kind::Built,
    profile::{Filesystem, Network, Profile, Sandboxing},
    runner::Runner,
    spec::{ContainerSpec, EndpointSpec, TextOrJson},
    template::{Compiler, Rendered, all},
};
use crate::job_error::{JobError, JobErrorKind};

#[derive(Debug)]
struct Container {
    engine: Engine,
    labels: Labels,
    spec: ContainerSpec,
    command: Vec<Template>,
    env: Vec<(String, Template)>,
    input: Template,
    exit_codes: ExitCodes,
}

/// Builds the runner.
pub(crate) fn build(
    place: &str,
    name: &str,
    common: &EndpointSpec,
    spec: &ContainerSpec,
    compiler: &mut Compiler<'_>,
) -> Option<Built> {
    let text = |text: &String| Value::String(text.clone());
    let command = spec.command.iter().enumerate();
    let command = all(command.map(|(index, part)| compiler.request(&format!("{place}.command[{index}]"), &text(part))));
    let env = all(spec
        .env
        .iter()
        .map(|(name, value)| Some((name.clone(), compiler.request(&format!("{place}.env.{name}"), &text(value))?))));
    for name in spec.env.keys().filter(|name| name.is_empty() || name.contains(['=', '\0'])) {
        compiler.note(format!("{place}.env"), format!("`{}` is no name of a variable", name.escape_debug()));
    }
    let input = spec.input.clone().unwrap_or_else(|| Value::from("${input}"));
    let input = compiler.request(&format!("{place}.input"), &input);
    judge(place, spec, compiler);
    let exit_codes = ExitCodes::judge(&format!("{place}.exit_codes"), &spec.exit_codes, compiler.problems());
    let enforced = Profile {
        sandbox: Some(Sandboxing::Isolated),
        network: (spec.network == "none").then_some(Network::None),
        fs: Some(Filesystem::Ro),
        tools: None,
    };
    let container = Container {
        engine: Engine::new(&spec.socket),
        labels: Labels::new(name, common.timeout_sec.saturating_add(common.grace_sec)),
        spec: spec.clone(),
        command: command?,
        env: env?,
        input: input?,
        exit_codes,
    };
    Some(Built { runner: Arc::new(container), enforced, judges_hosts: false, main: "${answer.stdout}" })
}

fn judge(place: &str, spec: &ContainerSpec, compiler: &mut Compiler<'_>) {
    let mut range = |field: &str, fits: bool, text: &str| {
        if !fits {
            compiler.note(format!("{place}.{field}"), text);
        }
    };
    let ids: Option<Vec<u32>> = spec.user.split(':').map(|id| id.parse().ok()).collect();
    let user = ids.is_some_and(|ids| ids.len() == 2 && ids.iter().all(|id| *id > 0));
    range("user", user, "use numbers `uid:gid` that are not root's");
    range("image", !spec.image.is_empty() && spec.image.bytes().all(|b| b.is_ascii_graphic()), "name an image");
    range("memory_bytes", spec.memory_bytes >= 6 * 1024 * 1024, "use 6 MiB or more");
    range("cpus", spec.cpus >= 0.01 && spec.cpus <= 1024.0, "use 0.01 to 1024");
    range("processes", (1..=65_536).contains(&spec.processes), "use 1 to 65536");
    range("open_files", (16..=1_048_576).contains(&spec.open_files), "use 16 to 1048576");
    let network = !spec.network.is_empty() && spec.network != "host" && !spec.network.starts_with("container:");
    range(
        "network",
        network,
        "use `none` or the name of a network; that of the host or of another container is no box",
    );
    range("socket", spec.socket.is_absolute(), "name the socket by an absolute path");
}

impl Runner for Container {
    fn run<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Answer, JobError>> {
        Box::pin(async move {
            let shared = Shared::new(&self.input(call)?)?;
            let request = self.request(call, shared.path())?;
            // The name is ours before the container is there, so that it can be removed even if its creation is cut off.
            let name = format!("coretex-{}", SystemIds.uuid());
            let guard = Removal { engine: self.engine.clone(), name: Some(name.clone()) };
            let ended = self.start(call, &name, &request).await;
            guard.remove().await;
            let answer = ended.and_then(|ended| self.answer(ended, &shared, call));
            // Removing what a container left may take a while.
            let _ = tokio::task::spawn_blocking(|| drop(shared)).await;
            answer
        })
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(leftovers::remove(&self.engine))
    }
}

/// The job's directory: `input.json` and `out/`.
struct Shared(TempDir);

impl Shared {
    fn new(input: &[u8]) -> Result<Self, JobError> {
        let made = || -> std::io::Result<TempDir> {
            let directory = tempfile::Builder::new().prefix(leftovers::PREFIX).tempdir()?;
            let mode = |path: &Path, mode: u32| std::fs::set_permissions(path, PermissionsExt::from_mode(mode));
            let input_file = directory.path().join("input.json");
            std::fs::write(&input_file, input)?;
            // The directory around them lets nobody else in; the container sees these two places alone.
            mode(&input_file, 0o444)?;
            let out = directory.path().join("out");
            std::fs::create_dir(&out)?;
            mode(&out, 0o777)?;
            Ok(directory)
        };
        made().map(Self).map_err(|error| JobError::retry(error).with_code("container_failed"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// How a container ended.
struct Ended {
    exit: i64,
    out_of_memory: bool,
    printed: Printed,
}

impl Container {
    fn input(&self, call: &Call) -> Result<zeroize::Zeroizing<Vec<u8>>, JobError> {
        let input = call.scope.render("the input", &self.input)?;
        let value = input.as_ref().map_or(&Value::Null, Rendered::get);
        Ok(zeroize::Zeroizing::new(value.to_string().into_bytes()))
    }

    /// The body of `POST /containers/create`.
    fn request(&self, call: &Call, directory: &Path) -> Result<Value, JobError> {
        let spec = &self.spec;
        let command = self.command.iter().enumerate();
        let command = command.map(|(index, template)| {
            let text = call.scope.text(&format!("part {} of the command", index + 1), template)?;
            Ok(Value::from(text.expose()))
        });
        let command = command.collect::<Result<Vec<_>, JobError>>()?;
        let env = self.env.iter().map(|(name, value)| {
            let value = call.scope.text(&format!("variable `{name}`"), value)?;
            Ok(Value::from(format!("{name}={}", value.expose())))
        });
        let env = env.collect::<Result<Vec<_>, JobError>>()?;
        let path = directory.to_str().ok_or_else(|| {
            JobError::fatal("endpoint_request_invalid", "the directory of temporary files has a name that is not UTF-8")
        })?;
        let limit = |name: &str, value: u64| json!({ "Name": name, "Soft": value, "Hard": value });
        #[expect(clippy::cast_possible_truncation, reason = "judged to be at most 1024 processors")]
        let nano_cpus = (spec.cpus * 1e9) as i64;
        Ok(json!({
            "Image": spec.image,
            "Cmd": if command.is_empty() { Value::Null } else { Value::Array(command) },
            "Env": env,
            "User": spec.user,
            "WorkingDir": "/coretex/out",
            "Labels": self.labels.of(call, path),
            "NetworkDisabled": spec.network == "none",
            "StopSignal": "SIGTERM",
            "HostConfig": {
                "NetworkMode": spec.network,
                "ReadonlyRootfs": true,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "Privileged": false,
                "Memory": spec.memory_bytes,
                "MemorySwap": spec.memory_bytes,
                "NanoCpus": nano_cpus,
                "PidsLimit": spec.processes,
                "Tmpfs": { "/tmp": format!("rw,noexec,nosuid,nodev,size={}", spec.tmp_bytes) },
                "Binds": [format!("{path}/input.json:/coretex/input.json:ro"), format!("{path}/out:/coretex/out:rw")],
                "Ulimits": [
                    limit("nofile", spec.open_files),
                    limit("nproc", spec.processes.max(1000)),
                    limit("core", 0),
                    limit("fsize", spec.tmp_bytes.max(u64::try_from(call.limits.max_output_bytes).unwrap_or(u64::MAX))),
                ],
                "LogConfig": { "Type": "json-file", "Config": {} },
                "RestartPolicy": { "Name": "no" },
                "AutoRemove": false,
            },
        }))
    }

    async fn start(&self, call: &Call, name: &str, request: &Value) -> Result<Ended, JobError> {
        // Not cut off when the job has to stop: the engine would make a container that nobody waits for.
        self.engine.create(name, request).await?;
        call.within(self.engine.start(name)).await?;
        let work = async {
            let (printed, exit) = logs::to_the_end(&self.engine, name, call).await?;
            Ok(Ended { exit, out_of_memory: self.engine.ran_out_of_memory(name).await?, printed })
        };
        tokio::select! {
            biased;
            error = call.stopped() => {
                // Asked to end, and killed by the engine when the grace has passed.
                if let Err(error) = self.engine.stop(name, call.grace).await {
                    tracing::warn!(job_id = call.job.job_id(), %error, "a container could not be stopped");
                }
                Err(error)
            }
            ended = work => ended,
        }
    }

    fn answer(&self, ended: Ended, shared: &Shared, call: &Call) -> Result<Answer, JobError> {
        let Ended { exit, out_of_memory, printed } = ended;
        let stderr = printed.stderr.text(&call.redactor);
        if out_of_memory {
            let text = format!("the container ran out of its {} bytes of memory: {stderr}", self.spec.memory_bytes);
            return Err(JobError::new(JobErrorKind::Failed, "container_killed", text));
        }
        if exit > 128 && !self.exit_codes.names(exit) {
            let text = format!("the program was ended by signal {}: {stderr}", exit - 128);
            return Err(JobError::new(JobErrorKind::Failed, "container_killed", text));
        }
        if exit != 0 {
            return Err(self.exit_codes.error(exit, "container_failed", &stderr));
        }
        let stdout = answer::read(&printed.stdout, self.spec.stdout == TextOrJson::Json, "the standard output")?;
        let mut files = BTreeMap::new();
        if self.spec.files {
            let room = call.limits.max_output_bytes.saturating_sub(printed.stdout.len());
            for (name, bytes) in files::read(&shared.path().join("out"), room)? {
                let told = match String::from_utf8(bytes) {
                    Ok(text) => json!({ "bytes": text.len(), "text": text }),
                    Err(error) => json!({
                        "bytes": error.as_bytes().len(),
                        "base64": BASE64_STANDARD.encode(error.as_bytes()),
                    }),
                };
                files.insert(name, told);
            }
        }
        Ok(json!({ "exit_code": 0, "stdout": stdout, "stderr": stderr, "files": files }))
    }
}

/// Removes a container when it is dropped, if it was not removed before.
struct Removal {
    engine: Engine,
    name: Option<String>,
}

impl Removal {
    async fn remove(mut self) {
        if let Some(name) = self.name.as_deref() {
            gone(&self.engine, name).await;
        }
        self.name = None;
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        if let (Some(name), Ok(runtime)) = (self.name.take(), tokio::runtime::Handle::try_current()) {
            let engine = self.engine.clone();
            drop(runtime.spawn(async move { gone(&engine, &name).await }));
        }
    }
}

async fn gone(engine: &Engine, name: &str) {
    if let Err(error) = engine.remove(name).await {
        tracing::warn!(container = name, %error, "a container could not be removed; the next start tries again");
    }
}

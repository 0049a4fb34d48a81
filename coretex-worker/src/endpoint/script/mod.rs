//! Scripts: a program per job, in a process group and a directory of its own.
//!
//! What holds: no shell, an environment made from nothing, limits of the system on every process, no core dumps, the
//! end of the whole group on cancel, deadline and exit. What does not: a script sees the host's files and network as
//! its user does, and a process that leaves the group (`setsid`) outlives the job. Its sandbox is therefore
//! `process` and nothing more; jobs that demand more are refused, and belong into containers.

mod io;
mod process;

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use coretex_core::value::{Template, Value};
use futures::future::BoxFuture;
use serde_json::json;
use tempfile::TempDir;
use zeroize::Zeroizing;

use self::{
    io::Streams,
    process::{Exit, Group},
};
use super::{
    answer::{self, Answer},
    call::Call,
    exit::ExitCodes,
    kind::Built,
    profile::{Profile, Sandboxing},
    runner::Runner,
    secret::Secret,
    spec::{EndpointSpec, ScriptLimits, ScriptSpec, ScriptUser, TextOrJson},
    template::{Compiler, all},
};
use crate::job_error::{JobError, JobErrorKind};

/// Sets limits and then becomes the program; part of util-linux.
const PRLIMIT: [&str; 3] = ["/usr/bin/prlimit", "/bin/prlimit", "/usr/local/bin/prlimit"];

#[derive(Debug)]
struct Script {
    prlimit: PathBuf,
    limits: Vec<OsString>,
    program: PathBuf,
    arguments: Vec<Template>,
    env: Vec<(String, Template)>,
    inherit: Vec<String>,
    stdin: Template,
    stdout: TextOrJson,
    user: Option<ScriptUser>,
    exit_codes: ExitCodes,
}

/// Builds the runner.
pub(crate) fn build(
    place: &str,
    common: &EndpointSpec,
    spec: &ScriptSpec,
    compiler: &mut Compiler<'_>,
) -> Option<Built> {
    let program = spec.argv.first().map(PathBuf::from).filter(|path| path.is_absolute());
    if program.is_none() || spec.argv.first().is_some_and(|program| program.contains("${")) {
        compiler.note(format!("{place}.argv[0]"), "name the program by an absolute path, without templates");
    }
    let text = |text: &String| Value::String(text.clone());
    let rest = spec.argv.iter().enumerate().skip(1);
    let arguments = all(rest.map(|(index, part)| compiler.request(&format!("{place}.argv[{index}]"), &text(part))));
    for name in spec.env.keys().chain(&spec.inherit_env) {
        if name.is_empty() || name.contains(['=', '\0']) {
            compiler.note(format!("{place}.env"), format!("`{}` is no name of a variable", name.escape_debug()));
        }
    }
    let env = spec.env.iter();
    let env =
        all(env.map(|(name, value)| {
            Some((name.clone(), compiler.request(&format!("{place}.env.{name}"), &text(value))?))
        }));
    let stdin = spec.stdin.clone().unwrap_or_else(|| Value::from("${input}"));
    let stdin = compiler.request(&format!("{place}.stdin"), &stdin);
    let prlimit = PRLIMIT.iter().map(PathBuf::from).find(|path| path.is_file());
    if prlimit.is_none() {
        compiler.note(place, "limits need the program `prlimit`; install util-linux");
    }
    if spec.user.is_some() && !rustix::process::geteuid().is_root() {
        compiler.note(format!("{place}.user"), "only a worker that runs as root can run scripts as another user");
    }
    let exit_codes = ExitCodes::judge(&format!("{place}.exit_codes"), &spec.exit_codes, compiler.problems());
    let script = Script {
        prlimit: prlimit?,
        limits: limits(&spec.limits, common.timeout_sec),
        program: program?,
        arguments: arguments?,
        env: env?,
        inherit: spec.inherit_env.clone(),
        stdin: stdin?,
        stdout: spec.stdout,
        user: spec.user,
        exit_codes,
    };
    let enforced = Profile { sandbox: Some(Sandboxing::Process), ..Profile::default() };
    Some(Built { runner: Arc::new(script), enforced, judges_hosts: false, main: "${answer.stdout}" })
}

/// The limits as arguments of `prlimit`.
fn limits(limits: &ScriptLimits, timeout_sec: u64) -> Vec<OsString> {
    let cpu = limits.cpu_sec.unwrap_or(timeout_sec);
    let always = [
        "--core=0".to_owned(),
        format!("--cpu={cpu}:{}", cpu.saturating_add(1)),
        format!("--nofile={}", limits.open_files),
        format!("--fsize={}", limits.file_bytes),
    ];
    let memory = limits.memory_bytes.map(|bytes| format!("--as={bytes}"));
    let processes = limits.processes.map(|count| format!("--nproc={count}"));
    always.into_iter().chain(memory).chain(processes).map(OsString::from).collect()
}

/// A request that is rendered and not yet started.
struct Prepared {
    arguments: Vec<Secret>,
    env: Vec<(String, Secret)>,
    stdin: Zeroizing<Vec<u8>>,
}

impl Runner for Script {
    fn run<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Answer, JobError>> {
        Box::pin(async move {
            let prepared = self.prepare_job(call)?;
            let directory = self.directory()?;
            let ended = self.start(call, prepared, &directory).await;
            // After the group has ended: nothing of it can write there any more.
            // Removing what a script left may take a while.
            let removed = tokio::task::spawn_blocking(|| directory.close()).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(job_id = call.job.job_id(), %error, "the directory of a script could not be removed");
            }
            ended
        })
    }
}

impl Script {
    fn prepare_job(&self, call: &Call) -> Result<Prepared, JobError> {
        let arguments = self.arguments.iter().enumerate();
        let arguments =
            arguments.map(|(index, template)| call.scope.text(&format!("argument {}", index + 1), template));
        let env = self.env.iter();
        let env = env.map(|(name, value)| Ok((name.clone(), call.scope.text(&format!("variable `{name}`"), value)?)));
        let stdin = call.scope.render("the standard input", &self.stdin)?;
        Ok(Prepared {
            arguments: arguments.collect::<Result<_, JobError>>()?,
            env: env.collect::<Result<_, JobError>>()?,
            stdin: Zeroizing::new(match stdin.as_ref().map(super::template::Rendered::get) {
                None => Vec::new(),
                Some(Value::String(text)) => text.clone().into_bytes(),
                Some(other) => other.to_string().into_bytes(),
            }),
        })
    }

    fn directory(&self) -> Result<TempDir, JobError> {
        let failed = |error: std::io::Error| JobError::retry(error).with_code("script_not_started");
        let directory = tempfile::Builder::new().prefix("coretex-job-").tempdir().map_err(failed)?;
        if let Some(user) = self.user {
            std::os::unix::fs::chown(directory.path(), Some(user.uid), Some(user.gid)).map_err(failed)?;
        }
        Ok(directory)
    }

    async fn start(&self, call: &Call, prepared: Prepared, directory: &TempDir) -> Result<Answer, JobError> {
        let Prepared { arguments, env, stdin } = prepared;
        let mut command = tokio::process::Command::new(&self.prlimit);
        command.args(&self.limits).arg("--").arg(&self.program);
        command.args(arguments.iter().map(Secret::expose));
        command.env_clear().env("HOME", directory.path()).env("TMPDIR", directory.path());
        command.envs(self.inherit.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(env.iter().map(|(name, value)| (name, value.expose())));
        command.current_dir(directory.path());
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        let mut group = Group::spawn(command).map_err(|error| {
            let text = format!("`{}` does not start: {error}", self.program.display());
            JobError::new(JobErrorKind::Failed, "script_not_started", text)
        })?;
        let streams = Streams::of(&mut group, stdin, call);
        let ended = tokio::select! {
            biased;
            error = call.stopped() => {
                group.stop(call.grace).await;
                Err(error)
            }
            ended = streams.until_end(&mut group) => ended,
        };
        group.gone().await;
        let (exit, stdout, stderr) = ended?;
        match exit {
            Exit::Code(0) => {
                let stdout = answer::read(&stdout, self.stdout == TextOrJson::Json, "the standard output")?;
                Ok(json!({ "exit_code": 0, "stdout": stdout, "stderr": stderr }))
            }
            // `prlimit` answers so when it cannot become the program; a shell does when a command of its own is missing.
            Exit::Code(126 | 127) if stderr.starts_with("prlimit: failed to execute") => {
                Err(JobError::fatal("script_not_started", format!("the program does not start: {stderr}")))
            }
            Exit::Code(code) => Err(self.exit_codes.error(code, "script_failed", &stderr)),
            Exit::Signal(signal) => Err(killed(signal, &stderr)),
        }
    }
}

fn killed(signal: i32, stderr: &str) -> JobError {
    use rustix::process::Signal;
    let why = match Signal::from_named_raw(signal) {
        Some(Signal::XCPU) => "; it used up `limits.cpu_sec`",
        Some(Signal::XFSZ) => "; it wrote a file beyond `limits.file_bytes`",
        Some(Signal::KILL) => "; it used up its CPU time, or the system ran out of memory",
        _ => "",
    };
    let said = if stderr.is_empty() { String::new() } else { format!(": {stderr}") };
    let text = format!("the program was ended by signal {signal}{why}{said}");
    JobError::new(JobErrorKind::Failed, "script_killed", text)
}

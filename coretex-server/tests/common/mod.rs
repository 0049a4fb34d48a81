//! Real processes: the server and the command line as they are shipped.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::{
    hash::{BuildHasher, Hasher},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use coretex_server::client::Client;

pub(crate) const KEY: &str = "test-key-0123456789";

/// A server on a free port. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    pub(crate) address: String,
}

/// What the server logs while it opens its files and takes up what was under way, in order.
pub(crate) const OPENING: [&str; 5] = [
    "opening the store",
    "opened the store",
    "opened the blobs",
    "started the control plane",
    "stored the definitions",
];

/// `dev --demo-workers` on `data`, to be started.
fn dev(data: &Path) -> Command {
    dev_at(data, "127.0.0.1:0")
}

fn dev_at(data: &Path, address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coretex-server"));
    command.args(["dev", "--demo-workers", "--http-addr", address, "--data-dir"]).arg(data);
    command.env("CORETEX_API_KEY", KEY).stdout(Stdio::piped());
    command
}

impl Server {
    /// Starts `dev --demo-workers` on `data`, without waiting for it.
    pub(crate) fn spawn(data: &Path) -> Self {
        Self::spawn_with(data, &[])
    }

    /// As [`Server::spawn`], with more arguments.
    pub(crate) fn spawn_with(data: &Path, more: &[&str]) -> Self {
        let mut child = dev(data).args(more).env("CORETEX_LOG", "error").spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out, address: String::new() }
    }

    /// Starts it at the address of an earlier one, and waits until it listens.
    pub(crate) fn start_at(data: &Path, address: &str) -> Self {
        let address = address.trim_start_matches("http://");
        let mut child = dev_at(data, address).env("CORETEX_LOG", "error").spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out, address: String::new() }.ready()
    }

    /// SIGTERM: asked to end in order.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Starts it on `data` and kills it as soon as it logs `phase`, one of [`OPENING`].
    pub(crate) fn kill_when_it_says(data: &Path, phase: &str) {
        let mut child =
            dev(data).env("CORETEX_LOG", "error,coretex_server=debug").stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = log.any(|line| line.unwrap().contains(phase));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(said, "the server never said `{phase}`");
    }

    /// Waits until it listens.
    pub(crate) fn ready(mut self) -> Self {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        let address = line.split_once("http://").unwrap_or_else(|| panic!("no address in `{line}`")).1;
        self.address = format!("http://{}", address.split(',').next().unwrap());
        self
    }

    pub(crate) fn start(data: &Path) -> Self {
        Self::spawn(data).ready()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.address).unwrap().with_key(Some(KEY.to_owned()))
    }

    /// SIGKILL: no warning, no cleaning up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for it to end by itself.
    pub(crate) fn ended(mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// Runs `coretexctl` against it.
    pub(crate) fn ctl(&self, args: &[&str]) -> Ran {
        ctl(&self.address, Some(KEY), args)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out.trim_end().to_owned()
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.err
    }
}

pub(crate) fn ctl(server: &str, key: Option<&str>, args: &[&str]) -> Ran {
    ctl_command(server, key, args).output().unwrap().into()
}

/// `coretexctl`, to be started.
pub(crate) fn ctl_command(server: &str, key: Option<&str>, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coretexctl"));
    command.env_remove("CORETEX_API_KEY").env_remove("CORETEX_PRINCIPAL").env("CORETEX_SERVER", server).args(args);
    if let Some(key) = key {
        command.env("CORETEX_API_KEY", key);
    }
    command
}

/// Numbers that look random, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// From the variable `CORETEX_CRASH_SEED`, or another one each time; the seed is printed.
    pub(crate) fn roll() -> Self {
        let given = std::env::var("CORETEX_CRASH_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish());
        eprintln!("CORETEX_CRASH_SEED={seed}");
        Self(seed)
    }

    /// 0 up to, not including, `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // Marsaglia's xorshift.
        self.0 = self.0.max(1);
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

//! The document's shapes: plain data, one struct per kind of endpoint. `document` judges them.

use std::{collections::BTreeMap, path::PathBuf};

use coretex_core::value::Value;
use serde::{Deserialize, Serialize};

/// What all endpoints have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// The topics whose jobs it does; filters such as `job.scan.*` are allowed.
    pub topics: Vec<String>,
    /// The pool of its worker; none unless told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// Jobs that run at once; 4 unless told.
    #[serde(default = "defaults::max_parallel")]
    pub max_parallel: u32,
    /// Longest run time of an attempt in seconds; 60 unless told. The job's own deadline holds too.
    #[serde(default = "defaults::timeout")]
    pub timeout_sec: u64,
    /// Seconds to end in after being asked to stop; 5 unless told.
    #[serde(default = "defaults::grace")]
    pub grace_sec: u64,
    /// Largest answer in bytes; 1 MiB unless told.
    #[serde(default = "defaults::output")]
    pub max_output_bytes: usize,
    /// Secrets that its templates may name: name to reference.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// The profile that it promises; refused if the runner cannot enforce it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// All tools that it uses, by name: the operator's word. Without it a job that limits tools is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// Makes the output from `answer`, `input` and `job`; the answer's main part unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

/// How an endpoint does its jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindSpec {
    /// A program on this machine.
    Script(ScriptSpec),
    /// A request to a service.
    Http(HttpSpec),
    /// A function behind the invoke API of AWS Lambda.
    Lambda(LambdaSpec),
    /// A container of a Docker-compatible engine.
    Container(ContainerSpec),
}

/// How printed text is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextOrJson {
    /// As JSON; nothing is `null`.
    #[default]
    Json,
    /// As a string.
    Text,
}

/// What an exit code means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExitMeaning {
    /// Whether trying again helps.
    pub r#as: ExitAs,
    /// The error's code, in snake case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Whether trying again helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitAs {
    /// Another attempt may succeed.
    Retry,
    /// Failed; the step's retry policy decides.
    Failed,
    /// Another attempt is pointless.
    Fatal,
}

/// A program, started once per job in a fresh directory: no shell, nothing inherited that is not named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptSpec {
    /// The program, by an absolute path without templates, and its arguments.
    pub argv: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Variables taken from the worker's own environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inherit_env: Vec<String>,
    /// What it reads: strings as they are, everything else as JSON; `${input}` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Value>,
    /// How its standard output is read.
    #[serde(default)]
    pub stdout: TextOrJson,
    /// What it may take up.
    #[serde(default)]
    pub limits: ScriptLimits,
    /// As whom it runs; as the worker unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<ScriptUser>,
    /// What exit codes mean; 0 is success, others failed unless told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exit_codes: BTreeMap<String, ExitMeaning>,
}

/// Limits of the system on each process of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptLimits {
    /// Seconds of CPU; the endpoint's `timeout_sec` unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_sec: Option<u64>,
    /// Address space in bytes; no limit unless told, since runtimes with a collector reserve far more than they use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Open files; 256 unless told.
    pub open_files: u64,
    /// Processes of its user, other jobs included; no limit unless told. Root is not held to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// The largest file in bytes; 256 MiB unless told.
    pub file_bytes: u64,
}

impl Default for ScriptLimits {
    fn default() -> Self {
        Self { cpu_sec: None, memory_bytes: None, open_files: 256, processes: None, file_bytes: 256 * 1024 * 1024 }
    }
}

/// A user by number. Needs a worker that runs as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A request to a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSpec {
    /// Upper case; `POST` unless told.
    #[serde(default = "defaults::method")]
    pub method: String,
    /// The URL. Templates may stand in the path, where their values are percent-encoded, or the whole URL is one
    /// template, such as `${input.url}`.
    pub url: String,
    /// Query parameters, percent-encoded. One that has no value in a job is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Value>,
    /// Headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body as JSON; `${input}` unless told, and none for `GET`, `HEAD` and `DELETE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<HttpAuth>,
    /// Statuses after which another attempt may succeed; 408, 425, 429, 502, 503 and 504 unless told.
    #[serde(default = "defaults::retry_on")]
    pub retry_on: Vec<u16>,
    /// Redirects that are followed; 3 unless told, 10 at most.
    #[serde(default = "defaults::redirects")]
    pub max_redirects: u8,
    /// The only hosts that are reached, redirects included, such as `api.example.org` or `*.example.org`; any unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_hosts: Option<Vec<String>>,
    /// Addresses that are reached although they are not public, as networks such as `10.1.0.0/16`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Certificates that are trusted beside the system's, as a PEM file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// The `Authorization` header, made from secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HttpAuth {
    /// `Bearer <token>`.
    Bearer(String),
    /// `Basic <base64 of user:password>`.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
}

/// A function behind the invoke API of AWS Lambda.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LambdaSpec {
    /// Name or ARN of the function.
    pub function: String,
    /// Version or alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<String>,
    /// Region, such as `eu-central-1`.
    pub region: String,
    /// Where the API is; AWS in the region unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Key id, such as `${secrets.key_id}`.
    pub access_key_id: String,
    /// Key, such as `${secrets.key}`.
    pub secret_access_key: String,
    /// Token of temporary keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
    /// What the function is given; `${input}` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// As in [`HttpSpec`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// As in [`HttpSpec`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// A container, made for one job and removed after it: no network, a read-only root, no capabilities, no root user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    /// The image. It is not pulled: what runs is what the operator put there.
    pub image: String,
    /// The command and its arguments; the image's own unless told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// What lies in `/coretex/input.json`; `${input}` unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// How its standard output is read.
    #[serde(default)]
    pub stdout: TextOrJson,
    /// Takes the files that it leaves in `/coretex/out` into `answer.files`.
    #[serde(default)]
    pub files: bool,
    /// As `uid:gid`, not root; `65534:65534` unless told.
    #[serde(default = "defaults::container_user")]
    pub user: String,
    /// Memory in bytes, swap included; 256 MiB unless told.
    #[serde(default = "defaults::container_memory")]
    pub memory_bytes: u64,
    /// Processors, such as 0.5; 1 unless told.
    #[serde(default = "defaults::container_cpus")]
    pub cpus: f64,
    /// Processes; 64 unless told.
    #[serde(default = "defaults::container_pids")]
    pub processes: u64,
    /// Open files; 1,000 unless told.
    #[serde(default = "defaults::container_files")]
    pub open_files: u64,
    /// Bytes of `/tmp`, in memory; 16 MiB unless told.
    #[serde(default = "defaults::container_tmp")]
    pub tmp_bytes: u64,
    /// The network's name; `none` unless told.
    #[serde(default = "defaults::container_network")]
    pub network: String,
    /// The engine's socket; `/var/run/docker.sock` unless told.
    #[serde(default = "defaults::socket")]
    pub socket: PathBuf,
    /// What exit codes mean; 0 is success, others failed unless told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exit_codes: BTreeMap<String, ExitMeaning>,
}

mod defaults {
    use std::path::PathBuf;

    pub(super) const fn max_parallel() -> u32 {
        4
    }
    pub(super) const fn timeout() -> u64 {
        60
    }
    pub(super) const fn grace() -> u64 {
        5
    }
    pub(super) const fn output() -> usize {
        1024 * 1024
    }
    pub(super) fn method() -> String {
        "POST".to_owned()
    }
    pub(super) fn retry_on() -> Vec<u16> {
        vec![408, 425, 429, 502, 503, 504]
    }
    pub(super) const fn redirects() -> u8 {
        3
    }
    pub(super) fn container_user() -> String {
        "65534:65534".to_owned()
    }
    pub(super) const fn container_memory() -> u64 {
        256 * 1024 * 1024
    }
    pub(super) const fn container_cpus() -> f64 {
        1.0
    }
    pub(super) const fn container_pids() -> u64 {
        64
    }
    pub(super) const fn container_files() -> u64 {
        1000
    }
    pub(super) const fn container_tmp() -> u64 {
        16 * 1024 * 1024
    }
    pub(super) fn container_network() -> String {
        "none".to_owned()
    }
    pub(super) fn socket() -> PathBuf {
        PathBuf::from("/var/run/docker.sock")
    }
}

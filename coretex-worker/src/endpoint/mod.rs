//! Endpoints: scripts, HTTP services, functions and containers that become workers by configuration.
//!
//! ```text
//! endpoints.yaml --> Endpoints --> one worker per endpoint
//!
//! job --> admit --> secrets --> runner: request from templates, answer --> redact --> output from a template
//!           |                      ^
//!   constraints, profile      cancel, deadline, timeout
//! ```
//!
//! A document names endpoints; each says which topics it serves and how a job becomes a request and an answer an
//! output. [`Endpoints::parse`] judges the whole document at once, [`Endpoints::start`] runs a worker for each endpoint.
//! A job is admitted only if everything it demands (constraints of its policy decision, profiles among its
//! requirements) is enforced here; otherwise it is refused with a stable code and nothing is started.
//!
//! Each kind is a feature of the crate: `script`, `http`, `lambda`, `container`. A document may name kinds that are
//! not built in; building its endpoints then says so.
//!
//! What a job carries never chooses a secret, a program, a host outside of the guard's rules or a limit: these are the
//! operator's, and stand in the document.
//!
//! # Example
//!
//! ```
//! use coretex_worker::endpoint::{Endpoints, Host};
//!
//! let error = Endpoints::parse("endpoints.yaml", "endpoints: {a: {topics: [job.a], scrpt: {}}}", &Host::default());
//! let problems = error.unwrap_err();
//! assert!(problems.to_string().starts_with("endpoints.yaml: endpoints.a.scrpt: unknown field"));
//! ```
//!
//! With the feature `script`:
//!
//! ```
//! # #[cfg(all(feature = "script", target_os = "linux"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use coretex_worker::endpoint::{Endpoints, Host};
//!
//! let text = r"
//! endpoints:
//!   word-count:
//!     topics: [job.text.count]
//!     timeout_sec: 10
//!     script:
//!       argv: [/usr/bin/wc, -w]
//!       stdin: ${input.text}
//! ";
//! let endpoints = Endpoints::parse("endpoints.yaml", text, &Host::default())?;
//! assert_eq!(endpoints.names().collect::<Vec<_>>(), ["word-count"]);
//! // let running = endpoints.start(bus, None).await?;
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "script", target_os = "linux")))]
//! # fn main() {}
//! ```

mod admit;
mod answer;
#[cfg(any(feature = "script", feature = "container"))]
mod bound;
mod call;
mod constraint;
#[cfg(all(feature = "container", unix))]
mod container;
mod document;
#[cfg(any(feature = "script", feature = "container"))]
mod exit;
#[cfg(feature = "http")]
mod http;
mod kind;
#[cfg(feature = "lambda")]
mod lambda;
#[cfg(feature = "client")]
mod net;
mod problem;
mod profile;
mod redact;
mod runner;
#[cfg(all(feature = "script", target_os = "linux"))]
mod script;
mod secret;
mod spec;
mod start;
mod template;

#[cfg(feature = "http")]
pub use self::net::resolve::{Resolver, SystemResolver};
pub use self::{
    problem::{EndpointsError, Problem},
    profile::{Filesystem, Network, Profile, Sandboxing},
    secret::{EnvSecrets, FileSecrets, Secret, SecretError, SecretRef, SecretResolver, Secrets},
    spec::{
        ContainerSpec, EndpointSpec, ExitAs, ExitMeaning, HttpAuth, HttpSpec, KindSpec, LambdaSpec, ScriptLimits,
        ScriptSpec, ScriptUser, TextOrJson,
    },
    start::{Endpoints, Host, RunningEndpoints, StartError},
};

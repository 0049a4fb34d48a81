//! Endpoints as jobs meet them: real processes, real servers, a real container engine.

#![cfg(feature = "endpoint")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, their helpers too"
)]

#[cfg(all(feature = "container", target_os = "linux"))]
mod container;
mod document;
#[cfg(all(feature = "container", target_os = "linux"))]
mod engine;
#[cfg(all(feature = "script", feature = "http", feature = "lambda", feature = "container", target_os = "linux"))]
mod guide;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "lambda")]
mod lambda;
mod rig;
#[cfg(all(feature = "script", target_os = "linux"))]
mod script;
#[cfg(all(feature = "script", target_os = "linux"))]
mod script_limits;
#[cfg(feature = "http")]
mod server;
#[cfg(feature = "http")]
mod ssrf;
#[cfg(feature = "http")]
mod tls;

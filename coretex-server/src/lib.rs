//! The reference server of coretex: an HTTP API over a [`ControlPlane`](coretex_core::runtime::ControlPlane).
//!
//! [`router`] is the API as an axum router that any host can mount. [`Platform`] joins the adapters of one machine into
//! a control plane on a data directory; [`serve`] runs the API until it is told to stop, and ends it in order. The
//! programs `coretex-server` and `coretexctl` are made of these and of [`client`].

pub mod client;
mod http;
mod platform;
mod serve;

pub use http::{Api, Auth, WorkerSockets, router};
pub use platform::{OpenError, Platform};
pub use serve::serve;

//! Durable workflows, jobs, policy gate and scheduler as an embeddable library.

#[cfg(feature = "engine")]
pub mod governance;
#[cfg(feature = "engine")]
pub mod job;
#[cfg(feature = "engine")]
pub mod plane;
pub mod policy;
pub mod ports;
pub mod protocol;
#[cfg(feature = "engine")]
pub mod runtime;
#[cfg(feature = "engine")]
pub mod scheduler;
#[cfg(any(test, feature = "engine", feature = "conformance"))]
pub mod testing;
pub mod value;
#[cfg(feature = "engine")]
pub mod workflow;

//! Durable workflows, jobs, policy gate and scheduler as an embeddable library.

pub mod policy;
pub mod ports;
pub mod protocol;
#[cfg(any(test, feature = "engine", feature = "conformance"))]
pub mod testing;
pub mod value;

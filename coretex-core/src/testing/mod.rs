//! What tests of coretex, of its adapters and of its users are made of.

pub mod clock;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

pub use clock::VirtualClock;

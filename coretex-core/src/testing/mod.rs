//! What tests of coretex, of its adapters and of its users are made of.

#[cfg(feature = "conformance")]
pub mod conformance;

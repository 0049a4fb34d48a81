//! What tests of coretex, of its adapters and of its users are made of.
//!
//! [`TestPlane`] is a whole control plane in virtual time; [`faults`] makes any store or bus fail by plan;
//! [`VirtualClock`] is the time of both.

pub mod clock;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod faults;
#[cfg(feature = "engine")]
pub mod plane;
mod rng;

pub use clock::VirtualClock;
pub use faults::{FaultPlan, Faults, FaultyBus, FaultyStore};
#[cfg(feature = "engine")]
pub use plane::{Presence, Reply, Say, ScriptedJob, TestPlane, TestPlaneBuilder, policy_fn};
pub use rng::Rng;

//! Where a job may run: decisions over a snapshot of configuration.
//!
//! Invariant: routing reads configuration only. A topic that no pool serves fails at once, with the topic's name,
//! rather than waiting for a worker that can never come.

mod routes;
#[cfg(test)]
mod tests;

pub use routes::{NoRoute, OneOrMany, Pool, PoolsDocument, Routes, RoutesError};

//! Outputs that are kept by pointer, as far as they were read for a decision.
//!
//! They are named by the digest of their bytes, so what a decision reads is the same whenever it is made.

use std::{collections::BTreeMap, sync::Arc};

use crate::value::Value;

/// What was read for one decision, by digest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadedOutputs(BTreeMap<Arc<str>, Option<Arc<Value>>>);

/// An output that a decision reads and that was not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputNeeded {
    /// Digest of its bytes, SHA-256 in hexadecimal digits: it lies in the blob store under `pin/<sha256>`.
    pub sha256: Arc<str>,
    /// How many they are.
    pub bytes: u64,
}

impl LoadedOutputs {
    /// Adds what was read under `sha256`; `None` where there is nothing that can be read.
    pub fn insert(&mut self, sha256: Arc<str>, value: Option<Arc<Value>>) {
        self.0.insert(sha256, value);
    }

    /// What was read under `sha256`: `None` when nobody looked, `Some(None)` where there is nothing that can be read.
    #[must_use]
    pub fn get(&self, sha256: &str) -> Option<Option<&Value>> {
        self.0.get(sha256).map(Option::as_deref)
    }
}

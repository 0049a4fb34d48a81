//! The id of a policy.

use std::{fmt::Write as _, sync::Arc};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::bundle::{Bundle, OnNoMatch, Origin};

#[derive(Debug, Serialize)]
struct Canonical<'a> {
    language: u32,
    on_no_match: OnNoMatch,
    bundles: &'a [Bundle],
}

/// `<version>:<sha256>` over what the bundles say. Comments and formatting do not count, so that tidying a file
/// leaves pending approvals valid.
pub(super) fn of(bundles: &[Bundle], on_no_match: OnNoMatch) -> Arc<str> {
    let canonical = Canonical { language: 1, on_no_match, bundles };
    // Nothing in it refuses to be written; were that to change, the debug form is as telling.
    let bytes = serde_json::to_vec(&canonical).unwrap_or_else(|_| format!("{canonical:?}").into_bytes());
    let mut id = version(bundles).map(|version| format!("{version}:")).unwrap_or_default();
    for byte in Sha256::digest(&bytes) {
        // Writing to a String does not fail.
        let _ = write!(id, "{byte:02x}");
    }
    id.into()
}

/// The operator's version, else the first one that a bundle has.
fn version(bundles: &[Bundle]) -> Option<&str> {
    let versions = || bundles.iter().filter(|bundle| !bundle.document.version.is_empty());
    let chosen = versions().find(|bundle| bundle.origin == Origin::Base).or_else(|| versions().next())?;
    Some(&chosen.document.version)
}

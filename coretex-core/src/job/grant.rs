//! A yes and how far it reaches.
//!
//! A human agrees to one piece of work on one step, under the terms that policy named. The yes covers that step's tries
//! for as long as all of this holds, and nothing else: whatever differs from what was shown is asked anew. Policy is
//! asked before every try all the same; a yes stands in for the human, never for policy.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::policy::Decision;

/// A yes, with what it is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalGrant {
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
    /// When it was given.
    pub at: Timestamp,
    /// Which try was shown; 0 where that was not recorded.
    #[serde(default)]
    pub attempt: u32,
    /// Digest of the job that was agreed to, run and step included.
    pub hash: Arc<str>,
    /// Digest of what policy said when it asked; empty where that was not recorded.
    #[serde(default)]
    pub terms: Arc<str>,
    /// The policy that asked.
    pub snapshot: Arc<str>,
    /// When it lapses; at once where that was not recorded.
    #[serde(default)]
    pub expires_at: Timestamp,
}

/// Why a yes that was given does not cover what is asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantLapse {
    /// The job is not the one that was shown.
    RequestChanged,
    /// Policy asks by another rule, for another reason, or with other limits and duties.
    TermsChanged,
    /// The yes is too old.
    Expired,
}

impl GrantLapse {
    /// The name in records and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestChanged => "request_changed",
            Self::TermsChanged => "terms_changed",
            Self::Expired => "expired",
        }
    }
}

impl ApprovalGrant {
    /// Whether it covers the job with digest `hash`, for which policy now says `decision`.
    ///
    /// # Errors
    /// Why it does not.
    pub fn covers(&self, hash: &str, decision: &Decision, now: Timestamp) -> Result<(), GrantLapse> {
        if *self.hash != *hash {
            return Err(GrantLapse::RequestChanged);
        }
        if *self.terms != *decision.terms() {
            return Err(GrantLapse::TermsChanged);
        }
        if self.expires_at <= now {
            return Err(GrantLapse::Expired);
        }
        Ok(())
    }
}

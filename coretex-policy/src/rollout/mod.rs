//! A policy on its way into force: beside the live one (shadow), for some (canary), for all (enforce).
//!
//! Both policies judge every request; the stage says whose decision counts. Which one that is for a request depends on
//! its tenant and its run alone, so a run is judged by one policy from its first step to its last. A rollout is immutable
//! but for what it counts; going back is a matter of [`YamlPolicy`](crate::YamlPolicy), which does so by itself when the
//! counts say that the candidate does harm.

mod count;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use coretex_core::{
    policy::{Decision, PolicyRequest},
    ports::{PolicySnapshot, Verdict},
};
use serde::{Deserialize, Serialize};

pub use count::{Counts, Difference, Health, Limits};

use crate::{fold, snapshot::CompiledPolicy};

/// How far a candidate has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Stage {
    /// It decides nothing.
    #[default]
    Shadow,
    /// It decides for these tenants, and for a share of the others' runs.
    Canary {
        /// Tenants, in any case.
        #[serde(default)]
        tenants: Vec<String>,
        /// Of a hundred runs; more than 100 count as 100.
        #[serde(default)]
        percent: u8,
    },
    /// It decides everything, and the live one is watched for comparison.
    Enforce,
}

/// Whose decision counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// The policy in force.
    Live,
    /// The candidate's.
    Candidate,
}

/// Two policies and a stage.
#[derive(Debug)]
pub struct Rollout {
    pub(crate) live: Arc<CompiledPolicy>,
    pub(crate) candidate: Arc<CompiledPolicy>,
    stage: Stage,
    limits: Limits,
    id: Arc<str>,
    counted: count::Counted,
}

impl Rollout {
    pub(crate) fn new(live: Arc<CompiledPolicy>, candidate: Arc<CompiledPolicy>, stage: Stage, limits: Limits) -> Self {
        let name = match stage {
            Stage::Shadow => "shadow",
            Stage::Canary { .. } => "canary",
            Stage::Enforce => "enforce",
        };
        let id = format!("{}|{name}={}", live.id(), candidate.id()).into();
        Self { live, candidate, stage, limits, id, counted: count::Counted::default() }
    }

    /// How far it has come.
    #[must_use]
    pub const fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The policy that may come into force.
    #[must_use]
    pub fn candidate(&self) -> &CompiledPolicy {
        &self.candidate
    }

    /// What both policies said since this stage began.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counted.counts()
    }

    /// Some requests on which they differ.
    #[must_use]
    pub fn differences(&self) -> Vec<Difference> {
        self.counted.differences()
    }

    /// What the counts say of the candidate.
    #[must_use]
    pub fn health(&self) -> Health {
        self.limits.judge(&self.counts())
    }

    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whose decision counts for `request`. Equal for all steps and attempts of a run.
    #[must_use]
    pub fn arm(&self, request: &PolicyRequest<'_>) -> Arm {
        match &self.stage {
            Stage::Shadow => Arm::Live,
            Stage::Enforce => Arm::Candidate,
            Stage::Canary { tenants, percent } => {
                let listed = tenants.iter().any(|own| fold::same(own.trim(), request.tenant.trim()));
                if listed || bucket(self.candidate.id(), request) < u64::from(*percent) {
                    Arm::Candidate
                } else {
                    Arm::Live
                }
            }
        }
    }

    fn decide(&self, request: &PolicyRequest<'_>) -> Decision {
        let (live, candidate) = (self.live.decide_clearly(request), self.candidate.decide_clearly(request));
        let arm = self.arm(request);
        self.counted.add(request, &live, &candidate, arm);
        if arm == Arm::Candidate { candidate.0 } else { live.0 }
    }
}

/// From 0 to 99: FNV-1a over the candidate and the run, or the job without its attempt.
fn bucket(candidate: &str, request: &PolicyRequest<'_>) -> u64 {
    let job = || request.job_id.rsplit_once('@').map_or(request.job_id, |(job, _)| job);
    let run = request.run_id.unwrap_or_else(job);
    let bytes = candidate.bytes().chain([0]).chain(run.bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    // The last byte moves only the low bits of a product, so the high ones are folded in.
    (hash ^ (hash >> 32)) % 100
}

impl PolicySnapshot for Rollout {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn governed(&self) -> bool {
        true
    }

    fn evaluate(&self, request: &PolicyRequest<'_>) -> Verdict {
        Verdict::Decided(self.decide(request))
    }
}

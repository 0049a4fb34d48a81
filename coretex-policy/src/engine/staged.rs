//! Rollouts of the engine: begin, go on, take back, finish.

use std::sync::Arc;

use coretex_core::ports::PolicySnapshot;

use super::{InForce, YamlPolicy};
use crate::{
    rollout::{Health, Limits, Rollout, Stage},
    snapshot::CompiledPolicy,
};

impl YamlPolicy {
    /// Judges with `candidate` as well, and lets it decide as far as `stage` says. One that is under way is replaced.
    pub fn begin_rollout(&self, candidate: CompiledPolicy, stage: Stage, limits: Limits) -> Arc<Rollout> {
        let live = self.current();
        let rollout = Arc::new(Rollout::new(live.clone(), Arc::new(candidate), stage, limits));
        self.current.store(Arc::new(InForce { live, rollout: Some(rollout.clone()), taken_back: None }));
        rollout
    }

    /// The rollout under way.
    #[must_use]
    pub fn rollout(&self) -> Option<Arc<Rollout>> {
        self.current.load().rollout.clone()
    }

    /// Goes on with another stage, whose counts start anew. Nothing happens without a rollout.
    pub fn set_stage(&self, stage: Stage) -> Option<Arc<Rollout>> {
        let now = self.rollout()?;
        let next = Arc::new(Rollout::new(now.live.clone(), now.candidate.clone(), stage, now.limits().clone()));
        self.exchange(&now, |current| InForce { rollout: Some(next.clone()), ..current.clone() }).then_some(next)
    }

    /// Puts the candidate in force. Answers its id, or nothing without a rollout.
    pub fn finish_rollout(&self) -> Option<Arc<str>> {
        let now = self.rollout()?;
        let live = now.candidate.clone();
        let id = live.id().clone();
        self.exchange(&now, |_| InForce { live: live.clone(), rollout: None, taken_back: None }).then_some(id)
    }

    /// Takes the candidate back: the policy in force decides everything again. Whether there was one.
    pub fn take_back(&self, why: &str) -> bool {
        let Some(now) = self.rollout() else { return false };
        self.forget(&now, why)
    }

    /// The candidate that was taken back last, and why.
    #[must_use]
    pub fn taken_back(&self) -> Option<(Arc<str>, String)> {
        self.current.load().taken_back.clone()
    }

    /// The rollout, or the policy in force if the candidate does harm: it is taken back then.
    pub(super) fn healthy(&self, rollout: &Arc<Rollout>) -> Arc<dyn PolicySnapshot> {
        match rollout.health() {
            Health::Harmful { why } => {
                self.forget(rollout, &why);
                rollout.live.clone()
            }
            Health::Good | Health::TooEarly => rollout.clone(),
        }
    }

    fn forget(&self, rollout: &Arc<Rollout>, why: &str) -> bool {
        let taken_back = Some((rollout.candidate.id().clone(), why.to_owned()));
        self.exchange(rollout, |current| InForce {
            live: current.live.clone(),
            rollout: None,
            taken_back: taken_back.clone(),
        })
    }

    /// Changes what is in force if `rollout` still is.
    fn exchange(&self, rollout: &Arc<Rollout>, change: impl Fn(&InForce) -> InForce) -> bool {
        let mut changed = false;
        self.current.rcu(|current| {
            changed = current.rollout.as_ref().is_some_and(|known| Arc::ptr_eq(known, rollout));
            if changed { Arc::new(change(current)) } else { current.clone() }
        });
        changed
    }
}

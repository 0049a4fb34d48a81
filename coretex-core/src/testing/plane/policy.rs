//! Policies for tests: a function, and one that can be replaced.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;

use crate::{
    policy::{Decision, Outcome, PolicyRequest},
    ports::{PolicyEngine, PolicySnapshot, Verdict},
};

/// A policy that asks `judge`, under the snapshot `id`.
pub fn policy_fn(
    id: impl Into<Arc<str>>,
    judge: impl Fn(&PolicyRequest<'_>) -> Outcome + Send + Sync + 'static,
) -> FnPolicy {
    FnPolicy(Arc::new(Judge { id: id.into(), judge: Box::new(judge) }))
}

/// See [`policy_fn`].
#[derive(Clone, Debug)]
pub struct FnPolicy(Arc<Judge>);

struct Judge {
    id: Arc<str>,
    judge: Box<dyn Fn(&PolicyRequest<'_>) -> Outcome + Send + Sync>,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PolicyEngine for FnPolicy {
    fn snapshot(&self) -> Arc<dyn PolicySnapshot> {
        self.0.clone()
    }
}

impl PolicySnapshot for Judge {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn governed(&self) -> bool {
        true
    }

    fn evaluate(&self, request: &PolicyRequest<'_>) -> Verdict {
        Verdict::Decided(Decision::new((self.judge)(request), "scripted", "the script says so", self.id.clone()))
    }
}

/// Stands for a policy that is replaced while the control plane runs.
#[derive(Debug)]
pub(super) struct Replaceable(ArcSwap<Arc<dyn PolicyEngine>>);

impl Replaceable {
    pub(super) fn new(policy: Arc<dyn PolicyEngine>) -> Self {
        Self(ArcSwap::from_pointee(policy))
    }

    pub(super) fn replace(&self, policy: Arc<dyn PolicyEngine>) {
        self.0.store(Arc::new(policy));
    }
}

impl PolicyEngine for Replaceable {
    fn snapshot(&self) -> Arc<dyn PolicySnapshot> {
        self.0.load().snapshot()
    }

    fn ask<'a>(&'a self, request: &'a PolicyRequest<'a>) -> BoxFuture<'a, Decision> {
        let policy = self.0.load_full();
        Box::pin(async move { policy.ask(request).await })
    }
}

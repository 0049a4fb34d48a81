//! Why a job is not let in, or given up while it waits.

use std::sync::Arc;

use crate::scheduler::{NoRoute, queue::LimitReached};

/// Why the scheduler gives a job up. It ends as a dead letter under [`Refusal::code`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Configuration sends it nowhere.
    #[error(transparent)]
    NoRoute(#[from] NoRoute),
    /// No live worker of its pool serves such jobs.
    #[error("pool `{pool}` has no live worker for it{}; start one, or look at why the others do not fit", after(*.waited))]
    NoWorkers {
        /// The pool.
        pool: Arc<str>,
        /// Seconds that it waited.
        waited: u64,
    },
    /// The pool is full, and so is its queue, or it waited too long for its turn.
    #[error("pool `{pool}` is overloaded: {waiting} jobs wait{}; add workers, or try again later", after(*.waited))]
    Overloaded {
        /// The pool.
        pool: Arc<str>,
        /// Jobs that wait there.
        waiting: usize,
        /// Seconds that it waited.
        waited: u64,
    },
    /// Its tenant has as much as it may have.
    #[error("tenant `{tenant}` has reached `{limit}` in pool `{pool}`{}; let some of its jobs end, or raise the limit", after(*.waited))]
    TenantLimit {
        /// The pool.
        pool: Arc<str>,
        /// The tenant.
        tenant: Arc<str>,
        /// The limit's name.
        limit: Arc<str>,
        /// Seconds that it waited.
        waited: u64,
    },
    /// Another keyed limit held it for too long.
    #[error("the limit `{}` is reached for `{}`{}; let some of those jobs end, or raise it", .limit.rule, .limit.key, after(*.waited))]
    KeyLimit {
        /// The limit and the key.
        limit: LimitReached,
        /// Seconds that it waited.
        waited: u64,
    },
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoRoute(_) => "no_pool_mapping",
            Self::NoWorkers { .. } => "no_workers",
            Self::Overloaded { .. } => "pool_overloaded",
            Self::TenantLimit { .. } => "tenant_limit",
            Self::KeyLimit { .. } => "key_limit",
        }
    }

    /// Whether another try may help: everything but a missing mapping passes.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        !matches!(self, Self::NoRoute(_))
    }
}

fn after(seconds: u64) -> String {
    if seconds == 0 { String::new() } else { format!(" (after {seconds} s)") }
}

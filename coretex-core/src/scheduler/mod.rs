//! Which worker gets which job, and when: routing, placement, queues, limits, admission. Pure.
//!
//! ```text
//! job -> routes: pools that may take it -> gates: keyed limits -> a free slot? -> strategy: which worker
//!                                              |                      | no
//!                                              +--> queue: priority, fairness, ageing --> a slot or gate comes free
//! ```
//!
//! [`Scheduler`] is one value that owns the pools of a control plane. Its steps (`submit`, `finish`, `heartbeat`, `tick`)
//! take the time and a seed as arguments and return what follows; there is no clock, no lock and no I/O in here. So it is
//! simulated in virtual time, and explained by the code that decides.
//!
//! Invariants:
//! - Slots and limits are counted from live leases. Nothing else counts, so nothing leaks.
//! - After every step no waiting job could go.
//! - Free labels of a job are no constraints; [`Placement`] is.
//! - A topic that no pool serves fails at once, rather than waiting for a worker that can never come.

pub(crate) mod autoscale;
mod hash;
pub(crate) mod placement;
mod queue;
mod room;
pub(crate) mod routes;
#[cfg(test)]
mod tests;
mod worker;

use std::time::Duration;

pub use self::{
    autoscale::{PoolNow, ScaleRule, Signals},
    placement::{
        AdapterAffinity, Ask, Candidate, Cheapest, Estimate, Explanation, Known, Latencies, LeastLoaded, Look,
        MAX_COST, Misfit, NoPlace, Passed, Placement, PlacementError, Predicted, PredictedCompletion, Score, Sticky,
        Strategy, StrategyKind, TwoChoices, Verdict,
    },
    queue::LimitReached,
    room::{LeaseView, Outcome, Placed, PoolState, Reason, Refusal, Scheduler, Submitted, WaitView},
    routes::{
        AttemptTimeouts, Changes, ConfigError, ConfigProblem, Documents, LimitRule, NoRoute, PoolConfig, PoolShare,
        PoolsDocument, Rate, ReconcilerTimeouts, Routes, Routing, RoutingDiff, Source, Timeouts, TopicTimeouts,
        WorkflowTimeouts,
    },
    worker::{
        Breaker, BreakerRules, BreakerState, Ending, Fleet, FleetRules, Load, Price, WINDOW, WorkerState, WorkerView,
    },
};

/// A time in whole microseconds; the longest that fits when it does not.
fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

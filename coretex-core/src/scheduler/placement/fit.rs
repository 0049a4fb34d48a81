//! Whether a worker may take a job at all: the hard constraints, the same for every strategy.

use std::fmt;

use super::Ask;
use crate::scheduler::worker::{FleetRules, WorkerState, WorkerView};

/// Why a worker may not take a job. Borrowed, since most are made only to be counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Misfit<'a> {
    /// It is draining, quarantined or missing.
    State(WorkerState),
    /// It serves other topics.
    Topic,
    /// It lacks a label that the selector names, or has another value.
    Selector {
        /// The label.
        key: &'a str,
        /// The value that the job wants.
        wanted: &'a str,
        /// The value of the worker.
        found: Option<&'a str>,
    },
    /// It does not advertise this capability.
    Capability(&'a str),
    /// It runs elsewhere.
    Region(&'a str),
    /// It has a job that this one must be apart from.
    Apart,
    /// It has no free slot.
    Full {
        /// Jobs that it works on.
        busy: u32,
        /// Jobs that it takes.
        slots: u32,
    },
    /// Its machine is too busy, in percent.
    Overloaded(f32),
}

impl Misfit<'_> {
    /// The word in answers and metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::State(state) => state.as_str(),
            Self::Topic => "topic",
            Self::Selector { .. } => "selector",
            Self::Capability(_) => "capability",
            Self::Region(_) => "region",
            Self::Apart => "anti_affinity",
            Self::Full { .. } => "full",
            Self::Overloaded(_) => "overloaded",
        }
    }

    /// Whether waiting helps: the worker serves such jobs and only has no room now.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Apart | Self::Full { .. } | Self::Overloaded(_))
    }
}

impl fmt::Display for Misfit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(state) => write!(f, "it is {}", state.as_str()),
            Self::Topic => f.write_str("it serves other topics"),
            Self::Selector { key, wanted, found: None } => write!(f, "it has no label `{key}`; `{wanted}` is wanted"),
            Self::Selector { key, wanted, found: Some(found) } => {
                write!(f, "its label `{key}` is `{found}`, not `{wanted}`")
            }
            Self::Capability(name) => write!(f, "it does not advertise `{name}`"),
            Self::Region(found) => write!(f, "it runs in `{found}`"),
            Self::Apart => f.write_str("it has a job that this one must be apart from"),
            Self::Full { busy, slots } => write!(f, "it works on {busy} of {slots}"),
            Self::Overloaded(percent) => write!(f, "its machine is at {percent:.0} %"),
        }
    }
}

/// Judges one worker: what never changes by waiting first, so that the reason told is the one to act on.
pub(crate) fn fit<'a>(ask: &'a Ask, worker: &'a WorkerView, now: i64, rules: &FleetRules) -> Result<(), Misfit<'a>> {
    let placement = &*ask.placement;
    let state = worker.state(now, rules);
    if state != WorkerState::Live {
        return Err(Misfit::State(state));
    }
    if !worker.topics.is_empty() && !serves(worker, ask.job.topic.as_str()) {
        return Err(Misfit::Topic);
    }
    for (key, wanted) in &placement.selector {
        let found = worker.labels.get(key).map(String::as_str);
        if found != Some(wanted) {
            return Err(Misfit::Selector { key, wanted, found });
        }
    }
    for name in &placement.capabilities {
        let has = |name: &str| worker.capabilities.contains(name);
        if !has(name) && !has(&name.trim().to_lowercase()) {
            return Err(Misfit::Capability(name));
        }
    }
    if let Some(region) = &placement.region
        && **region != *worker.region
    {
        return Err(Misfit::Region(&worker.region));
    }
    if ask.apart().iter().any(|key| worker.holding(*key) > 0) {
        return Err(Misfit::Apart);
    }
    if worker.free() == 0 {
        return Err(Misfit::Full { busy: worker.busy(), slots: worker.slots });
    }
    let highest = worker.load.highest();
    if highest >= rules.overloaded_at {
        return Err(Misfit::Overloaded(highest));
    }
    Ok(())
}

fn serves(worker: &WorkerView, topic: &str) -> bool {
    worker.topics.contains(topic)
        || worker
            .topics
            .iter()
            .any(|filter| filter.contains(['*', '>']) && crate::protocol::subjects::matches(filter, topic))
}

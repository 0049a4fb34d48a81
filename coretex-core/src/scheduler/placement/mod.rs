//! Choosing a worker: a pure decision over the fleet, and its explanation by the same code.
//!
//! ```text
//! workers of the pool -> fit: hard constraints -> preferred worker, affinity, strategy -> the least score
//! ```
//!
//! [`place`] and [`explain`] run one survey; they differ in who listens.

mod ask;
mod explain;
mod fit;
mod latency;
mod strategy;

pub(crate) use self::fit::fit;
pub use self::{
    ask::{Ask, MAX_COST, Placement, PlacementError},
    explain::{Explanation, Passed, Verdict},
    fit::Misfit,
    latency::{Estimate, Latencies, Predicted},
    strategy::{
        AdapterAffinity, Candidate, Cheapest, Known, LeastLoaded, Look, PredictedCompletion, Score, Sticky, Strategy,
        StrategyKind, TwoChoices,
    },
};
use super::{
    hash::mix,
    worker::{Fleet, WorkerIndex, WorkerView},
};

/// Draws for one that fits before every worker is looked at.
const DRAWS: u64 = 4;

/// What a survey hears about one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard<'a> {
    /// It cannot take the job.
    Misfit(Misfit<'a>),
    /// It can, and is that good.
    Scored(Rank),
}

/// Where a worker stands: nearness first, then the strategy's score.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rank {
    pub(crate) nearness: Nearness,
    pub(crate) score: Score,
}

/// What comes before any strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Nearness {
    /// The job names it.
    Preferred,
    /// It has a job with an affinity key of this one.
    Near,
    /// Any other.
    Any,
}

impl Rank {
    fn beats(&self, other: &Self) -> bool {
        self.nearness.cmp(&other.nearness).then_with(|| self.score.compare(&other.score)).is_lt()
    }
}

/// Why no worker was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// No live worker of the pool serves such a job.
    NoWorkers,
    /// Some do, and have no room now.
    Busy,
}

/// One survey of a pool's workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Survey<'a> {
    pub(crate) ask: &'a Ask,
    pub(crate) fleet: &'a Fleet,
    pub(crate) crew: &'a [WorkerIndex],
    pub(crate) strategy: &'a dyn Strategy,
    pub(crate) known: Known<'a>,
    pub(crate) seed: u64,
}

/// Who listens to a survey.
pub(crate) trait Listener<'a> {
    fn hear(&mut self, worker: &'a WorkerView, heard: Heard<'a>);
}

/// Nobody does: what is told is never made.
struct Nobody;

impl<'a> Listener<'a> for Nobody {
    fn hear(&mut self, _: &'a WorkerView, _: Heard<'a>) {}
}

/// Chooses a worker. O(workers of the pool), or O(1) on average for a strategy that draws.
pub(crate) fn place(survey: &Survey<'_>) -> Result<WorkerIndex, NoPlace> {
    survey.run(&mut Nobody)
}

impl<'a> Survey<'a> {
    pub(crate) fn run(&self, listener: &mut impl Listener<'a>) -> Result<WorkerIndex, NoPlace> {
        let mut tally = Tally { survey: self, listener, best: None, no_place: NoPlace::NoWorkers };
        let drawn = match self.strategy.look() {
            Look::Some(wanted) if self.ask.affinity().is_empty() && self.crew.len() > wanted => tally.draw(wanted),
            _ => false,
        };
        if !drawn {
            tally.look_at_all();
        }
        tally.best.map(|(_, index)| index).ok_or(tally.no_place)
    }

    fn rank(&self, candidate: Candidate<'_>) -> Rank {
        let worker = candidate.worker;
        let nearness = if self.ask.placement.preferred_worker_id.as_deref() == Some(&*worker.id) {
            Nearness::Preferred
        } else if self.ask.affinity().iter().any(|key| worker.holding(*key) > 0) {
            Nearness::Near
        } else {
            Nearness::Any
        };
        Rank { nearness, score: self.strategy.score(self.ask, candidate, &self.known) }
    }

    /// The crew from a place that the seed tells, so that equal scores do not always end with the same worker.
    fn rotated(&self) -> impl Iterator<Item = WorkerIndex> + use<'a> {
        let (before, after) = self.crew.split_at_checked(self.drawn(self.seed)).unwrap_or((&[], self.crew));
        after.iter().chain(before).copied()
    }

    /// A place in the crew.
    fn drawn(&self, seed: u64) -> usize {
        let at = mix(seed) % (self.crew.len() as u64).max(1);
        usize::try_from(at).unwrap_or(0)
    }
}

struct Tally<'s, 'a, L> {
    survey: &'s Survey<'a>,
    listener: &'s mut L,
    best: Option<(Rank, WorkerIndex)>,
    no_place: NoPlace,
}

impl<'a, L: Listener<'a>> Tally<'_, 'a, L> {
    /// Looks at one worker; whether it fits.
    fn look(&mut self, index: WorkerIndex) -> bool {
        let survey = self.survey;
        let Some(worker) = survey.fleet.at(index) else { return false };
        if let Err(misfit) = fit(survey.ask, worker, survey.known.now, survey.fleet.rules()) {
            if misfit.passes() {
                self.no_place = NoPlace::Busy;
            }
            self.listener.hear(worker, Heard::Misfit(misfit));
            return false;
        }
        let rank = survey.rank(Candidate { worker, index });
        self.listener.hear(worker, Heard::Scored(rank));
        if self.best.is_none_or(|(least, _)| rank.beats(&least)) {
            self.best = Some((rank, index));
        }
        true
    }

    fn look_at_all(&mut self) {
        for index in self.survey.rotated() {
            self.look(index);
        }
    }

    /// Draws until `wanted` workers fit; whether any did. The preferred worker needs no luck.
    fn draw(&mut self, wanted: usize) -> bool {
        let survey = self.survey;
        let preferred = survey.ask.placement.preferred_worker_id.as_deref().and_then(|id| survey.fleet.index(id));
        if preferred.is_some_and(|index| survey.crew.contains(&index) && self.look(index)) {
            return true;
        }
        let (mut fitting, mut last) = (0, None);
        for draw in 0..wanted as u64 * DRAWS {
            let Some(index) = survey.crew.get(survey.drawn(survey.seed.wrapping_add(draw))).copied() else { break };
            if Some(index) != last && self.look(index) {
                last = Some(index);
                fitting += 1;
            }
            if fitting == wanted {
                break;
            }
        }
        fitting > 0
    }
}

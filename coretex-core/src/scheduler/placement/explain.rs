//! Why this worker, and why not each other one.

use std::sync::Arc;

use super::{Heard, Listener, Nearness, NoPlace, Score, Survey};
use crate::scheduler::worker::WorkerView;

/// What was decided about a job in one pool, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The pool.
    pub pool: Arc<str>,
    /// The strategy's name.
    pub strategy: &'static str,
    /// The worker chosen, or why none was.
    pub chosen: Result<Arc<str>, NoPlace>,
    /// A verdict on every worker of the pool, the chosen one first, then by how close they came.
    pub workers: Vec<Passed>,
}

/// One worker and what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Passed {
    /// Its id.
    pub worker: Arc<str>,
    /// What was found.
    pub verdict: Verdict,
}

/// What was found about a worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It gets the job.
    Chosen(Score),
    /// It fits, but another was better.
    Worse(Score),
    /// The job prefers another, or another has its group.
    LessNear,
    /// It was not drawn.
    NotDrawn,
    /// It may not take the job; the word and the reason.
    Unfit {
        /// A stable word: `full`, `selector`, `draining` and so on.
        word: &'static str,
        /// For people.
        reason: String,
    },
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Chosen(score) => write!(f, "chosen, with {:.3}", score.value),
            Self::Worse(score) if score.tier > 0 => write!(f, "fits, one tier lower, with {:.3}", score.value),
            Self::Worse(score) => write!(f, "fits, with {:.3}, which is more", score.value),
            Self::LessNear => f.write_str("fits, but another is preferred"),
            Self::NotDrawn => f.write_str("was not drawn"),
            Self::Unfit { reason, .. } => f.write_str(reason),
        }
    }
}

#[derive(Default)]
struct Notes<'a>(Vec<(&'a WorkerView, Heard<'a>)>);

impl<'a> Listener<'a> for Notes<'a> {
    fn hear(&mut self, worker: &'a WorkerView, heard: Heard<'a>) {
        self.0.push((worker, heard));
    }
}

impl Survey<'_> {
    /// Runs the survey and keeps what was heard.
    pub(crate) fn explain(&self, pool: Arc<str>) -> Explanation {
        let mut notes = Notes::default();
        let chosen = self.run(&mut notes);
        let winner = chosen.ok().and_then(|index| self.fleet.at(index));
        let least = notes.0.iter().filter_map(|(_, heard)| nearness(heard)).min().unwrap_or(Nearness::Any);
        let mut workers: Vec<Passed> = Vec::new();
        for index in self.crew {
            let Some(worker) = self.fleet.at(*index) else { continue };
            // A worker drawn twice is heard twice, with the same words.
            let heard = notes.0.iter().find(|(other, _)| other.id == worker.id).map(|(_, heard)| heard);
            let wins = winner.is_some_and(|winner| winner.id == worker.id);
            let verdict = match heard {
                None => Verdict::NotDrawn,
                Some(Heard::Misfit(misfit)) => Verdict::Unfit { word: misfit.word(), reason: misfit.to_string() },
                Some(Heard::Scored(rank)) if wins => Verdict::Chosen(rank.score),
                Some(Heard::Scored(rank)) if rank.nearness > least => Verdict::LessNear,
                Some(Heard::Scored(rank)) => Verdict::Worse(rank.score),
            };
            workers.push(Passed { worker: worker.id.clone(), verdict });
        }
        workers.sort_by(|a, b| {
            let key = |verdict: &Verdict| match verdict {
                Verdict::Chosen(score) => (0, *score),
                Verdict::Worse(score) => (1, *score),
                Verdict::LessNear => (2, Score { tier: 0, value: 0.0 }),
                Verdict::NotDrawn => (3, Score { tier: 0, value: 0.0 }),
                Verdict::Unfit { .. } => (4, Score { tier: 0, value: 0.0 }),
            };
            let ((a_kind, a_score), (b_kind, b_score)) = (key(&a.verdict), key(&b.verdict));
            a_kind.cmp(&b_kind).then(a_score.compare(&b_score)).then_with(|| a.worker.cmp(&b.worker))
        });
        let chosen = match winner {
            Some(worker) => Ok(worker.id.clone()),
            None => Err(chosen.err().unwrap_or(NoPlace::NoWorkers)),
        };
        Explanation { pool, strategy: self.strategy.name(), chosen, workers }
    }
}

const fn nearness(heard: &Heard<'_>) -> Option<Nearness> {
    match heard {
        Heard::Scored(rank) => Some(rank.nearness),
        Heard::Misfit(_) => None,
    }
}

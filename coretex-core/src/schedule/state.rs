//! A schedule as stored: what it is, and how far it has come.

use std::{collections::VecDeque, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Fire, FireOutcome, Fired, OverlapPolicy, ScheduleSpec};
use crate::job::{RunId, TenantId};

/// Times that the history keeps.
pub(super) const HISTORY: usize = 50;

/// That no time comes for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// By whom.
    pub by: Arc<str>,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub note: Arc<str>,
}

/// Past times that are made up for, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// The next time to make up for.
    pub next: Timestamp,
    /// The last instant that is concerned.
    pub until: Timestamp,
    /// When the next one is due.
    pub due: Timestamp,
    /// Microseconds from one to the next.
    pub pace_us: i64,
    /// What they do about a run that is under way, where that is not what the schedule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<OverlapPolicy>,
}

/// What became of all times so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Started a run.
    pub started: u64,
    /// Left out because a run was under way, or too many waited.
    pub skipped: u64,
    /// Passed while nobody was there, and left out.
    pub missed: u64,
    /// Could not start their run.
    pub failed: u64,
}

/// A schedule: the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// What it is.
    pub spec: ScheduleSpec,
    /// Who owns it.
    pub tenant: TenantId,
    /// On whose authority its runs are started: who stored it last.
    pub principal: Arc<str>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Tells it from one of the same name that was deleted.
    pub incarnation: Arc<str>,
    /// That no time comes for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// The next time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Runs to start, until that is confirmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firing: Vec<Fire>,
    /// Runs to cancel, until that is confirmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancelling: Vec<RunId>,
    /// Times that wait for a run to end.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub waiting: VecDeque<Fire>,
    /// Runs that were started and not seen to end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<RunId>,
    /// Past times that are made up for.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub backfills: VecDeque<Backfill>,
    /// Triggers so far.
    #[serde(default)]
    pub triggers: u64,
    /// What became of all times.
    #[serde(default)]
    pub counts: Counts,
    /// What became of the last fifty times, the latest last.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub history: VecDeque<Fired>,
}

impl Schedule {
    /// A schedule that no time has come of yet.
    #[must_use]
    pub fn new(
        spec: ScheduleSpec,
        timetable: &super::Timetable,
        tenant: TenantId,
        principal: Arc<str>,
        incarnation: Arc<str>,
        now: Timestamp,
    ) -> Self {
        Self {
            spec,
            tenant,
            principal,
            created_at: now,
            updated_at: now,
            incarnation,
            paused: None,
            next: timetable.next(now),
            firing: Vec::new(),
            cancelling: Vec::new(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            backfills: VecDeque::new(),
            triggers: 0,
            counts: Counts::default(),
            history: VecDeque::new(),
        }
    }

    /// What the ids of its runs are made with.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.tenant, self.spec.id, self.incarnation)
    }

    /// When it next needs attention by itself: at once while something is not confirmed.
    #[must_use]
    pub fn wake(&self, timetable: &super::Timetable) -> Option<Timestamp> {
        if !self.firing.is_empty() || !self.cancelling.is_empty() {
            return Some(self.updated_at);
        }
        let next = self.next.filter(|_| self.paused.is_none()).map(|next| timetable.due(next));
        next.into_iter().chain(self.backfills.front().map(|backfill| backfill.due)).min()
    }

    pub(super) fn remember(&mut self, fire: Fire, at: Timestamp, outcome: FireOutcome) {
        match &outcome {
            FireOutcome::Started { .. } => self.counts.started += 1,
            FireOutcome::Skipped { .. } => self.counts.skipped += 1,
            FireOutcome::Failed { .. } => self.counts.failed += 1,
            FireOutcome::Queued => {}
        }
        // Whoever waited is on record already.
        if let Some(known) = self.history.iter_mut().find(|known| known.fire.is(&fire)) {
            known.outcome = outcome;
            return;
        }
        self.history.push_back(Fired { fire, at, outcome });
        while self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }
}

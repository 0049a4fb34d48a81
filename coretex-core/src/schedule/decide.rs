//! What an input means for a schedule.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    Backfill, Fire, FireKind, FireOutcome, MissedPolicy, OverlapPolicy, Pause, Schedule, ScheduleSpec, Timetable,
};
use crate::job::RunId;

/// Times looked at in one decision: a schedule that was down for years must not hold everybody up.
const MAX_TIMES: usize = 10_000;
/// Most times of one backfill.
pub(super) const MAX_BACKFILL: usize = 1_000;
/// Most backfills that wait for each other.
const MAX_BACKFILLS: usize = 10;

/// What happened to a schedule, or is asked of it.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleInput {
    /// Time has passed, or a run may have ended.
    Tick {
        /// Those of [`Schedule::running`] that have.
        ended: Vec<RunId>,
    },
    /// It shall be this from now on. Times between the last and now are not missed.
    Put {
        /// What.
        spec: Box<ScheduleSpec>,
        /// By whom.
        by: Arc<str>,
    },
    /// No time shall come until it is resumed.
    Pause {
        /// By whom.
        by: Arc<str>,
        /// Why.
        note: Arc<str>,
    },
    /// Times shall come again, from now on.
    Resume,
    /// A run shall be started now.
    Trigger {
        /// What it does about a run that is under way, where that is not what the schedule says.
        overlap: Option<OverlapPolicy>,
    },
    /// Past times shall be made up for; those that started a run start no other.
    Backfill {
        /// The first instant that is concerned.
        from: Timestamp,
        /// The last one.
        until: Timestamp,
        /// The time from one to the next.
        pace: SignedDuration,
        /// What they do about a run that is under way, where that is not what the schedule says.
        overlap: Option<OverlapPolicy>,
    },
    /// What a fire wanted was done, or cannot be.
    Settled {
        /// The fire.
        fire: Fire,
        /// What became of it.
        outcome: FireOutcome,
    },
    /// A run that it wanted cancelled is.
    Cancelled {
        /// The run.
        run: RunId,
    },
}

/// What a decision led to, for whoever asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The schedule after it; what it wants done is in there.
    pub schedule: Schedule,
    /// The fire that a trigger made.
    pub fire: Option<Fire>,
}

/// An input that is not legal. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The range of a backfill has too many times, or too many backfills wait.
    #[error("a backfill has at most {MAX_BACKFILL} times, and at most {MAX_BACKFILLS} wait; take a smaller range")]
    TooMany,
    /// The range of a backfill has no time.
    #[error("the range has no time of the schedule; correct `from` and `until`")]
    Empty,
}

impl Rejected {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooMany => "schedule_backfill_too_large",
            Self::Empty => "schedule_backfill_empty",
        }
    }
}

/// Decides what `input` means for `schedule`, whose spec compiles into `timetable`; for [`ScheduleInput::Put`] the
/// timetable is that of the new spec. Pure: equal arguments give an equal outcome.
///
/// # Errors
/// [`Rejected`] when the input is not legal. Repeats are legal and change nothing.
pub fn decide(
    schedule: &Schedule,
    timetable: &Timetable,
    input: ScheduleInput,
    now: Timestamp,
) -> Result<Outcome, Rejected> {
    let mut next = schedule.clone();
    let mut asked = None;
    match input {
        ScheduleInput::Tick { ended } => next.tick(timetable, &ended, now),
        ScheduleInput::Put { spec, by } => {
            if next.spec != *spec {
                next.spec = *spec;
                next.next = timetable.next(now);
            }
            next.principal = by;
        }
        ScheduleInput::Pause { by, note } => {
            if next.paused.as_ref().is_none_or(|pause| pause.note != note) {
                next.paused = Some(Pause { by, at: now, note });
            }
        }
        ScheduleInput::Resume => {
            if next.paused.take().is_some() {
                next.next = timetable.next(now);
            }
        }
        ScheduleInput::Trigger { overlap } => {
            next.triggers += 1;
            let fire = Fire::new(now, FireKind::Trigger, next.triggers, overlap);
            next.fire(timetable, fire.clone(), now);
            asked = Some(fire);
        }
        ScheduleInput::Backfill { from, until, pace, overlap } => {
            let from = from.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(from);
            // Times from now on come by themselves.
            let until = until.min(now);
            let times = std::iter::successors(timetable.next(from), |time| timetable.next(*time));
            let count = times.take_while(|time| *time <= until).take(MAX_BACKFILL + 1).count();
            let first = timetable.next(from).filter(|_| count > 0).ok_or(Rejected::Empty)?;
            if count > MAX_BACKFILL || next.backfills.len() >= MAX_BACKFILLS {
                return Err(Rejected::TooMany);
            }
            let pace_us = i64::try_from(pace.as_micros()).unwrap_or(i64::MAX).max(0);
            next.backfills.push_back(Backfill { next: first, until, due: now, pace_us, overlap });
        }
        ScheduleInput::Settled { fire, outcome } => next.settle(&fire, outcome, now),
        ScheduleInput::Cancelled { run } => next.cancelling.retain(|cancelling| *cancelling != run),
    }
    if next != *schedule {
        next.updated_at = now;
    }
    Ok(Outcome { schedule: next, fire: asked })
}

impl Schedule {
    fn tick(&mut self, timetable: &Timetable, ended: &[RunId], now: Timestamp) {
        self.running.retain(|run| !ended.contains(run));
        self.move_up();
        if self.paused.is_none() {
            for time in self.due_times(timetable, now) {
                self.fire(timetable, Fire::new(time, FireKind::Scheduled, 0, None), now);
            }
        }
        self.fill_back(timetable, now);
    }

    /// Takes the times that have come, and of those that were missed the ones that are made up for.
    fn due_times(&mut self, timetable: &Timetable, now: Timestamp) -> Vec<Timestamp> {
        let mut times = Vec::new();
        while let Some(time) = self.next.filter(|time| timetable.due(*time) <= now) {
            times.push(time);
            self.next = timetable.next(time);
            if times.len() > MAX_TIMES {
                // On to those that may still be made up for; the ones between are not counted.
                self.counts.missed += u64::try_from(times.len()).unwrap_or(0);
                times.clear();
                self.next = timetable.next(recent(timetable, time, now));
            }
        }
        let late = |time: &&Timestamp| now.duration_since(timetable.due(**time)) > timetable.missed_after;
        let missed = times.iter().filter(late).count();
        let kept = match timetable.missed {
            MissedPolicy::Skip => 0,
            // Where a later time has come in time, that is the latest.
            MissedPolicy::Latest => usize::from(missed == times.len()),
            MissedPolicy::All => timetable.max_missed,
        };
        let dropped = missed.saturating_sub(kept);
        self.counts.missed += u64::try_from(dropped).unwrap_or(0);
        times.split_off(dropped)
    }

    /// Lets a fire start its run, wait, or be left out.
    fn fire(&mut self, timetable: &Timetable, fire: Fire, now: Timestamp) {
        let overlap = fire.overlap.unwrap_or(timetable.overlap);
        let busy = !self.running.is_empty() || !self.firing.is_empty() || !self.waiting.is_empty();
        let room = match overlap {
            OverlapPolicy::Allow => return self.firing.push(fire),
            OverlapPolicy::CancelRunning => {
                for run in std::mem::take(&mut self.running) {
                    if !self.cancelling.contains(&run) {
                        self.cancelling.push(run);
                    }
                }
                // A start that is not confirmed may have happened: its run is cancelled when it is known.
                self.firing.iter_mut().for_each(|earlier| earlier.overtaken = true);
                for earlier in std::mem::take(&mut self.waiting) {
                    let reason = "a later time came before its run was started".into();
                    self.remember(earlier, now, FireOutcome::Skipped { reason });
                }
                return self.firing.push(fire);
            }
            _ if !busy => return self.firing.push(fire),
            OverlapPolicy::Skip => 0,
            OverlapPolicy::Queue => 1,
            OverlapPolicy::QueueAll => timetable.max_queued,
        };
        if self.waiting.len() < room {
            self.waiting.push_back(fire.clone());
            self.remember(fire, now, FireOutcome::Queued);
        } else {
            let reason = if room == 0 { "a run of an earlier time is under way" } else { "too many times wait" };
            self.remember(fire, now, FireOutcome::Skipped { reason: reason.into() });
        }
    }

    /// Whoever waited longest goes on when nothing is under way.
    fn move_up(&mut self) {
        if self.running.is_empty()
            && self.firing.is_empty()
            && let Some(fire) = self.waiting.pop_front()
        {
            self.firing.push(fire);
        }
    }

    /// Makes up for one past time when that is due. One that must not be left out waits for what is under way.
    fn fill_back(&mut self, timetable: &Timetable, now: Timestamp) {
        let Some(backfill) = self.backfills.front_mut() else { return };
        if backfill.due > now {
            return;
        }
        let (time, overlap) = (backfill.next, backfill.overlap);
        backfill.due = now.checked_add(SignedDuration::from_micros(backfill.pace_us)).unwrap_or(now);
        match timetable.next(time).filter(|next| *next <= backfill.until) {
            Some(next) => backfill.next = next,
            None => {
                self.backfills.pop_front();
                if let Some(next) = self.backfills.front_mut() {
                    next.due = next.due.max(now);
                }
            }
        }
        self.fire(timetable, Fire::new(time, FireKind::Backfill, 0, overlap), now);
    }

    fn settle(&mut self, fire: &Fire, outcome: FireOutcome, now: Timestamp) {
        // A repeat finds nothing.
        let Some(position) = self.firing.iter().position(|firing| firing.is(fire)) else { return };
        let mut fire = self.firing.remove(position);
        if let FireOutcome::Started { run_id } = &outcome {
            let overlap = fire.overlap.unwrap_or(self.spec.overlap);
            let list = if fire.overtaken { &mut self.cancelling } else { &mut self.running };
            if (fire.overtaken || overlap != OverlapPolicy::Allow) && !list.contains(run_id) {
                list.push(run_id.clone());
            }
        }
        fire.overtaken = false;
        self.remember(fire, now, outcome);
        self.move_up();
    }
}

/// An instant between `after` and `now` with at least as many times behind it as may be made up for, if there are so many.
fn recent(timetable: &Timetable, after: Timestamp, now: Timestamp) -> Timestamp {
    let mut back = timetable.missed_after;
    loop {
        let from = now.checked_sub(back).unwrap_or(after).max(after);
        let times = timetable.preview(from, timetable.max_missed + 1);
        if from == after || times.len() > timetable.max_missed && times.last().is_some_and(|last| *last <= now) {
            return from;
        }
        back = back.saturating_mul(2);
    }
}

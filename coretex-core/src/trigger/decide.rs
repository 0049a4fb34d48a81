//! What an input means for a bucket.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Bucket, Firing, Gather, Gathering, Rule};
use crate::job::job_after;

/// Most generations that wait for their runs to be started.
const MAX_FIRING: usize = 100;
/// What one run can be given, in millionths, but for what a list adds around its items.
const WHOLE: u64 = 990_000;
/// Longest wait between two tries to start a run that is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// What happened to a bucket, or is asked of it.
#[derive(Clone, Debug, PartialEq)]
pub enum BucketInput {
    /// An event came.
    Event {
        /// What the trigger makes of it, as the workflow is defined now.
        rule: Rule,
        /// Who sent it.
        by: Arc<str>,
        /// How much its input takes of what one run can be given, in millionths.
        weight: u64,
    },
    /// Time has passed.
    Tick,
    /// What has been gathered shall be started now.
    Flush,
    /// The run of a generation was started, or refused.
    Fired {
        /// The generation.
        generation: u64,
        /// The code and the text of the refusal.
        refusal: Option<(Arc<str>, Arc<str>)>,
    },
}

/// Where an event lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The generation that it is part of.
    pub generation: u64,
    /// When that began.
    pub first_at: Timestamp,
    /// Its number in there; an event of the same number is replaced. `None` when it is not kept.
    pub number: Option<u32>,
}

/// Too many runs wait to be started for another event to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_FIRING} runs of this key wait to be started; see why, and send the event again later")]
pub struct Backlog;

/// Decides what `input` means for `bucket`, and for an event where it lies. Pure: equal arguments give an equal outcome.
///
/// # Errors
/// [`Backlog`] when an event cannot be taken.
pub fn decide(bucket: &Bucket, input: BucketInput, now: Timestamp) -> Result<(Bucket, Option<Place>), Backlog> {
    let mut next = bucket.clone();
    let mut place = None;
    match input {
        BucketInput::Event { rule, by, weight } => {
            next.close_when_due(now);
            next.principal = by;
            place = Some(next.gather(&rule, weight, now));
            if next.firing.len() > MAX_FIRING {
                return Err(Backlog);
            }
        }
        BucketInput::Tick => next.close_when_due(now),
        BucketInput::Flush => next.close(now),
        BucketInput::Fired { generation, refusal: None } => {
            next.firing.retain(|firing| firing.generation != generation);
        }
        BucketInput::Fired { generation, refusal: Some((code, message)) } => {
            if let Some(firing) = next.firing.iter_mut().find(|firing| firing.generation == generation) {
                let wait = Duration::from_secs(1 << firing.tries.min(12)).min(LONGEST_WAIT);
                firing.tries = firing.tries.saturating_add(1);
                firing.due = job_after(now, wait);
                (firing.code, firing.message) = (Some(code), Some(message));
            }
        }
    }
    Ok((next, place))
}

impl Bucket {
    fn gather(&mut self, rule: &Rule, weight: u64, now: Timestamp) -> Place {
        let is_batch = matches!(rule.gather, Gather::Batch { .. });
        // What one run cannot be given together goes to two; so does what was gathered by another kind of rule.
        if self
            .gathering
            .as_ref()
            .is_some_and(|gathering| gathering.is_batch != is_batch || (is_batch && gathering.weight + weight > WHOLE))
        {
            self.close(now);
        }
        let generation = self.generation;
        let fresh = Gathering { first_at: now, count: 0, weight: 0, due: job_after(now, rule.window), is_batch };
        let gathering = self.gathering.get_or_insert(fresh);
        let first_at = gathering.first_at;
        let number = match rule.gather {
            Gather::Debounce { max_wait, keep_first } => {
                gathering.due = job_after(now, rule.window).min(job_after(first_at, max_wait));
                (gathering.count == 0 || !keep_first).then_some(0)
            }
            Gather::Batch { .. } => Some(gathering.count),
        };
        if number.is_some() {
            gathering.weight = if is_batch { gathering.weight + weight } else { weight };
        }
        gathering.count = gathering.count.saturating_add(1);
        if let Gather::Batch { max_items } = rule.gather
            && gathering.count >= max_items
        {
            self.close(now);
        }
        Place { generation, first_at, number }
    }

    fn close_when_due(&mut self, now: Timestamp) {
        if self.gathering.as_ref().is_some_and(|gathering| gathering.due <= now) {
            self.close(now);
        }
    }

    fn close(&mut self, now: Timestamp) {
        let Some(Gathering { first_at, count, is_batch, .. }) = self.gathering.take() else { return };
        let generation = self.generation;
        let (tries, code, message) = (0, None, None);
        self.firing.push_back(Firing { generation, first_at, count, due: now, is_batch, tries, code, message });
        self.generation += 1;
    }
}

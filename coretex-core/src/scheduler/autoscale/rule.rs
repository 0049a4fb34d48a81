//! What configuration says about the number of workers.

use std::time::Duration;

use crate::{scheduler::routes::read::Reader, value::Value};

/// Bounds and aims of a pool's size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleRule {
    /// Fewest workers, `min_workers`; 0 unless told.
    pub min_workers: u32,
    /// Most workers, `max_workers`; 100 unless told.
    pub max_workers: u32,
    /// The part of all slots that should be busy, `target_utilisation`; 0.8 unless told.
    pub target: f64,
    /// Slots of a worker while none is there to ask, `slots_per_worker`; 1 unless told.
    pub slots: u32,
    /// In what time a backlog should be gone, `drain_seconds`; 60 unless told.
    pub drain: Duration,
    /// How far ahead arrivals are predicted, `horizon_seconds`; about what a worker takes to start, 60 unless told.
    pub horizon: Duration,
    /// How long fewer workers must do before there are fewer, `scale_down_seconds`; 300 unless told.
    pub down_after: Duration,
}

impl Default for ScaleRule {
    fn default() -> Self {
        Self {
            min_workers: 0,
            max_workers: 100,
            target: 0.8,
            slots: 1,
            drain: Duration::from_secs(60),
            horizon: Duration::from_secs(60),
            down_after: Duration::from_secs(300),
        }
    }
}

impl ScaleRule {
    pub(in crate::scheduler) fn read(reader: &mut Reader, place: &str, value: &Value) -> Self {
        const MOST: u64 = 100_000;
        const DAY: u64 = 24 * 3600;
        let mut rule = Self::default();
        let mut fields = reader.object(place, value);
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        if let Some(least) = fields.whole(reader, "min_workers", 0, MOST) {
            rule.min_workers = count(least);
        }
        if let Some(most) = fields.whole(reader, "max_workers", 0, MOST) {
            rule.max_workers = count(most);
        }
        if let Some(target) = fields.number(reader, "target_utilisation", 0.05, 1.0) {
            rule.target = target;
        }
        if let Some(slots) = fields.whole(reader, "slots_per_worker", 1, MOST) {
            rule.slots = count(slots);
        }
        if let Some(drain) = fields.seconds(reader, "drain_seconds", 1, DAY) {
            rule.drain = drain;
        }
        if let Some(horizon) = fields.seconds(reader, "horizon_seconds", 0, DAY) {
            rule.horizon = horizon;
        }
        if let Some(down_after) = fields.seconds(reader, "scale_down_seconds", 0, DAY) {
            rule.down_after = down_after;
        }
        if rule.min_workers > rule.max_workers {
            let (least, most) = (rule.min_workers, rule.max_workers);
            reader.problem(place, format!("`min_workers` is {least}, more than `max_workers`, which is {most}"));
        }
        fields.close(reader);
        rule
    }
}

//! `delay`: a time passes.

use std::sync::Arc;

use jiff::Timestamp;

use super::super::Machine;
use crate::{
    job::{Failure, job_after, whole_micros},
    schedule::calendar,
    value::Value,
    workflow::{
        Delay, RunEvent,
        definition::{Length, duration_of},
        fold::RunMut,
        next_time::{Clockwork, NextTime},
    },
};

impl Machine<'_> {
    pub(super) fn begin_delay(&mut self, slot: usize, delay: &Delay) {
        let now = self.facts.now;
        let mut gave = None;
        let until = match &delay.length {
            Length::For(wait) => job_after(now, *wait),
            Length::ForTemplate(template) => {
                let Some(value) = self.render(slot, Some(template), "`delay`") else { return };
                gave = value.as_deref().map(plain);
                match value.as_deref().and_then(duration_of) {
                    Some(wait) => job_after(now, wait),
                    None => return self.bad_time(slot, "`delay`", value.as_ref(), "a length of time such as `1h 30m`"),
                }
            }
            Length::Until(template) => {
                let Some(value) = self.render(slot, Some(template), "`delay_until`") else { return };
                gave = value.as_deref().map(plain);
                match value.as_deref().and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok()) {
                    Some(until) => whole_micros(until),
                    None => {
                        let wanted = "a point in time such as `2026-01-31T12:00:00Z`";
                        return self.bad_time(slot, "`delay_until`", value.as_ref(), wanted);
                    }
                }
            }
            Length::Next(next) => match self.next_time(slot, next) {
                Some((until, zone)) => {
                    gave = zone;
                    until
                }
                None => return,
            },
        };
        if until <= now || self.draft.core().is_dry_run() {
            self.succeed(slot, None);
        } else {
            let rule = match gave.filter(|gave| **gave != **delay.rule()) {
                Some(gave) => format!("{}: {gave}", delay.rule()).into(),
                None => delay.rule().clone(),
            };
            self.record_step(slot, |step| RunEvent::StepDelayed { step, until, rule });
        }
    }

    /// The next time of a calendar, with the zone where a template gave that; `None` means that it failed and the step with
    /// it.
    fn next_time(&mut self, slot: usize, next: &NextTime) -> Option<(Timestamp, Option<String>)> {
        let now = self.facts.now;
        let mut gave = None;
        let found = match &next.zone {
            Clockwork::Of(zone) => next.times.after(now, zone),
            Clockwork::Template(template) => {
                let name = self.render_text(slot, template, "`delay_next.time_zone`")?;
                let Some(zone) = calendar::zone(&name) else {
                    let message = format!("`delay_next.time_zone` gave `{name}`, which is no time zone");
                    self.fail(slot, Failure::fatal("time_zone_unknown", message));
                    return None;
                };
                gave = Some(name.to_string());
                next.times.after(now, &zone)
            }
        };
        if found.is_none() {
            self.fail(slot, Failure::fatal("schedule_never_fires", "no time of `delay_next` comes any more"));
        }
        found.map(|found| (found, gave))
    }

    fn bad_time(&mut self, slot: usize, field: &str, value: Option<&Arc<Value>>, wanted: &str) {
        let found = value.map_or_else(|| "nothing".to_owned(), |value| format!("`{value}`"));
        self.fail(slot, Failure::fatal("time_invalid", format!("{field} gave {found}, which is not {wanted}")));
    }
}

/// A value as it would be written in a definition.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

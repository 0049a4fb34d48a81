//! How long a delay lasts.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp, civil::Date};

use super::{
    StepKind,
    compile::{Compiler, shared},
};
use crate::{
    schedule::calendar::{self, Cron},
    value::{CompileOptions, References, Template, Value},
    workflow::{
        NextTimeSpec, StepSpec,
        next_time::{self, Clockwork, NextTime, Times},
    },
};

/// How long a delay lasts, and the rule by which it does.
#[derive(Debug)]
pub struct Delay {
    pub(in crate::workflow) length: Length,
    rule: Arc<str>,
}

/// What the end of a delay is counted from.
#[derive(Debug)]
pub(in crate::workflow) enum Length {
    /// A time that the definition names.
    For(Duration),
    /// A time that a template gives.
    ForTemplate(Template),
    /// The point in time that a template gives.
    Until(Template),
    /// The next time of a calendar.
    Next(Box<NextTime>),
}

impl Delay {
    fn step(length: Length, rule: impl AsRef<str>) -> Option<StepKind> {
        Some(StepKind::Delay(Self { length, rule: shared(rule.as_ref()) }))
    }

    /// The rule, for people: `336h`, `the next 09:00 on mon-fri in Europe/Berlin`.
    #[must_use]
    pub const fn rule(&self) -> &Arc<str> {
        &self.rule
    }
}

impl Compiler {
    pub(super) fn delay(
        &mut self,
        path: &str,
        spec: &StepSpec,
        options: &CompileOptions,
        references: &mut References,
    ) -> Option<StepKind> {
        if let Some(next) = &spec.delay_next {
            return self.delay_next(path, spec, next, options, references);
        }
        if !spec.delay.is_empty() {
            let place = format!("{path}.delay");
            self.beside(&place, spec);
            if spec.delay.contains("${") {
                let template = self.text_template(&place, &spec.delay, options, references)?;
                return Delay::step(Length::ForTemplate(template), &spec.delay);
            }
            return match parse_duration(&spec.delay) {
                Some(wait) => Delay::step(Length::For(wait), &spec.delay),
                None => {
                    let message = format!("`{}` is not a length of time", spec.delay);
                    self.problem("time_invalid", place, message, "write it as `90s`, `1h 30m` or `PT1H`");
                    None
                }
            };
        }
        if spec.delay_sec == 0 && spec.delay_until.is_empty() && spec.timeout_sec == 0 {
            let help = "write `delay: 1h`, `delay_until:` or `delay_next:`; `delay: 0s` for one that ends at once";
            self.problem("field_missing", format!("{path}.delay"), "it does not say how long it lasts", help);
            return None;
        }
        let seconds = if spec.delay_sec > 0 { spec.delay_sec } else { spec.timeout_sec };
        let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        if spec.delay_sec > 0 || spec.delay_until.is_empty() {
            return Delay::step(Length::For(wait), format!("{}s", wait.as_secs()));
        }
        let place = format!("{path}.delay_until");
        if !spec.delay_until.contains("${") && spec.delay_until.parse::<Timestamp>().is_err() {
            let message = format!("`{}` is not a point in time", spec.delay_until);
            self.problem(
                "time_invalid",
                place,
                message,
                "write it as `2026-01-31T12:00:00Z`, or as a template that gives that",
            );
            return None;
        }
        let until = self.text_template(&place, &spec.delay_until, options, references)?;
        Delay::step(Length::Until(until), &spec.delay_until)
    }

    fn delay_next(
        &mut self,
        path: &str,
        spec: &StepSpec,
        next: &NextTimeSpec,
        options: &CompileOptions,
        references: &mut References,
    ) -> Option<StepKind> {
        let place = format!("{path}.delay_next");
        self.beside(&place, spec);
        let zone = self.zone(&format!("{place}.time_zone"), &next.time_zone, options, references);
        let times = self.times(&place, next)?;
        // Without a zone as good as with any: it moves times by hours, and makes none come or stay away.
        if times.after(Timestamp::UNIX_EPOCH, &jiff::tz::TimeZone::UTC).is_none() {
            let help = "name a day that comes";
            self.problem("schedule_never_fires", place, "no time of it ever comes", help);
            return None;
        }
        Delay::step(Length::Next(Box::new(NextTime { times, zone: zone? })), next.to_string())
    }

    /// Refuses a second rule beside the one at `place`. The established two, `delay_sec` and `delay_until`, always stood
    /// beside each other, and the first wins.
    fn beside(&mut self, place: &str, spec: &StepSpec) {
        let others = [
            ("delay", !spec.delay.is_empty()),
            ("delay_sec", spec.delay_sec != 0),
            ("delay_until", !spec.delay_until.is_empty()),
        ];
        let own = |field: &str| place.ends_with(&format!(".{field}"));
        if let Some((other, _)) = others.into_iter().find(|(field, is_there)| *is_there && !own(field)) {
            let message = format!("a delay ends by one rule, and `{other}` is another");
            self.problem("field_misplaced", place, message, "remove one of them");
        }
    }

    fn zone(
        &mut self,
        place: &str,
        name: &str,
        options: &CompileOptions,
        references: &mut References,
    ) -> Option<Clockwork> {
        if name.contains("${") {
            return self.text_template(place, name, options, references).map(Clockwork::Template);
        }
        let zone = calendar::zone(name);
        if zone.is_none() {
            let help = "use an IANA name such as `Europe/Berlin`, or `UTC`";
            self.problem("time_zone_unknown", place, format!("there is no time zone `{name}`"), help);
        }
        zone.map(Clockwork::Of)
    }

    fn times(&mut self, place: &str, next: &NextTimeSpec) -> Option<Times> {
        match (next.cron.as_str(), next.time.as_str()) {
            ("", "") => {
                let help = "write `delay_next: {time: \"09:00\", time_zone: Europe/Berlin}`, or a `cron` pattern";
                self.problem("field_missing", place, "it has neither `time` nor `cron`", help);
                None
            }
            ("", time) => self.daily(place, time, next),
            (cron, "") if next.days.is_empty() && next.except.is_empty() => match Cron::parse(cron) {
                Ok(cron) => Some(Times::Cron(Box::new(cron))),
                Err(error) => {
                    let help = "give minute, hour, day of the month, month and day of the week";
                    self.problem("cron_invalid", format!("{place}.cron"), error.to_string(), help);
                    None
                }
            },
            _ => {
                let message = "`cron` names days and times by itself";
                let help = "remove `cron`, or else `time`, `days` and `except`";
                self.problem("field_misplaced", format!("{place}.cron"), message, help);
                None
            }
        }
    }

    fn daily(&mut self, place: &str, text: &str, next: &NextTimeSpec) -> Option<Times> {
        let time = next_time::time_of_day(text);
        if time.is_none() {
            let message = format!("`{text}` is not a time of day");
            self.problem("time_invalid", format!("{place}.time"), message, "write it as `09:00`");
        }
        let mut days = Vec::new();
        for (n, text) in next.days.iter().enumerate() {
            match next_time::days(text) {
                Some(named) => days.extend(named),
                None => {
                    let message = format!("`{text}` is not a day of the week");
                    let help = "use `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`, or a range such as `mon-fri`";
                    self.problem("time_invalid", format!("{place}.days[{n}]"), message, help);
                }
            }
        }
        let mut except: Vec<Date> = Vec::new();
        for (n, text) in next.except.iter().enumerate() {
            match text.parse() {
                Ok(date) => except.push(date),
                Err(_) => {
                    let message = format!("`{text}` is not a date");
                    self.problem("time_invalid", format!("{place}.except[{n}]"), message, "write it as `2030-12-25`");
                }
            }
        }
        let days = if next.days.is_empty() { next_time::every_day() } else { days };
        // Nothing that was refused is looked at further.
        let is_whole = except.len() == next.except.len() && !days.is_empty();
        Some(Times::Daily { time: time?, days, except }).filter(|_| is_whole)
    }
}

/// A length of time: `90s`, `1h 30m`, `PT1H`, or a number of seconds; not negative, at most ten years.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) => SignedDuration::try_from_secs_f64(seconds).ok()?,
        Err(_) => text.parse::<SignedDuration>().ok()?,
    };
    Duration::try_from(wait).ok().filter(|wait| wait.as_secs() <= 10 * 366 * 24 * 3600)
}

/// A length of time as a value: a text as [`parse_duration`] reads it, or a number of seconds.
pub(in crate::workflow) fn duration_of(value: &Value) -> Option<Duration> {
    match value {
        Value::String(text) => parse_duration(text),
        Value::Number(number) => parse_duration(&number.to_string()),
        _ => None,
    }
}

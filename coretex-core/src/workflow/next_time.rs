//! The next time of a calendar: how a delay ends at nine on the next working day, rather than after so many hours.

use std::fmt;

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use crate::{
    schedule::calendar::{self, Cron},
    value::Template,
};

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// The field `delay_next` of a step, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NextTimeSpec {
    /// A cron pattern; either this or `time`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cron: String,
    /// A time of day, `09:00` or `09:00:30`; either this or `cron`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// Beside `time`: the days on which it counts, `mon` or `mon-fri`; every day when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<String>,
    /// Beside `time`: dates on which it does not count, `2030-12-25`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// The IANA name of the zone whose clock is read, or a template that gives it; `UTC` when absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
}

impl fmt::Display for NextTimeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cron.as_str() {
            "" => write!(f, "the next {}", self.time)?,
            cron => write!(f, "the next time of `{cron}`")?,
        }
        if !self.days.is_empty() {
            write!(f, " on {}", self.days.join(", "))?;
        }
        if !self.except.is_empty() {
            write!(f, " except {}", self.except.join(", "))?;
        }
        write!(f, " in {}", if self.time_zone.is_empty() { "UTC" } else { &self.time_zone })
    }
}

/// Times that come again and again, by the clock of a zone.
#[derive(Debug)]
pub(in crate::workflow) enum Times {
    /// Those of a pattern.
    Cron(Box<Cron>),
    /// A time of day.
    Daily { time: Time, days: Vec<Weekday>, except: Vec<Date> },
}

impl Times {
    /// The first of them behind `now`, never `now` itself: a loop that waits for the next one goes round once for each.
    /// `None` when none comes. Where the clock is set, as [`calendar`] says. O(days until then).
    pub(in crate::workflow) fn after(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Cron(cron) => cron.next(now, zone),
            Self::Daily { time, days, except } => {
                let behind = now.checked_add(SignedDuration::from_nanos(1)).ok()?;
                calendar::next_at(behind, *time, days, zone, except)
            }
        }
    }
}

/// Whose clock is read.
#[derive(Debug)]
pub(in crate::workflow) enum Clockwork {
    Of(TimeZone),
    /// What a template gives when the step begins.
    Template(Template),
}

/// `delay_next`, compiled.
#[derive(Debug)]
pub(in crate::workflow) struct NextTime {
    pub(in crate::workflow) times: Times,
    pub(in crate::workflow) zone: Clockwork,
}

/// The days that `text` names: `mon`, or `mon-fri`, a range that may go over Sunday.
pub(in crate::workflow) fn days(text: &str) -> Option<Vec<Weekday>> {
    let place = |name: &str| WEEKDAYS.iter().position(|(short, _)| name.trim().eq_ignore_ascii_case(short));
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (place(from)?, place(to)?);
    let count = (to + WEEKDAYS.len() - from) % WEEKDAYS.len() + 1;
    Some(WEEKDAYS.iter().cycle().skip(from).take(count).map(|(_, day)| *day).collect())
}

/// The time of day that `text` names: `09:00`, `09:00:30`.
pub(in crate::workflow) fn time_of_day(text: &str) -> Option<Time> {
    let legal = |byte: u8| byte.is_ascii_digit() || byte == b':';
    let whole = text.bytes().all(legal) && matches!(text.len(), 5 | 8);
    whole.then(|| text.parse().ok()).flatten()
}

/// All days.
pub(in crate::workflow) fn every_day() -> Vec<Weekday> {
    WEEKDAYS.iter().map(|(_, day)| *day).collect()
}

//! `during`: days of the week and hours of the day, in a time zone.

use jiff::{
    Timestamp,
    civil::{Time, Weekday},
    tz::TimeZone,
};
use serde::{Serialize, Serializer, ser::SerializeStruct as _};

/// Days as they are written, Monday first.
pub(crate) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A span of the day on some days of the week. It may cross midnight; then it belongs to the day that it starts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct During {
    /// Monday is bit 0.
    pub(crate) days: u8,
    pub(crate) from: Time,
    /// The first moment that is outside; midnight is the end of the day.
    pub(crate) to: Time,
    pub(crate) zone: TimeZone,
    pub(crate) zone_name: String,
}

impl During {
    /// Whether `at` lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        let local = at.to_zoned(self.zone.clone());
        let (time, today) = (local.time(), day(local.weekday()));
        let on = |day: u8| self.days & (1 << day) != 0;
        if self.to == Time::midnight() {
            on(today) && time >= self.from
        } else if self.from < self.to {
            on(today) && time >= self.from && time < self.to
        } else {
            (on(today) && time >= self.from) || (on((today + 6) % 7) && time < self.to)
        }
    }

    /// For people: `mon-fri 09:00-17:00 Europe/Berlin`.
    #[must_use]
    pub fn text(&self) -> String {
        let days: Vec<_> =
            DAYS.iter().enumerate().filter(|(n, _)| self.days & (1 << n) != 0).map(|(_, day)| *day).collect();
        let to = if self.to == Time::midnight() { "24:00".to_owned() } else { self.to.strftime("%H:%M").to_string() };
        format!("{} {}-{to} {}", days.join(","), self.from.strftime("%H:%M"), self.zone_name)
    }
}

fn day(weekday: Weekday) -> u8 {
    u8::try_from(weekday.to_monday_zero_offset()).unwrap_or(0)
}

/// `mon`, `sat-sun`: the bits of its days.
pub(crate) fn days(text: &str) -> Option<u8> {
    let index = |name: &str| DAYS.iter().position(|day| name.trim().eq_ignore_ascii_case(day));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (index(first)?, index(last)?);
    let mut bits = 0;
    let mut at = first;
    loop {
        bits |= 1 << at;
        if at == last {
            return Some(bits);
        }
        at = (at + 1) % 7;
    }
}

/// `HH:MM`; `24:00` is the midnight that ends a day.
pub(crate) fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let two =
        |part: &str| (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<i8>().ok());
    match (two(hour)??, two(minute)??) {
        (24, 0) => Some(Time::midnight()),
        (hour, minute) => Time::new(hour, minute, 0, 0).ok(),
    }
}

impl Serialize for During {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("During", 4)?;
        out.serialize_field("days", &self.days)?;
        out.serialize_field("from", &self.from)?;
        out.serialize_field("to", &self.to)?;
        out.serialize_field("time_zone", &self.zone_name)?;
        out.end()
    }
}

//! Cron patterns: five fields, or six with seconds in front.
//!
//! | field | values | besides `*`, lists `a,b`, ranges `a-b`, steps `*/n`, `a-b/n`, `a/n` |
//! |---|---|---|
//! | second (left out: 0) | 0-59 | |
//! | minute | 0-59 | |
//! | hour | 0-23 | |
//! | day of the month | 1-31 | `?`; `L` for the last day |
//! | month | 1-12, `jan`-`dec` | |
//! | day of the week | 0-7 (0 and 7 are Sunday), `sun`-`sat` | `?`; `5L` for the last Friday, `5#2` for the second |
//!
//! Where both the day of the month and the day of the week are given, a day that fits either is meant; where one of them
//! begins with `*` or is `?`, a day has to fit both, as cron always did. `@hourly`, `@daily` (`@midnight`), `@weekly`,
//! `@monthly` and `@yearly` (`@annually`) stand for the usual patterns.
//!
//! When the clock is set forward, times that are left out fire at the instants that they would have been without that:
//! once, also where another time of the pattern is the same instant. When it is set back, times that come twice fire the
//! first time only, unless the pattern fires more than once an hour: such a pattern keeps its pace.

use std::fmt;

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Weekday},
    tz::TimeZone,
};

use super::{MAX_DAYS, Stretch};

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    last_day: bool,
    months: u64,
    weekdays: u64,
    /// By week of the month, the weekdays: `5#2`.
    nth: [u64; 5],
    last_weekdays: u64,
    /// Both kinds of days are restricted, so that either suffices.
    either: bool,
}

/// A text that is not a cron pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronError {
    field: &'static str,
    text: String,
    reason: String,
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a {}: {}", self.text, self.field, self.reason)
    }
}

impl std::error::Error for CronError {}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", least: 0, most: 59, names: &[] };
const MINUTE: Field = Field { name: "minute", least: 0, most: 59, names: &[] };
const HOUR: Field = Field { name: "hour", least: 0, most: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", least: 1, most: 31, names: &[] };
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const MONTH: Field = Field { name: "month", least: 1, most: 12, names: &MONTHS };
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const WEEKDAY: Field = Field { name: "day of the week", least: 0, most: 7, names: &WEEKDAYS };

impl Field {
    fn error(&self, text: &str, reason: impl Into<String>) -> CronError {
        CronError { field: self.name, text: text.chars().take(80).collect(), reason: reason.into() }
    }

    fn value(&self, text: &str) -> Result<u32, CronError> {
        let lower = text.to_ascii_lowercase();
        if let Some(n) = self.names.iter().position(|name| **name == lower) {
            return Ok(u32::try_from(n).unwrap_or(0) + self.least);
        }
        // Signs and spaces are not part of a pattern.
        let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
        number
            .filter(|value| (self.least..=self.most).contains(value))
            .ok_or_else(|| self.error(text, format!("give a number from {} to {}", self.least, self.most)))
    }

    /// The bits of a list of values, ranges and steps.
    fn bits(&self, text: &str) -> Result<u64, CronError> {
        let mut bits = 0;
        for item in text.split(',') {
            bits |= self.item(item)?;
        }
        Ok(bits)
    }

    fn item(&self, item: &str) -> Result<u64, CronError> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => {
                let step = Some(step).filter(|step| step.bytes().all(|byte| byte.is_ascii_digit()));
                let step = step.and_then(|step| step.parse::<u32>().ok()).filter(|step| (1..=59).contains(step));
                (range, Some(step.ok_or_else(|| self.error(item, "a step is a number from 1 to 59"))?))
            }
            None => (item, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (self.least, self.most),
            Some((from, to)) => {
                let (from, to) = (self.value(from)?, self.value(to)?);
                // A week ends on Sunday for some: `fri-sun`.
                let to = if to == 0 && from > 0 && self.most == 7 { 7 } else { to };
                if from > to {
                    return Err(self.error(item, "the range runs backwards; write it as two"));
                }
                (from, to)
            }
            None => {
                let value = self.value(range)?;
                (value, if step.is_some() { self.most } else { value })
            }
        };
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(1);
        Ok((from..=to).step_by(step).fold(0, |bits, value| bits | 1 << value))
    }
}

impl Cron {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`CronError`] with the field that is wrong.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let whole = |reason: String| CronError { field: "cron pattern", text: text.chars().take(80).collect(), reason };
        let plain = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<&str> = plain.split_ascii_whitespace().collect();
        let (second, rest) = match fields.as_slice() {
            [second, rest @ ..] if rest.len() == 5 => (*second, rest),
            rest => ("0", rest),
        };
        let [minute, hour, day, month, weekday] = *rest else {
            return Err(whole(format!("it has {} fields; give 5, or 6 with seconds in front", fields.len())));
        };
        let mut cron = Self {
            seconds: SECOND.bits(second)?,
            minutes: MINUTE.bits(minute)?,
            hours: HOUR.bits(hour)?,
            days: 0,
            last_day: false,
            months: MONTH.bits(month)?,
            weekdays: 0,
            nth: [0; 5],
            last_weekdays: 0,
            either: !day.starts_with(['*', '?']) && !weekday.starts_with(['*', '?']),
        };
        for item in day.split(',') {
            if item.eq_ignore_ascii_case("l") {
                cron.last_day = true;
            } else {
                cron.days |= DAY.item(item)?;
            }
        }
        for item in weekday.split(',') {
            cron.add_weekday(item)?;
        }
        // 7 is Sunday too.
        for bits in [&mut cron.weekdays, &mut cron.last_weekdays].into_iter().chain(&mut cron.nth) {
            *bits = (*bits | (*bits >> 7)) & 0x7f;
        }
        Ok(cron)
    }

    fn add_weekday(&mut self, item: &str) -> Result<(), CronError> {
        if let Some((weekday, nth)) = item.split_once('#') {
            let nth = Some(nth).filter(|nth| nth.len() == 1).and_then(|nth| nth.parse::<usize>().ok());
            let Some(bits) = nth.and_then(|nth| self.nth.get_mut(nth.checked_sub(1)?)) else {
                return Err(WEEKDAY.error(item, "give the week behind `#` as 1 to 5"));
            };
            *bits |= 1 << WEEKDAY.value(weekday)?;
        } else if let Some(weekday) = item.strip_suffix(['l', 'L']).filter(|weekday| !weekday.is_empty()) {
            self.last_weekdays |= 1 << WEEKDAY.value(weekday)?;
        } else {
            self.weekdays |= WEEKDAY.item(item)?;
        }
        Ok(())
    }

    /// The first instant after `after` that the pattern means in `zone`, in whole seconds; `None` when none comes within
    /// fifty years. Cost grows with the days until then.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut from = Timestamp::from_second(after.as_second().checked_add(1)?).ok()?;
        let mut days = MAX_DAYS;
        loop {
            let stretch = Stretch::of(zone, from);
            let found = [self.left_out(from, &stretch), self.regular(from, &stretch, &mut days)];
            if let Some(first) = found.into_iter().flatten().min() {
                return Some(first);
            }
            from = stretch.until?;
            if days == 0 {
                return None;
            }
        }
    }

    /// Whether it fires more than once within an hour.
    const fn is_sub_hourly(&self) -> bool {
        self.minutes.count_ones() > 1 || self.seconds.count_ones() > 1
    }

    /// The first local time of the pattern from `from` on that lies in the stretch and is not its second coming.
    fn regular(&self, from: Timestamp, stretch: &Stretch, days: &mut usize) -> Option<Timestamp> {
        let mut local = stretch.offset.to_datetime(from);
        if let Some(begin) = stretch.from
            && !self.is_sub_hourly()
        {
            // What the clock showed before it was set back.
            local = local.max(stretch.before.to_datetime(begin));
        }
        let until = stretch.until.map(|until| stretch.offset.to_datetime(until));
        let local = self.next_local(local, until, days)?;
        stretch.offset.to_timestamp(local).ok()
    }

    /// The first instant from `from` on whose local time was left out when the stretch began.
    fn left_out(&self, from: Timestamp, stretch: &Stretch) -> Option<Timestamp> {
        let begin = stretch.from?;
        let (least, end) = (stretch.before.to_datetime(begin), stretch.offset.to_datetime(begin));
        let from = least.max(stretch.before.to_datetime(from));
        if from >= end {
            return None;
        }
        // A gap is a few hours long, or a day where a country changes sides of the date line.
        let local = self.next_local(from, Some(end), &mut 4)?;
        stretch.before.to_timestamp(local).ok()
    }

    /// The first local time of the pattern in `from..until`. Takes the days that it looks at from `days`.
    fn next_local(&self, from: DateTime, until: Option<DateTime>, days: &mut usize) -> Option<DateTime> {
        let mut day = from.date();
        let mut time = Some((from.hour(), from.minute(), from.second()));
        while *days > 0 && until.is_none_or(|until| day <= until.date()) {
            *days -= 1;
            if !has(self.months, day.month()) {
                // To the end of the month in one go.
                day = day.last_of_month().tomorrow().ok()?;
                time = None;
                continue;
            }
            if self.has_day(day)
                && let Some((hour, minute, second)) = self.next_time(time.take().unwrap_or((0, 0, 0)))
            {
                let local = day.at(hour, minute, second, 0);
                return until.is_none_or(|until| local < until).then_some(local);
            }
            time = None;
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn has_day(&self, day: Date) -> bool {
        let of_month = has(self.days, day.day()) || (self.last_day && day.day() == day.days_in_month());
        let weekday = Weekday::to_sunday_zero_offset(day.weekday());
        let week = usize::try_from((day.day() - 1) / 7).unwrap_or(0);
        let of_week = has(self.weekdays, weekday)
            || self.nth.get(week).is_some_and(|bits| has(*bits, weekday))
            || (has(self.last_weekdays, weekday) && day.day() + 7 > day.days_in_month());
        if self.either { of_month || of_week } else { of_month && of_week }
    }

    /// The first time of day at or after the given one.
    fn next_time(&self, (hour, minute, second): (i8, i8, i8)) -> Option<(i8, i8, i8)> {
        let (first_minute, first_second) = (next_bit(self.minutes, 0)?, next_bit(self.seconds, 0)?);
        if has(self.hours, hour) {
            if has(self.minutes, minute)
                && let Some(second) = next_bit(self.seconds, second)
            {
                return Some((hour, minute, second));
            }
            if let Some(minute) = next_bit(self.minutes, minute + 1) {
                return Some((hour, minute, first_second));
            }
        }
        Some((next_bit(self.hours, hour + 1)?, first_minute, first_second))
    }
}

fn has(bits: u64, n: i8) -> bool {
    bits & (1_u64 << n.clamp(0, 63)) != 0
}

/// The lowest bit of `bits` at or above `from`.
fn next_bit(bits: u64, from: i8) -> Option<i8> {
    let rest = bits & (u64::MAX << from.clamp(0, 63));
    (rest != 0).then(|| i8::try_from(rest.trailing_zeros()).unwrap_or(63))
}

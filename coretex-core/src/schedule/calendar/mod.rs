//! Wall clocks: from local times to instants, and the next one of a pattern.
//!
//! A zone's clock is set forward and back. A local time that is left out then is taken as if the clock had not been set
//! yet: 02:30 in a skipped hour is the instant that the clock shows as 03:30. A local time that comes twice is the first of
//! the two.

mod cron;

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time, Weekday},
    tz::{Disambiguation, TimeZone},
};

pub use cron::{Cron, CronError};

/// Days looked at for the next one of a pattern: fifty years. February 29 on a given weekday comes within forty.
pub(super) const MAX_DAYS: usize = 50 * 366;

/// The time zone of an IANA name (`Europe/Berlin`, `UTC`), from the system's database or the bundled one; `None` when
/// neither knows it.
#[must_use]
pub fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() || name == "UTC" {
        return Some(TimeZone::UTC);
    }
    // What the system calls local differs from machine to machine.
    if name.eq_ignore_ascii_case("localtime") || name.len() > 64 {
        return None;
    }
    TimeZone::get(name).ok()
}

/// The instant of a local time in `zone`; `None` when it is out of the range of instants.
#[must_use]
pub fn instant(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(local).disambiguate(Disambiguation::Compatible).ok()
}

/// The first instant at or after `from` that is `time` on one of `weekdays` in `zone`, on a date that is not among
/// `except`. `None` when `weekdays` is empty, or no such day comes within fifty years. O(days until then).
///
/// ```
/// use coretex_core::schedule::calendar;
/// use jiff::civil::{Weekday, date, time};
///
/// let zone = calendar::zone("Europe/Berlin").unwrap();
/// let friday_evening = "2030-03-29T18:00:00Z".parse().unwrap();
/// let easter_monday = [date(2030, 4, 1)];
/// let next = calendar::next_at(friday_evening, time(9, 0, 0, 0), &[Weekday::Monday], &zone, &easter_monday);
/// assert_eq!(next, Some("2030-04-08T07:00:00Z".parse().unwrap()));
/// ```
#[must_use]
pub fn next_at(
    from: Timestamp,
    time: Time,
    weekdays: &[Weekday],
    zone: &TimeZone,
    except: &[Date],
) -> Option<Timestamp> {
    // The day before: its time may have been moved over midnight.
    let mut day = zone.to_datetime(from).date().yesterday().ok()?;
    for _ in 0..MAX_DAYS {
        if weekdays.contains(&day.weekday())
            && !except.contains(&day)
            && let Some(at) = instant(zone, day.to_datetime(time)).filter(|at| *at >= from)
        {
            return Some(at);
        }
        day = day.tomorrow().ok()?;
    }
    None
}

/// A piece of a zone's time in which its clock is not set.
struct Stretch {
    /// Where it begins; `None` when nothing comes before.
    from: Option<Timestamp>,
    /// Where it ends; `None` when nothing follows.
    until: Option<Timestamp>,
    offset: jiff::tz::Offset,
    /// The offset of the stretch before.
    before: jiff::tz::Offset,
}

impl Stretch {
    /// The stretch that `at` lies in.
    fn of(zone: &TimeZone, at: Timestamp) -> Self {
        let offset = zone.to_offset(at);
        let until = zone.following(at).next().map(|transition| transition.timestamp());
        // What precedes an instant begins before it, so the question is about the next nanosecond.
        let next = at.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(at);
        let from = zone.preceding(next).next().map(|transition| transition.timestamp());
        let before = from
            .and_then(|from| from.checked_sub(jiff::SignedDuration::from_nanos(1)).ok())
            .map_or(offset, |earlier| zone.to_offset(earlier));
        Self { from, until, offset, before }
    }
}

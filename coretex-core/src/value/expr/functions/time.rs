//! Functions of timestamps and durations. There is no clock: times come from the scope.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use super::convert::unconvertible;
use super::{Args, Outcome};
use crate::value::expr::ast::Function;
use crate::value::expr::error::Failure;
use crate::value::expr::val::Val;

pub(super) fn call<'a>(args: &Args<'_, 'a>) -> Outcome<'a> {
    let value = args.at(0);
    match (args.function, value) {
        (Function::Time, _) => {
            let time = match value {
                Val::Time(time) => Some(*time),
                Val::Text(text) => text.parse().ok(),
                Val::Int(seconds) => Timestamp::from_second(*seconds).ok(),
                _ => None,
            };
            time.map(Val::Time).ok_or_else(|| unconvertible(value, "timestamp"))
        }
        (Function::Span, _) => {
            let span = match value {
                Val::Span(span) => Some(*span),
                Val::Text(text) if &**text == "0" => Some(SignedDuration::ZERO),
                Val::Text(text) => text.parse().ok(),
                Val::Int(seconds) => Some(SignedDuration::from_secs(*seconds)),
                _ => None,
            };
            span.map(Val::Span).ok_or_else(|| unconvertible(value, "duration"))
        }
        (function, Val::Time(time)) => Ok(Val::Int(field(function, offset(args)?.to_datetime(*time)))),
        (Function::Hours, Val::Span(span)) => Ok(Val::Int(span.as_hours())),
        (Function::Minutes, Val::Span(span)) => Ok(Val::Int(span.as_mins())),
        (Function::Seconds, Val::Span(span)) => Ok(Val::Int(span.as_secs())),
        (Function::Milliseconds, Val::Span(span)) => Ok(Val::Int(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))),
        (Function::Hours | Function::Minutes | Function::Seconds | Function::Milliseconds, _) => {
            Err(args.refused(0, "a timestamp or a duration"))
        }
        _ => Err(args.refused(0, "a timestamp")),
    }
}

/// Counted as CEL counts: months, days of the month and of the year from 0, days of the week from Sunday.
fn field(function: Function, at: DateTime) -> i64 {
    match function {
        Function::FullYear => at.year().into(),
        Function::Month => i64::from(at.month()) - 1,
        Function::Date => at.day().into(),
        Function::DayOfMonth => i64::from(at.day()) - 1,
        Function::DayOfWeek => at.weekday().to_sunday_zero_offset().into(),
        Function::DayOfYear => i64::from(at.day_of_year()) - 1,
        Function::Hours => at.hour().into(),
        Function::Minutes => at.minute().into(),
        Function::Seconds => at.second().into(),
        _ => at.millisecond().into(),
    }
}

/// The zone of the second operand: an offset, or UTC.
fn offset(args: &Args<'_, '_>) -> Result<Offset, Box<Failure>> {
    if args.optional(1).is_none() {
        return Ok(Offset::UTC);
    }
    let text = args.text(1)?;
    let parsed = || {
        let (sign, digits) = match text.split_at_checked(1)? {
            ("-", digits) => (-1, digits),
            ("+", digits) => (1, digits),
            _ => (1, text),
        };
        let (hours, minutes) = digits.split_once(':')?;
        let number = |text: &str| text.parse::<u8>().ok().filter(|_| text.len() == 2).map(i32::from);
        let minutes = number(minutes).filter(|minutes| *minutes < 60)?;
        Offset::from_seconds(sign * (number(hours)? * 3600 + minutes * 60)).ok()
    };
    match text {
        "UTC" | "Z" => Some(Offset::UTC),
        _ => parsed(),
    }
    .ok_or_else(|| args.failed("a time zone of the form `+02:00`, or `UTC`: the rules of named zones change"))
}

/// The text of a duration as protocols write it: seconds, such as `5400s` or `0.25s`.
pub(in crate::value::expr) fn seconds_text(span: SignedDuration) -> String {
    let sign = if span.is_negative() { "-" } else { "" };
    let (seconds, nanos) = (span.as_secs().unsigned_abs(), span.subsec_nanos().unsigned_abs());
    if nanos == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{nanos:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

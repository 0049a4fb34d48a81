//! Texts and numbers for samples.

use super::pattern;
use super::view::View;
use crate::value::json::Value;

/// Longest text that a `minLength` is honoured for, in characters.
const MAX_TEXT: usize = 100_000;

/// A text of the format, the pattern and the length that the view asks for.
pub(super) fn text(view: &View<'_>, nth: usize) -> String {
    let bound =
        |keyword: &'static str| view.all(keyword).filter_map(Value::as_u64).filter_map(|n| usize::try_from(n).ok());
    let format = view.first("format").and_then(Value::as_str).and_then(|format| formatted(format, nth));
    let pattern = view.first("pattern").and_then(Value::as_str).and_then(pattern::example);
    let bare = format.is_none() && pattern.is_none();
    let mut text = pattern.or(format).unwrap_or_else(|| "sample".to_owned());
    if nth > 0 && bare {
        text = format!("{nth}-{text}");
    }
    let least = bound("minLength").max().unwrap_or(0).min(MAX_TEXT);
    let most = bound("maxLength").min().unwrap_or(usize::MAX);
    let length = text.chars().count();
    if length < least {
        text.extend(std::iter::repeat_n('x', least - length));
    }
    if length > most && bare {
        text = text.chars().take(most).collect();
    }
    text
}

fn formatted(format: &str, nth: usize) -> Option<String> {
    Some(match format {
        "date-time" => format!("2026-01-01T00:00:{:02}Z", nth % 60),
        "date" => format!("2026-01-{:02}", 1 + nth % 28),
        "time" => format!("00:00:{:02}Z", nth % 60),
        "duration" => format!("PT{}S", 1 + nth),
        "email" | "idn-email" => format!("user{nth}@example.org"),
        "hostname" | "idn-hostname" => format!("host{nth}.example.org"),
        "ipv4" => format!("192.0.2.{}", 1 + nth % 254),
        "ipv6" => format!("2001:db8::{:x}", 1 + nth % 0xffff),
        "uri" | "iri" | "uri-reference" | "iri-reference" | "uri-template" => format!("https://example.org/{nth}"),
        "uuid" => format!("00000000-0000-4000-8000-{nth:012}"),
        "json-pointer" => format!("/{nth}"),
        "relative-json-pointer" => format!("{nth}"),
        "regex" => "a*".to_owned(),
        _ => return None,
    })
}

/// A number within the bounds, as near to zero as they allow, the `nth` from there.
pub(super) fn number(view: &View<'_>, nth: usize, whole: bool) -> Value {
    let bound = |keyword: &'static str| view.all(keyword).filter_map(Value::as_f64);
    let flag = |keyword: &'static str| view.all(keyword).any(|flag| flag == &Value::Bool(true));
    let step = bound("multipleOf").fold(0.0_f64, f64::max);
    let (least, most) = (bound("minimum").reduce(f64::max), bound("maximum").reduce(f64::min));
    // In draft 4 an exclusive bound is a flag beside the bound.
    let above = bound("exclusiveMinimum").reduce(f64::max).or(least.filter(|_| flag("exclusiveMinimum")));
    let below = bound("exclusiveMaximum").reduce(f64::min).or(most.filter(|_| flag("exclusiveMaximum")));
    let fits = |number: f64| {
        least.is_none_or(|least| number >= least)
            && most.is_none_or(|most| number <= most)
            && above.is_none_or(|above| number > above)
            && below.is_none_or(|below| number < below)
    };
    let low = least.into_iter().chain(above).reduce(f64::max);
    let high = most.into_iter().chain(below).reduce(f64::min);
    let grid = if step > 0.0 { step } else { 1.0 };
    let start = if fits(0.0) { 0.0 } else { low.filter(|low| *low > 0.0).or(high).or(low).unwrap_or(0.0) };
    let upwards = low.is_some_and(|low| low >= start) || high.is_none_or(|high| high > start);
    let near = if upwards { (start / grid).ceil() } else { (start / grid).floor() };
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let steps = nth as f64;
    let direction = if upwards { 1.0 } else { -1.0 };
    let on_grid = (0..3).map(|more| (near + direction * (steps + f64::from(more))) * grid).find(|number| fits(*number));
    let mut found = on_grid.unwrap_or(near * grid);
    if !whole && step == 0.0 && !fits(found) {
        // Between two whole numbers.
        found = match (low, high) {
            (Some(low), Some(high)) => low + (high - low) / (2.0 + steps),
            _ => start,
        };
    }
    #[expect(clippy::cast_possible_truncation, reason = "judged by the comparison")]
    let int = found as i64;
    #[expect(clippy::cast_precision_loss, reason = "judged by the comparison")]
    let exact = int as f64 == found && found.abs() < 9e15;
    if exact { Value::from(int) } else { Value::from(found) }
}

//! From one type to another.

use super::{Args, Outcome, owned, time};
use crate::value::expr::ast::Function;
use crate::value::expr::error::{EvalErrorKind, Failure};
use crate::value::expr::operators;
use crate::value::expr::val::Val;

pub(super) fn call<'a>(args: &Args<'_, 'a>) -> Outcome<'a> {
    let value = args.at(0);
    let converted = match args.function {
        Function::ToInt => to_int(value).map(Val::Int),
        Function::ToUint => to_uint(value).map(Val::Uint),
        Function::ToDouble => match value {
            Val::Text(text) => text.parse().ok(),
            other => operators::double(other),
        }
        .map(Val::Double),
        Function::ToBool => to_bool(value).map(Val::Bool),
        _ => to_text(value),
    };
    converted.ok_or_else(|| unconvertible(value, args.function.name()))
}

/// A value of a type that converts, but not this one.
pub(super) fn unconvertible(value: &Val<'_>, target: &str) -> Box<Failure> {
    let shown = match value {
        Val::Text(text) => format!("the string `{}`", text.chars().take(40).collect::<String>()),
        Val::Int(int) => format!("the int {int}"),
        Val::Uint(uint) => format!("the uint {uint}"),
        Val::Double(double) => format!("the double {double}"),
        other => other.describe().to_owned(),
    };
    let hint = match value {
        Val::List(_) | Val::Map(_) if target == "string" => "; write toJson(...)",
        _ => "",
    };
    Failure::boxed(EvalErrorKind::Conversion, format!("{shown} does not convert to {target}{hint}"))
}

fn to_int(value: &Val<'_>) -> Option<i64> {
    match value {
        Val::Int(int) => Some(*int),
        Val::Uint(uint) => i64::try_from(*uint).ok(),
        Val::Double(double) => truncate(*double).and_then(|whole| i64::try_from(whole).ok()),
        Val::Text(text) => text.parse().ok(),
        Val::Time(time) => Some(time.as_second()),
        Val::Span(span) => Some(span.as_secs()),
        _ => None,
    }
}

fn to_uint(value: &Val<'_>) -> Option<u64> {
    match value {
        Val::Int(int) => u64::try_from(*int).ok(),
        Val::Uint(uint) => Some(*uint),
        Val::Double(double) => truncate(*double).and_then(|whole| u64::try_from(whole).ok()),
        Val::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn truncate(double: f64) -> Option<i128> {
    // The cast saturates; what does not fit 64 bits is refused by the caller.
    #[expect(clippy::cast_possible_truncation, reason = "saturating by design")]
    double.is_finite().then_some(double.trunc() as i128)
}

fn to_text<'a>(value: &Val<'a>) -> Option<Val<'a>> {
    Some(match value {
        Val::Text(text) => Val::Text(text.clone()),
        Val::Bool(flag) => owned(flag.to_string()),
        Val::Int(int) => owned(int.to_string()),
        Val::Uint(uint) => owned(uint.to_string()),
        Val::Double(double) => owned(double.to_string()),
        Val::Time(time) => owned(time.to_string()),
        Val::Span(span) => owned(time::seconds_text(*span)),
        _ => return None,
    })
}

fn to_bool(value: &Val<'_>) -> Option<bool> {
    match value {
        Val::Bool(flag) => Some(*flag),
        Val::Text(text) => match &**text {
            "1" | "t" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

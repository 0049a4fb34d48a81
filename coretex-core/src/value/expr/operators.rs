//! Equality, order and arithmetic.
//!
//! As in CEL, except where JSON asks for more: numbers of different types combine (the result is
//! a double when one operand is), nothing orders before or after null, and `in` nothing is false.

use std::cmp::Ordering;

use super::ast::Operator;
use super::error::{EvalErrorKind, Failure};
use super::eval::Budget;
use super::val::{Dict, List, Val};

type Outcome<'a> = Result<Val<'a>, Box<Failure>>;

pub(super) fn binary<'a>(operator: Operator, left: &Val<'a>, right: &Val<'a>, budget: &mut Budget) -> Outcome<'a> {
    match operator {
        Operator::Equal => Ok(Val::Bool(equal(left, right, budget)?)),
        Operator::NotEqual => Ok(Val::Bool(!equal(left, right, budget)?)),
        Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => {
            order(operator, left, right, budget).map(Val::Bool)
        }
        Operator::In => contained(left, right, budget).map(Val::Bool),
        Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
            arithmetic(operator, left, right, budget)
        }
    }
}

/// Deep equality; numbers by value, missing equals null. Charges for every value compared.
pub(super) fn equal(left: &Val<'_>, right: &Val<'_>, budget: &mut Budget) -> Result<bool, Box<Failure>> {
    budget.charge(1)?;
    Ok(match (left, right) {
        (Val::Missing | Val::Null, Val::Missing | Val::Null) => true,
        (away @ Val::Elsewhere(_), _) | (_, away @ Val::Elsewhere(_)) => {
            return away.clone().at_hand().map(|_| false);
        }
        (Val::Bool(left), Val::Bool(right)) => left == right,
        (Val::Text(left), Val::Text(right)) => {
            budget.charge_text(left.len().min(right.len()))?;
            left == right
        }
        (Val::Type(left), Val::Type(right)) => left == right,
        (Val::Time(left), Val::Time(right)) => left == right,
        (Val::Span(left), Val::Span(right)) => left == right,
        (Val::List(left), Val::List(right)) => lists_equal(left, right, budget)?,
        (Val::Map(left), Val::Map(right)) => maps_equal(left, right, budget)?,
        (left, right) => compare_numbers(left, right) == Some(Ordering::Equal),
    })
}

fn lists_equal(left: &List<'_>, right: &List<'_>, budget: &mut Budget) -> Result<bool, Box<Failure>> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (left, right) in left.iter().zip(right.iter()) {
        if !equal(&left, &right, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps_equal(left: &Dict<'_>, right: &Dict<'_>, budget: &mut Budget) -> Result<bool, Box<Failure>> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for key in left.keys() {
        budget.charge_text(key.len())?;
        let other = right.get(&key);
        if matches!(other, Val::Missing) || !equal(&left.get(&key), &other, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn order(operator: Operator, left: &Val<'_>, right: &Val<'_>, budget: &mut Budget) -> Result<bool, Box<Failure>> {
    if left.is_nothing() || right.is_nothing() {
        return Ok(false);
    }
    if is_number(left) && is_number(right) && compare_numbers(left, right).is_none() {
        // Not a number compares as nothing.
        return Ok(false);
    }
    let Some(ordering) = ordering(left, right, budget)? else {
        return Err(mismatch(operator, left, right));
    };
    Ok(match operator {
        Operator::Less => ordering.is_lt(),
        Operator::LessEqual => ordering.is_le(),
        Operator::Greater => ordering.is_gt(),
        _ => ordering.is_ge(),
    })
}

/// The order of two values of one type that has an order, numbers being one type; "not a number" is before them.
pub(super) fn ordering(left: &Val<'_>, right: &Val<'_>, budget: &mut Budget) -> Result<Option<Ordering>, Box<Failure>> {
    budget.charge(1)?;
    Ok(match (left, right) {
        (Val::Text(left), Val::Text(right)) => {
            budget.charge_text(left.len().min(right.len()))?;
            Some(left.cmp(right))
        }
        (Val::Bool(left), Val::Bool(right)) => Some(left.cmp(right)),
        (Val::Time(left), Val::Time(right)) => Some(left.cmp(right)),
        (Val::Span(left), Val::Span(right)) => Some(left.cmp(right)),
        (left, right) if is_number(left) && is_number(right) => {
            let nan = |value: &Val<'_>| matches!(value, Val::Double(double) if double.is_nan());
            Some(compare_numbers(left, right).unwrap_or_else(|| nan(right).cmp(&nan(left))))
        }
        _ => None,
    })
}

fn contained(needle: &Val<'_>, haystack: &Val<'_>, budget: &mut Budget) -> Result<bool, Box<Failure>> {
    match (needle, haystack) {
        (_, Val::Missing | Val::Null) => Ok(false),
        (needle, Val::List(list)) => {
            for item in list.iter() {
                if equal(needle, &item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Val::Text(key), Val::Map(dict)) => Ok(!matches!(dict.get(key), Val::Missing)),
        (_, Val::Map(_)) => Ok(false),
        (needle, Val::Text(_)) => Err(Failure::operand(format!(
            "{} cannot be sought `in` a string; write text.contains(part)",
            needle.describe()
        ))),
        (needle, haystack) => Err(mismatch(Operator::In, needle, haystack)),
    }
}

fn mismatch(operator: Operator, left: &Val<'_>, right: &Val<'_>) -> Box<Failure> {
    let hint = match (left, right) {
        (Val::Missing, _) | (_, Val::Missing) => "; test it with has(...) first",
        (Val::Text(_), other) | (other, Val::Text(_)) if is_number(other) => {
            "; convert with int(...), double(...) or string(...)"
        }
        _ => "",
    };
    Failure::operand(format!(
        "`{}` does not apply to {} and {}{hint}",
        operator.symbol(),
        left.describe(),
        right.describe()
    ))
}

pub(super) fn is_number(value: &Val<'_>) -> bool {
    matches!(value, Val::Int(_) | Val::Uint(_) | Val::Double(_))
}

fn integer(value: &Val<'_>) -> Option<i128> {
    match value {
        Val::Int(int) => Some(i128::from(*int)),
        Val::Uint(uint) => Some(i128::from(*uint)),
        _ => None,
    }
}

/// The number as a double; integers beyond 2^53 are rounded.
pub(super) fn double(value: &Val<'_>) -> Option<f64> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "documented rounding beyond 2^53")]
        Val::Int(int) => Some(*int as f64),
        #[expect(clippy::cast_precision_loss, reason = "documented rounding beyond 2^53")]
        Val::Uint(uint) => Some(*uint as f64),
        Val::Double(double) => Some(*double),
        _ => None,
    }
}

/// Exact order of two numbers of any type; `None` for other values and for "not a number".
fn compare_numbers(left: &Val<'_>, right: &Val<'_>) -> Option<Ordering> {
    match (integer(left), integer(right), left, right) {
        (Some(left), Some(right), _, _) => Some(left.cmp(&right)),
        (None, None, Val::Double(left), Val::Double(right)) => left.partial_cmp(right),
        (Some(left), None, _, Val::Double(right)) => compare_with_double(left, *right),
        (None, Some(right), Val::Double(left), _) => compare_with_double(right, *left).map(Ordering::reverse),
        _ => None,
    }
}

fn compare_with_double(int: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // The cast saturates far beyond any 64-bit integer, which keeps the order right.
    #[expect(clippy::cast_possible_truncation, reason = "saturating by design")]
    let whole = double.trunc() as i128;
    Some(int.cmp(&whole).then_with(|| {
        if double.fract() > 0.0 {
            Ordering::Less
        } else if double.fract() < 0.0 {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }))
}

pub(super) fn negate<'a>(value: &Val<'a>) -> Outcome<'a> {
    match value {
        Val::Double(double) => Ok(Val::Double(-double)),
        Val::Int(_) => {
            integer(value).and_then(|int| i64::try_from(-int).ok()).map(Val::Int).ok_or_else(|| overflow("-"))
        }
        other => Err(Failure::operand(format!("`-` does not apply to {}", other.describe()))),
    }
}

fn overflow(symbol: &str) -> Box<Failure> {
    Failure::boxed(EvalErrorKind::Number, format!("the result of `{symbol}` does not fit a 64-bit integer"))
}

fn arithmetic<'a>(operator: Operator, left: &Val<'a>, right: &Val<'a>, budget: &mut Budget) -> Outcome<'a> {
    if operator == Operator::Add {
        match (left, right) {
            (Val::Text(left), Val::Text(right)) => {
                budget.charge_text(left.len() + right.len())?;
                return Ok(Val::Text(format!("{left}{right}").into()));
            }
            (Val::List(left), Val::List(right)) => {
                budget.charge(left.len() + right.len())?;
                return Ok(Val::list(left.iter().chain(right.iter()).collect()));
            }
            _ => {}
        }
    }
    if let Some(result) = times(operator, left, right) {
        return result;
    }
    match (integer(left), integer(right)) {
        (Some(l), Some(r)) => {
            let unsigned = matches!((left, right), (Val::Uint(_), Val::Uint(_)));
            let result = whole(operator, l, r)?;
            narrow(result, unsigned).ok_or_else(|| overflow(operator.symbol()))
        }
        _ => match (double(left), double(right)) {
            (Some(left), Some(right)) => fraction(operator, left, right).map(Val::Double),
            _ => Err(mismatch(operator, left, right)),
        },
    }
}

/// Arithmetic of timestamps and durations; `None` when it is about something else.
fn times<'a>(operator: Operator, left: &Val<'a>, right: &Val<'a>) -> Option<Outcome<'a>> {
    let result = match (operator, left, right) {
        (Operator::Add, Val::Time(time), Val::Span(span)) | (Operator::Add, Val::Span(span), Val::Time(time)) => {
            time.checked_add(*span).ok().map(Val::Time)
        }
        (Operator::Add, Val::Span(left), Val::Span(right)) => left.checked_add(*right).map(Val::Span),
        (Operator::Subtract, Val::Time(time), Val::Span(span)) => time.checked_sub(*span).ok().map(Val::Time),
        (Operator::Subtract, Val::Time(left), Val::Time(right)) => Some(Val::Span(left.duration_since(*right))),
        (Operator::Subtract, Val::Span(left), Val::Span(right)) => left.checked_sub(*right).map(Val::Span),
        _ => return None,
    };
    Some(result.ok_or_else(|| {
        Failure::boxed(
            EvalErrorKind::Number,
            format!("the result of `{}` is out of the range of time", operator.symbol()),
        )
    }))
}

/// Operands are 64-bit, so no `i128` operation here can overflow except a product of two uints,
/// which is checked.
fn whole(operator: Operator, left: i128, right: i128) -> Result<i128, Box<Failure>> {
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        _ if right == 0 => {
            return Err(Failure::boxed(EvalErrorKind::Number, format!("`{}` by zero", operator.symbol())));
        }
        Operator::Divide => left.checked_div(right),
        _ => left.checked_rem(right),
    };
    result.ok_or_else(|| overflow(operator.symbol()))
}

fn narrow<'a>(result: i128, unsigned: bool) -> Option<Val<'a>> {
    if unsigned {
        return u64::try_from(result).ok().map(Val::Uint);
    }
    i64::try_from(result)
        .map(Val::Int)
        .or_else(|_| u64::try_from(result).map(Val::Uint))
        .ok()
        // An int stays an int: only uint operands can leave its range upwards.
        .filter(|value| matches!(value, Val::Int(_)))
}

fn fraction(operator: Operator, left: f64, right: f64) -> Result<f64, Box<Failure>> {
    Ok(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        _ => {
            return Err(Failure::operand("`%` applies to integers only; convert with int(...)"));
        }
    })
}

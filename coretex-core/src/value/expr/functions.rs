//! The functions of the language.

use std::borrow::Cow;

use super::ast::Function;
use super::error::{EvalErrorKind, Failure};
use super::eval::Budget;
use super::parser::compile_pattern;
use super::val::{List, Val};

type Outcome<'a> = Result<Val<'a>, Box<Failure>>;

/// The parser has checked the number of operands.
pub(super) fn call<'a>(function: Function, operands: &[Val<'a>], budget: &mut Budget) -> Outcome<'a> {
    let operand = |at: usize| operands.get(at).unwrap_or(&Val::Missing);
    let subject = operand(0);
    match function {
        Function::Size => {
            size(subject).map(Val::Int).ok_or_else(|| refused(function, "a string, list or map", subject))
        }
        // The established function: whatever has no length has length 0.
        Function::Length => Ok(Val::Int(size(subject).unwrap_or(0))),
        Function::First => Ok(match subject {
            Val::List(list) => list.get(0),
            _ => Val::Missing,
        }),
        Function::TypeOf => Ok(Val::Type(subject.type_name())),
        Function::Dyn => Ok(subject.clone()),
        Function::ToInt => to_int(subject),
        Function::ToUint => to_uint(subject),
        Function::ToDouble => to_double(subject),
        Function::ToText => to_text(subject),
        Function::ToBool => to_bool(subject),
        Function::Join => join(subject, operands.get(1), budget),
        Function::Contains
        | Function::StartsWith
        | Function::EndsWith
        | Function::Matches
        | Function::LowerAscii
        | Function::UpperAscii
        | Function::Trim
        | Function::Split
        | Function::Replace => text_function(function, operands, budget),
    }
}

fn text_function<'a>(function: Function, operands: &[Val<'a>], budget: &mut Budget) -> Outcome<'a> {
    let text = |at: usize| match operands.get(at) {
        Some(Val::Text(text)) => Ok(text),
        other => Err(refused(function, "a string", other.unwrap_or(&Val::Missing))),
    };
    let subject = text(0)?;
    budget.charge_text(subject.len())?;
    Ok(match function {
        Function::Contains => Val::Bool(subject.contains(&**text(1)?)),
        Function::StartsWith => Val::Bool(subject.starts_with(&**text(1)?)),
        Function::EndsWith => Val::Bool(subject.ends_with(&**text(1)?)),
        Function::LowerAscii => owned(subject.to_ascii_lowercase()),
        Function::UpperAscii => owned(subject.to_ascii_uppercase()),
        Function::Trim => owned(subject.trim().to_owned()),
        Function::Split => {
            let separator = text(1)?;
            let parts = subject.split(&**separator).filter(|_| !separator.is_empty());
            let mut list: Vec<Val<'a>> = Vec::new();
            for part in parts {
                budget.charge(1)?;
                list.push(owned(part.to_owned()));
            }
            if separator.is_empty() {
                for ch in subject.chars() {
                    budget.charge(1)?;
                    list.push(owned(ch.to_string()));
                }
            }
            Val::list(list)
        }
        Function::Replace => {
            let (from, to) = (text(1)?, text(2)?);
            let count = subject.matches(&**from).count();
            // Charged before the new text exists.
            budget.charge(count)?;
            budget.charge_text(count.saturating_mul(to.len()))?;
            owned(subject.replace(&**from, to))
        }
        _ => {
            let pattern = text(1)?;
            // Compiling costs far more than matching.
            budget.charge(1000 + pattern.len())?;
            let regex = compile_pattern(pattern).map_err(|reason| Failure::boxed(EvalErrorKind::Conversion, reason))?;
            Val::Bool(regex.is_match(subject))
        }
    })
}

fn owned<'a>(text: String) -> Val<'a> {
    Val::Text(Cow::Owned(text))
}

/// Characters of a string, elements of a list, keys of a map.
fn size(value: &Val<'_>) -> Option<i64> {
    let size = match value {
        Val::Text(text) => text.chars().count(),
        Val::List(list) => list.len(),
        Val::Map(dict) => dict.len(),
        _ => return None,
    };
    i64::try_from(size).ok()
}

fn refused(function: Function, wanted: &str, found: &Val<'_>) -> Box<Failure> {
    let hint = if found.is_nothing() { "; test it with has(...) first" } else { "" };
    Failure::operand(format!("`{}` takes {wanted}, not {}{hint}", function.name(), found.describe()))
}

fn unconvertible(value: &Val<'_>, target: &str) -> Box<Failure> {
    let shown = match value {
        Val::Text(text) => format!("the string `{}`", text.chars().take(40).collect::<String>()),
        Val::Int(int) => format!("the int {int}"),
        Val::Uint(uint) => format!("the uint {uint}"),
        Val::Double(double) => format!("the double {double}"),
        other => other.describe().to_owned(),
    };
    Failure::boxed(EvalErrorKind::Conversion, format!("{shown} does not convert to {target}"))
}

fn to_int<'a>(value: &Val<'a>) -> Outcome<'a> {
    let int = match value {
        Val::Int(int) => Some(*int),
        Val::Uint(uint) => i64::try_from(*uint).ok(),
        Val::Double(double) => truncate(*double).and_then(|whole| i64::try_from(whole).ok()),
        Val::Text(text) => text.parse().ok(),
        _ => None,
    };
    int.map(Val::Int).ok_or_else(|| unconvertible(value, "int"))
}

fn to_uint<'a>(value: &Val<'a>) -> Outcome<'a> {
    let uint = match value {
        Val::Int(int) => u64::try_from(*int).ok(),
        Val::Uint(uint) => Some(*uint),
        Val::Double(double) => truncate(*double).and_then(|whole| u64::try_from(whole).ok()),
        Val::Text(text) => text.parse().ok(),
        _ => None,
    };
    uint.map(Val::Uint).ok_or_else(|| unconvertible(value, "uint"))
}

fn truncate(double: f64) -> Option<i128> {
    // The cast saturates; what does not fit 64 bits is refused by the caller.
    #[expect(clippy::cast_possible_truncation, reason = "saturating by design")]
    double.is_finite().then_some(double.trunc() as i128)
}

fn to_double<'a>(value: &Val<'a>) -> Outcome<'a> {
    let double = match value {
        Val::Text(text) => text.parse().ok(),
        other => super::operators::double(other),
    };
    double.map(Val::Double).ok_or_else(|| unconvertible(value, "double"))
}

fn to_text<'a>(value: &Val<'a>) -> Outcome<'a> {
    match value {
        Val::Text(text) => Ok(Val::Text(text.clone())),
        Val::Bool(flag) => Ok(owned(flag.to_string())),
        Val::Int(int) => Ok(owned(int.to_string())),
        Val::Uint(uint) => Ok(owned(uint.to_string())),
        Val::Double(double) => Ok(owned(double.to_string())),
        other => Err(unconvertible(other, "string")),
    }
}

fn to_bool<'a>(value: &Val<'a>) -> Outcome<'a> {
    let flag = match value {
        Val::Bool(flag) => Some(*flag),
        Val::Text(text) => match &**text {
            "1" | "t" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        },
        _ => None,
    };
    flag.map(Val::Bool).ok_or_else(|| unconvertible(value, "bool"))
}

fn join<'a>(list: &Val<'a>, separator: Option<&Val<'a>>, budget: &mut Budget) -> Outcome<'a> {
    let separator = match separator {
        None => "",
        Some(Val::Text(text)) => text,
        Some(other) => return Err(refused(Function::Join, "a string", other)),
    };
    let Val::List(list) = list else {
        return Err(refused(Function::Join, "a list of strings", list));
    };
    join_list(list, separator, budget).map(owned)
}

fn join_list(list: &List<'_>, separator: &str, budget: &mut Budget) -> Result<String, Box<Failure>> {
    let mut out = String::new();
    for (at, item) in list.iter().enumerate() {
        let Val::Text(text) = &item else {
            return Err(refused(Function::Join, "a list of strings", &item));
        };
        budget.charge(1)?;
        budget.charge_text(text.len() + separator.len())?;
        if at > 0 {
            out.push_str(separator);
        }
        out.push_str(text);
    }
    Ok(out)
}

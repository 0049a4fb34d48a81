//! Functions of strings. Positions and lengths are in characters.

use super::{Args, Outcome, count, owned};
use crate::value::expr::ast::Function;
use crate::value::expr::error::{EvalErrorKind, Failure};
use crate::value::expr::eval::Budget;
use crate::value::expr::parser::compile_pattern;
use crate::value::expr::val::{Text, Val};

pub(super) fn call<'a>(args: &Args<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    if args.function == Function::Join {
        return join(args, budget);
    }
    let text = match (args.function, args.at(0)) {
        (_, Val::Text(text)) => text,
        (Function::Reverse | Function::IndexOf, _) => return Err(args.refused(0, "a string or a list")),
        _ => return Err(args.refused(0, "a string")),
    };
    budget.charge_text(text.len())?;
    Ok(match args.function {
        Function::Contains => Val::Bool(text.contains(args.text(1)?)),
        Function::StartsWith => Val::Bool(text.starts_with(args.text(1)?)),
        Function::EndsWith => Val::Bool(text.ends_with(args.text(1)?)),
        Function::LowerAscii => owned(text.to_ascii_lowercase()),
        Function::UpperAscii => owned(text.to_ascii_uppercase()),
        Function::Trim => owned(text.trim().to_owned()),
        Function::Reverse => owned(text.chars().rev().collect()),
        Function::Split => split(text, args, budget)?,
        Function::Replace => replace(text, args, budget)?,
        Function::CharAt => owned(text.chars().nth(args.position(1)?).map_or_else(String::new, String::from)),
        Function::Substring => substring(text, args)?,
        Function::IndexOf => {
            let from = if args.optional(2).is_some() { args.position(2)? } else { 0 };
            let start = offset(text, from);
            let found = text.get(start..).unwrap_or_default().find(args.text(1)?);
            found.map_or(Val::Int(-1), |at| position(text, start + at))
        }
        Function::LastIndexOf => text.rfind(args.text(1)?).map_or(Val::Int(-1), |at| position(text, at)),
        _ => {
            let pattern = args.text(1)?;
            // Compiling costs far more than matching.
            budget.charge(1000 + pattern.len())?;
            let regex = compile_pattern(pattern).map_err(|reason| Failure::boxed(EvalErrorKind::Conversion, reason))?;
            Val::Bool(regex.is_match(text))
        }
    })
}

/// The byte offset of a character, or the end.
fn offset(text: &str, at: usize) -> usize {
    text.char_indices().nth(at).map_or(text.len(), |(offset, _)| offset)
}

fn position<'a>(text: &str, offset: usize) -> Val<'a> {
    count(text.get(..offset).unwrap_or_default().chars().count())
}

fn substring<'a>(text: &Text<'a>, args: &Args<'_, 'a>) -> Outcome<'a> {
    let start = args.position(1)?;
    let end = if args.optional(2).is_some() { args.position(2)? } else { usize::MAX };
    if end < start {
        return Err(args.failed(format_args!("a start that is not after the end, not {start} and {end}")));
    }
    let range = offset(text, start)..offset(text, end);
    Ok(match text {
        Text::Lent(text) => Val::Text(Text::Lent(text.get(range).unwrap_or_default())),
        Text::Built(text) => owned(text.get(range).unwrap_or_default().to_owned()),
    })
}

/// How many parts or replacements the operand asks for; a negative number means all.
fn limit(args: &Args<'_, '_>, at: usize) -> Result<usize, Box<Failure>> {
    match args.optional(at) {
        None => Ok(usize::MAX),
        Some(_) => Ok(usize::try_from(args.int(at)?).unwrap_or(usize::MAX)),
    }
}

fn split<'a>(text: &str, args: &Args<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    let (separator, limit) = (args.text(1)?, limit(args, 2)?);
    let mut parts = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest.filter(|_| parts.len() < limit) {
        budget.charge(1)?;
        let last = parts.len() + 1 == limit;
        let (part, after) = if last {
            (text, None)
        } else if separator.is_empty() {
            let end = offset(text, 1);
            let (part, after) = text.split_at(end);
            (part, (!after.is_empty()).then_some(after))
        } else {
            text.split_once(separator).map_or((text, None), |(part, after)| (part, Some(after)))
        };
        // No separator splits between characters, and an empty text has none.
        if !(separator.is_empty() && part.is_empty()) {
            parts.push(owned(part.to_owned()));
        }
        rest = after;
    }
    Ok(Val::list(parts))
}

fn replace<'a>(text: &str, args: &Args<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    let (from, to, limit) = (args.text(1)?, args.text(2)?, limit(args, 3)?);
    let count = text.matches(from).take(limit).count();
    // Charged before the new text exists.
    budget.charge(count)?;
    budget.charge_text(count.saturating_mul(to.len()))?;
    Ok(owned(text.replacen(from, to, count)))
}

fn join<'a>(args: &Args<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    let separator = if args.optional(1).is_some() { args.text(1)? } else { "" };
    let Val::List(list) = args.at(0) else {
        return Err(args.refused(0, "a list of strings"));
    };
    let mut out = String::new();
    for (at, item) in list.iter().enumerate() {
        let Val::Text(text) = &item else {
            return Err(Failure::operand(format!("`join` takes a list of strings, not one with {}", item.describe())));
        };
        budget.charge(1)?;
        budget.charge_text(text.len() + separator.len())?;
        if at > 0 {
            out.push_str(separator);
        }
        out.push_str(text);
    }
    Ok(owned(out))
}

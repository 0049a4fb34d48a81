//! Functions of numbers, one by one and over lists.

use super::{Args, Outcome};
use crate::value::expr::ast::{Function, Operator};
use crate::value::expr::error::{EvalErrorKind, Failure};
use crate::value::expr::eval::Budget;
use crate::value::expr::operators::{binary, double, is_number, ordering};
use crate::value::expr::val::Val;

pub(super) fn call<'a>(args: &Args<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    match args.function {
        Function::Sum => sum(args, budget),
        Function::Avg => avg(args, budget),
        Function::Min | Function::Max => extreme(args, budget),
        _ => single(args),
    }
}

/// Numbers stay of their type: rounding an int gives that int.
fn single<'a>(args: &Args<'_, 'a>) -> Outcome<'a> {
    let overflow = || Failure::boxed(EvalErrorKind::Number, "the result does not fit a 64-bit integer");
    match (args.function, args.at(0)) {
        (Function::Abs, Val::Int(int)) => int.checked_abs().map(Val::Int).ok_or_else(overflow),
        (Function::Sign, Val::Int(int)) => Ok(Val::Int(int.signum())),
        (Function::Sign, Val::Uint(uint)) => Ok(Val::Uint((*uint).min(1))),
        (_, Val::Int(int)) => Ok(Val::Int(*int)),
        (_, Val::Uint(uint)) => Ok(Val::Uint(*uint)),
        (function, Val::Double(double)) => Ok(Val::Double(match function {
            Function::Abs => double.abs(),
            Function::Ceil => double.ceil(),
            Function::Floor => double.floor(),
            Function::Round => double.round(),
            Function::Trunc => double.trunc(),
            _ if *double == 0.0 || double.is_nan() => *double,
            _ => double.signum(),
        })),
        _ => Err(args.refused(0, "a number")),
    }
}

fn sum<'a>(args: &Args<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    let mut sum = None;
    for item in args.list(0)?.iter() {
        budget.charge(1)?;
        if !is_number(&item) && !matches!(item, Val::Span(_)) {
            return Err(unfit(args, "numbers or durations", &item));
        }
        sum = Some(match sum {
            None => item,
            Some(sum) => binary(Operator::Add, &sum, &item, budget)?,
        });
    }
    Ok(sum.unwrap_or(Val::Int(0)))
}

fn avg<'a>(args: &Args<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    let list = args.list(0)?;
    let (mut sum, mut count) = (0.0, 0.0);
    for item in list.iter() {
        budget.charge(1)?;
        sum += double(&item).ok_or_else(|| unfit(args, "numbers", &item))?;
        count += 1.0;
    }
    Ok(if count > 0.0 { Val::Double(sum / count) } else { Val::Missing })
}

/// The least or the greatest of a list, or of several operands.
fn extreme<'a>(args: &Args<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    let items: Vec<Val<'a>> = match args.operands {
        [Val::List(list)] => {
            budget.charge(list.len())?;
            list.iter().collect()
        }
        [single] if !is_number(single) => return Err(args.refused(0, "a list or numbers")),
        operands => operands.to_vec(),
    };
    let mut found: Option<Val<'a>> = None;
    for item in items {
        let kept = found.as_ref().unwrap_or(&item);
        let Some(order) = ordering(&item, kept, budget)? else {
            return Err(unfit(args, "strings, numbers, bools, timestamps or durations, all of one type", &item));
        };
        let better = if args.function == Function::Max { order.is_gt() } else { order.is_lt() };
        if better || found.is_none() {
            found = Some(item);
        }
    }
    Ok(found.unwrap_or(Val::Missing))
}

fn unfit(args: &Args<'_, '_>, wanted: &str, found: &Val<'_>) -> Box<Failure> {
    Failure::operand(format!("`{}` takes {wanted}, not a list with {}", args.function.name(), found.describe()))
}

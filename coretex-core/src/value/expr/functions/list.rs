//! Functions of lists.
//!
//! Sorting merges, so that a comparison may fail half-way, on a budget or on a type.

use std::cmp::Ordering;

use super::{Args, Outcome, count};
use crate::value::expr::ast::Function;
use crate::value::expr::error::{EvalErrorKind, Failure};
use crate::value::expr::eval::Budget;
use crate::value::expr::operators::{equal, ordering};
use crate::value::expr::val::{Dict, List, Val};

/// Longest `range`.
const MAX_RANGE: i64 = 10_000;

pub(super) fn call<'a>(args: &Args<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    match args.function {
        Function::First => return Ok(end(args, |_| 0)),
        Function::Last => return Ok(end(args, |length| length.saturating_sub(1))),
        Function::Range => return range(args, budget),
        _ => {}
    }
    let list = args.list(0)?;
    budget.charge(list.len())?;
    match args.function {
        Function::Slice => {
            let start = args.position(1)?;
            let end = if args.optional(2).is_some() { args.position(2)? } else { usize::MAX };
            if end < start {
                return Err(args.failed(format_args!("a start that is not after the end, not {start} and {end}")));
            }
            Ok(match list {
                List::Json(items) => {
                    let (start, end) = (start.min(items.len()), end.min(items.len()));
                    Val::List(List::Json(items.get(start..end).unwrap_or_default()))
                }
                List::Built(_) => Val::list(list.iter().skip(start).take(end - start).collect()),
            })
        }
        Function::Reverse => {
            let mut items: Vec<_> = list.iter().collect();
            items.reverse();
            Ok(Val::list(items))
        }
        Function::IndexOf => {
            let from = if args.optional(2).is_some() { args.position(2)? } else { 0 };
            for (at, item) in list.iter().enumerate().skip(from) {
                if equal(&item, args.at(1), budget)? {
                    return Ok(count(at));
                }
            }
            Ok(Val::Int(-1))
        }
        Function::Sort => {
            let items: Vec<_> = list.iter().collect();
            sorted_by(items.iter().cloned().zip(items.iter().cloned()).collect(), args.function.name(), budget)
        }
        Function::Distinct => distinct(list, budget),
        Function::Flatten => {
            let depth = if args.optional(1).is_some() { args.position(1)? } else { 1 };
            let mut flat = Vec::new();
            flatten(list, depth, &mut flat, budget)?;
            Ok(Val::list(flat))
        }
        Function::SetContains => includes(list, args.list(1)?, budget).map(Val::Bool),
        Function::SetEquivalent => {
            let other = args.list(1)?;
            Ok(Val::Bool(includes(list, other, budget)? && includes(other, list, budget)?))
        }
        _ => {
            let other = args.list(1)?;
            for item in other.iter() {
                if has(list, &item, budget)? {
                    return Ok(Val::Bool(true));
                }
            }
            Ok(Val::Bool(false))
        }
    }
}

/// The established functions: what is not a list has neither a first nor a last element.
fn end<'a>(args: &Args<'_, 'a>, at: impl Fn(usize) -> usize) -> Val<'a> {
    match args.at(0) {
        Val::List(list) => list.get(at(list.len())),
        _ => Val::Missing,
    }
}

fn range<'a>(args: &Args<'_, 'a>, budget: &mut Budget) -> Outcome<'a> {
    let length = args.int(0)?;
    if !(0..=MAX_RANGE).contains(&length) {
        return Err(Failure::boxed(
            EvalErrorKind::Limit,
            format!("`range` takes 0 to {MAX_RANGE}, not {length}; do this in a worker"),
        ));
    }
    budget.charge(usize::try_from(length).unwrap_or(0))?;
    Ok(Val::list((0..length).map(Val::Int).collect()))
}

fn has(list: &List<'_>, wanted: &Val<'_>, budget: &mut Budget) -> Result<bool, Box<Failure>> {
    for item in list.iter() {
        if equal(&item, wanted, budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn includes(list: &List<'_>, wanted: &List<'_>, budget: &mut Budget) -> Result<bool, Box<Failure>> {
    for item in wanted.iter() {
        if !has(list, &item, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn flatten<'a>(
    list: &List<'a>,
    depth: usize,
    flat: &mut Vec<Val<'a>>,
    budget: &mut Budget,
) -> Result<(), Box<Failure>> {
    for item in list.iter() {
        budget.charge(1)?;
        match &item {
            Val::List(inner) if depth > 0 => flatten(inner, depth - 1, flat, budget)?,
            _ => flat.push(item),
        }
    }
    Ok(())
}

/// The elements in the order of their keys, which all have one type; equal keys keep their order.
pub(in crate::value::expr) fn sorted_by<'a>(
    pairs: Vec<(Val<'a>, Val<'a>)>,
    function: &str,
    budget: &mut Budget,
) -> Outcome<'a> {
    let pairs = merge_sort(pairs, &mut |(left, _), (right, _)| {
        ordering(left, right, budget)?.ok_or_else(|| {
            Failure::operand(format!(
                "`{function}` takes strings, numbers, bools, timestamps or durations, all of one type, not {} and {}",
                left.describe(),
                right.describe()
            ))
        })
    })?;
    Ok(Val::list(pairs.into_iter().map(|(_, item)| item).collect()))
}

type Compare<'c, T> = &'c mut dyn FnMut(&T, &T) -> Result<Ordering, Box<Failure>>;

fn merge_sort<T>(mut items: Vec<T>, compare: Compare<'_, T>) -> Result<Vec<T>, Box<Failure>> {
    if items.len() < 2 {
        return Ok(items);
    }
    let right = items.split_off(items.len() / 2);
    let mut left = merge_sort(items, compare)?.into_iter().peekable();
    let mut right = merge_sort(right, compare)?.into_iter().peekable();
    let mut merged = Vec::with_capacity(left.len() + right.len());
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        merged.extend(if compare(l, r)?.is_gt() { right.next() } else { left.next() });
    }
    merged.extend(left);
    merged.extend(right);
    Ok(merged)
}

/// The first of each group of equal elements, in the order of the list.
fn distinct<'a>(list: &List<'a>, budget: &mut Budget) -> Outcome<'a> {
    let numbered: Vec<(usize, Val<'a>)> = list.iter().enumerate().collect();
    let sorted = merge_sort(numbered, &mut |(_, left), (_, right)| total(left, right, budget))?;
    let mut kept: Vec<(usize, Val<'a>)> = Vec::with_capacity(sorted.len());
    for (at, item) in sorted {
        match kept.last() {
            Some((_, last)) if total(last, &item, budget)?.is_eq() => {}
            _ => kept.push((at, item)),
        }
    }
    kept.sort_unstable_by_key(|(at, _)| *at);
    Ok(Val::list(kept.into_iter().map(|(_, item)| item).collect()))
}

/// An order of all values, in which those that are equal are equal.
fn total(left: &Val<'_>, right: &Val<'_>, budget: &mut Budget) -> Result<Ordering, Box<Failure>> {
    budget.charge(1)?;
    match (left, right) {
        (Val::List(left), Val::List(right)) => {
            for (left, right) in left.iter().zip(right.iter()) {
                let ordering = total(&left, &right, budget)?;
                if ordering.is_ne() {
                    return Ok(ordering);
                }
            }
            Ok(left.len().cmp(&right.len()))
        }
        (Val::Map(left), Val::Map(right)) => total_of_maps(left, right, budget),
        (Val::Type(left), Val::Type(right)) => Ok(left.cmp(right)),
        (away @ Val::Elsewhere(_), _) | (_, away @ Val::Elsewhere(_)) => {
            away.clone().at_hand().map(|_| Ordering::Equal)
        }
        _ => Ok(ordering(left, right, budget)?.unwrap_or_else(|| rank(left).cmp(&rank(right)))),
    }
}

fn total_of_maps(left: &Dict<'_>, right: &Dict<'_>, budget: &mut Budget) -> Result<Ordering, Box<Failure>> {
    budget.charge(left.len() + right.len())?;
    let (left_keys, right_keys) = (left.keys(), right.keys());
    for (left_key, right_key) in left_keys.iter().zip(&right_keys) {
        budget.charge_text(left_key.len().min(right_key.len()))?;
        let mut ordering = left_key.cmp(right_key);
        if ordering.is_eq() {
            ordering = total(&left.get(left_key), &right.get(right_key), budget)?;
        }
        if ordering.is_ne() {
            return Ok(ordering);
        }
    }
    Ok(left_keys.len().cmp(&right_keys.len()))
}

/// Numbers share a rank, since they are equal by value.
fn rank(value: &Val<'_>) -> u8 {
    match value {
        Val::Missing | Val::Null => 0,
        Val::Bool(_) => 1,
        Val::Int(_) | Val::Uint(_) | Val::Double(_) => 2,
        Val::Text(_) => 3,
        Val::Time(_) => 4,
        Val::Span(_) => 5,
        Val::List(_) => 6,
        Val::Map(_) => 7,
        Val::Type(_) => 8,
        Val::Elsewhere(_) => 9,
    }
}

//! The functions of the language.
//!
//! Each takes its operands as they are and charges for what it walks or builds before it does. Functions that CEL's
//! libraries have keep their names; where CEL fails and a value makes sense (a slice beyond the end), there is a value.

mod convert;
mod data;
mod list;
mod math;
mod text;
mod time;

use super::ast::Function;
use super::error::{EvalErrorKind, Failure};
use super::eval::Budget;
use super::val::{Dict, List, Val};

pub(super) use list::sorted_by;
pub(super) use time::seconds_text;

type Outcome<'a> = Result<Val<'a>, Box<Failure>>;

/// The parser has checked the number of operands.
pub(super) fn call<'a>(function: Function, operands: &[Val<'a>], budget: &mut Budget) -> Outcome<'a> {
    use Function as F;
    let args = Args { function, operands };
    match function {
        F::Size | F::Length if matches!(args.at(0), Val::Text(_)) => {
            budget.charge_text(args.text(0)?.len())?;
            Ok(count(args.text(0)?.chars().count()))
        }
        F::Size => size(args.at(0)).map(Val::Int).ok_or_else(|| args.refused(0, "a string, list or map")),
        // The established function: whatever has no length has length 0.
        F::Length => Ok(Val::Int(size(args.at(0)).unwrap_or(0))),
        F::TypeOf => Ok(Val::Type(args.at(0).type_name())),
        F::Dyn => Ok(args.at(0).clone()),
        F::Default => Ok(args.at(usize::from(args.at(0).is_nothing())).clone()),
        F::OrValue => Ok(args.at(usize::from(matches!(args.at(0), Val::Missing))).clone()),
        F::ToInt | F::ToUint | F::ToDouble | F::ToText | F::ToBool => convert::call(&args),
        F::Contains
        | F::StartsWith
        | F::EndsWith
        | F::Matches
        | F::LowerAscii
        | F::UpperAscii
        | F::Trim
        | F::Split
        | F::Join
        | F::Replace
        | F::CharAt
        | F::LastIndexOf
        | F::Substring => text::call(&args, budget),
        F::IndexOf | F::Reverse => match args.at(0) {
            Val::List(_) => list::call(&args, budget),
            _ => text::call(&args, budget),
        },
        F::First
        | F::Last
        | F::Slice
        | F::Sort
        | F::Distinct
        | F::Flatten
        | F::Range
        | F::SetContains
        | F::SetEquivalent
        | F::SetIntersects => list::call(&args, budget),
        F::Sum | F::Avg | F::Min | F::Max | F::Abs | F::Ceil | F::Floor | F::Round | F::Trunc | F::Sign => {
            math::call(&args, budget)
        }
        F::Keys | F::Values | F::Merge | F::Json | F::ToJson | F::Encode64 | F::Decode64 | F::Sha256 => {
            data::call(&args, budget)
        }
        F::Time
        | F::Span
        | F::FullYear
        | F::Month
        | F::Date
        | F::DayOfMonth
        | F::DayOfWeek
        | F::DayOfYear
        | F::Hours
        | F::Minutes
        | F::Seconds
        | F::Milliseconds => time::call(&args),
    }
}

/// The operands of one call.
struct Args<'o, 'a> {
    function: Function,
    operands: &'o [Val<'a>],
}

impl<'o, 'a> Args<'o, 'a> {
    fn at(&self, at: usize) -> &'o Val<'a> {
        self.operands.get(at).unwrap_or(&Val::Missing)
    }

    /// The operand, when the call has that many.
    fn optional(&self, at: usize) -> Option<&'o Val<'a>> {
        self.operands.get(at)
    }

    fn text(&self, at: usize) -> Result<&'o str, Box<Failure>> {
        match self.at(at) {
            Val::Text(text) => Ok(text),
            _ => Err(self.refused(at, "a string")),
        }
    }

    fn list(&self, at: usize) -> Result<&'o List<'a>, Box<Failure>> {
        match self.at(at) {
            Val::List(list) => Ok(list),
            _ => Err(self.refused(at, "a list")),
        }
    }

    fn map(&self, at: usize) -> Result<&'o Dict<'a>, Box<Failure>> {
        match self.at(at) {
            Val::Map(dict) => Ok(dict),
            _ => Err(self.refused(at, "a map")),
        }
    }

    fn int(&self, at: usize) -> Result<i64, Box<Failure>> {
        match self.at(at) {
            Val::Int(int) => Ok(*int),
            Val::Uint(uint) => Ok(i64::try_from(*uint).unwrap_or(i64::MAX)),
            _ => Err(self.refused(at, "an int")),
        }
    }

    /// A position or a count, which is not negative.
    fn position(&self, at: usize) -> Result<usize, Box<Failure>> {
        let int = self.int(at)?;
        usize::try_from(int).map_err(|_| self.failed(format!("a position of 0 or more, not {int}")))
    }

    fn refused(&self, at: usize, wanted: &str) -> Box<Failure> {
        let found = self.at(at);
        let hint = if found.is_nothing() { "; test it with has(...) first" } else { "" };
        Failure::operand(format!("`{}` takes {wanted}, not {}{hint}", self.function.name(), found.describe()))
    }

    /// An operand of the right type has a value that the function does not take.
    fn failed(&self, wanted: impl std::fmt::Display) -> Box<Failure> {
        Failure::boxed(EvalErrorKind::Conversion, format!("`{}` takes {wanted}", self.function.name()))
    }
}

/// Elements of a list, keys of a map.
fn size(value: &Val<'_>) -> Option<i64> {
    let size = match value {
        Val::List(list) => list.len(),
        Val::Map(dict) => dict.len(),
        _ => return None,
    };
    i64::try_from(size).ok()
}

fn owned<'a>(text: String) -> Val<'a> {
    Val::Text(text.into())
}

/// A length or a position as a value.
fn count<'a>(count: usize) -> Val<'a> {
    Val::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

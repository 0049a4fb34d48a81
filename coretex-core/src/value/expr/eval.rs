//! Walking the syntax tree.
//!
//! Owns control flow, comprehensions and the budget; `operators` and `functions` compute.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::ast::{Ast, Base, Comprehension, Function, Hop, Kind, Macro, Operator};
use super::error::{EvalErrorKind, Failure};
use super::scope::Scope;
use super::trace::Recorder;
use super::val::{Dict, List, Val};
use super::{functions, operators};
use crate::value::json::Value;
use crate::value::path::Path;

/// Most elements that a comprehension walks.
const MAX_COMPREHENSION_INPUT: usize = 10_000;

/// The work one evaluation may do. One unit is one operation, one value copied or 16 bytes of
/// text, so that time and memory are bounded together, whatever the scope contains.
#[derive(Debug)]
pub(in crate::value) struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: 1_000_000 }
    }
}

impl Budget {
    pub(super) fn of(units: usize) -> Self {
        Self { left: units }
    }

    pub(super) fn charge(&mut self, units: usize) -> Result<(), Box<Failure>> {
        match self.left.checked_sub(units) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Failure::boxed(EvalErrorKind::Limit, "it takes too much work; compute this in a worker"))
            }
        }
    }

    pub(super) fn charge_text(&mut self, bytes: usize) -> Result<(), Box<Failure>> {
        self.charge(bytes / 16)
    }
}

type Outcome<'a> = Result<Val<'a>, Box<Failure>>;

/// The path lane: no tree, no budget.
pub(super) fn walk<'a>(scope: &'a dyn Scope, path: &Path) -> Outcome<'a> {
    let root = Val::node(scope.variable(path.root()));
    path.segments().iter().skip(1).fold(root, |value, segment| value.step(segment)).at_hand()
}

/// Evaluates `ast` and hands the value to `finish`, while the scope is still borrowed.
pub(super) fn evaluate<T>(
    ast: &Ast,
    scope: &dyn Scope,
    budget: &mut Budget,
    finish: impl FnOnce(&Val<'_>, &mut Budget) -> Result<T, Box<Failure>>,
) -> Result<T, Box<Failure>> {
    let mut evaluator = Evaluator { scope, budget, locals: Vec::new(), recorder: None };
    let value = evaluator.eval(ast)?;
    finish(&value, evaluator.budget)
}

/// Evaluates `ast` and writes down what each part of it gives.
pub(super) fn record(ast: &Ast, scope: &dyn Scope, recorder: &mut Recorder<'_>) -> Result<Option<Value>, Box<Failure>> {
    let mut budget = Budget::default();
    let mut evaluator = Evaluator { scope, budget: &mut budget, locals: Vec::new(), recorder: Some(recorder) };
    evaluator.eval(ast)?.to_json(&mut budget)
}

struct Evaluator<'a, 'b, 't> {
    scope: &'a dyn Scope,
    budget: &'b mut Budget,
    locals: Vec<Val<'a>>,
    recorder: Option<&'b mut Recorder<'t>>,
}

impl<'a> Evaluator<'a, '_, '_> {
    fn eval(&mut self, ast: &'a Ast) -> Outcome<'a> {
        self.budget.charge(1)?;
        if self.recorder.is_some() {
            return self.eval_recorded(ast);
        }
        self.eval_kind(ast).and_then(Val::at_hand).map_err(|failure| placed(failure, ast))
    }

    fn eval_recorded(&mut self, ast: &'a Ast) -> Outcome<'a> {
        let level = self.recorder.as_mut().map_or(0, |recorder| recorder.enter());
        let outcome = self.eval_kind(ast).and_then(Val::at_hand).map_err(|failure| placed(failure, ast));
        let gap = match (&ast.kind, &outcome) {
            (Kind::Path(base, hops), Ok(Val::Missing)) => self.gap(base, hops),
            _ => None,
        };
        if let Some(recorder) = &mut self.recorder {
            recorder.leave(level, ast, &outcome, gap);
        }
        outcome
    }

    /// The step of a path that leads nowhere, and what it was tried on.
    fn gap<'h>(&self, base: &Base, hops: &'h [Hop]) -> Option<(&'h Hop, &'static str)> {
        (0..hops.len()).find_map(|at| {
            let before = self.path(base, hops.get(..at)?);
            let hop = hops.get(at)?;
            matches!(before.step(&hop.segment), Val::Missing).then(|| (hop, before.describe()))
        })
    }

    /// Each arm that recurses is a function of its own, so that deep trees fit a small stack.
    fn eval_kind(&mut self, ast: &'a Ast) -> Outcome<'a> {
        match &ast.kind {
            Kind::Literal(literal) => Ok(Val::literal(literal)),
            Kind::Path(base, hops) => Ok(self.path(base, hops)),
            Kind::Select(value, hop) => self.select(value, hop),
            Kind::Index(value, index) => self.index(value, index),
            Kind::Has(path) => self.has(path),
            Kind::Not(operand) => self.not(operand),
            Kind::Negate(operand) => self.negate(operand),
            Kind::And(operands) => self.chain(operands, false),
            Kind::Or(operands) => self.chain(operands, true),
            Kind::Binary(operator, left, right) => self.binary(*operator, left, right),
            Kind::Conditional(parts) => self.conditional(parts),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Call(function, operands) => self.call(*function, operands),
            Kind::Matches(subject, regex) => self.matches(subject, regex),
            Kind::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn select(&mut self, value: &'a Ast, hop: &Hop) -> Outcome<'a> {
        Ok(self.eval(value)?.step(&hop.segment))
    }

    fn has(&mut self, path: &'a Ast) -> Outcome<'a> {
        Ok(Val::Bool(!matches!(self.eval(path)?, Val::Missing)))
    }

    fn not(&mut self, operand: &'a Ast) -> Outcome<'a> {
        Ok(Val::Bool(!self.eval(operand)?.truthy()))
    }

    fn negate(&mut self, operand: &'a Ast) -> Outcome<'a> {
        operators::negate(&self.eval(operand)?)
    }

    fn binary(&mut self, operator: Operator, left: &'a Ast, right: &'a Ast) -> Outcome<'a> {
        let left = self.eval(left)?;
        let right = self.eval(right)?;
        operators::binary(operator, &left, &right, self.budget)
    }

    fn conditional(&mut self, [condition, then, otherwise]: &'a [Ast; 3]) -> Outcome<'a> {
        let chosen = if self.eval(condition)?.truthy() { then } else { otherwise };
        self.eval(chosen)
    }

    fn list(&mut self, items: &'a [Ast]) -> Outcome<'a> {
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            list.push(stored(self.eval(item)?));
        }
        Ok(Val::list(list))
    }

    fn call(&mut self, function: Function, operands: &'a [Ast]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(operands.len());
        for operand in operands {
            values.push(self.eval(operand)?);
        }
        functions::call(function, &values, self.budget)
    }

    fn matches(&mut self, subject: &'a Ast, regex: &regex::Regex) -> Outcome<'a> {
        let subject = self.eval(subject)?;
        let Val::Text(text) = &subject else {
            return Err(Failure::operand(format!("`matches` takes a string, not {}", subject.describe())));
        };
        self.budget.charge_text(text.len())?;
        Ok(Val::Bool(regex.is_match(text)))
    }

    fn path(&self, base: &Base, hops: &[Hop]) -> Val<'a> {
        let root = match base {
            Base::Variable(name) => Val::node(self.scope.variable(name)),
            Base::Local(slot) => self.locals.get(*slot).cloned().unwrap_or(Val::Missing),
        };
        hops.iter().fold(root, |value, hop| value.step(&hop.segment))
    }

    fn index(&mut self, value: &'a Ast, index: &'a Ast) -> Outcome<'a> {
        let value = self.eval(value)?;
        let index = self.eval(index)?;
        match (&value, &index) {
            (Val::Map(dict), Val::Text(key)) => Ok(dict.get(key)),
            (Val::List(list), Val::Int(at)) => Ok(usize::try_from(*at).map_or(Val::Missing, |at| list.get(at))),
            (Val::List(list), Val::Uint(at)) => Ok(usize::try_from(*at).map_or(Val::Missing, |at| list.get(at))),
            (Val::Missing | Val::Null, _) => Ok(Val::Missing),
            _ => Err(Failure::operand(format!("{} cannot be indexed by {}", value.describe(), index.describe()))),
        }
    }

    /// `&&` (`decisive` false) and `||` (`decisive` true). As in CEL, an operand that decides the
    /// result wins over one that fails; running out of budget always fails.
    fn chain(&mut self, operands: &'a [Ast], decisive: bool) -> Outcome<'a> {
        let mut failed = None;
        for operand in operands {
            match self.eval(operand) {
                Ok(value) if value.truthy() == decisive => return Ok(Val::Bool(decisive)),
                Ok(_) => {}
                Err(failure) if failure.kind == EvalErrorKind::Limit => return Err(failure),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        match failed {
            Some(failure) => Err(failure),
            None => Ok(Val::Bool(!decisive)),
        }
    }

    fn map(&mut self, entries: &'a [(Ast, Ast)]) -> Outcome<'a> {
        let mut map = BTreeMap::new();
        for (key_ast, value) in entries {
            let key = match self.eval(key_ast)? {
                Val::Text(key) => key,
                other => {
                    return Err(Failure::operand(format!("map keys are strings, not {}", other.describe())));
                }
            };
            let value = self.eval(value)?;
            // A missing value drops its key, as in a template.
            if matches!(value, Val::Missing) {
                continue;
            }
            if map.insert(key.clone(), value).is_some() {
                return Err(Failure::operand(format!("the map has the key `{key}` twice")));
            }
        }
        Ok(Val::Map(Dict::Built(Rc::new(map))))
    }

    fn comprehension(&mut self, parts: &'a Comprehension) -> Outcome<'a> {
        let range = self.eval(&parts.range)?;
        let list = match range {
            Val::List(list) => list,
            Val::Map(dict) => {
                self.budget.charge(dict.len())?;
                List::Built(Rc::new(dict.keys().into_iter().map(Val::Text).collect()))
            }
            other => {
                return Err(Failure::operand(format!(
                    "a list or a map can be walked, not {}{}",
                    other.describe(),
                    if other.is_nothing() { "; test it with has(...) first" } else { "" }
                )));
            }
        };
        if list.len() > MAX_COMPREHENSION_INPUT {
            return Err(Failure::boxed(
                EvalErrorKind::Limit,
                format!(
                    "a list of {} elements is walked, more than {MAX_COMPREHENSION_INPUT}; do this in a worker",
                    list.len()
                ),
            ));
        }
        let depth = self.locals.len();
        let result = self.walk_elements(parts, &list);
        self.locals.truncate(depth);
        result
    }

    fn walk_elements(&mut self, parts: &'a Comprehension, list: &List<'a>) -> Outcome<'a> {
        let slot = self.locals.len();
        let mut built = Vec::new();
        let mut keyed = Vec::new();
        let mut matched = 0_usize;
        let mut failed = None;
        for (at, element) in list.iter().enumerate() {
            self.locals.truncate(slot);
            self.locals.push(element.clone());
            if let Some(recorder) = &mut self.recorder {
                recorder.round(slot, at, parts, &element);
            }
            if let Some(condition) = &parts.condition
                && !self.eval(condition)?.truthy()
            {
                continue;
            }
            let Some(body) = &parts.body else {
                built.push(element);
                continue;
            };
            match parts.kind {
                Macro::Filter | Macro::Map => {
                    let value = self.eval(body)?;
                    built.push(stored(value));
                }
                Macro::SortBy => keyed.push((stored(self.eval(body)?), element)),
                Macro::ExistsOne => matched += usize::from(self.eval(body)?.truthy()),
                // An element that decides wins over elements that fail.
                Macro::All | Macro::Exists => match self.eval(body) {
                    Ok(value) if value.truthy() == (parts.kind == Macro::Exists) => {
                        return Ok(Val::Bool(parts.kind == Macro::Exists));
                    }
                    Ok(_) => {}
                    Err(failure) if failure.kind == EvalErrorKind::Limit => return Err(failure),
                    Err(failure) => failed = failed.or(Some(failure)),
                },
            }
        }
        if let Some(failure) = failed {
            return Err(failure);
        }
        Ok(match parts.kind {
            Macro::SortBy => functions::sorted_by(keyed, "sortBy", self.budget)?,
            Macro::Filter | Macro::Map => Val::list(built),
            Macro::ExistsOne => Val::Bool(matched == 1),
            Macro::All => Val::Bool(true),
            Macro::Exists => Val::Bool(false),
        })
    }
}

/// The innermost operation that failed gives the position.
fn placed(mut failure: Box<Failure>, ast: &Ast) -> Box<Failure> {
    failure.offset.get_or_insert(ast.start);
    failure
}

/// Lists hold no missing values: they become null.
fn stored(value: Val<'_>) -> Val<'_> {
    match value {
        Val::Missing => Val::Null,
        other => other,
    }
}

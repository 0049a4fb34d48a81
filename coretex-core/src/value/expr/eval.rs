//! Walking the syntax tree.
//!
//! Owns control flow, comprehensions and the budget; `operators` and `functions` compute.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::ast::{Ast, Base, Comprehension, Kind, Macro};
use super::error::{EvalErrorKind, Failure};
use super::scope::Scope;
use super::val::{Dict, List, Val};
use super::{functions, operators};
use crate::value::path::{Path, Segment};

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
pub(super) fn walk<'a>(scope: &'a dyn Scope, path: &Path) -> Val<'a> {
    path.segments().iter().skip(1).fold(Val::node(scope.variable(path.root())), |value, segment| value.step(segment))
}

/// Evaluates `ast` and hands the value to `finish`, while the scope is still borrowed.
pub(super) fn evaluate<T>(
    ast: &Ast,
    scope: &dyn Scope,
    budget: &mut Budget,
    finish: impl FnOnce(&Val<'_>, &mut Budget) -> Result<T, Box<Failure>>,
) -> Result<T, Box<Failure>> {
    let mut evaluator = Evaluator { scope, budget, locals: Vec::new() };
    let value = evaluator.eval(ast)?;
    finish(&value, evaluator.budget)
}

struct Evaluator<'a, 'b> {
    scope: &'a dyn Scope,
    budget: &'b mut Budget,
    locals: Vec<Val<'a>>,
}

impl<'a> Evaluator<'a, '_> {
    fn eval(&mut self, ast: &'a Ast) -> Outcome<'a> {
        self.budget.charge(1)?;
        self.eval_kind(ast).map_err(|mut failure| {
            // The innermost operation that failed gives the position.
            failure.offset.get_or_insert(ast.start);
            failure
        })
    }

    fn eval_kind(&mut self, ast: &'a Ast) -> Outcome<'a> {
        match &ast.kind {
            Kind::Literal(literal) => Ok(Val::literal(literal)),
            Kind::Path(base, segments) => Ok(self.path(base, segments)),
            Kind::Select(value, segment) => Ok(self.eval(value)?.step(segment)),
            Kind::Index(value, index) => self.index(value, index),
            Kind::Has(path) => Ok(Val::Bool(!matches!(self.eval(path)?, Val::Missing))),
            Kind::Not(operand) => Ok(Val::Bool(!self.eval(operand)?.truthy())),
            Kind::Negate(operand) => operators::negate(&self.eval(operand)?),
            Kind::And(operands) => self.chain(operands, false),
            Kind::Or(operands) => self.chain(operands, true),
            Kind::Binary(operator, left, right) => {
                let left = self.eval(left)?;
                let right = self.eval(right)?;
                operators::binary(*operator, &left, &right, self.budget)
            }
            Kind::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                if self.eval(condition)?.truthy() { self.eval(then) } else { self.eval(otherwise) }
            }
            Kind::List(items) => {
                let items =
                    items.iter().map(|item| Ok(stored(self.eval(item)?))).collect::<Result<Vec<_>, Box<Failure>>>()?;
                Ok(Val::list(items))
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Call(function, operands) => {
                let operands = operands.iter().map(|operand| self.eval(operand)).collect::<Result<Vec<_>, _>>()?;
                functions::call(*function, &operands, self.budget)
            }
            Kind::Matches(subject, regex) => {
                let subject = self.eval(subject)?;
                let Val::Text(text) = &subject else {
                    return Err(Failure::operand(format!("`matches` takes a string, not {}", subject.describe())));
                };
                self.budget.charge_text(text.len())?;
                Ok(Val::Bool(regex.is_match(text)))
            }
            Kind::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn path(&self, base: &Base, segments: &[Segment]) -> Val<'a> {
        let root = match base {
            Base::Variable(name) => Val::node(self.scope.variable(name)),
            Base::Local(slot) => self.locals.get(*slot).cloned().unwrap_or(Val::Missing),
        };
        segments.iter().fold(root, |value, segment| value.step(segment))
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
                Val::Text(key) => key.into_owned(),
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
        let mut matched = 0_usize;
        let mut failed = None;
        for element in list.iter() {
            self.locals.truncate(slot);
            self.locals.push(element.clone());
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
            Macro::Filter | Macro::Map => Val::list(built),
            Macro::ExistsOne => Val::Bool(matched == 1),
            Macro::All => Val::Bool(true),
            Macro::Exists => Val::Bool(false),
        })
    }
}

/// Lists hold no missing values: they become null.
fn stored(value: Val<'_>) -> Val<'_> {
    match value {
        Val::Missing => Val::Null,
        other => other,
    }
}

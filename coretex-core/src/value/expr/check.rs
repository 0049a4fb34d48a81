//! A light pass over types, before the first run.
//!
//! A type is unknown unless a JSON Schema declares it or the text shows it. Two things are errors: a path to a property
//! that a schema rules out, and an operation that fails for every value that its operands can have. What could succeed
//! is never refused; that a value may be missing is no way to succeed, since nothing can be computed from it.

use super::ast::{Ast, Base, Comprehension, Function, Hop, Kind, Literal, Macro, Operator};
use super::error::ExprError;
use super::options::{CompileOptions, did_you_mean};
use super::signatures::signature;
use super::types::Types;
use crate::value::path::{Segment, position};
use crate::value::schema::view::{Property, View};

/// What is known about one value.
#[derive(Clone, Debug)]
struct Known<'s> {
    types: Types,
    inside: Inside<'s>,
}

#[derive(Clone, Debug)]
enum Inside<'s> {
    Unknown,
    Schema(View<'s>),
    /// A list of such elements.
    Each(Box<Known<'s>>),
}

impl<'s> Known<'s> {
    const ANY: Self = Self { types: Types::ANY, inside: Inside::Unknown };

    fn only(types: Types) -> Self {
        Self { types, inside: Inside::Unknown }
    }

    fn schema(view: View<'s>) -> Self {
        Self { types: Types::declared(&view), inside: Inside::Schema(view) }
    }

    fn list_of(element: Self) -> Self {
        Self { types: Types::LIST, inside: Inside::Each(Box::new(element)) }
    }

    fn element(&self, at: Option<usize>) -> Self {
        match &self.inside {
            Inside::Each(element) => (**element).clone(),
            Inside::Schema(view) => view.item(at).map_or(Self::ANY, Self::schema),
            Inside::Unknown => Self::ANY,
        }
    }

    /// What a comprehension's variable is.
    fn walked(&self) -> Self {
        match self.types & (Types::LIST | Types::MAP) {
            Types::LIST => self.element(None),
            Types::MAP => Self::only(Types::TEXT),
            _ => Self::ANY,
        }
    }
}

/// Checks a tree, and says what its value can be and what is probably a mistake.
pub(super) fn check(text: &str, ast: &Ast, options: &CompileOptions) -> Result<(Types, Vec<String>), ExprError> {
    let mut checker = Checker { text, options, locals: Vec::new(), warnings: Vec::new() };
    let known = checker.of(ast)?;
    Ok((known.types, checker.warnings))
}

struct Checker<'s> {
    text: &'s str,
    options: &'s CompileOptions,
    locals: Vec<Known<'s>>,
    warnings: Vec<String>,
}

impl<'s> Checker<'s> {
    /// Each arm that recurses is a function of its own, so that deep trees fit a small stack.
    fn of(&mut self, ast: &Ast) -> Result<Known<'s>, ExprError> {
        match &ast.kind {
            Kind::Literal(literal) => Ok(Known::only(type_of(literal))),
            Kind::Path(base, hops) => self.path(base, hops, ast, false),
            Kind::Select(value, hop) => self.select(ast, value, hop),
            Kind::Has(path) => self.has(path),
            Kind::Index(value, index) => self.index(ast, value, index),
            Kind::Not(operand) => self.all(std::slice::from_ref(operand), Types::BOOL),
            Kind::And(operands) | Kind::Or(operands) => self.all(operands, Types::BOOL),
            Kind::List(items) => self.all(items, Types::LIST),
            Kind::Negate(operand) => self.negate(ast, operand),
            Kind::Binary(operator, left, right) => self.binary(ast, *operator, left, right),
            Kind::Conditional(parts) => self.conditional(parts),
            Kind::Map(entries) => self.map(entries),
            Kind::Matches(subject, _) => self.matches(ast, subject),
            Kind::Call(function, operands) => self.call(ast, *function, operands),
            Kind::Comprehension(parts) => self.comprehension(ast, parts),
        }
    }

    /// Parts of any type, of a whole whose type is known.
    fn all<A: std::borrow::Borrow<Ast>>(&mut self, parts: &[A], whole: Types) -> Result<Known<'s>, ExprError> {
        for part in parts {
            self.of(part.borrow())?;
        }
        Ok(Known::only(whole))
    }

    fn select(&mut self, ast: &Ast, value: &Ast, hop: &Hop) -> Result<Known<'s>, ExprError> {
        let known = self.of(value)?;
        self.hop(&known, hop, ast.start, false)
    }

    /// Whether the last step leads anywhere is what is asked.
    fn has(&mut self, path: &Ast) -> Result<Known<'s>, ExprError> {
        match &path.kind {
            Kind::Path(base, hops) => self.path(base, hops, path, true)?,
            Kind::Select(value, _) => self.of(value)?,
            _ => self.of(path)?,
        };
        Ok(Known::only(Types::BOOL))
    }

    fn negate(&mut self, ast: &Ast, operand: &Ast) -> Result<Known<'s>, ExprError> {
        self.operand(ast.start, "`-` applies to", operand, Types::NUMBER)?;
        Ok(Known::only(Types::NUMBER))
    }

    fn conditional(&mut self, [condition, then, otherwise]: &[Ast; 3]) -> Result<Known<'s>, ExprError> {
        self.of(condition)?;
        let types = self.of(then)?.types;
        Ok(Known::only(types | self.of(otherwise)?.types))
    }

    fn map(&mut self, entries: &[(Ast, Ast)]) -> Result<Known<'s>, ExprError> {
        for (key, value) in entries {
            self.operand(key.start, "a key of a map is", key, Types::TEXT)?;
            self.of(value)?;
        }
        Ok(Known::only(Types::MAP))
    }

    fn matches(&mut self, ast: &Ast, subject: &Ast) -> Result<Known<'s>, ExprError> {
        self.operand(ast.start, "`matches` takes", subject, Types::TEXT)?;
        Ok(Known::only(Types::BOOL))
    }

    /// An operand that has to have one of some types.
    fn operand(&mut self, at: usize, wants: &str, ast: &Ast, wanted: Types) -> Result<Known<'s>, ExprError> {
        let known = self.of(ast)?;
        if known.types.meets(wanted) {
            return Ok(known);
        }
        Err(ExprError::new(self.text, at, format!("{wants} {wanted}, and `{}` is {}", self.source(ast), known.types)))
    }

    fn source(&self, ast: &Ast) -> String {
        let text = self.text.get(ast.start..ast.end).unwrap_or_default().trim();
        let mut short: String = text.chars().take(40).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        short
    }

    fn path(&mut self, base: &Base, hops: &[Hop], ast: &Ast, asked: bool) -> Result<Known<'s>, ExprError> {
        let (mut known, rest) = match base {
            Base::Local(slot) => (self.locals.get(*slot).cloned().unwrap_or(Known::ANY), hops),
            Base::Variable(root) => match (&**root, hops) {
                ("input", hops) => (self.options.input().map_or(Known::ANY, Known::schema), hops),
                ("steps", [id, rest @ ..]) => match (&id.segment, rest) {
                    (Segment::Key(id), [output, rest @ ..]) if is_key(&output.segment, "output") => {
                        (self.options.output(id).map_or(Known::ANY, Known::schema), rest)
                    }
                    (Segment::Key(_), rest) => (self.options.step().map_or(Known::ANY, Known::schema), rest),
                    _ => (Known::ANY, rest),
                },
                ("item", hops) => (self.item(), hops),
                (root, hops) => match self.options.shape(root) {
                    Some(view) => (Known::schema(view), hops),
                    None => (Known::ANY, &[][..]),
                },
            },
        };
        for hop in rest {
            known = self.hop(&known, hop, ast.start, asked)?;
        }
        Ok(known)
    }

    /// The element of the list that the innermost `for_each` walks.
    fn item(&self) -> Known<'s> {
        let Some(walked) = self.options.walked() else { return Known::ANY };
        let mut around =
            Checker { text: walked.list.text(), options: &walked.options, locals: Vec::new(), warnings: Vec::new() };
        // The list itself was checked where it stands.
        let list = super::with_tree(&walked.list, |tree| around.of(tree));
        list.map_or(Known::ANY, |list| list.element(None))
    }

    /// One step down. `free` steps may lead nowhere.
    fn hop(&self, known: &Known<'s>, hop: &Hop, start: usize, free: bool) -> Result<Known<'s>, ExprError> {
        let Segment::Key(key) = &hop.segment else {
            return Ok(known.element(position(&hop.segment)));
        };
        let index = position(&hop.segment);
        if index.is_some() && known.types.meets(Types::LIST) {
            return Ok(known.element(index));
        }
        let Inside::Schema(view) = &known.inside else {
            return Ok(Known::ANY);
        };
        let owner = hop.owner(self.text, start);
        let nothing = |reason: String, hint: Option<String>| {
            if free || hop.optional {
                return Ok(Known::ANY);
            }
            let exempt = "to ask whether it is there, write has(...) or `.?`".to_owned();
            Err(ExprError::new(self.text, hop.at, reason).with_hint(hint.or(Some(exempt))))
        };
        if !known.types.meets(Types::MAP) {
            return nothing(format!("`{owner}` is {} and has no field `{key}`", known.types), None);
        }
        match view.property(key) {
            Property::Declared(view) => Ok(Known::schema(view)),
            Property::Open => Ok(Known::ANY),
            Property::Closed => nothing(
                format!("the schema of `{owner}` declares no `{key}` and allows nothing else"),
                did_you_mean(key, view.declared()),
            ),
        }
    }

    fn index(&mut self, ast: &Ast, value: &Ast, index: &Ast) -> Result<Known<'s>, ExprError> {
        let (known, by) = (self.of(value)?, self.of(index)?);
        let fits = [(Types::LIST, Types::NUMBER), (Types::MAP, Types::TEXT), (Types::NULL, Types::ANY)];
        if !fits.iter().any(|(value, index)| known.types.meets(*value) && by.types.meets(*index)) {
            let reason = format!(
                "`{}` is {} and cannot be indexed by `{}`, which is {}",
                self.source(value),
                known.types,
                self.source(index),
                by.types
            );
            return Err(ExprError::new(self.text, ast.start, reason));
        }
        Ok(if known.types == Types::LIST { known.element(None) } else { Known::ANY })
    }

    fn binary(&mut self, ast: &Ast, operator: Operator, left: &Ast, right: &Ast) -> Result<Known<'s>, ExprError> {
        let (l, r) = (self.of(left)?.types, self.of(right)?.types);
        if matches!(operator, Operator::Equal | Operator::NotEqual) {
            // What is missing equals null and whatever else is missing.
            if !l.meets(r) && !l.meets(Types::NULL) && !r.meets(Types::NULL) {
                let (left, right) = (self.source(left), self.source(right));
                let warning = format!("`{left}` is {l} and `{right}` is {r}: they are never equal");
                if !self.warnings.contains(&warning) {
                    self.warnings.push(warning);
                }
            }
            return Ok(Known::only(Types::BOOL));
        }
        let results = results(operator, l, r);
        if results == Types::NONE {
            let reason = format!(
                "`{}` does not apply to `{}`, which is {l}, and `{}`, which is {r}",
                operator.symbol(),
                self.source(left),
                self.source(right)
            );
            let hint = match l | r {
                both if both == Types::TEXT | Types::NUMBER => {
                    Some("convert with int(...), double(...) or string(...)")
                }
                both if both.meets(Types::TIME | Types::SPAN) => Some("convert with timestamp(...) or duration(...)"),
                _ => None,
            };
            return Err(ExprError::new(self.text, ast.start, reason).with_hint(hint.map(str::to_owned)));
        }
        Ok(Known::only(results))
    }

    fn call(&mut self, ast: &Ast, function: Function, operands: &[Ast]) -> Result<Known<'s>, ExprError> {
        let (takes, gives) = signature(function, operands.len());
        let wants = format!("`{}` takes", function.name());
        let mut known = Vec::with_capacity(operands.len());
        for (at, operand) in operands.iter().enumerate() {
            let wanted = takes.get(at).or(takes.last()).copied().unwrap_or(Types::ANY);
            known.push(self.operand(ast.start, &wants, operand, wanted)?);
        }
        let first = known.first().cloned().unwrap_or(Known::ANY);
        Ok(match function {
            Function::Dyn => Known::ANY,
            Function::First | Function::Last if first.types == Types::LIST => first.element(None),
            Function::Default | Function::OrValue => Known::only(Types::union(known.iter().map(|known| known.types))),
            Function::Sort | Function::Distinct | Function::Slice if first.types == Types::LIST => {
                Known::list_of(first.element(None))
            }
            Function::Reverse => Known::only(first.types & gives),
            _ => Known::only(gives),
        })
    }

    fn comprehension(&mut self, ast: &Ast, parts: &Comprehension) -> Result<Known<'s>, ExprError> {
        let range = self.operand(ast.start, "what is walked is", &parts.range, Types::LIST | Types::MAP)?;
        let element = range.walked();
        self.locals.push(element.clone());
        if let Some(condition) = &parts.condition {
            self.of(condition)?;
        }
        let body = parts.body.as_ref().map(|body| self.of(body)).transpose()?;
        self.locals.pop();
        Ok(match parts.kind {
            Macro::All | Macro::Exists | Macro::ExistsOne => Known::only(Types::BOOL),
            Macro::Filter | Macro::SortBy => Known::list_of(element),
            Macro::Map => Known::list_of(body.unwrap_or(Known::ANY)),
        })
    }
}

fn type_of(literal: &Literal) -> Types {
    match literal {
        Literal::Null => Types::NULL,
        Literal::Bool(_) => Types::BOOL,
        Literal::Int(_) | Literal::Uint(_) | Literal::Double(_) => Types::NUMBER,
        Literal::Text(_) => Types::TEXT,
        Literal::Type(_) => Types::TYPE,
    }
}

/// The types that the result of an operator can have; none when it can only fail.
fn results(operator: Operator, left: Types, right: Types) -> Types {
    const ORDERED: [Types; 5] = [Types::NUMBER, Types::TEXT, Types::BOOL, Types::TIME, Types::SPAN];
    let both = |one: Types| left.meets(one) && right.meets(one);
    let bool_if = |possible: bool| if possible { Types::BOOL } else { Types::NONE };
    let pairs: &[(Types, Types, Types)] = match operator {
        Operator::Add => &[
            (Types::NUMBER, Types::NUMBER, Types::NUMBER),
            (Types::TEXT, Types::TEXT, Types::TEXT),
            (Types::LIST, Types::LIST, Types::LIST),
            (Types::TIME, Types::SPAN, Types::TIME),
            (Types::SPAN, Types::TIME, Types::TIME),
            (Types::SPAN, Types::SPAN, Types::SPAN),
        ],
        Operator::Subtract => &[
            (Types::NUMBER, Types::NUMBER, Types::NUMBER),
            (Types::TIME, Types::SPAN, Types::TIME),
            (Types::TIME, Types::TIME, Types::SPAN),
            (Types::SPAN, Types::SPAN, Types::SPAN),
        ],
        Operator::Multiply | Operator::Divide | Operator::Remainder => &[(Types::NUMBER, Types::NUMBER, Types::NUMBER)],
        Operator::In => return bool_if(right.meets(Types::LIST | Types::MAP | Types::NULL)),
        Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => {
            return bool_if((left | right).meets(Types::NULL) || ORDERED.into_iter().any(both));
        }
        Operator::Equal | Operator::NotEqual => return Types::BOOL,
    };
    let possible = pairs.iter().filter(|(l, r, _)| left.meets(*l) && right.meets(*r));
    Types::union(possible.map(|(_, _, result)| *result))
}

fn is_key(segment: &Segment, name: &str) -> bool {
    matches!(segment, Segment::Key(key) if **key == *name)
}

//! From text to a checked syntax tree.
//!
//! Owns the grammar and everything that is decided before the first run: known roots, steps and
//! functions, operand counts, sizes, nesting. The grammar is CEL's with three additions that keep
//! established texts readable: a declared step id may contain dashes after `steps.`, a field of
//! digits is a position (`items.0`), and keywords are allowed as field names.

use super::ast::{
    Ast, Base, Comprehension, Form, Function, Kind, Literal, Macro, Operator, TYPE_NAMES,
};
use super::error::ExprError;
use super::lexer::{Lexer, Token};
use super::options::{CompileOptions, References, did_you_mean};
use crate::value::path::{Segment, is_key_char, position};

/// Deepest syntax tree. A chain such as `a + b + c` is as deep as it is long; `&&` and `||`
/// chains are flat.
pub(super) const MAX_DEPTH: usize = 96;
/// Deepest nesting of brackets, calls and alternatives.
const MAX_NESTING: usize = 48;
/// Deepest nesting of comprehensions.
const MAX_COMPREHENSIONS: usize = 2;
/// Most elements of a list or map literal.
const MAX_LITERAL: usize = 256;
/// Most bytes of a `matches` pattern once compiled.
pub(super) const MAX_PATTERN_BYTES: usize = 256 * 1024;
/// Reserved by the language, so never a root or a variable.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// What the parser found.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) ast: Ast,
    pub(super) references: References,
    pub(super) warnings: Vec<String>,
}

pub(super) fn parse(text: &str, options: &CompileOptions) -> Result<Parsed, ExprError> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        token: Token::End,
        start: 0,
        options,
        locals: Vec::new(),
        nesting: 0,
        comprehensions: 0,
        references: References::default(),
        warnings: Vec::new(),
    };
    parser.advance()?;
    let ast = parser.expression()?;
    if parser.token != Token::End {
        return Err(parser.unexpected("an operator or the end"));
    }
    Ok(Parsed {
        ast,
        references: parser.references,
        warnings: parser.warnings,
    })
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token,
    /// Where `token` starts.
    start: usize,
    options: &'t CompileOptions,
    locals: Vec<String>,
    nesting: usize,
    comprehensions: usize,
    references: References,
    warnings: Vec<String>,
}

impl Parser<'_> {
    fn advance(&mut self) -> Result<(), ExprError> {
        (self.token, self.start) = self.lexer.next()?;
        Ok(())
    }

    fn at(&self, mark: &str) -> bool {
        matches!(&self.token, Token::Mark(found) if *found == mark)
    }

    fn eat(&mut self, mark: &str) -> Result<bool, ExprError> {
        let found = self.at(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, mark: &str) -> Result<(), ExprError> {
        if self.eat(mark)? {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{mark}`")))
        }
    }

    fn error(&self, offset: usize, reason: impl Into<String>) -> ExprError {
        ExprError::new(self.lexer.text(), offset, reason)
    }

    fn unexpected(&self, expected: &str) -> ExprError {
        let found = self.token.describe();
        let hint = match &self.token {
            Token::Name(name) if name == "and" => Some("write `&&`".to_owned()),
            Token::Name(name) if name == "or" => Some("write `||`".to_owned()),
            Token::Name(name) if name == "not" => Some("write `!`".to_owned()),
            Token::Mark("{") => Some("a map literal has quoted keys: {'key': value}".to_owned()),
            _ => None,
        };
        self.error(self.start, format!("expected {expected}, found {found}"))
            .with_hint(hint)
    }

    fn node(&self, start: usize, kind: Kind) -> Result<Ast, ExprError> {
        let depth = 1 + child_depth(&kind);
        if depth > MAX_DEPTH {
            return Err(self
                .error(
                    start,
                    format!("more than {MAX_DEPTH} operations inside each other"),
                )
                .with_hint(Some("split it over several steps".to_owned())));
        }
        Ok(Ast { kind, start, depth })
    }

    fn expression(&mut self) -> Result<Ast, ExprError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self
                .error(
                    self.start,
                    format!("nested more than {MAX_NESTING} levels deep"),
                )
                .with_hint(Some("split it over several steps".to_owned())));
        }
        let start = self.start;
        let condition = self.binary(0)?;
        let result = if self.eat("?")? {
            let then = self.binary(0)?;
            self.expect(":")?;
            let otherwise = self.expression()?;
            self.node(
                start,
                Kind::Conditional(Box::new([condition, then, otherwise])),
            )?
        } else {
            condition
        };
        self.nesting -= 1;
        Ok(result)
    }

    /// Binary operators by precedence: `||`, `&&`, comparison, sum, product.
    fn binary(&mut self, level: usize) -> Result<Ast, ExprError> {
        let start = self.start;
        match level {
            0 | 1 => {
                let mark = if level == 0 { "||" } else { "&&" };
                let first = self.binary(level + 1)?;
                if !self.at(mark) {
                    return Ok(first);
                }
                let mut operands = vec![first];
                while self.eat(mark)? {
                    operands.push(self.binary(level + 1)?);
                }
                let kind = if level == 0 {
                    Kind::Or(operands)
                } else {
                    Kind::And(operands)
                };
                self.node(start, kind)
            }
            2..=4 => {
                let mut left = self.binary(level + 1)?;
                while let Some(operator) = self.operator(level) {
                    if level == 2
                        && matches!(left.kind, Kind::Not(_))
                        && self
                            .lexer
                            .text()
                            .get(left.start..)
                            .is_some_and(|text| text.starts_with('!'))
                    {
                        return Err(self
                            .error(left.start, format!("`!` before a comparison with `{}` is ambiguous", operator.symbol()))
                            .with_hint(Some("write !(a == b) to negate the comparison, (!a) == b to negate the operand".to_owned())));
                    }
                    self.advance()?;
                    let right = self.binary(level + 1)?;
                    left = self.node(
                        start,
                        Kind::Binary(operator, Box::new(left), Box::new(right)),
                    )?;
                }
                Ok(left)
            }
            _ => self.unary(),
        }
    }

    fn operator(&self, level: usize) -> Option<Operator> {
        use Operator::{
            Add, Divide, Equal, Greater, GreaterEqual, In, Less, LessEqual, Multiply, NotEqual,
            Remainder, Subtract,
        };
        let candidates: &[Operator] = match level {
            2 => &[Equal, NotEqual, LessEqual, GreaterEqual, Less, Greater, In],
            3 => &[Add, Subtract],
            _ => &[Multiply, Divide, Remainder],
        };
        let text = match &self.token {
            Token::Mark(mark) => mark,
            Token::Name(name) if name == "in" => "in",
            _ => return None,
        };
        candidates
            .iter()
            .copied()
            .find(|operator| operator.symbol() == text)
    }

    fn unary(&mut self) -> Result<Ast, ExprError> {
        let start = self.start;
        if self.at("-") {
            self.advance()?;
            // The smallest integer has no positive counterpart, so the sign belongs to the literal.
            if let Token::Int(value) = self.token {
                self.advance()?;
                let Some(int) = 0_i64.checked_sub_unsigned(value) else {
                    return Err(self.error(start, "this number is too small"));
                };
                let literal = self.node(start, Kind::Literal(Literal::Int(int)))?;
                return self.postfix(literal);
            }
            let operand = self.nested_unary()?;
            return self.node(start, Kind::Negate(Box::new(operand)));
        }
        if self.eat("!")? {
            let operand = self.nested_unary()?;
            return self.node(start, Kind::Not(Box::new(operand)));
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    fn nested_unary(&mut self) -> Result<Ast, ExprError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.error(
                self.start,
                format!("nested more than {MAX_NESTING} levels deep"),
            ));
        }
        let operand = self.unary()?;
        self.nesting -= 1;
        Ok(operand)
    }

    fn primary(&mut self) -> Result<Ast, ExprError> {
        let start = self.start;
        let token = std::mem::replace(&mut self.token, Token::End);
        let literal = match token {
            Token::Int(value) => match i64::try_from(value) {
                Ok(int) => Literal::Int(int),
                Err(_) => {
                    return Err(self
                        .error(start, "this number is too large for an int")
                        .with_hint(Some(
                            "write it as a uint (18446744073709551615u) or a double (1e19)"
                                .to_owned(),
                        )));
                }
            },
            Token::Uint(value) => Literal::Uint(value),
            Token::Double(value) => Literal::Double(value),
            Token::Text(text) => Literal::Text(text.into()),
            Token::Name(name) => match name.as_str() {
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                "null" => Literal::Null,
                _ => return self.name(name, start),
            },
            Token::Mark("(") => {
                self.advance()?;
                let mut inner = self.expression()?;
                self.expect(")")?;
                inner.start = start;
                return Ok(inner);
            }
            Token::Mark("[") => {
                self.advance()?;
                let items = self.items("]")?;
                return self.node(start, Kind::List(items));
            }
            Token::Mark("{") => {
                self.advance()?;
                return self.map(start);
            }
            other => {
                self.token = other;
                return Err(self.unexpected("a value"));
            }
        };
        self.advance()?;
        self.node(start, Kind::Literal(literal))
    }

    /// A name that starts a path, a call or a type.
    fn name(&mut self, name: String, start: usize) -> Result<Ast, ExprError> {
        // A path needs what follows a dot unread, so look before taking the next token.
        self.lexer.skip_space();
        if self.lexer.rest().starts_with('(') {
            self.advance()?;
            return self.call(&name, None, start, start);
        }
        let base = if let Some(slot) = self.locals.iter().rposition(|local| *local == name) {
            Base::Local(slot)
        } else if self.options.has_root(&name) {
            self.references.roots.insert(name.clone());
            Base::Variable(name.clone().into())
        } else if let Some(known) = TYPE_NAMES.iter().find(|known| **known == name) {
            self.advance()?;
            return self.node(start, Kind::Literal(Literal::Type(known)));
        } else {
            return Err(self.unknown_name(&name, start));
        };
        let mut segments = Vec::new();
        if matches!(&base, Base::Variable(root) if **root == *"steps") {
            self.step_segment(&mut segments)?;
        }
        self.advance()?;
        self.node(start, Kind::Path(base, segments))
    }

    fn unknown_name(&self, name: &str, start: usize) -> ExprError {
        if RESERVED.contains(&name) || name == "in" {
            return self.error(start, format!("`{name}` is a reserved word"));
        }
        let known = self
            .options
            .roots()
            .chain(self.locals.iter().map(String::as_str));
        let hint = did_you_mean(name, known).unwrap_or_else(|| {
            let roots: Vec<_> = self
                .options
                .roots()
                .map(|root| format!("`{root}`"))
                .collect();
            format!(
                "known are {}; write text in quotes: '{name}'",
                roots.join(", ")
            )
        });
        self.error(start, format!("unknown name `{name}`"))
            .with_hint(Some(hint))
    }

    /// Reads `.step-id` or `['step-id']` right after `steps`, when it is there.
    fn step_segment(&mut self, segments: &mut Vec<Segment>) -> Result<(), ExprError> {
        let before = self.lexer.offset();
        self.lexer.skip_space();
        let Some(after_dot) = self.lexer.rest().strip_prefix('.') else {
            // `steps['id']` is handled with the other brackets.
            return Ok(());
        };
        let space = after_dot.len() - after_dot.trim_start().len();
        let rest = after_dot.trim_start();
        let offset = before.max(self.lexer.offset()) + 1 + space;
        let declared = self.options.steps().and_then(|steps| {
            steps
                .iter()
                .filter(|id| {
                    rest.strip_prefix(id.as_str()).is_some_and(|tail| {
                        !tail.chars().next().is_some_and(super::lexer::is_name_char)
                    })
                })
                .max_by_key(|id| id.len())
        });
        let id = if let Some(id) = declared {
            self.lexer.rewind(offset + id.len());
            id.clone()
        } else if self.options.steps().is_some() && !rest.starts_with('`') {
            let end = rest.find(|ch| !is_key_char(ch)).unwrap_or(rest.len());
            return Err(self.unknown_step(rest.get(..end).unwrap_or_default(), offset));
        } else {
            self.lexer.rewind(offset);
            let id = self.lexer.field()?;
            self.check_step(&id, offset)?;
            id
        };
        self.references.steps.insert(id.clone());
        segments.push(Segment::Key(id.into()));
        Ok(())
    }

    fn check_step(&self, id: &str, offset: usize) -> Result<(), ExprError> {
        match self.options.steps() {
            Some(steps) if !steps.contains(id) => Err(self.unknown_step(id, offset)),
            _ => Ok(()),
        }
    }

    fn unknown_step(&self, id: &str, offset: usize) -> ExprError {
        unknown_step(self.lexer.text(), id, offset, self.options)
    }

    /// Fields, positions and method calls after a value.
    fn postfix(&mut self, mut value: Ast) -> Result<Ast, ExprError> {
        let start = value.start;
        loop {
            if self.number_is_field(&value) {
                self.lexer.rewind(self.start + 1);
            } else if !self.at(".") && !self.at("[") {
                break;
            }
            if self.at("[") {
                value = self.index(value, start)?;
                continue;
            }
            self.lexer.skip_space();
            let offset = self.lexer.offset();
            let quoted = self.lexer.rest().starts_with('`');
            let field = self.lexer.field()?;
            self.lexer.skip_space();
            if !quoted && self.lexer.rest().starts_with('(') {
                self.advance()?;
                value = self.call(&field, Some(value), start, offset)?;
            } else {
                if is_steps_root(&value) {
                    self.check_step(&field, offset)?;
                    self.references.steps.insert(field.clone());
                }
                self.advance()?;
                value = self.step_down(value, Segment::Key(field.into()), start)?;
            }
        }
        if self.at("{") && matches!(value.kind, Kind::Path(..)) {
            return Err(self
                .error(self.start, "message literals are not part of the language")
                .with_hint(Some("write a map: {'key': value}".to_owned())));
        }
        self.note(&value)?;
        Ok(value)
    }

    /// After a path, `.0` is a position, though it reads as a number.
    fn number_is_field(&self, value: &Ast) -> bool {
        matches!(self.token, Token::Double(_))
            && !matches!(value.kind, Kind::Literal(_))
            && self
                .lexer
                .text()
                .get(self.start..)
                .is_some_and(|text| text.starts_with('.'))
    }

    fn step_down(&self, value: Ast, segment: Segment, start: usize) -> Result<Ast, ExprError> {
        match value.kind {
            // A parenthesised path is still a path.
            Kind::Path(base, mut segments) if segments.len() < crate::value::path::MAX_SEGMENTS => {
                segments.push(segment);
                self.node(start, Kind::Path(base, segments))
            }
            kind => {
                let value = Ast { kind, ..value };
                self.node(start, Kind::Select(Box::new(value), segment))
            }
        }
    }

    fn index(&mut self, value: Ast, start: usize) -> Result<Ast, ExprError> {
        if self.lexer.rest().starts_with('?') {
            return Err(self
                .error(self.start, "optional indexing is not part of the language")
                .with_hint(Some(
                    "a missing element already reads as null: write `[`".to_owned(),
                )));
        }
        self.advance()?;
        let offset = self.start;
        let index = self.expression()?;
        self.expect("]")?;
        match index.kind {
            Kind::Literal(Literal::Text(key)) => {
                if is_steps_root(&value) {
                    self.check_step(&key, offset)?;
                    self.references.steps.insert(key.to_string());
                }
                self.step_down(value, Segment::Key(key), start)
            }
            Kind::Literal(Literal::Int(at)) if at >= 0 => self.step_down(
                value,
                Segment::Index(usize::try_from(at).unwrap_or(usize::MAX)),
                start,
            ),
            kind => {
                let index = Ast { kind, ..index };
                self.note(&value)?;
                self.node(start, Kind::Index(Box::new(value), Box::new(index)))
            }
        }
    }

    /// Reports what a finished path reads.
    fn note(&mut self, value: &Ast) -> Result<(), ExprError> {
        let Kind::Path(Base::Variable(root), segments) = &value.kind else {
            return Ok(());
        };
        match &**root {
            "steps" if segments.is_empty() => self.references.all_steps = true,
            "input" => {
                let keys = segments.iter().map_while(|segment| match segment {
                    Segment::Key(key) if position(segment).is_none() => Some(&**key),
                    _ => None,
                });
                if let Some(warning) = self.options.input_warning(keys)
                    && !self.warnings.contains(&warning)
                {
                    self.warnings.push(warning);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Comma-separated expressions up to `close`; a trailing comma is fine.
    fn items(&mut self, close: &str) -> Result<Vec<Ast>, ExprError> {
        let mut items = Vec::new();
        while !self.eat(close)? {
            self.check_literal(items.len())?;
            if self.at("?") {
                return Err(self.unexpected("a value"));
            }
            items.push(self.expression()?);
            if !self.eat(",")? {
                self.expect(close)?;
                break;
            }
        }
        Ok(items)
    }

    fn check_literal(&self, length: usize) -> Result<(), ExprError> {
        if length < MAX_LITERAL {
            return Ok(());
        }
        Err(self
            .error(self.start, format!("more than {MAX_LITERAL} elements"))
            .with_hint(Some("pass long lists as input".to_owned())))
    }

    fn map(&mut self, start: usize) -> Result<Ast, ExprError> {
        let mut entries = Vec::new();
        while !self.eat("}")? {
            self.check_literal(entries.len())?;
            let key = self.expression()?;
            if matches!(&key.kind, Kind::Literal(literal) if !matches!(literal, Literal::Text(_))) {
                return Err(self
                    .error(key.start, "map keys are strings")
                    .with_hint(Some("quote the key".to_owned())));
            }
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if !self.eat(",")? {
                self.expect("}")?;
                break;
            }
        }
        self.node(start, Kind::Map(entries))
    }

    /// A call; the current token is `(`, and `offset` is where the name stands.
    fn call(
        &mut self,
        name: &str,
        receiver: Option<Ast>,
        start: usize,
        offset: usize,
    ) -> Result<Ast, ExprError> {
        let receiver = match (Macro::named(name), receiver) {
            (Some(kind), Some(range)) => {
                return self.comprehension(kind, name, range, start, offset);
            }
            (Some(_), None) => {
                return Err(self
                    .error(offset, format!("`{name}` is called on a list"))
                    .with_hint(Some(format!("write input.items.{name}(item, ...)"))));
            }
            (None, receiver) => receiver,
        };
        self.advance()?;
        if let Some(receiver) = &receiver {
            self.note(receiver)?;
        }
        let is_method = receiver.is_some();
        let mut operands: Vec<Ast> = receiver.into_iter().collect();
        operands.extend(self.items(")")?);
        if name == "has" && !is_method {
            return self.has(operands, start);
        }
        let Some((function, _, form, min, max)) = Function::TABLE.iter().find(|row| row.1 == name)
        else {
            return Err(self.unknown_function(name, offset));
        };
        let wrong_form = match form {
            Form::Global => is_method,
            Form::Method => !is_method,
            Form::Both => false,
        };
        if wrong_form {
            let usage = if is_method {
                format!("{name}(x)")
            } else {
                format!("x.{name}(...)")
            };
            return Err(self
                .error(offset, format!("`{name}` is not called like this"))
                .with_hint(Some(format!("write `{usage}`"))));
        }
        if !(*min..=*max).contains(&operands.len()) {
            let shown = operands.len() - usize::from(is_method);
            let wanted = min - usize::from(is_method);
            return Err(self.error(
                offset,
                format!(
                    "`{name}` takes {wanted} argument{}, not {shown}",
                    if wanted == 1 { "" } else { "s" }
                ),
            ));
        }
        if *function == Function::Matches
            && let Some(Kind::Literal(Literal::Text(pattern))) =
                operands.get(1).map(|operand| &operand.kind)
        {
            let regex = compile_pattern(pattern).map_err(|reason| self.error(offset, reason))?;
            operands.truncate(1);
            if let Some(subject) = operands.pop() {
                return self.node(start, Kind::Matches(Box::new(subject), Box::new(regex)));
            }
        }
        self.node(start, Kind::Call(*function, operands))
    }

    fn unknown_function(&self, name: &str, offset: usize) -> ExprError {
        let known = Function::TABLE.iter().map(|row| row.1).chain([
            "has",
            "all",
            "exists",
            "exists_one",
            "map",
            "filter",
        ]);
        let hint = match name {
            "len" | "count" => Some("write `size(x)` or `length(x)`".to_owned()),
            "timestamp" | "duration" | "now" => {
                Some("times are strings here; workers compute with them".to_owned())
            }
            _ => did_you_mean(name, known),
        };
        self.error(offset, format!("unknown function `{name}`"))
            .with_hint(hint)
    }

    fn has(&self, mut operands: Vec<Ast>, start: usize) -> Result<Ast, ExprError> {
        match (operands.pop(), operands.is_empty()) {
            (Some(operand), true) if matches!(operand.kind, Kind::Path(..) | Kind::Select(..)) => {
                self.node(start, Kind::Has(Box::new(operand)))
            }
            _ => Err(self.error(start, "`has` takes one path, such as has(input.name)")),
        }
    }

    fn comprehension(
        &mut self,
        kind: Macro,
        name: &str,
        range: Ast,
        start: usize,
        offset: usize,
    ) -> Result<Ast, ExprError> {
        self.note(&range)?;
        self.comprehensions += 1;
        if self.comprehensions > MAX_COMPREHENSIONS {
            return Err(self
                .error(
                    offset,
                    format!("`{name}` is nested more than {MAX_COMPREHENSIONS} levels deep"),
                )
                .with_hint(Some(
                    "compute the inner list in a step of its own".to_owned(),
                )));
        }
        self.expect("(")?;
        let variable_at = self.start;
        let Token::Name(variable) = self.token.clone() else {
            return Err(self.unexpected("a variable name"));
        };
        self.advance()?;
        if RESERVED.contains(&variable.as_str())
            || ["true", "false", "null", "in"].contains(&variable.as_str())
        {
            return Err(self.error(variable_at, format!("`{variable}` is a reserved word")));
        }
        if !self.at(",") {
            return Err(self
                .unexpected("`,`")
                .with_hint(Some(format!("write x.{name}(item, ...)"))));
        }
        self.advance()?;
        self.locals.push(variable);
        let mut parts = self.items(")")?;
        self.locals.pop();
        self.comprehensions -= 1;
        let last = parts.pop();
        let first = parts.pop();
        let (condition, body) = match (kind, first, last, parts.is_empty()) {
            (Macro::Filter, None, last @ Some(_), true) => (last, None),
            (Macro::Map, first, last @ Some(_), true) => (first, last),
            (Macro::All | Macro::Exists | Macro::ExistsOne, None, last @ Some(_), true) => {
                (None, last)
            }
            _ => {
                return Err(self.error(
                    offset,
                    format!("`{name}` takes a variable and an expression"),
                ));
            }
        };
        self.node(
            start,
            Kind::Comprehension(Box::new(Comprehension {
                kind,
                range,
                condition,
                body,
            })),
        )
    }
}

/// Whether this is `steps` and nothing more.
fn is_steps_root(value: &Ast) -> bool {
    matches!(&value.kind, Kind::Path(Base::Variable(root), segments) if **root == *"steps" && segments.is_empty())
}

/// The error for a step id that is not declared.
pub(super) fn unknown_step(
    text: &str,
    id: &str,
    offset: usize,
    options: &CompileOptions,
) -> ExprError {
    let known = options.steps().into_iter().flatten().map(String::as_str);
    let hint = did_you_mean(id, known)
        .unwrap_or_else(|| "it must be the id of a step in this workflow".to_owned());
    ExprError::new(text, offset, format!("unknown step `{id}`")).with_hint(Some(hint))
}

/// Compiles a `matches` pattern within [`MAX_PATTERN_BYTES`].
pub(super) fn compile_pattern(pattern: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(pattern)
        .size_limit(MAX_PATTERN_BYTES)
        .dfa_size_limit(MAX_PATTERN_BYTES)
        .nest_limit(32)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the pattern of `matches` is too large".to_owned(),
            other => {
                // The last line of the crate's message is the reason, the others draw a caret.
                let message = other.to_string();
                let reason = message.lines().last().unwrap_or_default().trim();
                format!(
                    "the pattern of `matches` is not valid: {}",
                    reason.trim_start_matches("error: ")
                )
            }
        })
}

fn child_depth(kind: &Kind) -> usize {
    fn deepest<'a>(asts: impl IntoIterator<Item = &'a Ast>) -> usize {
        asts.into_iter().map(|ast| ast.depth).max().unwrap_or(0)
    }
    match kind {
        Kind::Literal(_) | Kind::Path(..) => 0,
        Kind::Select(inner, _)
        | Kind::Has(inner)
        | Kind::Not(inner)
        | Kind::Negate(inner)
        | Kind::Matches(inner, _) => inner.depth,
        Kind::Index(left, right) | Kind::Binary(_, left, right) => left.depth.max(right.depth),
        Kind::And(items) | Kind::Or(items) | Kind::List(items) | Kind::Call(_, items) => {
            deepest(items)
        }
        Kind::Conditional(parts) => deepest(parts.iter()),
        Kind::Map(entries) => deepest(entries.iter().flat_map(|(key, value)| [key, value])),
        Kind::Comprehension(parts) => deepest(
            [
                Some(&parts.range),
                parts.condition.as_ref(),
                parts.body.as_ref(),
            ]
            .into_iter()
            .flatten(),
        ),
    }
}

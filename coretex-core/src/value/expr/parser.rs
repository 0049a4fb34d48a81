//! From text to a checked syntax tree.
//!
//! Owns the grammar and everything that is decided before the first run: known roots, steps and
//! functions, operand counts, sizes, nesting. The grammar is CEL's with three additions that keep
//! established texts readable: a declared step id may contain dashes after `steps.`, a field of
//! digits is a position (`items.0`), and keywords are allowed as field names.

mod call;
mod path;

use super::ast::{Ast, Kind, Literal, Operator};
use super::error::ExprError;
use super::lexer::{Lexer, Token};
use super::options::{CompileOptions, References};

pub(super) use call::compile_pattern;
pub(super) use path::unknown_step;

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
const MAX_PATTERN_BYTES: usize = 256 * 1024;
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
    Ok(Parsed { ast, references: parser.references, warnings: parser.warnings })
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
        if self.eat(mark)? { Ok(()) } else { Err(self.unexpected(&format!("`{mark}`"))) }
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
        self.error(self.start, format!("expected {expected}, found {found}")).with_hint(hint)
    }

    fn node(&self, start: usize, kind: Kind) -> Result<Ast, ExprError> {
        let depth = 1 + child_depth(&kind);
        if depth > MAX_DEPTH {
            return Err(self
                .error(start, format!("more than {MAX_DEPTH} operations inside each other"))
                .with_hint(Some("split it over several steps".to_owned())));
        }
        Ok(Ast { kind, start, depth })
    }

    fn expression(&mut self) -> Result<Ast, ExprError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self
                .error(self.start, format!("nested more than {MAX_NESTING} levels deep"))
                .with_hint(Some("split it over several steps".to_owned())));
        }
        let start = self.start;
        let condition = self.binary(0)?;
        let result = if self.eat("?")? {
            let then = self.binary(0)?;
            self.expect(":")?;
            let otherwise = self.expression()?;
            self.node(start, Kind::Conditional(Box::new([condition, then, otherwise])))?
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
                let kind = if level == 0 { Kind::Or(operands) } else { Kind::And(operands) };
                self.node(start, kind)
            }
            2..=4 => {
                let mut left = self.binary(level + 1)?;
                while let Some(operator) = self.operator(level) {
                    if level == 2
                        && matches!(left.kind, Kind::Not(_))
                        && self.lexer.text().get(left.start..).is_some_and(|text| text.starts_with('!'))
                    {
                        return Err(self
                            .error(
                                left.start,
                                format!("`!` before a comparison with `{}` is ambiguous", operator.symbol()),
                            )
                            .with_hint(Some(
                                "write !(a == b) to negate the comparison, (!a) == b to negate the operand".to_owned(),
                            )));
                    }
                    self.advance()?;
                    let right = self.binary(level + 1)?;
                    left = self.node(start, Kind::Binary(operator, Box::new(left), Box::new(right)))?;
                }
                Ok(left)
            }
            _ => self.unary(),
        }
    }

    fn operator(&self, level: usize) -> Option<Operator> {
        use Operator::{
            Add, Divide, Equal, Greater, GreaterEqual, In, Less, LessEqual, Multiply, NotEqual, Remainder, Subtract,
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
        candidates.iter().copied().find(|operator| operator.symbol() == text)
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
            return Err(self.error(self.start, format!("nested more than {MAX_NESTING} levels deep")));
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
                        .with_hint(Some("write it as a uint (18446744073709551615u) or a double (1e19)".to_owned())));
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
                return Err(self.error(key.start, "map keys are strings").with_hint(Some("quote the key".to_owned())));
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
        Kind::And(items) | Kind::Or(items) | Kind::List(items) | Kind::Call(_, items) => deepest(items),
        Kind::Conditional(parts) => deepest(parts.iter()),
        Kind::Map(entries) => deepest(entries.iter().flat_map(|(key, value)| [key, value])),
        Kind::Comprehension(parts) => {
            deepest([Some(&parts.range), parts.condition.as_ref(), parts.body.as_ref()].into_iter().flatten())
        }
    }
}

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
}

pub(super) fn parse(text: &str, options: &CompileOptions) -> Result<Parsed, ExprError> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        token: Token::End,
        start: 0,
        end: 0,
        options,
        locals: Vec::new(),
        nesting: 0,
        comprehensions: 0,
        references: References::default(),
    };
    parser.advance()?;
    let ast = parser.expression()?;
    if parser.token != Token::End {
        return Err(parser.unexpected("an operator or the end"));
    }
    Ok(Parsed { ast, references: parser.references })
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token,
    /// Where `token` starts.
    start: usize,
    /// Where what is before `token` ends.
    end: usize,
    options: &'t CompileOptions,
    locals: Vec<String>,
    nesting: usize,
    comprehensions: usize,
    references: References,
}

impl Parser<'_> {
    fn advance(&mut self) -> Result<(), ExprError> {
        self.end = self.lexer.offset();
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
        let depth = 1 + kind.children().iter().map(|child| child.depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(self
                .error(start, format!("more than {MAX_DEPTH} operations inside each other"))
                .with_hint(Some("split it over several steps".to_owned())));
        }
        Ok(Ast { kind, start, end: self.end, depth })
    }

    /// Counts one level of nesting. The frames of the functions that recurse are kept small, so that the deepest
    /// expression fits a small stack.
    fn deeper(&mut self) -> Result<(), ExprError> {
        self.nesting += 1;
        if self.nesting <= MAX_NESTING {
            return Ok(());
        }
        Err(self
            .error(self.start, format!("nested more than {MAX_NESTING} levels deep"))
            .with_hint(Some("split it over several steps".to_owned())))
    }

    fn expression(&mut self) -> Result<Ast, ExprError> {
        self.deeper()?;
        let start = self.start;
        let mut result = self.chain(0)?;
        if self.eat("?")? {
            result = self.conditional(start, result)?;
        }
        self.nesting -= 1;
        Ok(result)
    }

    fn conditional(&mut self, start: usize, condition: Ast) -> Result<Ast, ExprError> {
        let then = self.chain(0)?;
        self.expect(":")?;
        let otherwise = self.expression()?;
        self.node(start, Kind::Conditional(Box::new([condition, then, otherwise])))
    }

    /// Binary operators by precedence: `||`, `&&`, comparison, sum, product.
    fn chain(&mut self, level: usize) -> Result<Ast, ExprError> {
        if level > 1 {
            return self.binary(level);
        }
        let start = self.start;
        let first = self.chain(level + 1)?;
        let mark = if level == 0 { "||" } else { "&&" };
        if self.at(mark) { self.rest_of_chain(start, first, level, mark) } else { Ok(first) }
    }

    fn rest_of_chain(&mut self, start: usize, first: Ast, level: usize, mark: &str) -> Result<Ast, ExprError> {
        let mut operands = vec![first];
        while self.eat(mark)? {
            operands.push(self.chain(level + 1)?);
        }
        let kind = if level == 0 { Kind::Or(operands) } else { Kind::And(operands) };
        self.node(start, kind)
    }

    fn binary(&mut self, level: usize) -> Result<Ast, ExprError> {
        if level > 4 {
            return self.unary();
        }
        let start = self.start;
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.operator(level) {
            self.reject_ambiguous(level, &left, operator)?;
            self.advance()?;
            let right = self.binary(level + 1)?;
            left = self.operation(start, operator, left, right)?;
        }
        Ok(left)
    }

    fn operation(&self, start: usize, operator: Operator, left: Ast, right: Ast) -> Result<Ast, ExprError> {
        self.node(start, Kind::Binary(operator, Box::new(left), Box::new(right)))
    }

    /// `!a == b` negated the comparison in established texts and negates the operand in CEL.
    fn reject_ambiguous(&self, level: usize, left: &Ast, operator: Operator) -> Result<(), ExprError> {
        let bare = matches!(left.kind, Kind::Not(_))
            && self.lexer.text().get(left.start..).is_some_and(|text| text.starts_with('!'));
        if level != 2 || !bare {
            return Ok(());
        }
        let reason = format!("`!` before a comparison with `{}` is ambiguous", operator.symbol());
        let hint = "write !(a == b) to negate the comparison, (!a) == b to negate the operand";
        Err(self.error(left.start, reason).with_hint(Some(hint.to_owned())))
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
        if self.at("-") {
            return self.negated();
        }
        if self.at("!") {
            let start = self.start;
            self.advance()?;
            let operand = self.nested_unary()?;
            return self.node(start, Kind::Not(Box::new(operand)));
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    fn negated(&mut self) -> Result<Ast, ExprError> {
        let start = self.start;
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
        self.node(start, Kind::Negate(Box::new(operand)))
    }

    fn nested_unary(&mut self) -> Result<Ast, ExprError> {
        self.deeper()?;
        let operand = self.unary()?;
        self.nesting -= 1;
        Ok(operand)
    }

    fn primary(&mut self) -> Result<Ast, ExprError> {
        let start = self.start;
        let token = std::mem::replace(&mut self.token, Token::End);
        let literal = match token {
            Token::Int(value) => self.int(value, start)?,
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
                (inner.start, inner.end) = (start, self.end);
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

    fn int(&self, value: u64, start: usize) -> Result<Literal, ExprError> {
        i64::try_from(value).map(Literal::Int).map_err(|_| {
            self.error(start, "this number is too large for an int")
                .with_hint(Some("write it as a uint (18446744073709551615u) or a double (1e19)".to_owned()))
        })
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

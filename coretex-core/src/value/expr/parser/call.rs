//! Calls: functions, `has`, and the comprehensions.
//!
//! Owns the check of function names, forms and operand counts.

use super::super::ast::{Ast, Comprehension, Form, Function, Kind, Literal, Macro};
use super::super::error::ExprError;
use super::super::lexer::Token;
use super::super::options::did_you_mean;
use super::{MAX_COMPREHENSIONS, MAX_PATTERN_BYTES, Parser, RESERVED};

impl Parser<'_> {
    /// A call; the current token is `(`, and `offset` is where the name stands.
    pub(super) fn call(
        &mut self,
        name: &str,
        receiver: Option<Ast>,
        start: usize,
        offset: usize,
    ) -> Result<Ast, ExprError> {
        if let Some(kind) = Macro::named(name) {
            return match receiver {
                Some(range) => self.comprehension(kind, name, range, start, offset),
                None => Err(self
                    .error(offset, format!("`{name}` is called on a list"))
                    .with_hint(Some(format!("write input.items.{name}(item, ...)")))),
            };
        }
        self.advance()?;
        if let Some(receiver) = &receiver {
            self.note(receiver);
        }
        let is_method = receiver.is_some();
        let mut operands: Vec<Ast> = receiver.into_iter().collect();
        operands.extend(self.items(")")?);
        self.called(name, is_method, operands, start, offset)
    }

    /// A call whose operands are read.
    fn called(
        &mut self,
        name: &str,
        is_method: bool,
        mut operands: Vec<Ast>,
        start: usize,
        offset: usize,
    ) -> Result<Ast, ExprError> {
        if name == "has" && !is_method {
            return self.has(operands, start);
        }
        let name = Function::ALIASES.iter().find(|alias| alias.0 == name).map_or(name, |alias| alias.1);
        let Some((function, _, form, min, max)) = Function::TABLE.iter().find(|row| row.1 == name) else {
            return Err(self.unknown_function(name, offset));
        };
        let wrong_form = match form {
            Form::Global => is_method,
            Form::Method => !is_method,
            Form::Both => false,
        };
        if wrong_form {
            let usage = if is_method { format!("{name}(x)") } else { format!("x.{name}(...)") };
            return Err(self
                .error(offset, format!("`{name}` is not called like this"))
                .with_hint(Some(format!("write `{usage}`"))));
        }
        if !(*min..=*max).contains(&operands.len()) {
            let own = usize::from(is_method);
            let (shown, least, most) = (operands.len() - own, min - own, max - own);
            let range = if most > least { format!("{least} to {most}") } else { least.to_string() };
            let plural = if range == "1" { "" } else { "s" };
            return Err(self.error(offset, format!("`{name}` takes {range} argument{plural}, not {shown}")));
        }
        if *function == Function::Matches
            && let Some(Kind::Literal(Literal::Text(pattern))) = operands.get(1).map(|operand| &operand.kind)
        {
            let regex = compile_pattern(pattern).map_err(|reason| self.error(offset, reason))?;
            operands.truncate(1);
            if let Some(subject) = operands.pop() {
                return self.node(start, Kind::Matches(Box::new(subject), Box::new(regex)));
            }
        }
        self.node(start, Kind::Call(*function, operands))
    }

    pub(super) fn unknown_function(&self, name: &str, offset: usize) -> ExprError {
        let macros = ["has", "all", "exists", "exists_one", "map", "filter", "sortBy"];
        let known = Function::TABLE.iter().map(|row| row.1).chain(macros);
        let hint = match name {
            "len" | "count" => Some("write `size(x)` or `length(x)`".to_owned()),
            "now" => Some("an expression has no clock; read a time that the run or a step recorded".to_owned()),
            _ => did_you_mean(name, known),
        };
        self.error(offset, format!("unknown function `{name}`")).with_hint(hint)
    }

    pub(super) fn has(&self, mut operands: Vec<Ast>, start: usize) -> Result<Ast, ExprError> {
        match (operands.pop(), operands.is_empty()) {
            (Some(operand), true) if matches!(operand.kind, Kind::Path(..) | Kind::Select(..)) => {
                self.node(start, Kind::Has(Box::new(operand)))
            }
            _ => Err(self.error(start, "`has` takes one path, such as has(input.name)")),
        }
    }

    pub(super) fn comprehension(
        &mut self,
        kind: Macro,
        name: &str,
        range: Ast,
        start: usize,
        offset: usize,
    ) -> Result<Ast, ExprError> {
        self.note(&range);
        self.comprehensions += 1;
        if self.comprehensions > MAX_COMPREHENSIONS {
            return Err(self
                .error(offset, format!("`{name}` is nested more than {MAX_COMPREHENSIONS} levels deep"))
                .with_hint(Some("compute the inner list in a step of its own".to_owned())));
        }
        self.expect("(")?;
        let variable_at = self.start;
        let Token::Name(variable) = self.token.clone() else {
            return Err(self.unexpected("a variable name"));
        };
        self.advance()?;
        if RESERVED.contains(&variable.as_str()) || ["true", "false", "null", "in"].contains(&variable.as_str()) {
            return Err(self.error(variable_at, format!("`{variable}` is a reserved word")));
        }
        if !self.at(",") {
            return Err(self.unexpected("`,`").with_hint(Some(format!("write x.{name}(item, ...)"))));
        }
        self.advance()?;
        self.locals.push(variable.clone());
        let mut parts = self.items(")")?;
        self.locals.pop();
        self.comprehensions -= 1;
        let last = parts.pop();
        let first = parts.pop();
        let (condition, body) = match (kind, first, last, parts.is_empty()) {
            (Macro::Filter, None, last @ Some(_), true) => (last, None),
            (Macro::Map, first, last @ Some(_), true) => (first, last),
            (Macro::All | Macro::Exists | Macro::ExistsOne | Macro::SortBy, None, last @ Some(_), true) => (None, last),
            _ => {
                return Err(self.error(offset, format!("`{name}` takes a variable and an expression")));
            }
        };
        self.node(
            start,
            Kind::Comprehension(Box::new(Comprehension { kind, variable: variable.into(), range, condition, body })),
        )
    }
}

/// Compiles a `matches` pattern within [`MAX_PATTERN_BYTES`].
pub(in crate::value::expr) fn compile_pattern(pattern: &str) -> Result<regex::Regex, String> {
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
                format!("the pattern of `matches` is not valid: {}", reason.trim_start_matches("error: "))
            }
        })
}

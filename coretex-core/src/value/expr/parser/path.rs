//! Names, paths and what follows a value: fields, positions, method calls.
//!
//! Owns the check of roots and step ids, and the record of what an expression reads.

use super::super::ast::{Ast, Base, Function, Hop, Kind, Literal, TYPE_NAMES};
use super::super::error::ExprError;
use super::super::lexer::{Token, is_name_char};
use super::super::options::{CompileOptions, did_you_mean};
use super::{Parser, RESERVED};
use crate::value::path::{Segment, is_key_char};

impl Parser<'_> {
    /// A name that starts a path, a call or a type.
    pub(super) fn name(&mut self, name: String, start: usize) -> Result<Ast, ExprError> {
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
        } else if Function::is_namespace(&name) && self.lexer.rest().starts_with('.') {
            self.advance()?;
            let function = self.lexer.field()?;
            self.advance()?;
            return if self.at("(") {
                self.call(&format!("{name}.{function}"), None, start, start)
            } else {
                Err(self.unexpected("`(`"))
            };
        } else {
            return Err(self.unknown_name(&name, start));
        };
        let mut hops = Vec::new();
        if matches!(&base, Base::Variable(root) if **root == *"steps") {
            self.step_segment(&mut hops)?;
        }
        self.advance()?;
        self.node(start, Kind::Path(base, hops))
    }

    pub(super) fn unknown_name(&self, name: &str, start: usize) -> ExprError {
        if RESERVED.contains(&name) || name == "in" {
            return self.error(start, format!("`{name}` is a reserved word"));
        }
        let known = self.options.roots().chain(self.locals.iter().map(String::as_str));
        let hint = did_you_mean(name, known).unwrap_or_else(|| {
            let roots: Vec<_> = self.options.roots().map(|root| format!("`{root}`")).collect();
            format!("known are {}; write text in quotes: '{name}'", roots.join(", "))
        });
        self.error(start, format!("unknown name `{name}`")).with_hint(Some(hint))
    }

    /// Reads `.step-id` or `['step-id']` right after `steps`, when it is there.
    pub(super) fn step_segment(&mut self, hops: &mut Vec<Hop>) -> Result<(), ExprError> {
        let before = self.lexer.offset();
        self.lexer.skip_space();
        let Some(after_dot) = self.lexer.rest().strip_prefix('.') else {
            // `steps['id']` is handled with the other brackets.
            return Ok(());
        };
        let space = after_dot.len() - after_dot.trim_start().len();
        let rest = after_dot.trim_start();
        let offset = before.max(self.lexer.offset()) + 1 + space;
        let name_end = rest.find(|ch| !is_name_char(ch)).unwrap_or(rest.len());
        if rest.starts_with('?') || rest.get(name_end..).is_some_and(|tail| tail.trim_start().starts_with('(')) {
            // A method of the whole map, or a field that may be missing.
            return Ok(());
        }
        // A step is a map, so a dash after a shorter id is never a subtraction.
        let declared = self.options.steps().and_then(|steps| {
            steps
                .iter()
                .filter(|id| {
                    rest.strip_prefix(id.as_str()).is_some_and(|tail| !tail.chars().next().is_some_and(is_key_char))
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
        hops.push(Hop { segment: Segment::Key(id.into()), at: offset, optional: false });
        Ok(())
    }

    pub(super) fn check_step(&self, id: &str, offset: usize) -> Result<(), ExprError> {
        match self.options.steps() {
            Some(steps) if !steps.contains(id) => Err(self.unknown_step(id, offset)),
            _ => Ok(()),
        }
    }

    pub(super) fn unknown_step(&self, id: &str, offset: usize) -> ExprError {
        unknown_step(self.lexer.text(), id, offset, self.options)
    }

    /// Fields, positions and method calls after a value.
    pub(super) fn postfix(&mut self, mut value: Ast) -> Result<Ast, ExprError> {
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
            let optional = self.lexer.rest().starts_with('?');
            if optional {
                self.lexer.rewind(self.lexer.offset() + 1);
                self.lexer.skip_space();
            }
            let offset = self.lexer.offset();
            let quoted = self.lexer.rest().starts_with('`');
            let field = self.lexer.field()?;
            self.lexer.skip_space();
            if !quoted && !optional && self.lexer.rest().starts_with('(') {
                self.advance()?;
                value = self.call(&field, Some(value), start, offset)?;
            } else {
                if is_steps_root(&value) {
                    self.check_step(&field, offset)?;
                    self.references.steps.insert(field.clone());
                }
                self.advance()?;
                let hop = Hop { segment: Segment::Key(field.into()), at: offset, optional };
                value = self.step_down(value, hop, start)?;
            }
        }
        if self.at("{") && matches!(value.kind, Kind::Path(..)) {
            return Err(self
                .error(self.start, "message literals are not part of the language")
                .with_hint(Some("write a map: {'key': value}".to_owned())));
        }
        self.note(&value);
        Ok(value)
    }

    /// After a path, `.0` is a position, though it reads as a number.
    pub(super) fn number_is_field(&self, value: &Ast) -> bool {
        matches!(self.token, Token::Double(_))
            && !matches!(value.kind, Kind::Literal(_))
            && self.lexer.text().get(self.start..).is_some_and(|text| text.starts_with('.'))
    }

    pub(super) fn step_down(&self, value: Ast, hop: Hop, start: usize) -> Result<Ast, ExprError> {
        match value.kind {
            // A parenthesised path is still a path.
            Kind::Path(base, mut hops) if hops.len() < crate::value::path::MAX_SEGMENTS => {
                hops.push(hop);
                self.node(start, Kind::Path(base, hops))
            }
            kind => {
                let value = Ast { kind, ..value };
                self.node(start, Kind::Select(Box::new(value), hop))
            }
        }
    }

    pub(super) fn index(&mut self, value: Ast, start: usize) -> Result<Ast, ExprError> {
        let optional = self.lexer.rest().starts_with('?');
        if optional {
            self.lexer.rewind(self.lexer.offset() + 1);
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
                self.step_down(value, Hop { segment: Segment::Key(key), at: offset, optional }, start)
            }
            Kind::Literal(Literal::Int(at)) if at >= 0 => {
                let segment = Segment::Index(usize::try_from(at).unwrap_or(usize::MAX));
                self.step_down(value, Hop { segment, at: offset, optional }, start)
            }
            kind => {
                let index = Ast { kind, ..index };
                self.note(&value);
                self.node(start, Kind::Index(Box::new(value), Box::new(index)))
            }
        }
    }

    /// Reports what a finished path reads.
    pub(super) fn note(&mut self, value: &Ast) {
        if is_steps_root(value) {
            self.references.all_steps = true;
        }
    }
}

/// Whether this is `steps` and nothing more.
fn is_steps_root(value: &Ast) -> bool {
    matches!(&value.kind, Kind::Path(Base::Variable(root), hops) if **root == *"steps" && hops.is_empty())
}

/// The error for a step id that is not declared.
pub(in crate::value::expr) fn unknown_step(text: &str, id: &str, offset: usize, options: &CompileOptions) -> ExprError {
    let known = options.steps().into_iter().flatten().map(String::as_str);
    let hint = did_you_mean(id, known).unwrap_or_else(|| "it must be the id of a step in this workflow".to_owned());
    ExprError::new(text, offset, format!("unknown step `{id}`")).with_hint(Some(hint))
}

//! `condition`: a value, true or false.

use std::sync::Arc;

use super::super::Machine;
use crate::{
    job::Failure,
    value::{Expr, Value},
};

impl Machine<'_> {
    pub(super) fn begin_condition(&mut self, slot: usize, expr: &Expr) {
        match expr.evaluate_bool(&self.scope(slot)) {
            Ok(value) => self.succeed_with(slot, Arc::new(Value::Bool(value))),
            Err(error) => self.fail(slot, Failure::fatal(error.code(), error.to_string())),
        }
    }
}

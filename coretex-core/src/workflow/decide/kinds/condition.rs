//! `condition`: a value, true or false.

use super::super::Machine;
use crate::{
    job::Failure,
    value::{Expr, Value},
    workflow::RunEvent,
};

impl Machine<'_> {
    pub(super) fn begin_condition(&mut self, slot: usize, expr: &Expr) {
        match self.seen(slot, |scope| expr.evaluate_bool(scope)) {
            Ok(value) => match self.judge(slot, &Value::Bool(value)) {
                Ok(()) => {
                    self.record_step(slot, |step| RunEvent::ConditionEvaluated { step, value });
                    self.ended(slot);
                }
                Err(failure) => self.fail(slot, failure),
            },
            Err(error) => self.fail(slot, Failure::fatal(error.code(), error.to_string())),
        }
    }
}

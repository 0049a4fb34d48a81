//! `for_each`: the step runs once for each item of a list.

use std::sync::Arc;

use super::super::Machine;
use crate::{
    job::{Failure, codes},
    value::{Expr, Value},
    workflow::RunEvent,
};

impl Machine<'_> {
    pub(super) fn begin_for_each(&mut self, slot: usize, over: &Expr, max_parallel: u32) {
        let items = match self.seen(slot, |scope| over.evaluate(scope)) {
            Ok(Some(Value::Array(items))) => items,
            Ok(None | Some(Value::Null)) => Vec::new(),
            Ok(Some(other)) => {
                let shown: String = other.to_string().chars().take(80).collect();
                let message = format!("`for_each` gave `{shown}`, which is not a list");
                return self.fail(slot, Failure::fatal(codes::INPUT_INVALID, message));
            }
            Err(error) => return self.fail(slot, Failure::fatal(error.code(), error.to_string())),
        };
        let count = items.len();
        let items = Arc::new(Value::Array(items));
        if let Err(error) = self.facts.payload_limits.check(&items) {
            let failure = Failure::fatal(codes::PAYLOAD_TOO_LARGE, format!("the items of `for_each`: {error}"));
            return self.fail(slot, failure);
        }
        if self.is_too_large(slot, count) {
            return;
        }
        self.record_step(slot, |step| RunEvent::GroupOpened { step, items: Some(items), until: None });
        if count == 0 {
            self.record_step(slot, |step| RunEvent::GroupSucceeded { step, carry: None });
            return self.ended(slot);
        }
        self.begin_items(slot, max_parallel);
    }
}

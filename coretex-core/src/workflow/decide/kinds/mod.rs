//! How each kind of step begins. What comes later is in the file of the input that brings it.

mod approval;
mod condition;
mod delay;
mod for_each;
mod input;
mod loops;
mod notify;
mod parallel;
mod signal;
mod storage;
mod switch;
mod transform;

use std::sync::Arc;

use super::Machine;
use crate::{
    job::{Failure, codes},
    value::{Template, Value},
    workflow::{Step, StepKind, fold::RunMut},
};

impl Machine<'_> {
    /// Begins a step that is ready and whose gate is open.
    pub(super) fn begin(&mut self, slot: usize, step: &Step) {
        match &step.kind {
            StepKind::Job { .. } => self.open_attempt(slot),
            StepKind::Approval => self.begin_approval(slot, step),
            StepKind::Input => self.begin_input(slot, step),
            StepKind::Signal(name) => self.begin_signal(slot, step, name),
            StepKind::Condition(expr) => self.begin_condition(slot, expr),
            StepKind::Switch { cases, all, default } => self.begin_switch(slot, cases, *all, default),
            StepKind::Parallel(_) => self.begin_parallel(slot, step),
            StepKind::ForEach { over, max_parallel, .. } => self.begin_for_each(slot, over, *max_parallel),
            StepKind::Loop { carry, .. } => self.begin_loop(slot, step, carry.as_ref()),
            StepKind::Delay(delay) => self.begin_delay(slot, delay),
            StepKind::Notify => self.begin_notify(slot, step),
            StepKind::Transform(output) => self.begin_transform(slot, output),
            StepKind::Storage { .. } => self.store(slot),
            StepKind::Subworkflow { .. } => self.start_child(slot),
        }
    }

    /// Tries a step again that was waiting for a time, or for an operator.
    pub(super) fn try_at_once(&mut self, slot: usize, step: &Step) {
        match &step.kind {
            StepKind::Job { .. } => self.open_attempt(slot),
            _ => self.begin(slot, step),
        }
    }

    /// Renders a template of a step; `None` means that it failed and the step with it.
    pub(super) fn render(
        &mut self,
        slot: usize,
        template: Option<&Template>,
        what: &str,
    ) -> Option<Option<Arc<Value>>> {
        match template.map(|template| self.seen(slot, |scope| template.render_shared(scope))) {
            None | Some(Ok(None)) => Some(None),
            Some(Ok(Some(value))) => match self.facts.payload_limits.check(&value) {
                Ok(()) => Some(Some(value)),
                Err(error) => {
                    let mut message = format!("the step's {what}: {error}");
                    if self.away.bytes() > 0 {
                        message.push_str("; of a step whose output is large, pass on `result_ptr`");
                    }
                    self.fail(slot, Failure::fatal(codes::PAYLOAD_TOO_LARGE, message));
                    None
                }
            },
            Some(Err(error)) => {
                self.fail(slot, Failure::fatal(error.code(), error.to_string()));
                None
            }
        }
    }

    /// The input of a step that has work for somebody; `None` where the run's whole input is used. An item of a
    /// `for_each` is added to it under `item` where that is free, as it always was.
    pub(super) fn render_input(&mut self, slot: usize, step: &Step) -> Option<Option<Arc<Value>>> {
        let rendered = self.render(slot, step.input.as_ref(), "input")?;
        // A template whose value is missing is an input of null.
        let input = if step.input.is_some() { Some(rendered.unwrap_or_default()) } else { rendered };
        let item = self.scope(slot).item().cloned();
        let Some(item) = item else { return Some(input) };
        let whole = input.clone().unwrap_or_else(|| self.draft.core().input());
        match &*whole {
            Value::Object(fields) if !fields.contains_key("item") => {
                let mut fields = fields.clone();
                fields.insert("item".into(), item);
                Some(Some(Arc::new(Value::Object(fields))))
            }
            _ => Some(input),
        }
    }

    /// Renders a template that gives a text; `None` means that it failed and the step with it.
    pub(super) fn render_text(&mut self, slot: usize, template: &Template, what: &str) -> Option<Arc<str>> {
        let value = self.render(slot, Some(template), what)?;
        match value.as_deref() {
            Some(Value::String(text)) if !text.is_empty() && text.len() <= 256 => Some(text.as_str().into()),
            Some(Value::Number(number)) => Some(number.to_string().into()),
            other => {
                let found = other.map_or_else(|| "nothing".to_owned(), |value| format!("`{value}`"));
                let message = format!("the step's {what} gave {found}, not a text of 1 to 256 bytes");
                self.fail(slot, Failure::fatal(codes::INPUT_INVALID, message));
                None
            }
        }
    }
}

//! Whether an input that somebody gives a job step is one that the step takes.

use super::{Rejected, Run, Step};
use crate::{
    job::StepRunId,
    value::{Value, Violation},
};

impl Step {
    /// Judges `input` by the step's schema, with the defaults of that filled in.
    pub(super) fn check_input(&self, input: &Value) -> Result<(), Vec<Violation>> {
        let Some(schema) = &self.input_schema else { return Ok(()) };
        match schema.with_defaults(input) {
            Ok(filled) => schema.validate(&filled),
            // Too large with them: the attempt is refused with that when it opens.
            Err(_) => schema.validate(input),
        }
    }
}

impl Run {
    /// Whether the last attempt of the step run `id` was given `input`, with the defaults of the step's schema.
    #[must_use]
    pub fn works_on(&self, id: &StepRunId, input: &Value) -> bool {
        let Some(state) = self.step(id.as_str()) else { return false };
        let schema = self.workflow.at(state.position()).and_then(|(step, _)| step.input_schema.as_ref());
        let filled = schema.and_then(|schema| schema.with_defaults(input).ok());
        let given = state.input.clone().unwrap_or_else(|| self.input());
        *given == *filled.as_deref().unwrap_or(input)
    }

    /// Judges an input that the step run `id` did not have so far. A step that the run does not have takes any.
    ///
    /// # Errors
    /// [`Rejected::DataInvalid`] when it does not match the step's `input_schema`.
    pub fn check_step_input(&self, id: &StepRunId, input: &Value) -> Result<(), Rejected> {
        let position = self.step(id.as_str()).map(super::StepRun::position);
        let Some((step, _)) = position.and_then(|position| self.workflow.at(position)) else { return Ok(()) };
        step.check_input(input).map_err(|violations| Rejected::DataInvalid { step: id.clone(), violations })
    }
}

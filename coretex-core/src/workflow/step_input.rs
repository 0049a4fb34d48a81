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
    /// Whether a try of the step run `id` that was asked to work on `wanted` would have been given `given`: the same, with the
    /// defaults of the step's schema.
    #[must_use]
    pub fn is_given_for(&self, id: &StepRunId, given: &Value, wanted: &Value) -> bool {
        let position = self.step(id.as_str()).map(super::StepRun::position);
        let step = position.and_then(|position| self.workflow.at(position)).map(|(step, _)| step);
        let filled = step.and_then(|step| step.input_schema.as_ref()?.with_defaults(wanted).ok());
        given == filled.as_deref().unwrap_or(wanted)
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

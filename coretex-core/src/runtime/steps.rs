//! What people and programs outside tell the steps of a run: data, signals, how a parked step goes on.

use std::sync::Arc;

use super::{ControlPlane, PlaneError, dead_letters, keys::AggregateId, shared::Work, start::check_input};
use crate::{
    governance::Principal,
    job::{RunId, StepRunId},
    plane::Input,
    value::Value,
    workflow::{Resolution, RunInput},
};

impl ControlPlane {
    /// Gives the data that an `input` step waits for. Giving the same data twice is fine.
    ///
    /// # Errors
    /// When there is no such step, it waits for no data (`step_not_waiting`), the data does not match the step's
    /// `output_schema` (`step_data_invalid`) or is too large, or the store refuses.
    pub async fn provide_input(
        &self,
        principal: &Principal,
        run: &RunId,
        step: &StepRunId,
        value: impl Into<Arc<Value>>,
    ) -> Result<(), PlaneError> {
        let value = value.into();
        check_input(self.shared(), &value)?;
        self.tell(principal, run, RunInput::Provide { step: step.clone(), by: principal.id.clone(), value }).await
    }

    /// Sends a signal to a run. It is taken by the step that waits for that name, or kept until one does. `id` makes a
    /// repeat harmless; without one every call is a signal of its own.
    ///
    /// # Errors
    /// When there is no such run, it is about to end (`run_ended`), it has received 10,000 signals, the payload is too
    /// large, or the store refuses.
    pub async fn signal(
        &self,
        principal: &Principal,
        run: &RunId,
        name: &str,
        id: Option<&str>,
        payload: impl Into<Arc<Value>>,
    ) -> Result<(), PlaneError> {
        let payload = payload.into();
        check_input(self.shared(), &payload)?;
        let is_legal = |text: &str| !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
        if !is_legal(name) || !id.is_none_or(is_legal) {
            let message = "the name and the id of a signal have 1 to 256 bytes and no control characters";
            return Err(PlaneError::new(super::PlaneErrorKind::Invalid, "signal_invalid", message));
        }
        let id = id.unwrap_or_default().into();
        self.tell(principal, run, RunInput::Signal { name: name.into(), id, by: principal.id.clone(), payload }).await
    }

    /// Says how a step goes on that is parked because its retries are used up. A step that waits for data or a signal
    /// can be skipped or failed too. The dead letter of the step's job goes, unless the step is to fail.
    ///
    /// # Errors
    /// When there is no such step, it does not wait for an operator (`step_not_waiting`), the output or the new input does
    /// not match the step's schema (`step_data_invalid`), or the store refuses.
    pub async fn resolve_step(
        &self,
        principal: &Principal,
        run: &RunId,
        step: &StepRunId,
        resolution: Resolution,
    ) -> Result<(), PlaneError> {
        if let Resolution::Complete { output: value } | Resolution::Retry { input: Some(value) } = &resolution {
            check_input(self.shared(), value)?;
        }
        let before = self.run(principal, run).await?;
        let by = principal.id.clone();
        let input = RunInput::Resolve { step: step.clone(), by: by.clone(), resolution: resolution.clone() };
        self.shared().call(AggregateId::Run(run.shared()), Work::Input(Input::Run(input))).await?;
        match before.step(step.as_str()).and_then(|step| step.job.as_ref()) {
            Some(job) => dead_letters::settled_step(self.shared(), &by, run, &job.id, &resolution).await,
            None => Ok(()),
        }
    }

    /// Hands an input to a run of the principal's tenant; answers when what follows from it is durable.
    pub(super) async fn tell(&self, principal: &Principal, run: &RunId, input: RunInput) -> Result<(), PlaneError> {
        self.run(principal, run).await?;
        self.shared().call(AggregateId::Run(run.shared()), Work::Input(Input::Run(input))).await?;
        Ok(())
    }
}

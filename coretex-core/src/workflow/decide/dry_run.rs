//! Dry runs: everything is decided as ever, and nothing leaves the process. What a worker, a person or the world would
//! have said is made up from the schemas of the steps.

use std::sync::Arc;

use super::Machine;
use crate::{
    job::{Failure, JobId, JobSpec, codes},
    policy::{Decision, Outcome},
    ports::Verdict,
    value::Value,
    workflow::{RunEvent, fold::RunMut},
};

impl Machine<'_> {
    /// What policy and routing say of a job that is not made, and an output that is made up.
    pub(super) fn simulate_job(&mut self, slot: usize, input: Option<Arc<Value>>) {
        let (decision, pool, failure) = match self.job_to_ask_about(slot, input.clone()) {
            Some(spec) => {
                let decision = match self.facts.policy.evaluate(&spec.question().at(self.facts.now)) {
                    Verdict::Decided(decision) => Some(Arc::new(decision)),
                    // A remote kernel is outside.
                    Verdict::Ask => None,
                };
                let denied = decision
                    .as_ref()
                    .filter(|decision| decision.outcome == Outcome::Deny)
                    .map(|decision| denial(decision));
                match self.facts.routes.route(&spec.topic, &spec.meta.requires) {
                    Ok(pool) => (decision, Some(pool), denied),
                    Err(no_route) => {
                        let failure = Failure::fatal(codes::NO_POOL_MAPPING, no_route.to_string());
                        (decision, None, denied.or(Some(failure)))
                    }
                }
            }
            None => (None, None, None),
        };
        self.record_step(slot, |step| RunEvent::StepSimulated { step, input, decision, pool });
        match failure {
            Some(failure) => self.fail(slot, failure),
            None => self.succeed_made_up(slot),
        }
    }

    /// A step with an effect outside, which does not happen.
    pub(super) fn simulate(&mut self, slot: usize, input: Option<Arc<Value>>) {
        self.record_step(slot, |step| RunEvent::StepSimulated { step, input, decision: None, pool: None });
        self.succeed_made_up(slot);
    }

    /// A human's yes, which nobody gave.
    pub(super) fn simulate_answer(&mut self, slot: usize, input: Option<Arc<Value>>) {
        self.record_step(slot, |step| RunEvent::StepSimulated { step, input, decision: None, pool: None });
        let answer = serde_json::json!({"approved": true, "by": "dry-run", "role": "", "reason": "", "note": ""});
        self.succeed(slot, Some(Arc::new(answer)));
    }

    fn succeed_made_up(&mut self, slot: usize) {
        let schema = self.step(slot).and_then(|step| step.output_schema.as_ref());
        let output = schema.map_or(Value::Null, crate::value::Schema::sample);
        self.succeed(slot, Some(Arc::new(output)));
    }

    /// The job as policy would see it.
    fn job_to_ask_about(&self, slot: usize, input: Option<Arc<Value>>) -> Option<JobSpec> {
        let step = self.step(slot)?;
        let crate::workflow::StepKind::Job { topic, meta, labels, adapter, .. } = &step.kind else { return None };
        let info = self.draft.core().info.as_deref()?;
        let run_id = self.draft.run_id(slot)?;
        Some(JobSpec {
            id: JobId::of_step(&info.id, &run_id, 1),
            attempt: 1,
            topic: topic.clone(),
            tenant: info.tenant.clone(),
            team: info.team.clone(),
            principal: info.principal.clone(),
            meta: meta.clone(),
            labels: super::attempt::labels(info, labels),
            priority: info.priority,
            memory_id: info.memory_id.clone(),
            adapter_id: adapter.clone(),
            trace_id: info.id.shared(),
            workflow: Some(self.workflow.id().clone()),
            run: Some(info.id.clone()),
            step: Some(run_id),
            item: None,
            index: None,
            timeout: step.timeout,
            input: input.unwrap_or_else(|| info.input.clone()),
        })
    }
}

fn denial(decision: &Decision) -> Failure {
    let reason = if decision.reason.is_empty() { "denied by policy".into() } else { decision.reason.clone() };
    Failure::fatal(codes::SAFETY_DENIED, reason)
}

//! What a definition would do, without doing it: the order of its steps, where each would go, and what policy says.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{Role, Step, StepKind, Workflow, definition::EdgeKind};
use crate::{
    job::Facts,
    policy::{Decision, Labels, PolicyRequest},
    ports::Verdict,
    value::Value,
};

/// What a definition would do.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The workflow.
    pub workflow_id: String,
    /// Digest of its definition.
    pub definition: String,
    /// Its steps: those of the workflow level by level, each group behind the step that holds it, `finally` steps last.
    pub steps: Vec<StepPlan>,
    /// Steps that need a human's yes, by their kind or because policy asks.
    pub approvals: Vec<String>,
    /// Steps that could not go as things are, with the reason.
    pub blocked: BTreeMap<String, String>,
    /// Steps that are legal and would fail as things are, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub warnings: BTreeMap<String, String>,
}

/// What a step would do.
#[derive(Clone, Debug, Serialize)]
pub struct StepPlan {
    /// Its id.
    pub step_id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is there for: `main`, `handler`, `compensation`.
    pub role: &'static str,
    /// The group that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Steps of one level may be under way at once; from 0 within its group.
    pub level: usize,
    /// Steps that it waits for.
    pub depends_on: Vec<String>,
    /// Its gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The branches of a switch: their conditions and the steps that they lead to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<BranchPlan>,
    /// Of a delay: how long it lasts, or until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Arc<str>>,
    /// Where its jobs go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The pool that would serve them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Arc<str>>,
    /// What policy says of its jobs, as far as it can be known without their input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// A branch of a switch.
#[derive(Clone, Debug, Serialize)]
pub struct BranchPlan {
    /// The condition; absent for the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The steps that go on.
    pub then: Vec<String>,
}

/// Who would start the run, for policy.
#[derive(Clone, Copy, Debug)]
pub struct Starter<'a> {
    /// On whose authority.
    pub principal: &'a str,
    /// The labels of the run.
    pub labels: &'a BTreeMap<String, String>,
    /// Its input, which policy sees where a step has none of its own.
    pub input: Option<&'a Value>,
}

/// Plans a run of `workflow`. Pure; O(steps + dependencies), and a policy evaluation for each step with jobs.
#[must_use]
pub fn plan(workflow: &Workflow, starter: Starter<'_>, facts: &Facts<'_>) -> Plan {
    let levels = levels(workflow);
    let mut plan = Plan {
        workflow_id: workflow.id().to_string(),
        definition: workflow.digest().to_string(),
        steps: Vec::new(),
        approvals: Vec::new(),
        blocked: BTreeMap::new(),
        warnings: BTreeMap::new(),
    };
    for scope in [super::definition::MAIN, super::definition::FINALLY] {
        add_scope(&mut plan, workflow, scope, &levels, starter, facts);
    }
    plan
}

fn add_scope(
    plan: &mut Plan,
    workflow: &Workflow,
    scope: usize,
    levels: &[usize],
    starter: Starter<'_>,
    facts: &Facts<'_>,
) {
    let Some(found) = workflow.scopes().get(scope) else { return };
    let mut positions: Vec<usize> = (found.first..found.first + found.len).collect();
    positions.sort_by_key(|position| (levels.get(*position).copied(), *position));
    for position in positions {
        let Some(step) = workflow.steps().get(position) else { continue };
        // The step that holds the items says the same of itself.
        let is_item = found.container.and_then(|holder| workflow.steps().get(holder)).is_some_and(|holder| {
            matches!(holder.kind, StepKind::ForEach { .. }) && holder.id == step.id && step.body.is_none()
        });
        let planned = plan_step(plan, workflow, position, step, levels, starter, facts);
        match plan.steps.last_mut().filter(|last| is_item && last.step_id == *step.id.as_str()) {
            Some(holder) => {
                holder.topic = planned.topic;
                holder.pool = planned.pool;
                holder.decision = planned.decision;
            }
            None => plan.steps.push(planned),
        }
        if let Some(body) = step.body {
            add_scope(plan, workflow, body, levels, starter, facts);
        }
    }
}

fn plan_step(
    plan: &mut Plan,
    workflow: &Workflow,
    position: usize,
    step: &Step,
    levels: &[usize],
    starter: Starter<'_>,
    facts: &Facts<'_>,
) -> StepPlan {
    let name = |position: &usize| workflow.steps().get(*position).map(|step| step.id.to_string());
    let names = |positions: &[usize]| positions.iter().filter_map(name).collect::<Vec<_>>();
    let container = workflow.scopes().get(step.scope).and_then(|scope| scope.container);
    let mut planned = StepPlan {
        step_id: step.id.to_string(),
        kind: kind_name(&step.kind).to_owned(),
        role: match step.role {
            Role::Main => "main",
            Role::Handler => "handler",
            Role::Compensation => "compensation",
        },
        group: container.as_ref().and_then(name),
        level: levels.get(position).copied().unwrap_or(0),
        depends_on: names(&step.depends_on),
        condition: step.gate.as_ref().map(|gate| gate.text().to_owned()),
        branches: Vec::new(),
        delay: None,
        topic: None,
        pool: None,
        decision: None,
    };
    match &step.kind {
        StepKind::Delay(delay) => planned.delay = Some(delay.rule().clone()),
        StepKind::Approval => plan.approvals.push(planned.step_id.clone()),
        StepKind::Switch { cases, default, .. } => {
            planned.branches = cases
                .iter()
                .map(|case| BranchPlan { when: Some(case.when.text().to_owned()), then: names(&case.then) })
                .collect();
            if !default.is_empty() {
                planned.branches.push(BranchPlan { when: None, then: names(default) });
            }
        }
        StepKind::Job { topic, meta, labels, .. } => {
            let mut all = starter.labels.clone();
            all.extend(BTreeMap::clone(labels));
            let all = Labels::from(all);
            let request = PolicyRequest {
                job_id: "plan",
                topic: topic.as_str(),
                tenant: workflow.tenant().as_str(),
                principal_id: starter.principal,
                meta,
                labels: &all,
                workflow_id: Some(workflow.id().as_str()),
                run_id: None,
                step_id: Some(step.id.as_str()),
                attempt: 1,
                input: starter.input.filter(|_| step.input.is_none()),
                now: Some(facts.now),
                facts: None,
            };
            if let Verdict::Decided(decision) = facts.policy.evaluate(&request) {
                match decision.outcome {
                    crate::policy::Outcome::Deny => {
                        plan.blocked.insert(planned.step_id.clone(), format!("policy denies it: {}", decision.reason));
                    }
                    crate::policy::Outcome::RequireApproval => plan.approvals.push(planned.step_id.clone()),
                    _ => {}
                }
                planned.decision = Some(decision);
            }
            match facts.routes.route(topic, &meta.requires) {
                Ok(pool) => planned.pool = Some(pool),
                Err(no_route) => {
                    plan.blocked.entry(planned.step_id.clone()).or_insert_with(|| no_route.to_string());
                }
            }
            planned.topic = Some(topic.to_string());
        }
        _ => {}
    }
    planned
}

/// The level of each step within its scope: the longest way that leads to it.
fn levels(workflow: &Workflow) -> Vec<usize> {
    let steps = workflow.steps();
    let mut levels = vec![0; steps.len()];
    let mut open: Vec<u32> = steps.iter().map(|step| step.incoming).collect();
    let mut ready: Vec<usize> = (0..steps.len()).filter(|n| open.get(*n) == Some(&0)).collect();
    while let Some(next) = ready.pop() {
        let Some(step) = steps.get(next) else { continue };
        let level = levels.get(next).copied().unwrap_or(0) + 1;
        for edge in step.dependents.iter().filter(|edge| edge.kind != EdgeKind::Failure || edge.to != next) {
            if let Some(found) = levels.get_mut(edge.to) {
                *found = level.max(*found);
            }
            if let Some(left) = open.get_mut(edge.to) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    ready.push(edge.to);
                }
            }
        }
    }
    levels
}

const fn kind_name(kind: &StepKind) -> &'static str {
    match kind {
        StepKind::Job { written, .. } => written.as_str(),
        StepKind::Approval => "approval",
        StepKind::Input => "input",
        StepKind::Signal(_) => "signal",
        StepKind::Condition(_) => "condition",
        StepKind::Switch { .. } => "switch",
        StepKind::Parallel(_) => "parallel",
        StepKind::ForEach { .. } => "for_each",
        StepKind::Loop { .. } => "loop",
        StepKind::Delay(_) => "delay",
        StepKind::Notify => "notify",
        StepKind::Transform(_) => "transform",
        StepKind::Storage { .. } => "storage",
        StepKind::Subworkflow { .. } => "subworkflow",
    }
}

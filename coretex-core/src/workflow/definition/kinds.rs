//! What each kind of step needs.

use std::sync::Arc;

use super::{
    Case, ItemTolerance, Joins, StepKind,
    compile::{Compiler, Reads},
    layout::{Entry, Layout},
    shapes::Rooted,
};
use crate::{
    job::{Topic, WorkflowId},
    value::{CompileOptions, Expr, References},
    workflow::{CaseMatch, Join, JoinRule, OnItemError, StepSpec, StepType, Tolerance},
};

/// Iterations of a loop that names no bound.
const DEFAULT_ITERATIONS: u32 = 100;
/// Most iterations of a loop.
const MAX_ITERATIONS: u32 = 10_000;

impl Compiler {
    /// The gate and the kind of a step.
    pub(super) fn kind(
        &mut self,
        workflow: &WorkflowId,
        layout: &Layout<'_>,
        entry: &Entry<'_>,
        condition: Option<Expr>,
        rooted: &Rooted,
        reads: &mut Reads,
    ) -> (Option<Expr>, Option<StepKind>) {
        let (path, spec) = (&entry.path, entry.spec);
        let options = rooted.within(entry.scope);
        let kind = match spec.kind {
            StepType::Worker | StepType::Llm | StepType::Http | StepType::Container | StepType::Script => {
                self.job(workflow, entry)
            }
            StepType::Approval => Some(StepKind::Approval),
            StepType::Input => Some(StepKind::Input),
            StepType::Notify => Some(StepKind::Notify),
            StepType::Signal => {
                let name = if spec.signal.is_empty() { &entry.name } else { &spec.signal };
                self.text_template(&format!("{path}.signal"), name, options, &mut reads.outside).map(StepKind::Signal)
            }
            StepType::Condition => {
                if spec.condition.is_empty() {
                    self.problem(
                        "condition_missing",
                        format!("{path}.condition"),
                        "a condition step needs an expression",
                        "write `condition: input.severity == \"high\"`",
                    );
                }
                return (None, condition.map(StepKind::Condition));
            }
            StepType::Switch => self.switch(layout, entry, options, &mut reads.outside),
            StepType::Parallel => self.parallel(path, spec),
            StepType::Loop => self.a_loop(entry, rooted, reads),
            StepType::Delay => self.delay(path, spec, options, &mut reads.outside),
            StepType::Transform => {
                if spec.output.is_none() {
                    self.missing(path, "output", "a transform step makes a value", "write `output:` with templates");
                }
                self.template(&format!("{path}.output"), spec.output.as_ref(), options, &mut reads.outside)
                    .map(StepKind::Transform)
            }
            StepType::Storage => self.storage(path, spec, options, &mut reads.outside),
            StepType::Subworkflow => self.subworkflow(path, spec),
        };
        (condition, kind)
    }

    fn missing(&mut self, path: &str, field: &str, message: &str, help: &str) {
        self.problem("field_missing", format!("{path}.{field}"), message, help);
    }

    fn job(&mut self, workflow: &WorkflowId, entry: &Entry<'_>) -> Option<StepKind> {
        let (path, spec) = (&entry.path, entry.spec);
        let topic = if spec.topic.is_empty() { format!("job.workflow.{workflow}") } else { spec.topic.clone() };
        let topic = self.parsed(&format!("{path}.topic"), Topic::parse_job(&topic))?;
        let mut labels = spec.route_labels.clone();
        if !spec.worker_id.is_empty() {
            labels.insert("worker_id".into(), spec.worker_id.clone());
        }
        labels.insert("workflow_id".into(), workflow.to_string());
        labels.insert("step_id".into(), entry.name.clone());
        Some(StepKind::Job {
            written: spec.kind,
            topic,
            meta: Arc::new(spec.meta.clone().unwrap_or_default()),
            labels: Arc::new(labels),
            adapter: (!spec.worker_id.is_empty()).then(|| spec.worker_id.as_str().into()),
        })
    }

    fn switch(
        &mut self,
        layout: &Layout<'_>,
        entry: &Entry<'_>,
        options: &CompileOptions,
        references: &mut References,
    ) -> Option<StepKind> {
        let (path, spec) = (&entry.path, entry.spec);
        if spec.cases.is_empty() {
            self.missing(path, "cases", "a switch has at least one case", "write `cases: [{when: ..., then: [step]}]`");
        }
        let mut cases = Vec::with_capacity(spec.cases.len());
        for (n, case) in spec.cases.iter().enumerate() {
            let place = format!("{path}.cases[{n}].when");
            if case.when.trim().is_empty() {
                self.problem("condition_missing", place, "a case needs a condition", "write `when: input.n > 3`");
                continue;
            }
            let when = self.expression(&place, &case.when, options, references);
            let then = self.targets(layout, entry, &format!("cases[{n}].then"), &case.then);
            let name = if case.name.is_empty() { n.to_string() } else { case.name.clone() };
            cases.extend(when.map(|when| Case { name: name.into(), when, then }));
        }
        let default = self.targets(layout, entry, "default", &spec.default);
        Some(StepKind::Switch { cases, all: spec.matches == CaseMatch::All, default })
    }

    /// Positions of the steps that a branch leads to.
    fn targets(&mut self, layout: &Layout<'_>, entry: &Entry<'_>, field: &str, names: &[String]) -> Vec<usize> {
        let found = names.iter().enumerate().filter_map(|(n, name)| {
            if *name == entry.name {
                let place = format!("{}.{field}[{n}]", entry.path);
                self.problem("workflow_cycle", place, "a switch cannot lead to itself", "name another step");
                return None;
            }
            self.sibling(layout, entry, &format!("{field}[{n}]"), name)
        });
        found.collect()
    }

    fn parallel(&mut self, path: &str, spec: &StepSpec) -> Option<StepKind> {
        if spec.steps.is_empty() {
            self.missing(
                path,
                "steps",
                "a group needs at least one step",
                "write `steps:` with the steps of the group",
            );
        }
        Some(StepKind::Parallel(match &spec.join {
            None | Some(Join::Rule(JoinRule::All)) => Joins::All,
            Some(Join::Rule(JoinRule::Any)) => Joins::AtLeast(1),
            Some(Join::Rule(JoinRule::Settled)) => Joins::Settled,
            Some(Join::Count(count)) if *count > 0 && *count as usize <= spec.steps.len() => Joins::AtLeast(*count),
            Some(Join::Count(count)) => {
                self.problem(
                    "out_of_range",
                    format!("{path}.join"),
                    format!("{count} of {} branches is out of range", spec.steps.len()),
                    "use `all`, `any`, `settled`, or a number of branches",
                );
                return None;
            }
        }))
    }

    /// The step that holds the items.
    pub(super) fn for_each(
        &mut self,
        path: &str,
        spec: &StepSpec,
        options: &CompileOptions,
        reads: &mut Reads,
    ) -> Option<StepKind> {
        let over = self.expression(&format!("{path}.for_each"), &spec.for_each, options, &mut reads.outside);
        if let Some(over) = over.as_ref().filter(|over| !over.types().allows("list") && !over.types().allows("null")) {
            self.problem(
                "wrong_type",
                format!("{path}.for_each"),
                format!("`{over}` is {}, and a `for_each` walks a list", over.types()),
                "give it a list; `keys(...)` and `values(...)` make one of a map",
            );
        }
        let place = format!("{path}.on_item_error");
        let tolerance = match &spec.on_item_error {
            None | Some(OnItemError::FailFast) => ItemTolerance::Count(0),
            Some(OnItemError::Collect) => ItemTolerance::All,
            Some(OnItemError::Tolerate(Tolerance::Count(count))) => ItemTolerance::Count(*count),
            Some(OnItemError::Tolerate(Tolerance::Share(share))) => {
                let percent = share.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
                match percent.filter(|percent| (0.0..=100.0).contains(percent)) {
                    Some(percent) => ItemTolerance::Percent(percent),
                    None => {
                        let message = format!("`{share}` is not a share");
                        self.problem("out_of_range", place, message, "use a number, or a share such as `10%`");
                        return None;
                    }
                }
            }
        };
        Some(StepKind::ForEach { over: over?, max_parallel: spec.max_parallel, tolerance })
    }

    fn a_loop(&mut self, entry: &Entry<'_>, rooted: &Rooted, reads: &mut Reads) -> Option<StepKind> {
        let (path, spec) = (&entry.path, entry.spec);
        let options = rooted.within(entry.scope);
        if spec.steps.is_empty() {
            self.missing(path, "steps", "a loop needs at least one step", "write `steps:` with the steps of the loop");
        }
        if spec.while_.is_empty() && spec.until.is_empty() && spec.max_iterations == 0 {
            let help = "write `while:`, `until:` or `max_iterations:`";
            self.missing(path, "until", "a loop says when it ends", help);
        }
        if spec.max_iterations > MAX_ITERATIONS {
            let message = format!("{} is more than {MAX_ITERATIONS}", spec.max_iterations);
            self.problem(
                "out_of_range",
                format!("{path}.max_iterations"),
                message,
                format!("use at most {MAX_ITERATIONS}"),
            );
        }
        let inner = rooted.within(entry.body.unwrap_or(entry.scope));
        let goes_on = self.expression(&format!("{path}.while"), &spec.while_, inner, &mut reads.inside);
        let until = self.expression(&format!("{path}.until"), &spec.until, inner, &mut reads.inside);
        let carry = self.template(&format!("{path}.carry"), spec.carry.as_ref(), options, &mut reads.outside);
        let next = self.template(&format!("{path}.next"), spec.next.as_ref(), inner, &mut reads.inside);
        let most = if spec.max_iterations == 0 { DEFAULT_ITERATIONS } else { spec.max_iterations };
        Some(StepKind::Loop { goes_on, until, most, carry, next })
    }

    fn storage(
        &mut self,
        path: &str,
        spec: &StepSpec,
        options: &CompileOptions,
        references: &mut References,
    ) -> Option<StepKind> {
        let Some(storage) = &spec.storage else {
            let help = "write `storage: {op: put, key: report, value: \"${steps.a.output}\"}`";
            self.missing(path, "storage", "a storage step says what to do with which artifact", help);
            return None;
        };
        let value_place = format!("{path}.storage.value");
        match (storage.op, &storage.value) {
            (super::StorageOp::Put, None) => {
                self.problem("field_missing", value_place, "`put` needs a value", "write `value:`");
                return None;
            }
            (super::StorageOp::Get | super::StorageOp::Delete, Some(_)) => {
                self.problem("field_misplaced", value_place, "only `put` takes a value", "remove it");
                return None;
            }
            _ => {}
        }
        let key = self.text_template(&format!("{path}.storage.key"), &storage.key, options, references)?;
        let value = self.template(&value_place, storage.value.as_ref(), options, references);
        Some(StepKind::Storage { op: storage.op, key, value })
    }

    fn subworkflow(&mut self, path: &str, spec: &StepSpec) -> Option<StepKind> {
        if spec.workflow.is_empty() {
            self.missing(path, "workflow", "a subworkflow step names a workflow", "write `workflow: <id>`");
            return None;
        }
        let workflow = self.parsed(&format!("{path}.workflow"), WorkflowId::parse(&spec.workflow))?;
        let digest = &spec.workflow_digest;
        if !digest.is_empty() && (digest.len() != 64 || !digest.chars().all(|c| c.is_ascii_hexdigit())) {
            self.problem(
                "value_malformed",
                format!("{path}.workflow_digest"),
                "it is not the digest of a definition",
                "copy the 64 hexadecimal digits that storing the definition gave",
            );
            return None;
        }
        Some(StepKind::Subworkflow { workflow, digest: (!digest.is_empty()).then(|| super::compile::shared(digest)) })
    }
}

//! Fields: which belong to which kind of step, and the numbers that they may hold.

use super::compile::Compiler;
use crate::{
    value::Value,
    workflow::{CaseMatch, RetrySpec, StepSpec, StepType},
};

/// Longest time that a definition may name, in seconds: ten years.
const MAX_SECONDS: i64 = 10 * 366 * 24 * 3600;

impl Compiler {
    /// Refuses fields that mean nothing where they stand.
    ///
    /// Fields of this platform's own are refused wherever they are not carried out. Of the established ones, which were
    /// taken anywhere, those stay accepted that cannot change what a step does: what describes jobs on an `approval`,
    /// a `delay`, a `condition` or a `notify`. All other established kinds used to be jobs, so that `topic` or `meta` on
    /// one of those says that another thing is meant than what happens.
    pub(super) fn fields(&mut self, path: &str, spec: &StepSpec) {
        use StepType::{
            Approval, Condition, Delay, Input, Loop, Notify, Parallel, Signal, Storage, Subworkflow, Switch, Transform,
        };
        const JOBS: &str = "a job";
        let kind = spec.kind;
        let is = |kinds: &[StepType]| kinds.contains(&kind);
        // It never was a job, and takes what is of use to jobs only.
        let is_lenient = is(&[Approval, Condition, Delay, Notify]);
        let works = kind.is_job() || is(&[Storage, Subworkflow]);
        let asks = kind.is_job() || is(&[Approval, Input, Notify, Subworkflow]);
        let waits = kind.is_job() || is(&[Approval, Input, Signal, Delay, Parallel, Loop]);
        let makes = kind.is_job() || is(&[Input, Signal, Condition, Parallel, Loop, Transform, Storage, Subworkflow]);
        let times = [!spec.delay.is_empty(), spec.delay_next.is_some()];
        let misplaced = [
            ("steps", !spec.steps.is_empty() && !kind.is_group(), "`type: parallel` or `type: loop`"),
            ("join", spec.join.is_some() && kind != Parallel, "`type: parallel`"),
            ("while", !spec.while_.is_empty() && kind != Loop, "`type: loop`"),
            ("until", !spec.until.is_empty() && kind != Loop, "`type: loop`"),
            ("max_iterations", spec.max_iterations != 0 && kind != Loop, "`type: loop`"),
            ("carry", spec.carry.is_some() && kind != Loop, "`type: loop`"),
            ("next", spec.next.is_some() && kind != Loop, "`type: loop`"),
            ("cases", !spec.cases.is_empty() && kind != Switch, "`type: switch`"),
            ("match", spec.matches != CaseMatch::First && kind != Switch, "`type: switch`"),
            ("default", !spec.default.is_empty() && kind != Switch, "`type: switch`"),
            ("signal", !spec.signal.is_empty() && kind != Signal, "`type: signal`"),
            ("output", spec.output.is_some() && kind != Transform, "`type: transform`"),
            ("storage", spec.storage.is_some() && kind != Storage, "`type: storage`"),
            ("workflow", !spec.workflow.is_empty() && kind != Subworkflow, "`type: subworkflow`"),
            ("workflow_digest", !spec.workflow_digest.is_empty() && kind != Subworkflow, "`type: subworkflow`"),
            ("delay", !spec.delay.is_empty() && kind != Delay, "`type: delay`"),
            ("delay_sec", spec.delay_sec != 0 && kind != Delay, "`type: delay`"),
            ("delay_until", !spec.delay_until.is_empty() && kind != Delay, "`type: delay`"),
            ("delay_next", spec.delay_next.is_some() && kind != Delay, "`type: delay`"),
            ("on_item_error", spec.on_item_error.is_some() && spec.for_each.is_empty(), "`for_each`"),
            ("max_parallel", spec.max_parallel != 0 && spec.for_each.is_empty(), "`for_each`"),
            ("retry", spec.retry.is_some() && !works, "a job, `type: storage` or `type: subworkflow`"),
            ("timeout_sec", spec.timeout_sec != 0 && !waits && !is_lenient, "a job, a group, or one that waits"),
            ("input", is_set(spec.input.as_ref()) && !asks && !is_lenient, "a job, a question or `type: subworkflow`"),
            ("input_schema", spec.input_schema.is_some() && !kind.is_job(), JOBS),
            ("output_schema", spec.output_schema.is_some() && !makes, "a job, or one that makes a value"),
            ("topic", !spec.topic.is_empty() && !kind.is_job() && !is_lenient, JOBS),
            ("worker_id", !spec.worker_id.is_empty() && !kind.is_job() && !is_lenient, JOBS),
            ("meta", spec.meta.is_some() && !kind.is_job() && !is_lenient, JOBS),
            ("placement", spec.placement.is_some() && !kind.is_job(), JOBS),
            ("route_labels", !spec.route_labels.is_empty() && !kind.is_job() && !is_lenient, JOBS),
        ];
        for (field, _, place) in misplaced.into_iter().filter(|(_, is_misplaced, _)| *is_misplaced) {
            self.problem(
                "field_misplaced",
                format!("{path}.{field}"),
                format!("`{field}` belongs to a step with {place}"),
                "remove it, or change the step",
            );
        }
        if kind == Delay && spec.timeout_sec != 0 && times.contains(&true) {
            let message = "a delay ends by one rule, and `timeout_sec` is another";
            self.problem("field_misplaced", format!("{path}.timeout_sec"), message, "remove one of them");
        }
        self.seconds(&format!("{path}.timeout_sec"), spec.timeout_sec);
        self.seconds(&format!("{path}.delay_sec"), spec.delay_sec);
        if let Some(retry) = &spec.retry {
            self.retry(path, retry);
        }
    }

    fn retry(&mut self, path: &str, retry: &RetrySpec) {
        let numbers = [
            ("initial_backoff_sec", retry.initial_backoff_sec),
            ("max_backoff_sec", retry.max_backoff_sec),
            ("multiplier", retry.multiplier),
        ];
        for (name, number) in numbers {
            #[expect(clippy::cast_precision_loss, reason = "a bound, not a count")]
            let limit = MAX_SECONDS as f64;
            if !(0.0..=limit).contains(&number) {
                self.problem(
                    "out_of_range",
                    format!("{path}.retry.{name}"),
                    format!("{number} is out of range"),
                    "use a number from 0 to ten years of seconds",
                );
            }
        }
        if retry.jitter.is_some_and(|jitter| !(0.0..=1.0).contains(&jitter)) {
            self.problem(
                "out_of_range",
                format!("{path}.retry.jitter"),
                "it is out of range",
                "use a number from 0 to 1",
            );
        }
        if retry.max_retries > 10_000 {
            self.problem(
                "out_of_range",
                format!("{path}.retry.max_retries"),
                format!("{} is more than 10000", retry.max_retries),
                "use at most 10000",
            );
        }
    }

    pub(super) fn seconds(&mut self, path: &str, seconds: i64) {
        if !(0..=MAX_SECONDS).contains(&seconds) {
            self.problem(
                "out_of_range",
                path,
                format!("{seconds} seconds are out of range"),
                format!("use 0 to {MAX_SECONDS}"),
            );
        }
    }
}

/// An empty map means the same as no input.
fn is_set(input: Option<&Value>) -> bool {
    input.is_some_and(|input| input.as_object().is_none_or(|fields| !fields.is_empty()))
}

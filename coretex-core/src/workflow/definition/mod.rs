//! A definition that was checked and compiled.
//!
//! Steps lie in one list, scope by scope: a *scope* is the steps that may wait for each other, which are those of the
//! workflow, its `finally` steps, and the steps of each group. The position of a step in that list is its name inside of
//! the engine. Step ids are unique in the whole workflow, so that `steps.<id>` needs no path; only the step that a
//! `for_each` runs for each item shares the id of the step that holds the items.

mod compile;
mod delay;
mod fields;
mod kinds;
mod layout;
mod read;
mod reads;
mod recursion;
mod shapes;
mod slip;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

pub use delay::Delay;
pub(super) use delay::{Length, duration_of};
pub(super) use read::kind_name;
pub(super) use slip::closest;

use super::{
    Concurrency, DefinitionError, Problem, RetrySpec, StepType, StorageOp, TimeoutCounts, Trigger, WorkflowSpec,
};
use crate::{
    job::{StepId, StepRunId, TenantId, Topic, WorkflowId},
    policy::JobMeta,
    value::{Expr, LimitError, Path, Schema, Template, Value, document},
};

/// A checked, compiled workflow: immutable and shared by all its runs.
#[derive(Debug)]
pub struct Workflow {
    id: WorkflowId,
    tenant: TenantId,
    digest: Arc<str>,
    spec: WorkflowSpec,
    steps: Vec<Step>,
    scopes: Vec<Scope>,
    index: HashMap<Box<str>, usize>,
    input_schema: Option<Schema>,
    output: Option<Template>,
    pub(super) concurrency: Option<Concurrency>,
    pub(super) triggers: BTreeMap<String, Trigger>,
    warnings: Vec<Problem>,
}

/// Equal definitions have equal digests.
impl PartialEq for Workflow {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// The scope of the workflow's own steps.
pub(super) const MAIN: usize = 0;
/// The scope of the `finally` steps.
pub(super) const FINALLY: usize = 1;

/// Steps that may wait for each other. They lie side by side, in the order of their ids.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// Position of the first.
    pub(super) first: usize,
    pub(super) len: usize,
    /// Positions of those that wait for nothing.
    pub(super) roots: Vec<usize>,
    /// Positions of those that nothing waits for: the ends of its branches.
    pub(super) sinks: Vec<usize>,
    /// The step that holds it.
    pub(super) container: Option<usize>,
    /// Indices in the ids of its steps' runs.
    pub(super) depth: usize,
    /// Whether each block of it has an index of its own.
    pub(super) iterates: bool,
    /// Whether a failed step leaves the others alone.
    pub(super) tolerant: bool,
    /// Steps of a block that must end: all but those that undo.
    pub(super) counted: u32,
}

/// What a step is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is on the way.
    Main,
    /// It runs when a step that names it in `on_error` has failed.
    Handler,
    /// It undoes another step.
    Compensation,
}

/// A checked, compiled step.
#[derive(Debug)]
pub struct Step {
    pub(super) id: StepId,
    /// The id of its runs where that has no index.
    pub(super) run_id: StepRunId,
    pub(super) kind: StepKind,
    pub(super) role: Role,
    pub(super) scope: usize,
    /// The scope that it holds.
    pub(super) body: Option<usize>,
    pub(super) depends_on: Vec<usize>,
    pub(super) dependents: Vec<Edge>,
    /// Edges that lead to it.
    pub(super) incoming: u32,
    pub(super) compensation: Option<usize>,
    /// Whether a handler takes its failure.
    pub(super) handled: bool,
    pub(super) continue_on_error: bool,
    pub(super) gate: Option<Expr>,
    pub(super) input: Option<Template>,
    pub(super) input_schema: Option<Schema>,
    pub(super) output_schema: Option<Schema>,
    /// The schema as written, for forms and for made-up outputs.
    pub(super) output_form: Option<Value>,
    pub(super) output_path: Option<Path>,
    pub(super) retry: Option<RetrySpec>,
    pub(super) timeout: Option<Duration>,
    pub(super) title: Arc<str>,
}

/// From a step to one that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    /// Position of the step that waits.
    pub(super) to: usize,
    pub(super) kind: EdgeKind,
}

/// What makes an edge count as taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EdgeKind {
    /// The step ended well.
    Success,
    /// The switch chose it.
    Choice,
    /// The step failed for good.
    Failure,
}

/// What a step does, compiled.
#[derive(Debug)]
pub enum StepKind {
    /// A job.
    Job {
        /// Which kind of job step it was written as.
        written: StepType,
        /// Where it goes.
        topic: Topic,
        /// Its structured identity.
        meta: Arc<JobMeta>,
        /// Its labels, but for those of the run.
        labels: Arc<BTreeMap<String, String>>,
        /// The adapter of the worker.
        adapter: Option<Arc<str>>,
    },
    /// A human's answer.
    Approval,
    /// Data from outside.
    Input,
    /// A signal, by name.
    Signal(Template),
    /// A value.
    Condition(Expr),
    /// A choice among its dependents.
    Switch {
        /// The branches, in order.
        cases: Vec<Case>,
        /// Whether all matching cases count, and not only the first.
        all: bool,
        /// Positions of the steps that go on when no case matches.
        default: Vec<usize>,
    },
    /// A group of steps.
    Parallel(Joins),
    /// The step that it holds, once for each item.
    ForEach {
        /// The items.
        over: Expr,
        /// Items under way at once; 0 = no limit.
        max_parallel: u32,
        /// How many may fail.
        tolerance: ItemTolerance,
    },
    /// A group of steps, again and again.
    Loop {
        /// Asked before each iteration.
        goes_on: Option<Expr>,
        /// Asked after each iteration.
        until: Option<Expr>,
        /// Most iterations.
        most: u32,
        /// What the first iteration starts with.
        carry: Option<Template>,
        /// What an iteration hands to the next.
        next: Option<Template>,
    },
    /// A time.
    Delay(Delay),
    /// An alert.
    Notify,
    /// A value, made from values.
    Transform(Template),
    /// An artifact.
    Storage {
        /// What to do.
        op: StorageOp,
        /// Its name.
        key: Template,
        /// What to keep.
        value: Option<Template>,
    },
    /// A run of another workflow.
    Subworkflow {
        /// Which one.
        workflow: WorkflowId,
        /// Which definition of it; the current one when absent.
        digest: Option<Arc<str>>,
    },
}

/// A branch of a switch.
#[derive(Debug)]
pub struct Case {
    pub(super) name: Arc<str>,
    pub(super) when: Expr,
    pub(super) then: Vec<usize>,
}

/// When a group is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joins {
    /// When every step has ended well.
    All,
    /// When so many branches have succeeded.
    AtLeast(u32),
    /// When every step has ended, however.
    Settled,
}

/// How many items may fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ItemTolerance {
    /// Any number.
    All,
    /// So many.
    Count(u32),
    /// So many of a hundred.
    Percent(f64),
}

impl ItemTolerance {
    /// Whether `failed` of `total` are more than allowed.
    #[must_use]
    pub fn is_exceeded(self, failed: u32, total: u32) -> bool {
        match self {
            Self::All => false,
            Self::Count(most) => failed > most,
            Self::Percent(percent) => f64::from(failed) * 100.0 > percent * f64::from(total),
        }
    }
}

impl Step {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &StepId {
        &self.id
    }

    /// What it does.
    #[must_use]
    pub const fn kind(&self) -> &StepKind {
        &self.kind
    }

    /// What it is there for.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Positions of the steps that must end before it.
    #[must_use]
    pub fn depends_on(&self) -> &[usize] {
        &self.depends_on
    }

    /// What people call it.
    #[must_use]
    pub const fn title(&self) -> &Arc<str> {
        &self.title
    }

    /// The JSON Schema of its output, as written.
    #[must_use]
    pub const fn output_form(&self) -> Option<&Value> {
        self.output_form.as_ref()
    }

    /// Longest time of an attempt, or of waiting.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
}

impl Workflow {
    /// Reads a definition from YAML or JSON text and compiles it; `source_name` is used in messages.
    ///
    /// # Errors
    /// [`DefinitionError`] with every problem found.
    pub fn parse(source_name: &str, text: &str) -> Result<Self, DefinitionError> {
        let value = document::parse(source_name, text).map_err(|error| {
            DefinitionError::one(source_name, error.code(), "$", error.to_string(), "correct the document")
        })?;
        Self::from_value(source_name, value)
    }

    /// Compiles an already parsed definition; `source_name` is used in messages.
    ///
    /// # Errors
    /// [`DefinitionError`] with every problem found.
    pub fn from_value(source_name: &str, value: Value) -> Result<Self, DefinitionError> {
        let spec = read::read_spec(source_name, value)?;
        Self::compile(source_name, spec)
    }

    /// Checks and compiles a definition; `source_name` is used in messages. O(steps + dependencies) besides the
    /// compilation of expressions and schemas.
    ///
    /// # Errors
    /// [`DefinitionError`] with every problem found.
    pub fn compile(source_name: &str, spec: WorkflowSpec) -> Result<Self, DefinitionError> {
        compile::compile(source_name, spec)
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &WorkflowId {
        &self.id
    }

    /// The tenant that owns it.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// SHA-256 of its canonical form without timestamps: equal definitions have equal digests.
    #[must_use]
    pub const fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    /// The definition as written.
    #[must_use]
    pub const fn spec(&self) -> &WorkflowSpec {
        &self.spec
    }

    /// All steps, scope by scope, the workflow's own first.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Position of the step `id`; of a `for_each`, of the step that holds the items.
    #[must_use]
    pub fn position(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// Positions of the workflow's own steps that depend on nothing.
    #[must_use]
    pub fn roots(&self) -> &[usize] {
        self.scopes.first().map_or(&[], |scope| &scope.roots)
    }

    /// Things that are legal but probably not meant.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Longest time of a run.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        u64::try_from(self.spec.timeout_sec).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }

    /// Longest time of undoing, and of the `finally` steps, each from when it begins.
    #[must_use]
    pub fn finally_timeout(&self) -> Duration {
        const UNLESS_TOLD: Duration = Duration::from_secs(3_600);
        let told = u64::try_from(self.spec.finally_timeout_sec).ok().filter(|seconds| *seconds > 0);
        told.map_or(UNLESS_TOLD, Duration::from_secs)
    }

    pub(super) fn clock_stands_while_waiting(&self) -> bool {
        self.spec.timeout_counts == TimeoutCounts::Active && self.spec.timeout_sec > 0
    }

    pub(super) const fn input_schema(&self) -> Option<&Schema> {
        self.input_schema.as_ref()
    }

    /// The input of a run, with what it leaves out filled in from the defaults of the input schema.
    ///
    /// # Errors
    /// When the defaults make it too large.
    pub fn fill_input(&self, input: &Arc<Value>) -> Result<Arc<Value>, LimitError> {
        let Some(schema) = &self.input_schema else { return Ok(input.clone()) };
        Ok(match schema.with_defaults(input)? {
            std::borrow::Cow::Borrowed(_) => input.clone(),
            std::borrow::Cow::Owned(filled) => Arc::new(filled),
        })
    }

    pub(super) const fn output(&self) -> Option<&Template> {
        self.output.as_ref()
    }

    pub(super) fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// The step at `position` and the scope that it is in.
    pub(super) fn at(&self, position: usize) -> Option<(&Step, &Scope)> {
        let step = self.steps.get(position)?;
        Some((step, self.scopes.get(step.scope)?))
    }

    /// Position of the step that the runs `<id>[i]…` are of, with so many indices.
    pub(super) fn position_of_run(&self, id: &str, indices: usize) -> Option<usize> {
        let position = self.position(id)?;
        let (step, scope) = self.at(position)?;
        if scope.depth == indices {
            return Some(position);
        }
        // An item of a `for_each` bears the id of what holds it.
        let body = step.body.and_then(|body| self.scopes.get(body))?;
        (matches!(step.kind, StepKind::ForEach { .. }) && body.depth == indices).then_some(body.first)
    }
}

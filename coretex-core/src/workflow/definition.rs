//! A definition that was checked and compiled.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use super::{DefinitionError, Problem, RetrySpec, StepSpec, StepType, WorkflowSpec, check::find_cycle};
use crate::{
    job::{StepId, TenantId, Topic, WorkflowId},
    policy::JobMeta,
    value::{CompileOptions, Expr, Path, References, Schema, Template, Value, document, json},
};

/// Most steps of one workflow.
const MAX_STEPS: usize = 10_000;
/// Longest time that a definition may name, in seconds: ten years.
const MAX_SECONDS: i64 = 10 * 366 * 24 * 3600;

/// A checked, compiled workflow: immutable and shared by all its runs.
#[derive(Debug)]
pub struct Workflow {
    id: WorkflowId,
    tenant: TenantId,
    digest: Arc<str>,
    spec: WorkflowSpec,
    steps: Vec<Step>,
    roots: Vec<usize>,
    input_schema: Option<Schema>,
    pub(super) concurrency: Option<super::Concurrency>,
    pub(super) triggers: BTreeMap<String, super::Trigger>,
    warnings: Vec<Problem>,
}

/// A checked, compiled step.
#[derive(Debug)]
pub struct Step {
    pub(super) id: StepId,
    pub(super) kind: StepKind,
    pub(super) depends_on: Vec<usize>,
    pub(super) dependents: Vec<usize>,
    pub(super) gate: Option<Expr>,
    pub(super) input: Option<Template>,
    pub(super) input_schema: Option<Schema>,
    pub(super) output_schema: Option<Schema>,
    pub(super) output_path: Option<Path>,
    pub(super) retry: Option<RetrySpec>,
    pub(super) timeout: Option<Duration>,
    pub(super) title: Arc<str>,
}

/// What a step does, compiled.
#[derive(Debug)]
pub enum StepKind {
    /// A job.
    Job {
        /// Where it goes.
        topic: Topic,
        /// Its structured identity.
        meta: Arc<JobMeta>,
        /// Its labels, but for those that name the run.
        labels: BTreeMap<String, String>,
        /// The adapter of the worker.
        adapter: Option<Arc<str>>,
    },
    /// A human's answer.
    Approval,
    /// A time: how long, or until when.
    Delay {
        /// How long.
        wait: Duration,
        /// Until when; wins over `wait`.
        until: Option<Template>,
    },
    /// A value.
    Condition(Expr),
    /// An alert.
    Notify,
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

    /// Positions of the steps that must end before it.
    #[must_use]
    pub fn depends_on(&self) -> &[usize] {
        &self.depends_on
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
        let spec = read_spec(source_name, value)?;
        Self::compile(source_name, spec)
    }

    /// Checks and compiles a definition; `source_name` is used in messages. O(steps + dependencies) besides the
    /// compilation of expressions and schemas.
    ///
    /// # Errors
    /// [`DefinitionError`] with every problem found.
    pub fn compile(source_name: &str, spec: WorkflowSpec) -> Result<Self, DefinitionError> {
        let mut compiler = Compiler { problems: Vec::new(), warnings: Vec::new() };
        let compiled = compiler.workflow(spec);
        match compiled {
            Some(workflow) if compiler.problems.is_empty() => Ok(workflow),
            _ => Err(DefinitionError { source_name: source_name.to_owned(), problems: compiler.problems }),
        }
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

    /// The steps, in the order of their ids.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Position of the step `id`.
    #[must_use]
    pub fn position(&self, id: &str) -> Option<usize> {
        self.steps.binary_search_by(|step| step.id.as_str().cmp(id)).ok()
    }

    /// Positions of the steps that depend on nothing.
    #[must_use]
    pub fn roots(&self) -> &[usize] {
        &self.roots
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

    pub(super) const fn input_schema(&self) -> Option<&Schema> {
        self.input_schema.as_ref()
    }
}

/// Turns a JSON value into a spec, so that a slip is named with its path.
fn read_spec(source_name: &str, value: Value) -> Result<WorkflowSpec, DefinitionError> {
    let Value::Object(mut fields) = value else {
        return Err(DefinitionError::one(
            source_name,
            "workflow_invalid",
            "$",
            "a workflow is an object".into(),
            "start with `id:` and `steps:`",
        ));
    };
    let mut problems = Vec::new();
    let steps = match fields.remove("steps") {
        Some(Value::Object(steps)) => steps,
        None | Some(Value::Null) => serde_json::Map::new(),
        Some(other) => {
            problems.push(Problem {
                code: "workflow_invalid",
                path: "steps".into(),
                message: format!("it is {}, not a map", kind_name(&other)),
                help: "write `steps:` as a map from step id to step".into(),
            });
            serde_json::Map::new()
        }
    };
    let mut spec: WorkflowSpec = match serde_json::from_value(Value::Object(fields)) {
        Ok(spec) => spec,
        Err(error) => {
            problems.push(shape_problem("$", &error.to_string()));
            WorkflowSpec::default()
        }
    };
    for (id, mut step) in steps {
        let path = format!("steps.{id}");
        if let Some(problem) = later_field(&path, &step) {
            problems.push(problem);
            continue;
        }
        // What is written but not set means what it always did: nothing.
        if let Value::Object(fields) = &mut step {
            fields.retain(|field, _| !LATER_FIELDS.contains(&field.as_str()));
        }
        match serde_json::from_value::<StepSpec>(step) {
            Ok(step) => {
                spec.steps.insert(id, step);
            }
            Err(error) => problems.push(shape_problem(&path, &error.to_string())),
        }
    }
    if problems.is_empty() { Ok(spec) } else { Err(DefinitionError { source_name: source_name.to_owned(), problems }) }
}

fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn shape_problem(path: &str, message: &str) -> Problem {
    let (code, help) = if message.contains("unknown field") {
        ("unknown_field", "remove it, or correct its name")
    } else if message.contains("unknown variant") {
        ("unknown_step_type", "use one of the types listed")
    } else {
        ("wrong_type", "give it the type that is expected")
    };
    Problem { code, path: path.to_owned(), message: message.to_owned(), help: help.to_owned() }
}

const LATER_FIELDS: [&str; 5] = ["for_each", "max_parallel", "on_error", "input_schema_id", "output_schema_id"];

/// Established fields whose meaning this version does not carry out. Ignoring them would run something else than
/// what was written.
fn later_field(path: &str, step: &Value) -> Option<Problem> {
    const LATER_TYPES: [&str; 7] = ["input", "switch", "parallel", "loop", "transform", "storage", "subworkflow"];
    let set = |field: &&&str| {
        let value = step.get(**field);
        ![None, Some(&Value::Null), Some(&Value::from(0)), Some(&Value::from(""))].contains(&value)
    };
    if let Some(field) = LATER_FIELDS.iter().find(set) {
        return Some(Problem {
            code: "not_supported",
            path: format!("{path}.{field}"),
            message: format!("this version does not carry out `{field}`"),
            help: "remove it, or use a version that lists it in docs/reference/workflows.md".into(),
        });
    }
    let kind = step.get("type").and_then(Value::as_str)?;
    LATER_TYPES.contains(&kind).then(|| Problem {
        code: "not_supported",
        path: format!("{path}.type"),
        message: format!("this version does not carry out steps of type `{kind}`"),
        help: format!("use one of {}", StepType::NAMES.join(", ")),
    })
}

struct Compiler {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Compiler {
    fn problem(
        &mut self,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.push(Problem { code, path: path.into(), message: message.into(), help: help.into() });
    }

    fn workflow(&mut self, mut spec: WorkflowSpec) -> Option<Workflow> {
        let id = self.parsed("id", WorkflowId::parse(&spec.id))?;
        let tenant = if spec.org_id.is_empty() {
            TenantId::default()
        } else {
            self.parsed("org_id", TenantId::parse(&spec.org_id))?
        };
        if spec.steps.is_empty() {
            self.problem("workflow_empty", "steps", "a workflow needs at least one step", "add a step");
        }
        if spec.steps.len() > MAX_STEPS {
            let message = format!("{} steps are more than {MAX_STEPS}", spec.steps.len());
            self.problem("workflow_too_large", "steps", message, "split the workflow");
            return None;
        }
        self.seconds("timeout_sec", spec.timeout_sec);
        let input_schema = self.schema("input_schema", spec.input_schema.as_ref());
        let names: Vec<String> = spec.steps.keys().cloned().collect();
        let mut options = CompileOptions::new().with_steps(names.iter().map(String::as_str));
        if let Some(schema) = &spec.input_schema {
            options = options.with_input_schema(schema);
        }
        let concurrency = super::concurrency::compile(spec.concurrency.as_ref(), &options, &mut self.problems);
        let triggers = super::trigger::compile(&spec.triggers, &options, &mut self.problems);
        let index: HashMap<&str, usize> = names.iter().enumerate().map(|(n, name)| (name.as_str(), n)).collect();
        let mut steps = Vec::with_capacity(names.len());
        let mut reads = Vec::with_capacity(names.len());
        for (name, step) in &mut spec.steps {
            step.id.clone_from(name);
            let (compiled, references) = self.step(&id, name, step, &index, &options);
            steps.extend(compiled);
            reads.push(references);
        }
        if steps.len() != names.len() {
            return None;
        }
        let deps: Vec<Vec<usize>> = steps.iter().map(|step| step.depends_on.clone()).collect();
        if let Some(cycle) = find_cycle(&deps) {
            let mut path: Vec<&str> = cycle.iter().filter_map(|n| names.get(*n)).map(String::as_str).collect();
            path.extend(path.first().copied());
            let first = path.first().copied().unwrap_or_default();
            let place = format!("steps.{first}.depends_on");
            let message = format!("the steps wait for each other: {}", path.join(" -> "));
            self.problem("workflow_cycle", place, message, "remove one of these dependencies");
            return None;
        }
        self.check_reads(&steps, &reads, &index);
        for n in 0..steps.len() {
            let deps = steps.get(n).map(|step| step.depends_on.clone()).unwrap_or_default();
            for dep in deps {
                if let Some(step) = steps.get_mut(dep) {
                    step.dependents.push(n);
                }
            }
        }
        let roots = steps.iter().enumerate().filter(|(_, step)| step.depends_on.is_empty()).map(|(n, _)| n).collect();
        Some(Workflow {
            digest: spec_digest(&spec).into(),
            id,
            tenant,
            spec,
            steps,
            roots,
            input_schema,
            concurrency,
            triggers,
            warnings: std::mem::take(&mut self.warnings),
        })
    }

    fn step(
        &mut self,
        workflow: &WorkflowId,
        name: &str,
        spec: &StepSpec,
        index: &HashMap<&str, usize>,
        options: &CompileOptions,
    ) -> (Option<Step>, References) {
        let path = format!("steps.{name}");
        let mut references = References::default();
        let id = self.parsed(&path, StepId::parse(name));
        let mut seen = HashSet::new();
        let mut depends_on = Vec::with_capacity(spec.depends_on.len());
        for (n, dep) in spec.depends_on.iter().enumerate() {
            match index.get(dep.as_str()) {
                None => {
                    let known = index.keys().copied().collect::<Vec<_>>();
                    let help = match closest(dep, &known) {
                        Some(name) => format!("did you mean `{name}`?"),
                        None => "name a step of this workflow".into(),
                    };
                    self.problem(
                        "unknown_dependency",
                        format!("{path}.depends_on[{n}]"),
                        format!("there is no step `{dep}`"),
                        help,
                    );
                }
                // Naming a step twice means the same as naming it once.
                Some(dep) if seen.insert(*dep) => depends_on.push(*dep),
                Some(_) => {}
            }
        }
        self.seconds(&format!("{path}.timeout_sec"), spec.timeout_sec);
        let condition = self.expression(&format!("{path}.condition"), &spec.condition, options, &mut references);
        // An empty input means the run's whole input, as it always did.
        let written = spec.input.as_ref().filter(|input| input.as_object().is_none_or(|fields| !fields.is_empty()));
        let input = self.template(&format!("{path}.input"), written, options, &mut references);
        if let (Some(value), StepType::Worker | StepType::Llm | StepType::Http | StepType::Container | StepType::Script) =
            (&spec.input, spec.kind)
            && !value.is_object()
            && !value.is_string()
        {
            self.problem(
                "wrong_type",
                format!("{path}.input"),
                format!("it is {}, not a map", kind_name(value)),
                "write a map, or one `${...}`",
            );
        }
        let (gate, kind) = self.kind(workflow, &path, spec, condition, options, &mut references);
        let retry = spec.retry.clone();
        if let Some(retry) = &retry {
            self.retry(&path, retry);
        }
        let output_path = (!spec.output_path.is_empty()).then(|| Path::parse(&spec.output_path)).and_then(|parsed| {
            parsed
                .map_err(|error| {
                    let message = error.to_string();
                    self.problem(
                        "path_invalid",
                        format!("{path}.output_path"),
                        message,
                        "write a dotted path such as `report.summary`",
                    );
                })
                .ok()
        });
        if output_path.as_ref().is_some_and(|output| output.root() == "steps") {
            self.problem(
                "path_reserved",
                format!("{path}.output_path"),
                "`steps` is where the outputs of steps are kept",
                "choose another first word",
            );
        }
        let input_schema = self.schema(&format!("{path}.input_schema"), spec.input_schema.as_ref());
        let output_schema = self.schema(&format!("{path}.output_schema"), spec.output_schema.as_ref());
        let title = if spec.name.is_empty() { name } else { &spec.name }.into();
        let timeout = u64::try_from(spec.timeout_sec).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let step = id.zip(kind).map(|(id, kind)| Step {
            id,
            kind,
            depends_on,
            dependents: Vec::new(),
            gate,
            input,
            input_schema,
            output_schema,
            output_path,
            retry,
            timeout,
            title,
        });
        (step, references)
    }

    fn kind(
        &mut self,
        workflow: &WorkflowId,
        path: &str,
        spec: &StepSpec,
        condition: Option<Expr>,
        options: &CompileOptions,
        references: &mut References,
    ) -> (Option<Expr>, Option<StepKind>) {
        match spec.kind {
            StepType::Worker | StepType::Llm | StepType::Http | StepType::Container | StepType::Script => {
                let topic = if spec.topic.is_empty() { format!("job.workflow.{workflow}") } else { spec.topic.clone() };
                let kind = self.parsed(&format!("{path}.topic"), Topic::parse_job(&topic)).map(|topic| {
                    let mut labels = spec.route_labels.clone();
                    if !spec.worker_id.is_empty() {
                        labels.insert("worker_id".into(), spec.worker_id.clone());
                    }
                    let adapter = (!spec.worker_id.is_empty()).then(|| spec.worker_id.as_str().into());
                    StepKind::Job { topic, meta: Arc::new(spec.meta.clone().unwrap_or_default()), labels, adapter }
                });
                (condition, kind)
            }
            StepType::Approval => (condition, Some(StepKind::Approval)),
            StepType::Notify => (condition, Some(StepKind::Notify)),
            StepType::Condition => {
                if spec.condition.is_empty() {
                    self.problem(
                        "condition_missing",
                        format!("{path}.condition"),
                        "a condition step needs an expression",
                        "write `condition: input.severity == \"high\"`",
                    );
                }
                (None, condition.map(StepKind::Condition))
            }
            StepType::Delay => (condition, self.delay(path, spec, options, references)),
        }
    }

    fn delay(
        &mut self,
        path: &str,
        spec: &StepSpec,
        options: &CompileOptions,
        references: &mut References,
    ) -> Option<StepKind> {
        self.seconds(&format!("{path}.delay_sec"), spec.delay_sec);
        let seconds = if spec.delay_sec > 0 { spec.delay_sec } else { spec.timeout_sec };
        let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        if spec.delay_sec > 0 || spec.delay_until.is_empty() {
            return Some(StepKind::Delay { wait, until: None });
        }
        let place = format!("{path}.delay_until");
        if !spec.delay_until.contains("${") && spec.delay_until.parse::<Timestamp>().is_err() {
            let message = format!("`{}` is not a point in time", spec.delay_until);
            self.problem(
                "time_invalid",
                place,
                message,
                "write it as `2026-01-31T12:00:00Z`, or as a template that gives that",
            );
            return None;
        }
        let until = self.template(&place, Some(&Value::String(spec.delay_until.clone())), options, references)?;
        Some(StepKind::Delay { wait, until: Some(until) })
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

    fn seconds(&mut self, path: &str, seconds: i64) {
        if !(0..=MAX_SECONDS).contains(&seconds) {
            self.problem(
                "out_of_range",
                path,
                format!("{seconds} seconds are out of range"),
                format!("use 0 to {MAX_SECONDS}"),
            );
        }
    }

    fn expression(
        &mut self,
        path: &str,
        text: &str,
        options: &CompileOptions,
        references: &mut References,
    ) -> Option<Expr> {
        if text.trim().is_empty() {
            return None;
        }
        match Expr::compile(text, options) {
            Ok(expr) => {
                references.merge(expr.references());
                self.warn(path, expr.warnings());
                Some(expr)
            }
            Err(error) => {
                let help = error.hint().unwrap_or("correct the expression").to_owned();
                self.problem(error.code(), path, error.to_string(), help);
                None
            }
        }
    }

    fn template(
        &mut self,
        path: &str,
        value: Option<&Value>,
        options: &CompileOptions,
        references: &mut References,
    ) -> Option<Template> {
        match Template::compile(value?, options) {
            Ok(template) => {
                references.merge(template.references());
                self.warn(path, template.warnings());
                Some(template)
            }
            Err(error) => {
                self.problem(
                    error.code(),
                    format!("{path}{}", place_within(error.path())),
                    error.to_string(),
                    "correct the template",
                );
                None
            }
        }
    }

    fn warn(&mut self, path: &str, warnings: &[String]) {
        for warning in warnings {
            self.warnings.push(Problem {
                code: "probably_missing",
                path: path.to_owned(),
                message: warning.clone(),
                help: "correct the path, or declare the property".into(),
            });
        }
    }

    fn schema(&mut self, path: &str, schema: Option<&Value>) -> Option<Schema> {
        match Schema::compile(schema?) {
            Ok(schema) => Some(schema),
            Err(error) => {
                self.problem(error.code(), path, error.to_string(), "correct the JSON Schema");
                None
            }
        }
    }

    fn parsed<T>(&mut self, path: &str, result: Result<T, crate::job::IdError>) -> Option<T> {
        result.map_err(|error| self.problem(error.code(), path, error.to_string(), "choose another name")).ok()
    }

    /// Warns where a step reads a step that it does not wait for.
    fn check_reads(&mut self, steps: &[Step], reads: &[References], index: &HashMap<&str, usize>) {
        for (step, references) in steps.iter().zip(reads) {
            let mut ancestors = None;
            for read in references.steps() {
                let Some(target) = index.get(read) else { continue };
                let ancestors = ancestors.get_or_insert_with(|| ancestors_of(steps, step));
                if !ancestors.contains(target) {
                    self.warnings.push(Problem {
                        code: "reads_without_waiting",
                        path: format!("steps.{}", step.id),
                        message: format!("it reads `steps.{read}` but does not wait for it, so it may find nothing"),
                        help: format!("add `{read}` to its `depends_on`"),
                    });
                }
            }
        }
    }
}

fn ancestors_of(steps: &[Step], step: &Step) -> HashSet<usize> {
    let mut found = HashSet::new();
    let mut open = step.depends_on.clone();
    while let Some(next) = open.pop() {
        if found.insert(next)
            && let Some(step) = steps.get(next)
        {
            open.extend(&step.depends_on);
        }
    }
    found
}

fn place_within(path: &str) -> String {
    let path = path.trim_start_matches('$');
    if path.is_empty() || path.starts_with(['.', '[']) { path.to_owned() } else { format!(".{path}") }
}

fn spec_digest(spec: &WorkflowSpec) -> String {
    let mut value = serde_json::to_value(spec).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        for stamp in ["created_at", "updated_at", "created_by"] {
            fields.remove(stamp);
        }
    }
    json::digest(&value)
}

/// The known name that `name` is most likely a slip of: at most two single-character edits away.
fn closest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        let distance = edits(name, candidate);
        if distance <= 2 && best.is_none_or(|(least, other)| (distance, *candidate) < (least, other)) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, name)| name)
}

/// Levenshtein distance (1965), one row at a time.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let up = *cell;
            left = (diagonal + usize::from(from != *to)).min(up + 1).min(left + 1);
            diagonal = up;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

//! The checks of a definition as a whole, and of what all kinds of steps have in common.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    Edge, EdgeKind, Role, Step, StepKind, Workflow,
    layout::{Entry, Layout, MAX_DEPTH, MAX_STEPS, lay_out},
    read::kind_name,
    shapes::{Rooted, output_schema_of},
    slip::closest,
};
use crate::{
    job::{IdError, StepId, StepRunId, TenantId, WorkflowId},
    value::{CompileOptions, Expr, Path, References, Schema, Template, Value, json},
    workflow::{DefinitionError, Join, JoinRule, Problem, StepSpec, StepType, WorkflowSpec, check::find_cycle},
};

/// Checks and compiles `spec`.
pub(super) fn compile(source_name: &str, mut spec: WorkflowSpec) -> Result<Workflow, DefinitionError> {
    let mut compiler = Compiler { problems: Vec::new(), warnings: Vec::new() };
    name_steps(&mut spec);
    let compiled = compiler.workflow(&spec);
    match compiled {
        Some(workflow) if compiler.problems.is_empty() => {
            Ok(Workflow { spec, warnings: compiler.warnings, ..workflow })
        }
        _ => Err(DefinitionError { source_name: source_name.to_owned(), problems: compiler.problems }),
    }
}

/// The key of a step is its id.
fn name_steps(spec: &mut WorkflowSpec) {
    fn name(steps: &mut std::collections::BTreeMap<String, StepSpec>) {
        for (id, step) in steps {
            step.id.clone_from(id);
            name(&mut step.steps);
        }
    }
    name(&mut spec.steps);
    name(&mut spec.finally);
}

pub(super) struct Compiler {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// What is read where: by expressions in the scope of the step, and by those in the scope that it holds.
#[derive(Default)]
pub(super) struct Reads {
    pub(super) outside: References,
    pub(super) inside: References,
}

impl Compiler {
    pub(super) fn problem(
        &mut self,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.push(Problem { code, path: path.into(), message: message.into(), help: help.into() });
    }

    pub(super) fn warning(
        &mut self,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.warnings.push(Problem { code, path: path.into(), message: message.into(), help: help.into() });
    }

    fn workflow(&mut self, spec: &WorkflowSpec) -> Option<Workflow> {
        let id = self.parsed("id", WorkflowId::parse(&spec.id))?;
        let tenant = if spec.org_id.is_empty() {
            TenantId::default()
        } else {
            self.parsed("org_id", TenantId::parse(&spec.org_id))?
        };
        if spec.steps.is_empty() {
            self.problem("workflow_empty", "steps", "a workflow needs at least one step", "add a step");
        }
        self.seconds("timeout_sec", spec.timeout_sec);
        self.seconds("finally_timeout_sec", spec.finally_timeout_sec);
        let input_schema = self.schema("input_schema", spec.input_schema.as_ref());
        let mut layout = lay_out(&spec.steps, &spec.finally);
        if layout.entries.len() > MAX_STEPS {
            let message = format!("{} steps are more than {MAX_STEPS}", layout.entries.len());
            self.problem("workflow_too_large", "steps", message, "split the workflow");
            return None;
        }
        for (place, other) in std::mem::take(&mut layout.doubles) {
            let message = format!("a step of that id stands at `{other}` too");
            self.problem("step_id_twice", place, message, "ids are unique in a workflow; choose another one");
        }
        find_handlers(&mut layout);
        let mut options =
            CompileOptions::new().with_steps(layout.index.keys().map(|name| name.to_string()).collect::<Vec<_>>());
        if let Some(schema) = &spec.input_schema {
            options = options.with_input_schema(schema);
        }
        for entry in &layout.entries {
            if let Some(schema) = output_schema_of(entry) {
                options = options.with_step_schema(&entry.name, &schema);
            }
        }
        let concurrency =
            crate::workflow::concurrency::compile(spec.concurrency.as_ref(), &options, &mut self.problems);
        let triggers = crate::workflow::trigger::compile(&spec.triggers, &options, &mut self.problems);
        let rooted = Rooted::new(options, &layout);
        let output = self.template("output", spec.output.as_ref(), &rooted.plain, &mut References::default());
        let mut steps = Vec::with_capacity(layout.entries.len());
        let mut reads = Vec::with_capacity(layout.entries.len());
        for entry in &layout.entries {
            let (compiled, read) = self.step(&id, &layout, entry, &rooted);
            steps.extend(compiled);
            reads.push(read);
        }
        if steps.len() != layout.entries.len() {
            return None;
        }
        self.edges(&layout, &mut steps)?;
        for (position, read) in reads.iter().enumerate() {
            let Some(entry) = layout.entries.get(position) else { continue };
            self.reads(&layout, &steps, position, entry.scope, &read.outside);
            if let Some(body) = entry.body {
                self.reads(&layout, &steps, position, body, &read.inside);
            }
        }
        self.recursion(&id, &layout, &steps);
        let Layout { mut scopes, index, entries, .. } = layout;
        for scope in &mut scopes {
            finish_scope(scope, &entries, &steps);
            self.branches(scope, &entries);
        }
        let digest = match spec_digest(spec) {
            Ok(digest) => digest,
            Err(error) => {
                let message = format!("the definition cannot be written as JSON: {error}");
                self.problem("document_invalid", "", message, "use values that JSON has");
                return None;
            }
        };
        Some(Workflow {
            digest: digest.into(),
            id,
            tenant,
            spec: WorkflowSpec::default(),
            steps,
            scopes,
            index,
            input_schema,
            output,
            concurrency,
            triggers,
            warnings: Vec::new(),
        })
    }

    fn step(
        &mut self,
        workflow: &WorkflowId,
        layout: &Layout<'_>,
        entry: &Entry<'_>,
        rooted: &Rooted,
    ) -> (Option<Step>, Reads) {
        let Entry { path, spec, name, .. } = entry;
        let options = rooted.within(entry.scope);
        let mut reads = Reads::default();
        let id = self.parsed(path, StepId::parse(name));
        if !entry.holds_items {
            self.fields(path, spec);
        }
        if layout.scopes.get(entry.scope).is_some_and(|scope| scope.depth > MAX_DEPTH) {
            let message = format!("it is inside of more than {MAX_DEPTH} loops and `for_each`");
            self.problem("workflow_too_deep", path, message, "move a part into a workflow of its own");
        }
        // An item has what belongs to one; what holds the items has the rest.
        let is_item = !spec.for_each.is_empty() && !entry.holds_items;
        let depends_on = if is_item { Vec::new() } else { self.depends_on(layout, entry) };
        if !is_item {
            self.on_error(layout, entry);
        }
        if entry.role == Role::Compensation {
            self.compensation(entry);
        }
        let condition = (!is_item)
            .then(|| self.expression(&format!("{path}.condition"), &spec.condition, options, &mut reads.outside))
            .flatten();
        let (gate, kind) = if entry.holds_items {
            (condition, self.for_each(path, spec, options, &mut reads))
        } else if is_item && spec.kind == StepType::Condition {
            self.problem(
                "field_misplaced",
                format!("{path}.for_each"),
                "a condition step has no items",
                "use `filter` or `exists` in one expression",
            );
            (None, None)
        } else {
            self.kind(workflow, layout, entry, condition, rooted, &mut reads)
        };
        // An empty input means the run's whole input, as it always did.
        let written = spec.input.as_ref().filter(|input| input.as_object().is_none_or(|fields| !fields.is_empty()));
        let input = (!entry.holds_items)
            .then(|| self.template(&format!("{path}.input"), written, options, &mut reads.outside))
            .flatten();
        if let (Some(value), true) = (&spec.input, spec.kind.is_job())
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
        let own = |schema: &Option<Value>| if entry.holds_items { None } else { schema.clone() };
        let input_schema = self.schema(&format!("{path}.input_schema"), own(&spec.input_schema).as_ref());
        let output_form = own(&spec.output_schema);
        let output_schema = self.schema(&format!("{path}.output_schema"), output_form.as_ref());
        let output_path = if is_item { None } else { self.output_path(path, spec) };
        let title = if spec.name.is_empty() { name } else { &spec.name }.as_str().into();
        let timeout = u64::try_from(spec.timeout_sec).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let compensation = spec.compensate.as_ref().filter(|_| !entry.holds_items).and_then(|_| {
            let undo = layout.index.get(format!("{name}-compensate").as_str())?;
            Some(*undo)
        });
        let step = id.zip(kind).map(|(id, kind)| Step {
            run_id: StepRunId::of_step(&id),
            id,
            kind,
            role: entry.role,
            scope: entry.scope,
            body: entry.body,
            depends_on,
            dependents: Vec::new(),
            incoming: 0,
            compensation,
            handled: !is_item && !spec.on_error.is_empty(),
            continue_on_error: !is_item && spec.continue_on_error,
            gate,
            input,
            input_schema,
            output_schema,
            output_form,
            output_path,
            retry: if entry.holds_items { None } else { spec.retry.clone() },
            timeout: if entry.holds_items { None } else { timeout },
            title,
        });
        (step, reads)
    }

    fn depends_on(&mut self, layout: &Layout<'_>, entry: &Entry<'_>) -> Vec<usize> {
        let mut seen = HashSet::new();
        let mut depends_on = Vec::with_capacity(entry.spec.depends_on.len());
        for (n, dep) in entry.spec.depends_on.iter().enumerate() {
            match self.sibling(layout, entry, &format!("depends_on[{n}]"), dep) {
                // Naming a step twice means the same as naming it once.
                Some(dep) if seen.insert(dep) => depends_on.push(dep),
                _ => {}
            }
        }
        depends_on
    }

    /// The step `name` of the same scope, named in `field`.
    pub(super) fn sibling(&mut self, layout: &Layout<'_>, entry: &Entry<'_>, field: &str, name: &str) -> Option<usize> {
        if let Some(found) = layout.sibling(entry.scope, name) {
            if layout.entries.get(found).is_some_and(|other| other.role != Role::Compensation) {
                return Some(found);
            }
            self.problem(
                "unknown_dependency",
                format!("{}.{field}", entry.path),
                format!("`{name}` undoes a step, so that nothing can wait for it"),
                "name another step",
            );
            return None;
        }
        let help = if layout.index.contains_key(name) {
            "steps wait for steps of the same group; wait for the group that holds it".into()
        } else {
            match closest(name, layout.names(entry.scope)) {
                Some(name) => format!("did you mean `{name}`?"),
                None => "name a step of this workflow".into(),
            }
        };
        let message = if layout.index.contains_key(name) {
            format!("`{name}` is a step of another group")
        } else {
            format!("there is no step `{name}`")
        };
        self.problem("unknown_dependency", format!("{}.{field}", entry.path), message, help);
        None
    }

    fn on_error(&mut self, layout: &Layout<'_>, entry: &Entry<'_>) {
        let (name, spec) = (&entry.spec.on_error, entry.spec);
        if name.is_empty() {
            return;
        }
        let place = format!("{}.on_error", entry.path);
        if *name == entry.name {
            self.problem("workflow_cycle", place, "a step cannot handle its own failure", "name another step");
        } else if spec.continue_on_error {
            self.problem(
                "field_misplaced",
                place,
                "`on_error` and `continue_on_error` say two things about one failure",
                "keep one of them",
            );
        } else {
            // The handler is found, or its absence told.
            let _handler = self.sibling(layout, entry, "on_error", name);
        }
    }

    /// What undoes a step is one piece of work.
    fn compensation(&mut self, entry: &Entry<'_>) {
        let spec = entry.spec;
        let single = spec.kind.is_job()
            || matches!(
                spec.kind,
                StepType::Notify | StepType::Storage | StepType::Subworkflow | StepType::Transform | StepType::Approval
            );
        let extra = [
            ("type", !single),
            ("depends_on", !spec.depends_on.is_empty()),
            ("on_error", !spec.on_error.is_empty()),
            ("for_each", !spec.for_each.is_empty()),
            ("compensate", spec.compensate.is_some()),
        ];
        for (field, _) in extra.into_iter().filter(|(_, is_there)| *is_there) {
            self.problem(
                "field_misplaced",
                format!("{}.{field}", entry.path),
                "what undoes a step is one piece of work: a job, an alert, an artifact, a subworkflow, a value or a question",
                "move the rest into a workflow, and start that with `type: subworkflow`",
            );
        }
    }

    fn output_path(&mut self, path: &str, spec: &StepSpec) -> Option<Path> {
        if spec.output_path.is_empty() {
            return None;
        }
        let place = format!("{path}.output_path");
        match Path::parse(&spec.output_path) {
            Ok(output) if output.root() == "steps" => {
                let message = "`steps` is where the outputs of steps are kept";
                self.problem("path_reserved", place, message, "choose another first word");
                None
            }
            Ok(output) => Some(output),
            Err(error) => {
                let help = "write a dotted path such as `report.summary`";
                self.problem("path_invalid", place, error.to_string(), help);
                None
            }
        }
    }

    /// Draws the edges of all scopes, and finds what waits for itself.
    fn edges(&mut self, layout: &Layout<'_>, steps: &mut [Step]) -> Option<()> {
        let mut edges = Vec::new();
        for (to, step) in steps.iter().enumerate() {
            for from in &step.depends_on {
                edges.push((*from, to, EdgeKind::Success));
            }
        }
        for (from, entry) in layout.entries.iter().enumerate() {
            let is_item = !entry.spec.for_each.is_empty() && !entry.holds_items;
            if let Some(to) = layout.sibling(entry.scope, &entry.spec.on_error).filter(|to| !is_item && *to != from) {
                edges.push((from, to, EdgeKind::Failure));
            }
        }
        for (from, step) in steps.iter().enumerate() {
            let StepKind::Switch { cases, default, .. } = &step.kind else { continue };
            let chosen: HashSet<usize> = cases.iter().flat_map(|case| &case.then).chain(default).copied().collect();
            // A branch waits for its switch, whether it says so or not.
            edges.retain(|(a, b, kind)| !(*a == from && chosen.contains(b) && *kind == EdgeKind::Success));
            let mut chosen: Vec<usize> = chosen.into_iter().collect();
            chosen.sort_unstable();
            edges.extend(chosen.into_iter().map(|to| (from, to, EdgeKind::Choice)));
        }
        let mut deps: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
        for (from, to, kind) in edges {
            if let Some(deps) = deps.get_mut(to) {
                deps.push(from);
            }
            if let Some(step) = steps.get_mut(to) {
                step.incoming += 1;
                if kind == EdgeKind::Choice && !step.depends_on.contains(&from) {
                    step.depends_on.push(from);
                }
            }
            if let Some(step) = steps.get_mut(from) {
                step.dependents.push(Edge { to, kind });
            }
        }
        let Some(cycle) = find_cycle(&deps) else { return Some(()) };
        let entries: Vec<&Entry<'_>> = cycle.iter().filter_map(|n| layout.entries.get(*n)).collect();
        let mut names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        names.extend(names.first().copied());
        let place = format!("{}.depends_on", entries.first().map(|entry| entry.path.as_str()).unwrap_or_default());
        let message = format!("the steps wait for each other: {}", names.join(" -> "));
        self.problem("workflow_cycle", place, message, "remove one of these dependencies");
        None
    }

    pub(super) fn expression(
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

    pub(super) fn template(
        &mut self,
        path: &str,
        value: Option<&Value>,
        options: &CompileOptions,
        references: &mut References,
    ) -> Option<Template> {
        match Template::compile_whole(value?, options) {
            Ok(template) => {
                references.merge(template.references());
                self.warn(path, template.warnings());
                Some(template)
            }
            Err(errors) => {
                let (first, others) = *errors;
                for error in std::iter::once(first).chain(others) {
                    let place = format!("{path}{}", place_within(error.path()));
                    self.problem(error.code(), place, error.to_string(), "correct the template");
                }
                None
            }
        }
    }

    /// A template written as a text.
    pub(super) fn text_template(
        &mut self,
        path: &str,
        text: &str,
        options: &CompileOptions,
        references: &mut References,
    ) -> Option<Template> {
        self.template(path, Some(&Value::String(text.to_owned())), options, references)
    }

    fn warn(&mut self, path: &str, warnings: &[String]) {
        for warning in warnings {
            self.warning("never_equal", path, warning.clone(), "correct the path, or convert one of the two");
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

    pub(super) fn parsed<T>(&mut self, path: &str, result: Result<T, IdError>) -> Option<T> {
        result.map_err(|error| self.problem(error.code(), path, error.to_string(), "choose another name")).ok()
    }
}

impl Compiler {
    /// Refuses a group that asks for more branches than it has: steps that others wait for are part of theirs.
    fn branches(&mut self, scope: &super::Scope, entries: &[Entry<'_>]) {
        let Some(group) = scope.container.and_then(|container| entries.get(container)) else { return };
        let wanted = match (group.spec.kind, &group.spec.join) {
            (StepType::Parallel, Some(Join::Count(wanted))) if !group.holds_items => *wanted as usize,
            (StepType::Parallel, Some(Join::Rule(JoinRule::Any))) if !group.holds_items => 1,
            _ => return,
        };
        let branches = scope.sinks.len();
        // More than there are steps was told already.
        if wanted > branches && wanted <= group.spec.steps.len() {
            self.problem(
                "out_of_range",
                format!("{}.join", group.path),
                format!("{wanted} of {branches} branches is out of range"),
                "a branch is a step that no other step of the group waits for; ask for as many at most",
            );
        }
    }
}

/// Steps that are named in `on_error` are handlers.
fn find_handlers(layout: &mut Layout<'_>) {
    let named: HashSet<(usize, String)> = layout
        .entries
        .iter()
        .filter(|entry| !entry.spec.on_error.is_empty())
        .map(|entry| (entry.scope, entry.spec.on_error.clone()))
        .collect();
    for entry in &mut layout.entries {
        if entry.role == Role::Main && named.contains(&(entry.scope, entry.name.clone())) {
            entry.role = Role::Handler;
        }
    }
}

/// What a scope knows of its steps.
fn finish_scope(scope: &mut super::Scope, entries: &[Entry<'_>], steps: &[Step]) {
    let members = scope.first..scope.first + scope.len;
    for position in members {
        let Some(step) = steps.get(position) else { continue };
        if step.role == Role::Compensation {
            continue;
        }
        scope.counted += 1;
        if step.incoming == 0 {
            scope.roots.push(position);
        }
        let waited_for = step.dependents.iter().any(|edge| edge.kind != EdgeKind::Failure);
        if !waited_for && step.role == Role::Main {
            scope.sinks.push(position);
        }
    }
    if let Some(container) = scope.container.and_then(|container| entries.get(container)) {
        scope.tolerant |= !container.holds_items
            && container.spec.kind == StepType::Parallel
            && !matches!(container.spec.join, None | Some(Join::Rule(JoinRule::All)));
    }
}

fn place_within(path: &str) -> String {
    let path = path.trim_start_matches('$');
    if path.is_empty() || path.starts_with(['.', '[']) { path.to_owned() } else { format!(".{path}") }
}

/// What a definition is known by: never the digest of something else where it cannot be written.
fn spec_digest(spec: &WorkflowSpec) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(spec)?;
    if let Some(fields) = value.as_object_mut() {
        for stamp in ["created_at", "updated_at", "created_by"] {
            fields.remove(stamp);
        }
    }
    Ok(json::digest(&value))
}

/// Shared empty text.
pub(super) fn shared(text: &str) -> Arc<str> {
    text.into()
}

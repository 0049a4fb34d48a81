//! From a JSON value to the definition as written, every slip named with its path.

use serde_json::Map;

use crate::{
    value::Value,
    workflow::{DefinitionError, Problem, StepSpec, StepType, WorkflowSpec, shape},
};

/// Turns a JSON value into a spec. Steps are read one by one, so that a slip in one does not hide those of others.
pub(super) fn read_spec(source_name: &str, value: Value) -> Result<WorkflowSpec, DefinitionError> {
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
    let steps = take_steps(&mut fields, "steps", "", &mut problems);
    let finally = take_steps(&mut fields, "finally", "", &mut problems);
    let mut spec: WorkflowSpec = shape::read("", Value::Object(fields)).unwrap_or_else(|slips| {
        problems.extend(slips);
        WorkflowSpec::default()
    });
    spec.steps = read_steps(steps, "steps", &mut problems);
    spec.finally = read_steps(finally, "finally", &mut problems);
    if problems.is_empty() { Ok(spec) } else { Err(DefinitionError { source_name: source_name.to_owned(), problems }) }
}

/// Takes a map of steps out of the fields that hold it.
fn take_steps(
    fields: &mut Map<String, Value>,
    field: &str,
    place: &str,
    problems: &mut Vec<Problem>,
) -> Map<String, Value> {
    match fields.remove(field) {
        Some(Value::Object(steps)) => steps,
        None | Some(Value::Null) => Map::new(),
        Some(other) => {
            problems.push(Problem {
                code: "workflow_invalid",
                path: if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") },
                message: format!("it is {}, not a map", kind_name(&other)),
                help: format!("write `{field}:` as a map from step id to step"),
            });
            Map::new()
        }
    }
}

fn read_steps(
    steps: Map<String, Value>,
    place: &str,
    problems: &mut Vec<Problem>,
) -> std::collections::BTreeMap<String, StepSpec> {
    steps
        .into_iter()
        .filter_map(|(id, step)| {
            let step = read_step(step, &format!("{place}.{id}"), problems)?;
            Some((id, step))
        })
        .collect()
}

/// Documents are at most 64 levels deep, and so are groups in groups.
fn read_step(mut step: Value, place: &str, problems: &mut Vec<Problem>) -> Option<StepSpec> {
    if let Some(problem) = later_field(place, &step) {
        problems.push(problem);
        return None;
    }
    if !step.is_object() {
        problems.push(Problem {
            code: "wrong_type",
            path: place.to_owned(),
            message: format!("it is {}, not a map", kind_name(&step)),
            help: "write the fields of a step, or `{}` for none".into(),
        });
        return None;
    }
    let mut inner = std::collections::BTreeMap::new();
    let mut compensate = None;
    if let Value::Object(fields) = &mut step {
        // What is written but not set means what it always did: nothing.
        fields.retain(|field, value| {
            let may_be_empty = OPTIONAL_TEXTS.contains(&field.as_str()) && is_unset(value);
            !may_be_empty && !LATER_FIELDS.contains(&field.as_str())
        });
        let steps = take_steps(fields, "steps", place, problems);
        inner = read_steps(steps, &format!("{place}.steps"), problems);
        if let Some(undo) = fields.remove("compensate").filter(|undo| !undo.is_null()) {
            compensate = read_step(undo, &format!("{place}.compensate"), problems);
        }
    }
    match shape::read::<StepSpec>(place, step) {
        Ok(mut step) => {
            step.steps = inner;
            step.compensate = compensate.map(Box::new);
            Some(step)
        }
        Err(slips) => {
            problems.extend(slips);
            None
        }
    }
}

/// What `value` is, for messages.
pub(in crate::workflow) const fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Established fields whose meaning this version does not carry out. Ignoring them would run something else than what
/// was written.
const LATER_FIELDS: [&str; 2] = ["input_schema_id", "output_schema_id"];

/// Established fields that writers leave empty or null when they mean nothing by them.
const OPTIONAL_TEXTS: [&str; 3] = ["for_each", "on_error", "max_parallel"];

fn is_unset(value: &Value) -> bool {
    [&Value::Null, &Value::from(0), &Value::from("")].contains(&value)
}

fn later_field(path: &str, step: &Value) -> Option<Problem> {
    let set = |field: &&&str| step.get(**field).is_some_and(|value| !is_unset(value));
    let field = LATER_FIELDS.iter().find(set)?;
    Some(Problem {
        code: "not_supported",
        path: format!("{path}.{field}"),
        message: format!("this version does not carry out `{field}`"),
        help: format!("write the schema itself; the types of steps are {}", StepType::NAMES.join(", ")),
    })
}

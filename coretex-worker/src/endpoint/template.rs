//! Templates over a job: `${input...}`, `${job...}`, `${secrets...}`, and `${answer...}` for outputs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use coretex_core::value::{CompileOptions, Node, Object, Scope, Template, Value};
use serde_json::json;
use zeroize::Zeroize;

use super::{problem::Problems, secret::Secret};
use crate::{extract::JobContext, job_error::JobError};

/// Compiles the templates of one endpoint and gathers what is wrong with them.
pub(crate) struct Compiler<'a> {
    secrets: &'a BTreeSet<String>,
    problems: &'a mut Problems,
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(secrets: &'a BTreeSet<String>, problems: &'a mut Problems) -> Self {
        Self { secrets, problems }
    }

    pub(crate) fn note(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.problems.note(place, text);
    }

    #[cfg(any(feature = "script", feature = "container"))]
    pub(crate) fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    /// A template of a request.
    pub(crate) fn request(&mut self, place: &str, source: &Value) -> Option<Template> {
        self.names_known(place, source);
        self.compile(place, source, &["input", "job", "secrets"])
    }

    /// The template of an output. It does not see secrets.
    pub(crate) fn output(&mut self, place: &str, source: &Value) -> Option<Template> {
        self.compile(place, source, &["input", "job", "answer"])
    }

    fn compile(&mut self, place: &str, source: &Value, roots: &[&str]) -> Option<Template> {
        let options = CompileOptions::new().with_roots(roots.iter().copied());
        match Template::compile(source, &options) {
            Ok(template) => Some(template),
            Err(error) => {
                let place =
                    if error.path().is_empty() { place.to_owned() } else { format!("{place}.{}", error.path()) };
                self.problems.note(place, error.reason().to_string());
                None
            }
        }
    }

    /// Finds `secrets.NAME` of names that the endpoint does not list. Names that are computed are found when they are
    /// looked up.
    fn names_known(&mut self, place: &str, source: &Value) {
        match source {
            Value::String(text) if text.contains("${") => {
                for (at, lead) in text.match_indices("secrets.") {
                    let rest = text.get(at + lead.len()..).unwrap_or_default();
                    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                    let name = rest.get(..end).unwrap_or_default();
                    if !name.is_empty() && !self.secrets.contains(name) {
                        let text = format!("the endpoint has no secret `{name}`; add it under `secrets:`");
                        self.problems.note(place, text);
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.names_known(place, item)),
            Value::Object(fields) => fields.values().for_each(|item| self.names_known(place, item)),
            _ => {}
        }
    }
}

/// All of them, if all were compiled. Looks at each, so that each can say what is wrong with it.
pub(crate) fn all<T>(parts: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let parts: Vec<Option<T>> = parts.collect();
    parts.into_iter().collect()
}

/// The resolved secrets of one job, lent to templates.
#[derive(Debug, Default)]
pub(crate) struct Vault {
    values: BTreeMap<String, Secret>,
    /// A name was looked up that is not there.
    missed: AtomicBool,
}

impl Vault {
    pub(crate) fn new(values: BTreeMap<String, Secret>) -> Self {
        Self { values, missed: AtomicBool::new(false) }
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Secret> {
        self.values.values()
    }
}

impl Object for Vault {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        let found = self.values.get(key).map(|secret| Node::Text(secret.expose()));
        if found.is_none() {
            self.missed.store(true, Ordering::Relaxed);
        }
        found
    }

    /// Secrets have to be named one by one: all of them at once is never meant.
    fn keys(&self) -> Vec<String> {
        self.missed.store(true, Ordering::Relaxed);
        Vec::new()
    }
}

/// What a request's templates see of a job.
#[derive(Debug)]
pub(crate) struct JobScope {
    input: Arc<Value>,
    job: Value,
    secrets: Vault,
}

impl JobScope {
    pub(crate) fn new(job: &JobContext, secrets: Vault) -> Self {
        let facts = json!({
            "id": job.job_id(),
            "run_id": job.run_id(),
            "step_id": job.step_id(),
            "attempt": job.attempt(),
            "topic": job.topic(),
            "tenant": job.tenant_id(),
            "principal": job.principal_id(),
            "workflow_id": job.workflow_id(),
            "trace_id": job.trace_id(),
            "labels": job.labels(),
        });
        Self { input: Arc::clone(job.input()), job: facts, secrets }
    }

    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.values()
    }

    /// The rendered value, to be wiped after use; `None` when it is missing.
    pub(crate) fn render(&self, what: &str, template: &Template) -> Result<Option<Rendered>, JobError> {
        let rendered = template.render(self).map_err(|error| {
            JobError::fatal("endpoint_request_invalid", format!("{what} cannot be made from the job: {error}"))
        })?;
        let rendered = rendered.map(Rendered);
        if self.secrets.missed.load(Ordering::Relaxed) {
            let text = format!("{what} reads a secret that the endpoint does not list; add it under `secrets:`");
            return Err(JobError::fatal("secret_missing", text));
        }
        Ok(rendered)
    }

    /// The rendered value as one text: strings as they are, everything else as JSON. A missing value is an error, as
    /// an empty text in its place would ask for something else.
    pub(crate) fn text(&self, what: &str, template: &Template) -> Result<Secret, JobError> {
        let missing = || {
            let text = format!("{what} has no value in this job; check the input, or give a default in the template");
            JobError::fatal("endpoint_request_invalid", text)
        };
        match self.render(what, template)? {
            None => Err(missing()),
            Some(rendered) => match rendered.get() {
                Value::Null => Err(missing()),
                Value::String(text) => Ok(Secret::new(text.clone())),
                other => Ok(Secret::new(other.to_string())),
            },
        }
    }
}

impl Scope for JobScope {
    fn variable(&self, name: &str) -> Option<Node<'_>> {
        match name {
            "input" => Some(Node::Json(&self.input)),
            "job" => Some(Node::Json(&self.job)),
            "secrets" => Some(Node::Object(&self.secrets)),
            _ => None,
        }
    }
}

/// What the template of an output sees.
pub(crate) struct AnswerScope<'a> {
    pub(crate) job: &'a JobScope,
    pub(crate) answer: &'a Value,
}

impl Scope for AnswerScope<'_> {
    fn variable(&self, name: &str) -> Option<Node<'_>> {
        match name {
            "answer" => Some(Node::Json(self.answer)),
            "secrets" => None,
            other => self.job.variable(other),
        }
    }
}

/// A value that may hold secrets. Its strings are wiped when it is dropped.
pub(crate) struct Rendered(Value);

impl Rendered {
    pub(crate) const fn get(&self) -> &Value {
        &self.0
    }
}

impl Drop for Rendered {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        _ => {}
    }
}

//! Keyed limits: how many jobs of one key run at once, and how many start in a time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{pattern, read::Reader};
use crate::{
    job::JobSpec,
    protocol::subjects::SubjectFilter,
    value::{CompileOptions, Expr, Node, Scope, Value, expr::Object, json},
};

/// What a key expression can read.
const ROOTS: [&str; 10] =
    ["tenant", "team", "principal", "topic", "capability", "priority", "workflow", "adapter_id", "labels", "input"];
/// The key of jobs whose expression fails: they are limited together rather than not at all.
const FAILED: &str = "(the key expression failed)";
/// Longest key, in bytes; a longer one is counted under its digest.
const LONGEST_KEY: usize = 256;

/// One entry of `limits:`. Jobs that its key tells apart are counted apart.
#[derive(Clone, Debug)]
pub struct LimitRule {
    /// Its name, unique in the document; it is told to whoever waits.
    pub name: Arc<str>,
    /// Tells the key: a root such as `tenant`, `topic` or `capability`, or any expression over the job.
    pub key: Expr,
    /// The topics that it counts; all when empty.
    pub topics: Vec<SubjectFilter>,
    /// Most jobs of one key under a lease at once.
    pub max_concurrent: Option<u32>,
    /// How fast jobs of one key may start.
    pub rate: Option<Rate>,
    /// Whether the key is the tenant, so that what waits in vain ends with `tenant_limit`.
    pub by_tenant: bool,
}

/// So many starts in a time, and how many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Starts in `per`.
    pub count: u32,
    /// The time.
    pub per: Duration,
    /// Most starts at one moment; at least 1.
    pub burst: u32,
}

impl LimitRule {
    /// Whether its key reads the input of a job.
    #[must_use]
    pub fn reads_input(&self) -> bool {
        self.key.references().roots().any(|root| root == "input")
    }

    /// The key of `job`; `None` when the rule does not count it: another topic, or the expression has no value.
    #[must_use]
    pub fn key_of(&self, job: &JobSpec) -> Option<String> {
        if !self.topics.is_empty() && !self.topics.iter().any(|filter| filter.matches(job.topic.as_str())) {
            return None;
        }
        let key = match self.key.evaluate(&JobScope::new(job)) {
            Ok(None | Some(Value::Null)) => return None,
            Ok(Some(Value::String(text))) if text.is_empty() => return None,
            Ok(Some(Value::String(text))) => text,
            Ok(Some(value)) => json::canonical(&value),
            Err(_) => FAILED.to_owned(),
        };
        Some(if key.len() > LONGEST_KEY { json::digest(&Value::String(key)) } else { key })
    }
}

pub(super) fn read(reader: &mut Reader, value: &Value) -> Vec<Arc<LimitRule>> {
    let Value::Array(entries) = value else {
        reader.problem("limits", "write a list of limits");
        return Vec::new();
    };
    let mut rules: Vec<Arc<LimitRule>> = Vec::new();
    for (n, entry) in entries.iter().enumerate() {
        let place = format!("limits[{n}]");
        if let Some(rule) = read_one(reader, &place, entry) {
            if rules.iter().any(|other| other.name == rule.name) {
                reader.problem(&format!("{place}.name"), format!("`{}` is the name of another limit too", rule.name));
            }
            rules.push(Arc::new(rule));
        }
    }
    rules
}

fn read_one(reader: &mut Reader, place: &str, entry: &Value) -> Option<LimitRule> {
    let mut fields = reader.object(place, entry);
    let name = fields.take("name").and_then(|value| reader.text(&fields.place("name"), value));
    let key = fields.take("key").and_then(|value| reader.text(&fields.place("key"), value));
    let topics = fields.take("topics").map(|value| reader.texts(&fields.place("topics"), value)).unwrap_or_default();
    let max_concurrent = fields.whole(reader, "max_concurrent", 1, u64::from(u32::MAX)).and_then(|n| n.try_into().ok());
    let rate = fields.take("rate").and_then(|value| read_rate(reader, &fields.place("rate"), value));
    let filters = topics.iter().enumerate().filter_map(|(n, topic)| {
        pattern::check(topic).map_err(|reason| reader.problem(&format!("{place}.topics[{n}]"), reason)).ok()
    });
    let topics = filters.collect();
    if name.is_none() && fields.take("name").is_none() {
        reader.problem(place, "give the limit a `name`");
    }
    if key.is_none() && fields.take("key").is_none() {
        reader.problem(place, "say by what it counts: `key: tenant`, `key: topic`, or an expression");
    }
    if max_concurrent.is_none() && rate.is_none() && fields.take("max_concurrent").is_none() {
        reader.problem(place, "it limits nothing; give `max_concurrent`, `rate` or both");
    }
    fields.close(reader);
    let (name, text) = (name?, key?);
    let options = CompileOptions::new().with_roots(ROOTS);
    let key = Expr::compile(&text, &options)
        .map_err(|error| reader.problem(&format!("{place}.key"), error.to_string()))
        .ok()?;
    let by_tenant = text == "tenant";
    Some(LimitRule { name: name.into(), key, topics, max_concurrent, rate, by_tenant })
}

fn read_rate(reader: &mut Reader, place: &str, value: &Value) -> Option<Rate> {
    let mut fields = reader.object(place, value);
    let count = fields.whole(reader, "count", 1, 10_000_000);
    let per = fields.seconds(reader, "per_seconds", 1, 31 * 24 * 3600);
    let burst = fields.whole(reader, "burst", 1, 10_000_000);
    if fields.take("count").is_none() {
        reader.problem(place, "give `count`: how many jobs may start in `per_seconds` (1 unless told)");
    }
    fields.close(reader);
    let count = u32::try_from(count?).ok()?;
    let burst = burst.and_then(|burst| burst.try_into().ok()).unwrap_or(1);
    Some(Rate { count, per: per.unwrap_or(Duration::from_secs(1)), burst })
}

/// A job, as a key expression sees it.
struct JobScope<'a> {
    job: &'a JobSpec,
    labels: Labels<'a>,
}

impl<'a> JobScope<'a> {
    fn new(job: &'a JobSpec) -> Self {
        Self { job, labels: Labels(&job.labels) }
    }
}

impl Scope for JobScope<'_> {
    fn variable(&self, name: &str) -> Option<Node<'_>> {
        let job = self.job;
        let text = match name {
            "tenant" => job.tenant.as_str(),
            "team" => &job.team,
            "principal" => &job.principal,
            "topic" => job.topic.as_str(),
            "capability" => job.meta.capability.as_deref()?,
            "priority" => job.priority.name(),
            "workflow" => job.workflow.as_ref()?.as_str(),
            "adapter_id" => job.adapter_id.as_deref()?,
            "labels" => return Some(Node::Object(&self.labels)),
            "input" => return Some(Node::Json(&job.input)),
            _ => return None,
        };
        Some(Node::Text(text))
    }
}

struct Labels<'a>(&'a BTreeMap<String, String>);

impl Object for Labels<'_> {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        self.0.get(key).map(|text| Node::Text(text))
    }

    fn keys(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

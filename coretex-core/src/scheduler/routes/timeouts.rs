//! `timeouts.yaml`: how long things may take, and how often they are tried again.

use std::{collections::BTreeMap, time::Duration};

use super::{
    ConfigError,
    pattern::{self, TopicMap},
    read::Reader,
};
use crate::value::{Value, document};

/// Longest time that a document may give: a year.
const LONGEST: u64 = 366 * 24 * 3600;
/// Most retries that a document may give.
const MOST_RETRIES: u64 = 10_000;

/// A compiled timeouts document. What it does not mention is `None`, and so is what it sets to zero seconds.
///
/// What counts for an attempt, the first that says something: the step's own `timeout_sec` or `retry`; the topic, by the
/// most specific pattern; the workflow; the control plane's default.
#[derive(Clone, Debug, Default)]
pub struct Timeouts {
    topics: TopicMap<TopicTimeouts>,
    written: BTreeMap<String, TopicTimeouts>,
    workflows: BTreeMap<String, WorkflowTimeouts>,
    reconciler: ReconcilerTimeouts,
}

/// What is said about one topic or pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicTimeouts {
    /// Longest time of an attempt, `timeout_seconds`.
    pub timeout: Option<Duration>,
    /// Tries after the first, `max_retries`.
    pub max_retries: Option<u32>,
}

/// What is said about one workflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkflowTimeouts {
    /// Longest time of an attempt of a step, `child_timeout_seconds`.
    pub child_timeout: Option<Duration>,
    /// Longest time of a run, `total_timeout_seconds`.
    pub total_timeout: Option<Duration>,
    /// Tries of a step after the first, `max_retries`.
    pub max_retries: Option<u32>,
}

/// What holds for every job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReconcilerTimeouts {
    /// Longest time from dispatch until a worker says that it started, `dispatch_timeout_seconds`.
    pub dispatch: Option<Duration>,
    /// Longest time of an attempt that nothing else bounds, `running_timeout_seconds`.
    pub running: Option<Duration>,
    /// How often a sweep looks for what was missed, `scan_interval_seconds`.
    pub scan_interval: Option<Duration>,
}

/// What counts for one attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptTimeouts {
    /// Longest time from dispatch to result.
    pub timeout: Option<Duration>,
    /// Tries after the first.
    pub max_retries: Option<u32>,
}

impl Timeouts {
    /// Reads `timeouts.yaml` or its JSON form; `name` is used in messages.
    ///
    /// # Errors
    /// `timeouts_invalid` with every problem and its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let value = document::parse(name, text).map_err(|error| ConfigError::document("timeouts_invalid", &error))?;
        Self::from_value(name, &value)
    }

    /// Reads an already parsed document; `name` is used in messages.
    ///
    /// # Errors
    /// As [`Timeouts::parse`].
    pub fn from_value(name: &str, value: &Value) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(name, "timeouts_invalid");
        let mut timeouts = Self::default();
        let mut root = reader.object("", value);
        if let Some(topics) = root.take("topics") {
            for (topic, entry) in reader.object("topics", topics).entries() {
                let mut fields = reader.object(&format!("topics.{topic}"), entry);
                if let Err(reason) = pattern::check(topic) {
                    reader.problem(&format!("topics.{topic}"), reason);
                }
                let found = TopicTimeouts {
                    timeout: seconds(&mut fields, &mut reader, "timeout_seconds"),
                    max_retries: retries(&mut fields, &mut reader),
                };
                fields.close(&mut reader);
                timeouts.topics.insert(topic, found);
                timeouts.written.insert(topic.clone(), found);
            }
        }
        if let Some(workflows) = root.take("workflows") {
            for (id, entry) in reader.object("workflows", workflows).entries() {
                let mut fields = reader.object(&format!("workflows.{id}"), entry);
                let found = WorkflowTimeouts {
                    child_timeout: seconds(&mut fields, &mut reader, "child_timeout_seconds"),
                    total_timeout: seconds(&mut fields, &mut reader, "total_timeout_seconds"),
                    max_retries: retries(&mut fields, &mut reader),
                };
                fields.close(&mut reader);
                timeouts.workflows.insert(id.clone(), found);
            }
        }
        if let Some(reconciler) = root.take("reconciler") {
            let mut fields = reader.object("reconciler", reconciler);
            timeouts.reconciler = ReconcilerTimeouts {
                dispatch: seconds(&mut fields, &mut reader, "dispatch_timeout_seconds"),
                running: seconds(&mut fields, &mut reader, "running_timeout_seconds"),
                scan_interval: seconds(&mut fields, &mut reader, "scan_interval_seconds"),
            };
            fields.close(&mut reader);
        }
        root.close(&mut reader);
        reader.finish(timeouts)
    }

    /// What counts for an attempt of `topic`, as a step of `workflow` or on its own.
    #[must_use]
    pub fn attempt(&self, topic: &str, workflow: Option<&str>) -> AttemptTimeouts {
        let topic = self.topics.get(topic).copied().unwrap_or_default();
        let workflow = workflow.map(|id| self.workflow(id)).unwrap_or_default();
        AttemptTimeouts {
            timeout: topic.timeout.or(workflow.child_timeout).or(self.reconciler.running),
            max_retries: topic.max_retries.or(workflow.max_retries),
        }
    }

    /// What is said about a workflow.
    #[must_use]
    pub fn workflow(&self, id: &str) -> WorkflowTimeouts {
        self.workflows.get(id).copied().unwrap_or_default()
    }

    /// What holds for every job.
    #[must_use]
    pub const fn reconciler(&self) -> ReconcilerTimeouts {
        self.reconciler
    }

    pub(super) const fn written(
        &self,
    ) -> (&BTreeMap<String, TopicTimeouts>, &BTreeMap<String, WorkflowTimeouts>, ReconcilerTimeouts) {
        (&self.written, &self.workflows, self.reconciler)
    }
}

fn seconds(fields: &mut super::read::Fields<'_>, reader: &mut Reader, key: &'static str) -> Option<Duration> {
    fields.seconds(reader, key, 0, LONGEST).filter(|time| !time.is_zero())
}

fn retries(fields: &mut super::read::Fields<'_>, reader: &mut Reader) -> Option<u32> {
    fields.whole(reader, "max_retries", 0, MOST_RETRIES).and_then(|count| u32::try_from(count).ok())
}

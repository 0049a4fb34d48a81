//! The question: may this job run?

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Labels, RunFacts};
use crate::value::Value;

/// Who acts: a person or a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorType {
    /// A person.
    Human,
    /// A program.
    Service,
}

impl ActorType {
    /// The established name: `human` or `service`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Service => "service",
        }
    }
}

/// The structured identity of a job: what it does and on whose behalf. Established field names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobMeta {
    /// Who acts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// Whether that is a person or a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_type: Option<ActorType>,
    /// Key under which the worker should recognise a repeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The pack that the job belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack_id: Option<String>,
    /// What the job does, as policy knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// What policy weighs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub risk_tags: Vec<String>,
    /// What a pool must offer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Free keys and values, audit only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Everything that a rule may look at. Borrowed: building one costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct PolicyRequest<'a> {
    /// The job, attempt included.
    pub job_id: &'a str,
    /// The kind of work, `job.…`.
    pub topic: &'a str,
    /// Who owns it.
    pub tenant: &'a str,
    /// On whose authority.
    pub principal_id: &'a str,
    /// The structured identity.
    pub meta: &'a JobMeta,
    /// Free labels of the job.
    pub labels: &'a Labels,
    /// The workflow that the job is a step of.
    pub workflow_id: Option<&'a str>,
    /// The run that the job is a step of.
    pub run_id: Option<&'a str>,
    /// The step.
    pub step_id: Option<&'a str>,
    /// 1 for the first try.
    pub attempt: u32,
    /// The input, where it is at hand.
    pub input: Option<&'a Value>,
    /// When it is asked. Rules about times of the day read it, and no clock.
    pub now: Option<Timestamp>,
    /// What is known of the run beyond the job, where somebody tells it.
    pub facts: Option<&'a RunFacts>,
}

impl PolicyRequest<'_> {
    /// The same question, asked at `now`.
    #[must_use]
    pub const fn at(mut self, now: Timestamp) -> Self {
        self.now = Some(now);
        self
    }
}

//! Requests for tests.

use coretex_core::policy::{ActorType, Decision, JobMeta, Labels, PolicyRequest, RunFacts};

use crate::{CompiledPolicy, Explanation, Origin, PolicySet};

/// An owned request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) topic: String,
    pub(crate) tenant: String,
    pub(crate) meta: JobMeta,
    pub(crate) labels: Labels,
    pub(crate) now: Option<jiff::Timestamp>,
    pub(crate) facts: Option<RunFacts>,
    pub(crate) input: Option<serde_json::Value>,
}

pub(crate) fn ask(topic: &str) -> Ask {
    Ask { topic: topic.to_owned(), ..Ask::default() }
}

impl Ask {
    pub(crate) fn tenant(mut self, tenant: &str) -> Self {
        self.tenant = tenant.to_owned();
        self
    }

    pub(crate) fn capability(mut self, capability: &str) -> Self {
        self.meta.capability = Some(capability.to_owned());
        self
    }

    pub(crate) fn pack(mut self, pack: &str) -> Self {
        self.meta.pack_id = Some(pack.to_owned());
        self
    }

    pub(crate) fn actor(mut self, id: &str, kind: ActorType) -> Self {
        self.meta.actor_id = Some(id.to_owned());
        self.meta.actor_type = Some(kind);
        self
    }

    pub(crate) fn risk(mut self, tags: &[&str]) -> Self {
        self.meta.risk_tags = tags.iter().map(ToString::to_string).collect();
        self
    }

    pub(crate) fn requires(mut self, requires: &[&str]) -> Self {
        self.meta.requires = requires.iter().map(ToString::to_string).collect();
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key, value);
        self
    }

    pub(crate) fn at(mut self, time: &str) -> Self {
        self.now = Some(time.parse().unwrap());
        self
    }

    pub(crate) fn facts(mut self, facts: RunFacts) -> Self {
        self.facts = Some(facts);
        self
    }

    pub(crate) fn input(mut self, input: serde_json::Value) -> Self {
        self.input = Some(input);
        self
    }

    pub(crate) fn request(&self) -> PolicyRequest<'_> {
        PolicyRequest {
            job_id: "run-1:step@1",
            topic: &self.topic,
            tenant: &self.tenant,
            principal_id: "ada",
            meta: &self.meta,
            labels: &self.labels,
            workflow_id: None,
            run_id: None,
            step_id: None,
            attempt: 1,
            input: self.input.as_ref(),
            now: self.now,
            facts: self.facts.as_ref(),
        }
    }

    pub(crate) fn of(&self, policy: &CompiledPolicy) -> Decision {
        policy.decide(&self.request())
    }

    pub(crate) fn why(&self, policy: &CompiledPolicy) -> Explanation {
        policy.explain(&self.request())
    }
}

/// A policy of one operator's document.
pub(crate) fn base(yaml: &str) -> CompiledPolicy {
    set(&[("base", Origin::Base, yaml)])
}

pub(crate) fn set(bundles: &[(&str, Origin, &str)]) -> CompiledPolicy {
    let set = bundles.iter().fold(PolicySet::new(), |set, (id, origin, yaml)| set.source(*id, *origin, yaml));
    set.compile().unwrap_or_else(|errors| panic!("{errors}"))
}

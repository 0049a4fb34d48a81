//! Edits of a request, and a request that was edited.

use std::{collections::BTreeMap, fmt};

use coretex_core::policy::{ActorType, JobMeta, Labels, PolicyRequest};
use serde::Serialize;

use crate::fold;

/// What of a request an edit changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the part of the request of that name")]
pub enum Attribute {
    Topic,
    Tenant,
    PackId,
    Capability,
    ActorId,
    ActorType,
    RiskTags,
    Requires,
    Labels,
}

impl Attribute {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Topic,
        Self::Tenant,
        Self::PackId,
        Self::Capability,
        Self::ActorId,
        Self::ActorType,
        Self::RiskTags,
        Self::Requires,
        Self::Labels,
    ];

    /// What whoever submits a job can do otherwise: all but whose job it is and what kind of work.
    pub const SUBMITTED: [Self; 6] =
        [Self::Capability, Self::ActorId, Self::ActorType, Self::RiskTags, Self::Requires, Self::Labels];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Tenant => "tenant",
            Self::PackId => "pack",
            Self::Capability => "capability",
            Self::ActorId => "actor",
            Self::ActorType => "kind of actor",
            Self::RiskTags => "risk tag",
            Self::Requires => "requirement",
            Self::Labels => "label",
        }
    }
}

/// One edit of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
pub enum Edit {
    /// Gives an attribute that has one value this one; an empty one takes it away.
    Set {
        /// Which.
        attribute: Attribute,
        /// The new value.
        value: String,
    },
    /// Adds to a list.
    Add {
        /// `RiskTags` or `Requires`.
        attribute: Attribute,
        /// What.
        value: String,
    },
    /// Takes out of a list, in whatever case it is spelled.
    Remove {
        /// `RiskTags` or `Requires`.
        attribute: Attribute,
        /// What.
        value: String,
    },
    /// Sets a label, or takes it away.
    Label {
        /// Its key.
        key: String,
        /// Its new value.
        value: Option<String>,
    },
}

impl Edit {
    pub(super) fn attribute(&self) -> Attribute {
        match self {
            Self::Set { attribute, .. } | Self::Add { attribute, .. } | Self::Remove { attribute, .. } => *attribute,
            Self::Label { .. } => Attribute::Labels,
        }
    }

    /// Two edits of one thing cannot both be part of a smallest change.
    pub(super) fn same_thing(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Label { key, .. }, Self::Label { key: other, .. }) => key == other,
            (Self::Set { attribute, .. }, Self::Set { attribute: other, .. }) => attribute == other,
            (
                Self::Add { attribute, value } | Self::Remove { attribute, value },
                Self::Add { attribute: of, value: other } | Self::Remove { attribute: of, value: other },
            ) => attribute == of && fold::same(value.trim(), other.trim()),
            _ => false,
        }
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { attribute, value } if value.is_empty() => write!(f, "no {}", attribute.as_str()),
            Self::Set { attribute, value } => write!(f, "{} `{value}`", attribute.as_str()),
            Self::Add { attribute, value } => write!(f, "with {} `{value}`", attribute.as_str()),
            Self::Remove { attribute, value } => write!(f, "without {} `{value}`", attribute.as_str()),
            Self::Label { key, value: Some(value) } => write!(f, "label `{key}` = `{value}`"),
            Self::Label { key, value: None } => write!(f, "without label `{key}`"),
        }
    }
}

/// A request of its own, made from another one by edits.
#[derive(Clone, Debug)]
pub struct Edited<'a> {
    base: PolicyRequest<'a>,
    pub(super) topic: String,
    pub(super) tenant: String,
    pub(super) meta: JobMeta,
    pub(super) labels: Labels,
}

impl<'a> Edited<'a> {
    /// `request` with `edits`.
    #[must_use]
    pub fn of<'e>(request: &PolicyRequest<'a>, edits: impl IntoIterator<Item = &'e Edit>) -> Self {
        let mut edited = Self {
            base: *request,
            topic: request.topic.to_owned(),
            tenant: request.tenant.to_owned(),
            meta: request.meta.clone(),
            labels: request.labels.clone(),
        };
        for edit in edits {
            edited.apply(edit);
        }
        edited
    }

    /// It as a question.
    #[must_use]
    pub fn request(&self) -> PolicyRequest<'_> {
        PolicyRequest { topic: &self.topic, tenant: &self.tenant, meta: &self.meta, labels: &self.labels, ..self.base }
    }

    pub(super) fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::Set { attribute, value } => self.set(*attribute, value),
            Edit::Add { attribute, value } => self.list(*attribute).push(value.clone()),
            Edit::Remove { attribute, value } => {
                self.list(*attribute).retain(|own| !fold::same(own.trim(), value.trim()));
            }
            Edit::Label { key, value: Some(value) } => {
                self.labels.insert(key, value);
            }
            Edit::Label { key, value: None } => {
                let mut labels = BTreeMap::clone(&self.labels);
                labels.remove(key);
                self.labels = labels.into();
            }
        }
    }

    fn set(&mut self, attribute: Attribute, value: &str) {
        let word = Some(value.to_owned()).filter(|value| !value.is_empty());
        match attribute {
            Attribute::Topic => value.clone_into(&mut self.topic),
            Attribute::Tenant => value.clone_into(&mut self.tenant),
            Attribute::PackId => self.meta.pack_id = word,
            Attribute::Capability => self.meta.capability = word,
            Attribute::ActorId => self.meta.actor_id = word,
            Attribute::ActorType => {
                self.meta.actor_type = [ActorType::Human, ActorType::Service]
                    .into_iter()
                    .find(|kind| fold::same(kind.as_str(), value.trim()));
            }
            Attribute::RiskTags | Attribute::Requires | Attribute::Labels => {}
        }
    }

    fn list(&mut self, attribute: Attribute) -> &mut Vec<String> {
        if attribute == Attribute::Requires { &mut self.meta.requires } else { &mut self.meta.risk_tags }
    }
}

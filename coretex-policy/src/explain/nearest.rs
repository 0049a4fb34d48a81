//! The smallest change of a request that lets it run.
//!
//! A search by size: first no edit, then one, then two. At each request that is not yet permitted, whatever is in the way
//! is asked what could remove it: a rule that denies has to fail one of its criteria, or let an exception above it match;
//! where nothing matches, a rule that permits has to. Every permitted request that so many edits can reach goes through
//! one of the edits that are tried, so the first found is a smallest one, and finding none is a proof.
//!
//! The proof holds for what edits can be computed for. Conditions (`when`) and topics are tried and not solved; where
//! they are in play, nothing found is told as [`Nearest::Unknown`].

use std::fmt;

use coretex_core::policy::{Decision, PolicyRequest};
use serde::Serialize;

use super::{
    domain::{Domain, MCP_KEYS},
    edit::{Attribute, Edit, Edited},
};
use crate::{
    evaluate::{Criterion, Facts, Judged, Resolution, criteria},
    fold,
    rule::Match,
    snapshot::{CompiledPolicy, CompiledRule},
};

/// Most edits of a change that is looked for.
pub const MOST_EDITS: usize = 6;
/// Most requests that are judged while looking.
const MOST_STEPS: usize = 50_000;

/// What would let a request run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "nearest", rename_all = "snake_case")]
pub enum Nearest {
    /// No smaller change would. Without edits: it may run as it is.
    Change {
        /// The edits, of which none can be left out.
        edits: Vec<Edit>,
        /// What is decided then.
        decision: Decision,
    },
    /// No change of what may be changed would.
    None,
    /// None was found, and that is no proof.
    Unknown {
        /// Why not.
        why: &'static str,
    },
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change { edits, .. } if edits.is_empty() => f.write_str("it may run as it is"),
            Self::Change { edits, decision } => {
                let edits: Vec<_> = edits.iter().map(Edit::to_string).collect();
                write!(f, "{} if it had: {}", decision.outcome.as_str(), edits.join("; "))
            }
            Self::None => f.write_str("nothing that may be changed would let it run"),
            Self::Unknown { why } => write!(f, "no change was found; {why}"),
        }
    }
}

impl CompiledPolicy {
    /// The smallest change of `may` that lets `request` run, at most [`MOST_EDITS`] edits.
    ///
    /// It says what the policy would decide, not what is true of the job: a risk tag that a job has earned is not taken
    /// off by leaving it out. Costs up to 50,000 evaluations.
    #[must_use]
    pub fn nearest_change(&self, request: &PolicyRequest<'_>, may: &[Attribute]) -> Nearest {
        let mut search =
            Search { policy: self, domain: Domain::of(self), may, steps: 0, cut: false, edits: Vec::new() };
        let start = Edited::of(request, []);
        for most in 0..=MOST_EDITS {
            search.cut = false;
            if let Some(decision) = search.look(&start, most) {
                search.edits.sort();
                return Nearest::Change { edits: search.edits, decision };
            }
            if search.steps > MOST_STEPS {
                return Nearest::Unknown { why: "the search was given up" };
            }
            if !search.cut {
                // Nothing was left out for want of edits.
                break;
            }
        }
        if search.cut {
            Nearest::Unknown { why: "it takes more than six edits, if any do" }
        } else if search.domain.opaque {
            Nearest::Unknown { why: "conditions (`when`) are tried, not solved" }
        } else if may.contains(&Attribute::Topic) {
            Nearest::Unknown { why: "topics are tried, not solved" }
        } else {
            Nearest::None
        }
    }
}

struct Search<'p> {
    policy: &'p CompiledPolicy,
    domain: Domain,
    may: &'p [Attribute],
    steps: usize,
    /// Something was not tried because there were no edits left.
    cut: bool,
    edits: Vec<Edit>,
}

impl Search<'_> {
    fn look(&mut self, at: &Edited<'_>, left: usize) -> Option<Decision> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return None;
        }
        let request = at.request();
        let facts = Facts::of(&request, &self.policy.default_tenant);
        let resolution = self.policy.resolve(&facts);
        let mut next = Vec::new();
        self.openings(&resolution, &facts, left, &mut next);
        let decision = resolution.into_decision(self.policy);
        if decision.outcome.permits() {
            return Some(decision);
        }
        next.retain(|edit| {
            self.may.contains(&edit.attribute()) && !self.edits.iter().any(|known| known.same_thing(edit))
        });
        next.sort();
        next.dedup();
        if left == 0 {
            self.cut |= !next.is_empty();
            return None;
        }
        for edit in next {
            let mut edited = at.clone();
            edited.apply(&edit);
            self.edits.push(edit);
            if let Some(decision) = self.look(&edited, left - 1) {
                return Some(decision);
            }
            self.edits.pop();
        }
        None
    }

    /// Edits of which at least one is part of every change that lets the request run.
    fn openings(&mut self, resolution: &Resolution<'_>, facts: &Facts<'_>, left: usize, out: &mut Vec<Edit>) {
        match resolution {
            Resolution::BadTopic => self.topics(out),
            Resolution::Rule { rule, .. } if rule.rule.decision.permits() => {}
            Resolution::Rule { rule, .. } | Resolution::Unclear { rule, .. } => self.silence(rule, facts, out),
            Resolution::Contradiction { .. } => {
                for rule in self.speakers(facts) {
                    self.silence(rule, facts, out);
                }
            }
            Resolution::Tenant { .. } => {
                self.topics(out);
                self.set(Attribute::Tenant, &self.domain.tenants, out);
                self.mcp(facts, out);
            }
            Resolution::NoMatch => {
                for rule in self.policy.rules.iter().filter(|rule| rule.rule.decision.permits()) {
                    if least(&rule.rule.criteria, facts) <= left {
                        self.awaken(&rule.rule.criteria, facts, out);
                    } else {
                        self.cut = true;
                    }
                }
            }
        }
    }

    /// Rules that speak for their bundles.
    fn speakers(&self, facts: &Facts<'_>) -> Vec<&CompiledRule> {
        let mut speakers: Vec<&CompiledRule> = Vec::new();
        for rule in &self.policy.rules {
            let heard = speakers.last().is_some_and(|known| known.bundle == rule.bundle);
            if !heard && criteria::judge(&rule.rule.criteria, facts) == Judged::Matches {
                speakers.push(rule);
            }
        }
        speakers
    }

    /// Lets an exception above `rule` match, or the rule not.
    fn silence(&self, rule: &CompiledRule, facts: &Facts<'_>, out: &mut Vec<Edit>) {
        let bundle = self.policy.rules.iter().filter(|other| other.bundle == rule.bundle);
        for earlier in bundle.take_while(|other| !std::ptr::eq(*other, rule)) {
            if earlier.rule.decision.permits() {
                self.awaken(&earlier.rule.criteria, facts, out);
            }
        }
        self.refuse(&rule.rule.criteria, facts, out);
    }

    /// Makes a rule that matches fail a criterion.
    fn refuse(&self, rule: &Match, facts: &Facts<'_>, out: &mut Vec<Edit>) {
        let domain = &self.domain;
        if !rule.topics.is_empty() {
            self.topics(out);
        }
        for (list, attribute, values) in [
            (&rule.tenants, Attribute::Tenant, &domain.tenants),
            (&rule.capabilities, Attribute::Capability, &domain.capabilities),
            (&rule.pack_ids, Attribute::PackId, &domain.packs),
            (&rule.actor_ids, Attribute::ActorId, &domain.actors),
        ] {
            if !list.is_empty() {
                self.set(attribute, values, out);
            }
        }
        if !rule.actor_types.is_empty() {
            self.set(Attribute::ActorType, ["human", "service"], out);
        }
        // All that are in the list have to go, so also the first.
        if let Some(tag) = facts.risk_tags.iter().find(|tag| criteria::contains(&rule.risk_tags, tag)) {
            out.push(remove(Attribute::RiskTags, tag));
        }
        out.extend(rule.requires.iter().map(|needed| remove(Attribute::Requires, needed)));
        for key in rule.labels.keys() {
            self.label(key, out);
        }
        if let Some(present) = rule.secrets_present {
            self.secrets(!present, facts, out);
        }
        if !rule.mcp.is_empty() {
            self.mcp(facts, out);
        }
        if let Some(not) = &rule.not {
            self.touch(not, out);
        }
    }

    /// Makes the request meet the first criterion that it does not.
    fn awaken(&self, rule: &Match, facts: &Facts<'_>, out: &mut Vec<Edit>) {
        let Judged::Fails(criterion) = criteria::judge(rule, facts) else { return };
        let mut set = |attribute, values: &[String]| {
            out.extend(values.iter().map(|value| Edit::Set { attribute, value: value.clone() }));
        };
        match criterion {
            Criterion::Tenants => set(Attribute::Tenant, &rule.tenants),
            Criterion::Capabilities => set(Attribute::Capability, &rule.capabilities),
            Criterion::PackIds => set(Attribute::PackId, &rule.pack_ids),
            Criterion::ActorIds => set(Attribute::ActorId, &rule.actor_ids),
            Criterion::ActorTypes => set(Attribute::ActorType, &rule.actor_types),
            Criterion::Topics => {
                let topics = self.domain.topics.iter();
                let fitting = topics.filter(|topic| rule.topics.iter().any(|own| own.matches(topic)));
                out.extend(fitting.map(|topic| Edit::Set { attribute: Attribute::Topic, value: topic.clone() }));
            }
            Criterion::RiskTags => out.extend(rule.risk_tags.iter().map(|tag| add(Attribute::RiskTags, tag))),
            Criterion::Requires => {
                let missing = rule.requires.iter().find(|needed| !criteria::contains(facts.requires, needed));
                out.extend(missing.map(|needed| add(Attribute::Requires, needed)));
            }
            Criterion::Labels => {
                let wrong = rule.labels.iter().find(|(key, value)| facts.labels.get(*key) != Some(*value));
                out.extend(wrong.map(|(key, value)| Edit::Label { key: key.clone(), value: Some(value.clone()) }));
            }
            Criterion::SecretsPresent => self.secrets(rule.secrets_present == Some(true), facts, out),
            Criterion::Mcp => self.mcp(facts, out),
            Criterion::Not => {
                if let Some(not) = &rule.not {
                    self.untouch(not, facts, out);
                }
            }
            // The time is nobody's to change, and a condition is tried with what other edits make of it.
            Criterion::During | Criterion::When => {}
        }
    }

    /// Gives the request something that `not` names.
    fn touch(&self, not: &Match, out: &mut Vec<Edit>) {
        for (list, attribute) in [
            (&not.tenants, Attribute::Tenant),
            (&not.capabilities, Attribute::Capability),
            (&not.pack_ids, Attribute::PackId),
            (&not.actor_ids, Attribute::ActorId),
            (&not.actor_types, Attribute::ActorType),
        ] {
            out.extend(list.iter().map(|value| Edit::Set { attribute, value: value.clone() }));
        }
        if !not.topics.is_empty() {
            self.topics(out);
        }
        out.extend(not.risk_tags.iter().map(|tag| add(Attribute::RiskTags, tag)));
        out.extend(not.requires.iter().map(|needed| add(Attribute::Requires, needed)));
        out.extend(not.labels.iter().map(|(key, value)| Edit::Label { key: key.clone(), value: Some(value.clone()) }));
    }

    /// Takes the first thing away that `not` names: all of them have to go.
    fn untouch(&self, not: &Match, facts: &Facts<'_>, out: &mut Vec<Edit>) {
        let domain = &self.domain;
        match criteria::touched(not, facts) {
            Some(Criterion::Tenants) => self.set(Attribute::Tenant, &domain.tenants, out),
            Some(Criterion::Capabilities) => self.set(Attribute::Capability, &domain.capabilities, out),
            Some(Criterion::PackIds) => self.set(Attribute::PackId, &domain.packs, out),
            Some(Criterion::ActorIds) => self.set(Attribute::ActorId, &domain.actors, out),
            Some(Criterion::ActorTypes) => self.set(Attribute::ActorType, ["human", "service"], out),
            Some(Criterion::Topics) => self.topics(out),
            Some(Criterion::RiskTags) => {
                let tag = facts.risk_tags.iter().find(|tag| criteria::contains(&not.risk_tags, tag));
                out.extend(tag.map(|tag| remove(Attribute::RiskTags, tag)));
            }
            Some(Criterion::Requires) => {
                let own = facts.requires.iter().find(|own| criteria::contains(&not.requires, own));
                out.extend(own.map(|own| remove(Attribute::Requires, own)));
            }
            _ => {
                let wrong = not.labels.iter().find(|(key, value)| facts.labels.get(*key) == Some(*value));
                if let Some((key, _)) = wrong {
                    self.label(key, out);
                }
            }
        }
    }

    fn topics(&self, out: &mut Vec<Edit>) {
        out.extend(
            self.domain.topics.iter().map(|topic| Edit::Set { attribute: Attribute::Topic, value: topic.clone() }),
        );
    }

    /// Every value that the policy names, and none.
    fn set<V: AsRef<str>>(&self, attribute: Attribute, values: impl IntoIterator<Item = V>, out: &mut Vec<Edit>) {
        out.push(Edit::Set { attribute, value: String::new() });
        out.extend(values.into_iter().map(|value| Edit::Set { attribute, value: value.as_ref().to_owned() }));
    }

    fn label(&self, key: &str, out: &mut Vec<Edit>) {
        out.push(Edit::Label { key: key.to_owned(), value: None });
        let values = self.domain.labels.get(key).into_iter().flatten();
        out.extend(values.map(|value| Edit::Label { key: key.to_owned(), value: Some(value.clone()) }));
        if key == "secrets_present" {
            out.push(Edit::Label { key: key.to_owned(), value: Some("true".to_owned()) });
        }
        if let Some(at) = MCP_KEYS.iter().position(|keys| keys.contains(&key)) {
            let values = self.domain.mcp.get(at).into_iter().flatten();
            out.extend(values.map(|value| Edit::Label { key: key.to_owned(), value: Some(value.clone()) }));
        }
    }

    /// Declares secrets, or takes the declaration away.
    fn secrets(&self, wanted: bool, facts: &Facts<'_>, out: &mut Vec<Edit>) {
        if wanted {
            out.push(add(Attribute::RiskTags, "secrets"));
            self.label("secrets_present", out);
        } else if facts.risk_tags.iter().any(|tag| fold::same(tag.trim(), "secrets")) {
            out.push(remove(Attribute::RiskTags, "secrets"));
        } else {
            self.label("secrets_present", out);
        }
    }

    /// Makes it another MCP call, or none.
    fn mcp(&self, facts: &Facts<'_>, out: &mut Vec<Edit>) {
        for keys in MCP_KEYS {
            for (place, key) in keys.iter().enumerate() {
                if place == 0 || facts.labels.contains_key(*key) {
                    self.label(key, out);
                }
            }
        }
    }
}

fn add(attribute: Attribute, value: &str) -> Edit {
    Edit::Add { attribute, value: value.to_owned() }
}

fn remove(attribute: Attribute, value: &str) -> Edit {
    Edit::Remove { attribute, value: fold::lower(value.trim()) }
}

/// Edits that it takes at least before `rule` matches.
fn least(rule: &Match, facts: &Facts<'_>) -> usize {
    let single = criteria::failures(rule, facts).into_iter().filter(|criterion| {
        // These may be met by an edit that something else needs too, or are counted by entry.
        !matches!(
            criterion,
            Criterion::Labels | Criterion::Requires | Criterion::SecretsPresent | Criterion::Mcp | Criterion::Not
        )
    });
    let labels = rule.labels.iter().filter(|(key, value)| facts.labels.get(*key) != Some(*value));
    let mut missing: Vec<_> = rule.requires.iter().map(|needed| fold::lower(needed.trim())).collect();
    missing.sort();
    missing.dedup();
    let missing = missing.iter().filter(|needed| !criteria::contains(facts.requires, needed));
    single.count() + labels.count() + missing.count()
}

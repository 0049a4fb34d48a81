//! Why a decision is what it is: every rule that was considered, and the one that decided.
//!
//! The decision in an [`Explanation`] is made by the same code as the one that [`CompiledPolicy::decide`] gives;
//! the account of the rules is linear in their number.

use std::fmt;

use coretex_core::policy::{Decision, Outcome, PolicyRequest};
use serde::Serialize;

mod domain;
mod edit;
mod nearest;
#[cfg(test)]
mod nearest_tests;
#[cfg(test)]
mod tests;

pub use edit::{Attribute, Edit, Edited};
pub use nearest::{MOST_EDITS, Nearest};

use crate::{
    bundle::Origin,
    evaluate::{Criterion, Facts, Judged, Resolution, criteria},
    rule::During,
    snapshot::{CompiledPolicy, CompiledRule},
};

/// A decision and the way to it. Displayed as text for a terminal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// What is decided.
    pub decision: Decision,
    /// The bundle that decided; `None` for a default.
    pub bundle: Option<String>,
    /// Why this rule, list or default decided, in a sentence.
    pub why: String,
    /// Every rule, in order of authority, bundle and file.
    pub considered: Vec<Considered>,
}

/// One rule and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Considered {
    /// The bundle.
    pub bundle: String,
    /// Who stands behind it.
    pub origin: Origin,
    /// The rule.
    pub rule_id: String,
    /// Its line in the document.
    pub line: u32,
    /// What it would decide.
    pub decision: Outcome,
    /// What became of it.
    pub result: Consideration,
}

/// What became of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Consideration {
    /// It matched and speaks for its bundle.
    Matched,
    /// It did not match.
    Failed {
        /// The first criterion that the request does not meet.
        criterion: Criterion,
        /// What the rule asks and what the request has.
        detail: String,
        /// What else it does not meet; empty for a near miss. `during` and `when` are looked at when all else holds.
        others: Vec<Criterion>,
    },
    /// All else holds, and this criterion cannot be told: it denies.
    Unclear {
        /// Which.
        criterion: Criterion,
        /// Why it cannot be told.
        why: String,
    },
    /// An earlier rule of the same bundle matched.
    Shadowed {
        /// That rule.
        by: String,
    },
    /// The topic is not one that rules are asked about.
    NotAsked,
}

impl Explanation {
    /// Rules that one criterion kept from matching, and which.
    pub fn near_misses(&self) -> impl Iterator<Item = (&Considered, Criterion)> {
        self.considered.iter().filter_map(|one| match &one.result {
            Consideration::Failed { criterion, others, .. } if others.is_empty() => Some((one, *criterion)),
            _ => None,
        })
    }
}

impl CompiledPolicy {
    /// Explains the decision for `request`. Linear in the number of rules.
    #[must_use]
    pub fn explain(&self, request: &PolicyRequest<'_>) -> Explanation {
        let facts = Facts::of(request, &self.default_tenant);
        let resolution = self.resolve(&facts);
        let asked = facts.topic_is_sound();
        let mut speaker: Option<&CompiledRule> = None;
        let mut considered = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            let earlier = speaker.filter(|known| known.bundle == rule.bundle);
            let result = match (asked, earlier) {
                (false, _) => Consideration::NotAsked,
                (true, Some(known)) => Consideration::Shadowed { by: known.rule.id.clone() },
                (true, None) => match criteria::judge(&rule.rule.criteria, &facts) {
                    Judged::Fails(criterion) => {
                        let others = criteria::failures(&rule.rule.criteria, &facts);
                        Consideration::Failed {
                            criterion,
                            detail: detail(criterion, rule, &facts),
                            others: others.into_iter().filter(|other| *other != criterion).collect(),
                        }
                    }
                    Judged::Matches => {
                        speaker = Some(rule);
                        Consideration::Matched
                    }
                    Judged::Unclear(criterion, why) => {
                        speaker = Some(rule);
                        Consideration::Unclear { criterion, why }
                    }
                },
            };
            considered.push(Considered {
                bundle: rule.bundle.to_string(),
                origin: rule.origin,
                rule_id: rule.rule.id.clone(),
                line: rule.rule.line,
                decision: rule.rule.decision,
                result,
            });
        }
        let voices = considered.iter().filter(|one| one.result == Consideration::Matched).count();
        let (bundle, why) = account(&resolution, voices);
        Explanation { bundle, why, decision: resolution.into_decision(self), considered }
    }
}

fn account(resolution: &Resolution<'_>, voices: usize) -> (Option<String>, String) {
    match resolution {
        Resolution::BadTopic => (None, "the topic is outside what policies speak about".to_owned()),
        Resolution::NoMatch => (None, "no rule matched, so the default decides".to_owned()),
        Resolution::Tenant { limits, .. } => (
            Some(limits.bundle.to_string()),
            format!("no rule denies it, but the tenant lists of bundle `{}` do", limits.bundle),
        ),
        Resolution::Contradiction { rules: [first, second], .. } => (
            Some(first.bundle.to_string()),
            format!("the limits of bundles `{}` and `{}` cannot both hold", first.bundle, second.bundle),
        ),
        Resolution::Unclear { rule, criterion, .. } => (
            Some(rule.bundle.to_string()),
            format!("all else of rule `{}` holds and its `{criterion}` cannot be judged, which denies", rule.rule.id),
        ),
        Resolution::Rule { rule, joined, .. } => {
            let mut why = match voices {
                1 => format!("only bundle `{}` has a rule that matches", rule.bundle),
                n => format!("{n} bundles have a rule that matches; the one of `{}` is the strictest", rule.bundle),
            };
            if joined.as_ref().is_some_and(|limits| Some(limits) != rule.decision.constraints.as_ref()) {
                why.push_str(", and the limits of the others hold as well");
            }
            (Some(rule.bundle.to_string()), why)
        }
    }
}

fn detail(criterion: Criterion, rule: &CompiledRule, facts: &Facts<'_>) -> String {
    let asked = &rule.rule.criteria;
    let one = |list: &[String], value: &str| format!("asks for one of {}, the request has `{value}`", list_of(list));
    match criterion {
        Criterion::Tenants => one(&asked.tenants, facts.tenant),
        Criterion::Capabilities => one(&asked.capabilities, facts.capability),
        Criterion::PackIds => one(&asked.pack_ids, facts.pack_id),
        Criterion::ActorIds => one(&asked.actor_ids, facts.actor_id),
        Criterion::ActorTypes => one(&asked.actor_types, facts.actor_type),
        Criterion::Topics => {
            let topics: Vec<_> = asked.topics.iter().map(|topic| topic.as_str().to_owned()).collect();
            one(&topics, facts.topic)
        }
        Criterion::RiskTags => {
            format!("asks for one of {}, the request has {}", list_of(&asked.risk_tags), list_of(facts.risk_tags))
        }
        Criterion::Requires => {
            format!("asks for all of {}, the request has {}", list_of(&asked.requires), list_of(facts.requires))
        }
        Criterion::Labels => {
            let missing = asked.labels.iter().find(|(key, value)| facts.labels.get(*key) != Some(*value));
            missing.map_or_else(String::new, |(key, value)| match facts.labels.get(key) {
                Some(own) => format!("asks for label `{key}` = `{value}`, the request has `{own}`"),
                None => format!("asks for label `{key}` = `{value}`, the request has no such label"),
            })
        }
        Criterion::SecretsPresent => {
            let says = |yes| if yes { "secrets" } else { "no secrets" };
            format!("asks for {}, the request declares {}", says(!facts.secrets()), says(facts.secrets()))
        }
        Criterion::Mcp => match &facts.mcp {
            Some(mcp) => format!(
                "its MCP lists refuse server `{}`, tool `{}`, resource `{}`, action `{}`",
                mcp.server, mcp.tool, mcp.resource, mcp.action
            ),
            None => String::new(),
        },
        Criterion::Not => {
            let touched = asked.not.as_deref().and_then(|not| criteria::touched(not, facts));
            touched.map_or_else(String::new, |list| format!("its `not.{list}` has a value of the request"))
        }
        Criterion::During => {
            let hours = asked.during.as_ref().map(During::text).unwrap_or_default();
            let now = facts.request.now.map(|now| now.to_string()).unwrap_or_default();
            format!("holds {hours}, the request is of {now}")
        }
        Criterion::When => asked.when.as_ref().map(|when| format!("`{}` is not true", when.text())).unwrap_or_default(),
    }
}

/// What else is missing.
fn and(others: &[Criterion]) -> String {
    let names: Vec<_> = others.iter().map(|other| other.as_str()).collect();
    if names.is_empty() { String::new() } else { format!("; nor {}", names.join(", ")) }
}

/// A list for people; long ones are cut.
fn list_of(list: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut out: Vec<String> = list.iter().take(SHOWN).map(|one| format!("`{one}`")).collect();
    if list.len() > SHOWN {
        out.push(format!("{} more", list.len() - SHOWN));
    }
    if out.is_empty() { "nothing".to_owned() } else { out.join(", ") }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.decision.outcome.as_str())?;
        if !self.decision.rule_id.is_empty() {
            write!(f, " by rule `{}`", self.decision.rule_id)?;
        }
        if !self.decision.reason.is_empty() {
            write!(f, ": {}", self.decision.reason)?;
        }
        write!(f, "\nbecause {}\nsnapshot {}", self.why, self.decision.snapshot)?;
        for one in &self.considered {
            let (mark, text) = match &one.result {
                Consideration::Matched => ('+', "matched".to_owned()),
                Consideration::Failed { criterion, detail, others } => {
                    ('-', format!("{criterion}: {detail}{}", and(others)))
                }
                Consideration::Unclear { criterion, why } => ('!', format!("{criterion}: {why}")),
                Consideration::Shadowed { by } => ('.', format!("after rule `{by}` of this bundle had matched")),
                Consideration::NotAsked => ('.', "not asked".to_owned()),
            };
            write!(
                f,
                "\n{mark} {} {}:{} `{}` {} - {text}",
                one.origin.as_str(),
                one.bundle,
                one.line,
                one.rule_id,
                one.decision.as_str(),
            )?;
        }
        Ok(())
    }
}

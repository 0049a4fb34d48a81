//! A request that two rules match, made up from what they ask for, and kept only if both do match it and it is denied.

use std::collections::BTreeMap;

use coretex_core::policy::{ActorType, JobMeta, Labels, Outcome, PolicyRequest, RunFacts};
use jiff::{SignedDuration, Timestamp};

use super::covers::apart;
use crate::{
    evaluate::{Facts, Judged, criteria},
    fold,
    rule::{Glob, Match, common},
    snapshot::{CompiledPolicy, CompiledRule},
};

/// The topic of such a request.
pub(super) fn of(a: &CompiledRule, b: &CompiledRule, policy: &CompiledPolicy) -> Option<String> {
    let (a, b) = (&a.rule.criteria, &b.rule.criteria);
    if apart(a, b) {
        return None;
    }
    let not = [a.not.as_deref(), b.not.as_deref()];
    let barred = |pick: fn(&Match) -> &[String]| {
        move |value: &&String| {
            !not.iter().flatten().any(|not| pick(not).iter().any(|own| fold::same(own.trim(), value.trim())))
        }
    };
    let one = |pick: fn(&Match) -> &[String]| {
        let (left, right) = (pick(a), pick(b));
        let values: Vec<&String> = match (left, right) {
            ([], other) | (other, []) => other.iter().collect(),
            _ => left.iter().filter(|own| right.iter().any(|other| fold::same(own.trim(), other.trim()))).collect(),
        };
        values.into_iter().find(barred(pick)).cloned()
    };
    let mut labels: BTreeMap<String, String> = a.labels.clone();
    labels.extend(b.labels.clone());
    if a.secrets_present.or(b.secrets_present) == Some(true) {
        labels.entry("secrets_present".to_owned()).or_insert_with(|| "true".to_owned());
    }
    let labels = Labels::from(labels);
    let tags = [a, b].into_iter().filter_map(|rule| rule.risk_tags.iter().find(barred(|rule| &rule.risk_tags)));
    let kind = one(|rule| &rule.actor_types);
    let meta = JobMeta {
        capability: one(|rule| &rule.capabilities),
        pack_id: one(|rule| &rule.pack_ids),
        actor_id: one(|rule| &rule.actor_ids),
        actor_type: kind.map(|kind| if fold::same(&kind, "human") { ActorType::Human } else { ActorType::Service }),
        risk_tags: tags.cloned().collect(),
        requires: a.requires.iter().chain(&b.requires).cloned().collect(),
        ..JobMeta::default()
    };
    let tenant = one(|rule| &rule.tenants).unwrap_or_default();
    let facts = RunFacts::new();
    let times = if a.during.is_some() || b.during.is_some() { 24 * 7 } else { 1 };
    for topic in topics(a, b) {
        for hour in 0..times {
            let now = Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_hours(hour)).ok();
            let request = PolicyRequest {
                job_id: "",
                topic: &topic,
                tenant: &tenant,
                principal_id: "",
                meta: &meta,
                labels: &labels,
                workflow_id: None,
                run_id: None,
                step_id: None,
                attempt: 1,
                input: None,
                now,
                facts: Some(&facts),
            };
            let asked = Facts::of(&request, &policy.default_tenant);
            let both = [a, b].iter().all(|rule| criteria::judge(rule, &asked) == Judged::Matches);
            if asked.topic_is_sound() && both && policy.decide(&request).outcome == Outcome::Deny {
                return Some(topic);
            }
        }
    }
    None
}

/// Topics that both are about.
fn topics(a: &Match, b: &Match) -> Vec<String> {
    const TRIED: usize = 64;
    let Ok(any) = Glob::new("job.?*") else { return Vec::new() };
    let of = |rule: &Match| if rule.topics.is_empty() { vec![any.clone()] } else { rule.topics.clone() };
    let (left, right) = (of(a), of(b));
    let pairs = left.iter().flat_map(|one| right.iter().map(move |other| (one, other)));
    pairs.filter_map(|(one, other)| common(one, other)).take(TRIED).collect()
}

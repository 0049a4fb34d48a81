//! Which rules match whatever another one matches, and which match nothing together. Sound, not complete.

use crate::{
    fold,
    rule::{Match, common, covers as topic_covers},
};

/// Whether every request that `narrow` matches is matched by `wide`.
pub(crate) fn covers(wide: &Match, narrow: &Match) -> bool {
    names(&wide.tenants, &narrow.tenants)
        && names(&wide.capabilities, &narrow.capabilities)
        && names(&wide.pack_ids, &narrow.pack_ids)
        && names(&wide.actor_ids, &narrow.actor_ids)
        && names(&wide.actor_types, &narrow.actor_types)
        && names(&wide.risk_tags, &narrow.risk_tags)
        && subset(&wide.requires, &narrow.requires)
        && wide.labels.iter().all(|(key, value)| narrow.labels.get(key) == Some(value))
        && (wide.secrets_present.is_none() || wide.secrets_present == narrow.secrets_present)
        && (wide.mcp.is_empty() || wide.mcp == narrow.mcp)
        && (wide.topics.is_empty()
            || (!narrow.topics.is_empty()
                && narrow.topics.iter().all(|topic| wide.topics.iter().any(|wide| topic_covers(wide, topic)))))
        && excludes_less(wide.not.as_deref(), narrow.not.as_deref())
        && (wide.during.is_none() || wide.during == narrow.during)
        && (wide.when.is_none() || wide.when == narrow.when)
}

/// A list that accepts any of its names, empty being all.
fn names(wide: &[String], narrow: &[String]) -> bool {
    wide.is_empty() || (!narrow.is_empty() && subset(narrow, wide))
}

fn subset(small: &[String], large: &[String]) -> bool {
    small.iter().all(|own| large.iter().any(|other| fold::same(own.trim(), other.trim())))
}

fn excludes_less(wide: Option<&Match>, narrow: Option<&Match>) -> bool {
    let Some(wide) = wide else { return true };
    narrow.is_some_and(|narrow| {
        subset(&wide.tenants, &narrow.tenants)
            && subset(&wide.capabilities, &narrow.capabilities)
            && subset(&wide.risk_tags, &narrow.risk_tags)
            && subset(&wide.requires, &narrow.requires)
            && subset(&wide.pack_ids, &narrow.pack_ids)
            && subset(&wide.actor_ids, &narrow.actor_ids)
            && subset(&wide.actor_types, &narrow.actor_types)
            && wide.labels.iter().all(|(key, value)| narrow.labels.get(key) == Some(value))
            && wide.topics.iter().all(|topic| narrow.topics.iter().any(|other| topic_covers(other, topic)))
    })
}

/// Whether no request matches both.
pub(super) fn apart(a: &Match, b: &Match) -> bool {
    let disjoint = |a: &[String], b: &[String]| {
        !a.is_empty()
            && !b.is_empty()
            && !a.iter().any(|own| b.iter().any(|other| fold::same(own.trim(), other.trim())))
    };
    let topics = || {
        !a.topics.is_empty()
            && !b.topics.is_empty()
            && a.topics.iter().all(|own| b.topics.iter().all(|other| !may_meet(own, other)))
    };
    disjoint(&a.tenants, &b.tenants)
        || disjoint(&a.capabilities, &b.capabilities)
        || disjoint(&a.pack_ids, &b.pack_ids)
        || disjoint(&a.actor_ids, &b.actor_ids)
        || disjoint(&a.actor_types, &b.actor_types)
        || a.labels.iter().any(|(key, value)| b.labels.get(key).is_some_and(|other| other != value))
        || matches!((a.secrets_present, b.secrets_present), (Some(a), Some(b)) if a != b)
        || topics()
}

/// Where classes of characters meet, a common topic may be missed, so only patterns without them are told apart by it.
fn may_meet(a: &crate::rule::Glob, b: &crate::rule::Glob) -> bool {
    let (p, q) = (a.literal_prefix(), b.literal_prefix());
    if !p.starts_with(q) && !q.starts_with(p) {
        return false;
    }
    a.as_str().contains('[') || b.as_str().contains('[') || common(a, b).is_some()
}

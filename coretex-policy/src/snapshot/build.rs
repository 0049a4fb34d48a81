//! From bundles to a compiled policy.

use std::{collections::BTreeMap, sync::Arc};

use coretex_core::policy::{Decision, Outcome};

use super::{CompiledPolicy, CompiledRule, TenantLimits, Warning, identity, index::Index};
use crate::{
    bundle::{Bundle, OnNoMatch},
    fold,
    rule::{DefaultDecision, Match, TenantPolicy},
};

impl CompiledPolicy {
    /// Compiles bundles that were judged good.
    pub(crate) fn build(mut bundles: Vec<Bundle>, on_no_match: OnNoMatch) -> Self {
        bundles.sort_by(|a, b| (a.origin, &a.id).cmp(&(b.origin, &b.id)));
        let id = identity::of(&bundles, on_no_match);
        let mut rules = Vec::new();
        let mut tenants: BTreeMap<String, Vec<TenantLimits>> = BTreeMap::new();
        let mut warnings = Vec::new();
        for bundle in &bundles {
            let name: Arc<str> = bundle.id.as_str().into();
            let end = rules.len() + bundle.document.rules.len();
            // Stable: rules of one priority stay in file order.
            let mut ordered: Vec<_> = bundle.document.rules.iter().collect();
            ordered.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
            rules.extend(ordered.into_iter().map(|rule| {
                let mut decision = Decision::new(rule.decision, &*rule.id, &*rule.reason, id.clone());
                decision.constraints = rule.constraints.clone().map(Arc::new);
                decision.remediations.clone_from(&rule.remediations);
                decision.retry_after = rule.retry_after;
                CompiledRule { rule: rule.clone(), decision, bundle: name.clone(), origin: bundle.origin, end }
            }));
            for (tenant, policy) in &bundle.document.tenants {
                tenants.entry(fold::lower(tenant)).or_default().push(limits(tenant, policy, &name, &id));
            }
            warn(bundle, &mut warnings);
        }
        let default_tenant =
            bundles.iter().map(|bundle| &*bundle.document.default_tenant).find(|name| !name.is_empty());
        Self {
            default_tenant: default_tenant.unwrap_or_default().into(),
            no_match: no_match(&bundles, on_no_match, &id),
            bad_topic: Decision::new(
                Outcome::Deny,
                "",
                "the topic must start with `job.` and may not contain `/`, spaces or control characters",
                id.clone(),
            ),
            index: Index::build(rules.iter().map(|rule| &rule.rule.criteria)),
            tenants: tenants.into_iter().map(|(name, limits)| (name, limits.into())).collect(),
            rules: rules.into(),
            bundles: bundles.into(),
            on_no_match,
            warnings,
            id,
        }
    }
}

/// A document that says deny outweighs one that says allow, and both outweigh the option.
fn no_match(bundles: &[Bundle], on_no_match: OnNoMatch, id: &Arc<str>) -> Decision {
    let said = |wanted| bundles.iter().map(|b| &b.document).find(|d| d.default_decision == Some(wanted));
    let (outcome, reason) = match (said(DefaultDecision::Deny), said(DefaultDecision::Allow), on_no_match) {
        (Some(document), ..) if !document.default_reason.is_empty() => (Outcome::Deny, &*document.default_reason),
        (None, Some(document), _) if !document.default_reason.is_empty() => (Outcome::Allow, &*document.default_reason),
        (None, Some(_), _) => (Outcome::Allow, "no rule matched (default_decision: allow)"),
        (None, None, OnNoMatch::Allow) => (Outcome::Allow, "no rule matched (development default)"),
        (Some(_), ..) | (None, None, OnNoMatch::Deny) => {
            (Outcome::Deny, "no rule matched; add a rule that allows this")
        }
    };
    Decision::new(outcome, "", reason, id.clone())
}

fn limits(tenant: &str, policy: &TenantPolicy, bundle: &Arc<str>, id: &Arc<str>) -> TenantLimits {
    let deny = |rule: String, reason: String| Decision::new(Outcome::Deny, rule, reason, id.clone());
    TenantLimits {
        bundle: bundle.clone(),
        denied: policy
            .deny_topics
            .iter()
            .enumerate()
            .map(|(n, topic)| {
                let reason = format!("tenant `{tenant}` may not use topics `{}`", topic.as_str());
                (topic.clone(), deny(format!("tenant:{tenant}:deny:{}", n + 1), reason))
            })
            .collect(),
        allowed: policy.allow_topics.clone().into(),
        not_allowed: deny(
            format!("tenant:{tenant}:allow"),
            format!("tenant `{tenant}` may only use the topics in its allow_topics"),
        ),
        mcp: policy.mcp.clone(),
        mcp_denied: deny(
            format!("tenant:{tenant}:mcp"),
            format!("tenant `{tenant}` may not use this MCP server, tool, resource or action"),
        ),
    }
}

fn warn(bundle: &Bundle, warnings: &mut Vec<Warning>) {
    let mut warn = |path: String, message: &str| {
        warnings.push(Warning { bundle: bundle.id.clone(), path, message: message.to_owned() });
    };
    let mut closed = None;
    let mut ordered: Vec<_> = bundle.document.rules.iter().enumerate().collect();
    ordered.sort_by_key(|(_, rule)| std::cmp::Reverse(rule.priority));
    for (index, rule) in ordered {
        if let Some(first) = closed {
            warn(
                format!("rules[{index}]"),
                &format!("rule `{}` is never reached: rule `{first}` before it matches everything", rule.id),
            );
            continue;
        }
        if rule.decision == Outcome::AllowWithConstraints && rule.constraints.is_none() {
            warn(
                format!("rules[{index}]"),
                &format!("rule `{}` allows with constraints but has none; add them or write `allow`", rule.id),
            );
        }
        if rule.criteria == Match::default() {
            closed = Some(&rule.id);
        }
    }
    for (tenant, policy) in &bundle.document.tenants {
        let hosts = !policy.allowed_repo_hosts.is_empty() || !policy.denied_repo_hosts.is_empty();
        if hosts || policy.max_concurrent_jobs > 0 {
            warn(
                format!("tenants.{tenant}"),
                "repository hosts and max_concurrent_jobs are not enforced by the policy; set quotas for them",
            );
        }
        if bundle.document.rules.is_empty() && !policy.allow_topics.is_empty() {
            warn(
                format!("tenants.{tenant}.allow_topics"),
                "allow_topics limits, it does not grant; add a rule that allows these topics",
            );
        }
    }
}

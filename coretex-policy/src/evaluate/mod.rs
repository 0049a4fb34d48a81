//! Evaluation: from a request to one decision.
//!
//! # How bundles combine
//!
//! Within a bundle the first matching rule speaks, by priority and then in file order: one author, one page,
//! exceptions above the rule that they except. Between bundles order does not exist; every bundle's voice counts, and the strictest wins:
//!
//! | voices | decision | why |
//! |---|---|---|
//! | any deny | deny | a ban cannot be shadowed by a file that sorts before it |
//! | else any approval | require approval, with the limits of all voices | an allow elsewhere does not replace a human; approval does not lift limits |
//! | else any throttle | throttle, with the limits of all voices | |
//! | else any allow with constraints | allow with the limits of all voices joined | two authors' limits both hold |
//! | else any allow | allow | |
//! | none | the default | deny, unless a document of the operator or the security team says otherwise |
//! | limits that leave nothing in common | deny | otherwise an empty list would read as no limit |
//! | tenant lists refuse | deny | lists only ever limit |
//! | a rule that cannot be judged | deny | what nobody told is not false; only `during` and `when` can be unclear |
//!
//! Among equally strict voices the decision names the rule of the higher authority (security team, operator,
//! tenant, pack), then of the bundle whose id sorts first; so adding a bundle never loosens a decision, except
//! that it may turn "no rule matched" into an answer within its scope.

pub(crate) mod criteria;
mod facts;
#[cfg(test)]
mod language;
mod limits;
mod scope;
#[cfg(test)]
mod tests;

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use coretex_core::policy::{Constraints, Decision, Outcome};

pub use criteria::Criterion;
pub(crate) use criteria::Judged;
pub(crate) use facts::Facts;

use crate::snapshot::{CompiledPolicy, CompiledRule, TenantLimits};

/// What settled a request.
#[derive(Debug)]
pub(crate) enum Resolution<'p> {
    BadTopic,
    /// The strictest voice, and limits if they are not its own.
    Rule {
        rule: &'p CompiledRule,
        joined: Option<Arc<Constraints>>,
        /// The longest wait that a throttling voice asks for.
        wait: Option<Duration>,
    },
    /// A rule that may match and cannot be judged.
    Unclear {
        rule: &'p CompiledRule,
        criterion: Criterion,
        why: String,
    },
    /// The limits of two rules leave nothing in common.
    Contradiction {
        rules: [&'p CompiledRule; 2],
        what: &'static str,
    },
    Tenant {
        limits: &'p TenantLimits,
        decision: &'p Decision,
    },
    NoMatch,
}

impl Resolution<'_> {
    pub(crate) fn into_decision(self, policy: &CompiledPolicy) -> Decision {
        match self {
            Self::BadTopic => policy.bad_topic.clone(),
            Self::NoMatch => policy.no_match.clone(),
            Self::Tenant { decision, .. } => decision.clone(),
            Self::Unclear { rule, criterion, why } => Decision::new(
                Outcome::Deny,
                rule.decision.rule_id.clone(),
                format!("`{criterion}` of rule `{}` cannot be judged: {why}", rule.rule.id),
                policy.id.clone(),
            ),
            Self::Rule { rule, joined, wait } => {
                let mut decision = rule.decision.clone();
                decision.retry_after = wait;
                if joined.is_some() {
                    decision.constraints = joined;
                }
                decision
            }
            Self::Contradiction { rules: [first, second], what } => Decision::new(
                Outcome::Deny,
                first.decision.rule_id.clone(),
                format!("the limits of rules `{}` and `{}` leave no {what} in common", first.rule.id, second.rule.id),
                policy.id.clone(),
            ),
        }
    }
}

/// Higher is stricter.
const fn strictness(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Allow => 0,
        Outcome::AllowWithConstraints => 1,
        Outcome::Throttle => 2,
        Outcome::RequireApproval => 3,
        Outcome::Deny => 4,
    }
}

/// The voices heard so far.
#[derive(Default)]
struct Voices<'p> {
    strictest: Option<&'p CompiledRule>,
    limits: Option<(&'p CompiledRule, Arc<Constraints>)>,
    contradiction: Option<([&'p CompiledRule; 2], &'static str)>,
    wait: Option<Duration>,
    unclear: Option<(&'p CompiledRule, Criterion, String)>,
}

impl<'p> Voices<'p> {
    fn hear(&mut self, rule: &'p CompiledRule) -> ControlFlow<()> {
        let stricter = |known: &CompiledRule| strictness(rule.rule.decision) > strictness(known.rule.decision);
        if self.strictest.is_none_or(stricter) {
            self.strictest = Some(rule);
        }
        if rule.rule.decision == Outcome::Deny {
            // Rules come by authority, so this is the one to name, and nothing is stricter.
            return ControlFlow::Break(());
        }
        self.wait = self.wait.max(rule.rule.retry_after);
        if let Some(own) = &rule.decision.constraints {
            match self.limits.take() {
                None => self.limits = Some((rule, own.clone())),
                Some((first, known)) => match limits::join(&known, own) {
                    Ok(joined) => self.limits = Some((first, Arc::new(joined))),
                    Err(what) => {
                        self.contradiction.get_or_insert(([first, rule], what));
                        self.limits = Some((first, known));
                    }
                },
            }
        }
        ControlFlow::Continue(())
    }
}

impl CompiledPolicy {
    pub(crate) fn resolve<'p>(&'p self, facts: &Facts<'_>) -> Resolution<'p> {
        if !facts.topic_is_sound() {
            return Resolution::BadTopic;
        }
        let mut voices = Voices::default();
        self.index.candidates(facts, |number| {
            let Some(rule) = self.rules.get(number) else { return ControlFlow::Break(()) };
            match criteria::judge_candidate(&rule.rule.criteria, facts) {
                Judged::Fails(_) => ControlFlow::Continue(number + 1),
                Judged::Matches => {
                    voices.hear(rule)?;
                    ControlFlow::Continue(rule.end)
                }
                Judged::Unclear(criterion, why) => {
                    voices.unclear = Some((rule, criterion, why));
                    ControlFlow::Break(())
                }
            }
        });
        self.settle(voices, facts)
    }

    fn settle<'p>(&'p self, voices: Voices<'p>, facts: &Facts<'_>) -> Resolution<'p> {
        if let Some((rule, criterion, why)) = voices.unclear {
            return Resolution::Unclear { rule, criterion, why };
        }
        if let Some(rule) = voices.strictest.filter(|rule| rule.rule.decision == Outcome::Deny) {
            return Resolution::Rule { rule, joined: None, wait: None };
        }
        if let Some((limits, decision)) = self.tenant_refusal(facts) {
            return Resolution::Tenant { limits, decision };
        }
        if let Some((rules, what)) = voices.contradiction {
            return Resolution::Contradiction { rules, what };
        }
        match voices.strictest {
            Some(rule) => Resolution::Rule {
                rule,
                joined: voices.limits.map(|(_, limits)| limits),
                wait: voices.wait.filter(|_| rule.rule.decision == Outcome::Throttle),
            },
            None => Resolution::NoMatch,
        }
    }

    /// What the lists of the request's tenant say against it. Each bundle's lists hold by themselves.
    fn tenant_refusal<'p>(&'p self, facts: &Facts<'_>) -> Option<(&'p TenantLimits, &'p Decision)> {
        self.tenants.get(facts.tenant)?.iter().find_map(|limits| {
            let decision = if let Some((_, denied)) = limits.denied.iter().find(|(topic, _)| topic.matches(facts.topic))
            {
                denied
            } else if !limits.allowed.is_empty() && !limits.allowed.iter().any(|topic| topic.matches(facts.topic)) {
                &limits.not_allowed
            } else if !criteria::mcp_passes(&limits.mcp, facts) {
                &limits.mcp_denied
            } else {
                return None;
            };
            Some((limits, decision))
        })
    }
}

//! What is odd about a policy as a whole: rules that never speak, rules that could go, bundles that contradict.
//!
//! Invariant: whatever is reported is so. A rule that is called unreachable is never the one that speaks, and a conflict
//! comes with a request that both rules match. The converse does not hold: `when` is compared as text, so rules that
//! are unreachable because of what a condition computes are not found.

mod covers;
#[cfg(test)]
mod tests;
mod witness;

use coretex_core::policy::Outcome;
use serde::Serialize;

pub(crate) use covers::covers;

use crate::snapshot::{CompiledPolicy, CompiledRule};

/// Most findings that an analysis lists.
const MOST: usize = 1_000;

/// What is odd about a policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Analysis {
    /// What was found, by rule in order of authority, bundle and priority.
    pub findings: Vec<Finding>,
    /// There is more than [`findings`](Self::findings) lists: the first thousand.
    pub cut_off: bool,
}

/// One oddity, about a rule and another one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The rule that it is about.
    pub rule: RuleRef,
    /// The rule that makes it so.
    pub other: RuleRef,
    /// What is odd and what to do, in a sentence.
    pub message: String,
    /// A topic of a request that both match, for a conflict.
    pub topic: Option<String>,
}

/// A rule and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRef {
    /// The bundle.
    pub bundle: String,
    /// The rule.
    pub rule_id: String,
    /// Its line.
    pub line: u32,
}

/// What is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// An earlier rule of the bundle matches whatever this one does.
    Unreachable,
    /// A later rule of the bundle would say the same.
    Redundant,
    /// A rule of another bundle denies whatever this one matches.
    Shadowed,
    /// A rule of another bundle denies some of what this one permits.
    Conflict,
}

impl CompiledPolicy {
    /// Compares every rule with every other one. Takes the square of their number; 1,000 rules take well under a second.
    #[must_use]
    pub fn analyse(&self) -> Analysis {
        let mut analysis = Analysis { findings: Vec::new(), cut_off: false };
        let plain = self.plain_bans();
        let mut start = 0;
        for (number, rule) in self.rules.iter().enumerate() {
            let bundle = self.rules.get(start..rule.end).unwrap_or_default();
            let (earlier, later) = bundle.split_at_checked(number - start).unwrap_or_default();
            let later = later.get(1..).unwrap_or_default();
            if let Some(found) = unreachable(rule, earlier).or_else(|| redundant(rule, later)) {
                analysis.add(found);
            } else if rule.rule.decision != Outcome::Deny {
                self.denials_of(rule, &plain, &mut analysis);
            }
            if number + 1 == rule.end {
                start = rule.end;
            }
        }
        analysis
    }

    /// Denying rules that have no exception above them.
    fn plain_bans(&self) -> Vec<&CompiledRule> {
        let mut plain = Vec::new();
        let mut excepted: Option<&CompiledRule> = None;
        for rule in &self.rules {
            if rule.rule.decision != Outcome::Deny {
                excepted = Some(rule);
            } else if excepted.is_none_or(|other| other.bundle != rule.bundle) {
                plain.push(rule);
            }
        }
        plain
    }

    fn denials_of(&self, rule: &CompiledRule, plain: &[&CompiledRule], analysis: &mut Analysis) {
        let foreign = |ban: &&CompiledRule| ban.bundle != rule.bundle;
        let wider = |ban: &&CompiledRule| covers(&ban.rule.criteria, &rule.rule.criteria);
        if let Some(ban) = plain.iter().copied().filter(foreign).find(wider) {
            let message = format!(
                "rule `{}` never decides: rule `{}` of bundle `{}` denies whatever it matches; remove it, or have the ban narrowed",
                rule.rule.id, ban.rule.id, ban.bundle
            );
            analysis.add(finding(FindingKind::Shadowed, rule, ban, message, None));
            return;
        }
        if !rule.rule.decision.permits() {
            return;
        }
        for ban in self.rules.iter().filter(foreign).filter(|other| other.rule.decision == Outcome::Deny) {
            if let Some(topic) = witness::of(rule, ban, self) {
                let message = format!(
                    "rule `{}` permits what rule `{}` of bundle `{}` denies, for example on `{topic}`; the denial wins",
                    rule.rule.id, ban.rule.id, ban.bundle
                );
                analysis.add(finding(FindingKind::Conflict, rule, ban, message, Some(topic)));
            }
        }
    }
}

impl Analysis {
    fn add(&mut self, finding: Finding) {
        if self.findings.len() < MOST {
            self.findings.push(finding);
        } else {
            self.cut_off = true;
        }
    }
}

fn unreachable(rule: &CompiledRule, earlier: &[CompiledRule]) -> Option<Finding> {
    let first = earlier.iter().find(|first| covers(&first.rule.criteria, &rule.rule.criteria))?;
    let message = format!(
        "rule `{}` is never reached: rule `{}` before it matches whatever it matches; move it up or remove it",
        rule.rule.id, first.rule.id
    );
    Some(finding(FindingKind::Unreachable, rule, first, message, None))
}

/// Without the rule, the next one that matches what it does says the same, and no other rule comes between.
fn redundant(rule: &CompiledRule, later: &[CompiledRule]) -> Option<Finding> {
    let says = |other: &CompiledRule| {
        let (a, b) = (&rule.rule, &other.rule);
        (a.decision, &a.constraints, &a.remediations, a.retry_after)
            == (b.decision, &b.constraints, &b.remediations, b.retry_after)
    };
    for other in later {
        if says(other) && covers(&other.rule.criteria, &rule.rule.criteria) {
            let message = format!(
                "rule `{}` could go: rule `{}` after it decides the same for whatever it matches",
                rule.rule.id, other.rule.id
            );
            return Some(finding(FindingKind::Redundant, rule, other, message, None));
        }
        if !says(other) && !covers::apart(&rule.rule.criteria, &other.rule.criteria) {
            return None;
        }
    }
    None
}

fn finding(
    kind: FindingKind,
    rule: &CompiledRule,
    other: &CompiledRule,
    message: String,
    topic: Option<String>,
) -> Finding {
    let place =
        |of: &CompiledRule| RuleRef { bundle: of.bundle.to_string(), rule_id: of.rule.id.clone(), line: of.rule.line };
    Finding { kind, rule: place(rule), other: place(other), message, topic }
}

//! The words of the language: decisions and their aliases, and what a typo probably meant.

use coretex_core::policy::Outcome;

/// Every word that a rule may decide with, and what it means. Case and surrounding space do not count.
pub const DECISION_WORDS: [(&str, Outcome); 10] = [
    ("allow", Outcome::Allow),
    ("permit", Outcome::Allow),
    ("deny", Outcome::Deny),
    ("block", Outcome::Deny),
    ("require_approval", Outcome::RequireApproval),
    ("require-approval", Outcome::RequireApproval),
    ("require_human", Outcome::RequireApproval),
    ("allow_with_constraints", Outcome::AllowWithConstraints),
    ("allow-with-constraints", Outcome::AllowWithConstraints),
    ("throttle", Outcome::Throttle),
];

pub(super) fn decision(word: &str) -> Option<Outcome> {
    let word = word.trim();
    DECISION_WORDS.iter().find(|(own, _)| own.eq_ignore_ascii_case(word)).map(|(_, outcome)| *outcome)
}

/// Keys of later or neighbouring rule languages. A rule that relied on one would mean something else without it,
/// so they are refused by name rather than called a typo.
pub(super) const UNSUPPORTED: [&str; 15] = [
    "input_rules",
    "input_policy",
    "output_rules",
    "output_policy",
    "require_human",
    "tier",
    "selector",
    "velocity",
    "agent_risk_tiers",
    "agent_data_classifications",
    "label_allowlist",
    "label_threshold",
    "predicate",
    "delegation",
    "expires_at",
];

/// The known word nearest to a mistyped one, if any is near.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.trim().to_lowercase();
    if word.len() > 64 {
        return None;
    }
    let limit = (word.len() / 3).clamp(1, 3);
    known.into_iter().map(|own| (distance(&word, own), own)).filter(|(d, _)| *d <= limit).min().map(|(_, own)| own)
}

/// Insertions, deletions and replacements between two words.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let above = *cell;
            let best = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = above;
            left = best;
            *cell = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

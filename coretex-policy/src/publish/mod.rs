//! Publishing as data: drafts, what is live, and who changed it when and why.
//!
//! Invariant: what is live always compiles, and every change of it is in the history with its author and reason. A
//! draft never takes effect by being saved. The history is a value: a host stores it, and puts [`History::compile`] in
//! force.

mod source;
#[cfg(test)]
mod tests;
mod trust;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use coretex_core::policy::PolicyRequest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use source::Source;
#[cfg(feature = "signatures")]
pub use trust::PublicKey;
pub use trust::Trust;

use crate::{
    bundle::{Bundle, OnNoMatch, PolicySet},
    error::{BundleError, BundleErrors, ErrorCode, Place},
    simulate::Simulation,
    snapshot::CompiledPolicy,
};

/// Publications whose bundles are kept, so that one can go back to them.
pub const KEPT: usize = 10;
/// Publications that are remembered at all.
const REMEMBERED: usize = 1_000;

/// Drafts, what is live, and how it came to be.
///
/// ```
/// use coretex_policy::{Change, History, Origin, Source, Trust};
///
/// let mut history = History::default();
/// let by_ada = |why: &str| Change::new("ada", why, "2026-11-24T10:00:00Z".parse().unwrap());
/// history.draft(Source::new("secops/base", Origin::SecOps, "rules: [{ id: all, decision: allow }]"), &Trust::Anyone)?;
/// assert_eq!(history.compile(&Trust::Anyone)?.rule_count(), 0, "a draft is not live");
/// let first = history.publish(&["secops/base"], by_ada("start"), &Trust::Anyone)?.number;
/// history.draft(Source::new("secops/base", Origin::SecOps, "rules: []"), &Trust::Anyone)?;
/// history.publish(&["secops/base"], by_ada("too open"), &Trust::Anyone)?;
/// history.rollback(first, by_ada("too strict"), &Trust::Anyone)?;
/// assert_eq!(history.compile(&Trust::Anyone)?.rule_count(), 1);
/// # Ok::<(), coretex_policy::BundleErrors>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    live: BTreeMap<String, Source>,
    drafts: BTreeMap<String, Source>,
    /// Oldest first.
    publications: VecDeque<Publication>,
    next: u64,
    on_no_match: OnNoMatch,
}

/// Who changes what is live, why and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Who.
    pub by: String,
    /// Why, for people.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

impl Change {
    /// A change by `by`, because of `why`.
    pub fn new(by: impl Into<String>, why: impl Into<String>, at: Timestamp) -> Self {
        Self { by: by.into(), why: why.into(), at }
    }
}

/// One change of what is live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publication {
    /// Its number, from 1.
    pub number: u64,
    /// What was done.
    pub action: Action,
    /// Who, why and when.
    pub change: Change,
    /// Ids of bundles that came, changed or went.
    pub bundles: Vec<String>,
    /// The policy before.
    pub before: Arc<str>,
    /// The policy since.
    pub after: Arc<str>,
    /// What was live since; `None` once it is too old to go back to.
    live: Option<BTreeMap<String, Source>>,
}

impl Publication {
    /// Whether one can go back to it.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.live.is_some()
    }
}

/// How what is live was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Drafts became live.
    Publish,
    /// Bundles were taken out.
    Withdraw,
    /// What was live since an earlier publication is so again.
    Rollback {
        /// The number of that publication.
        to: u64,
    },
}

impl History {
    /// Nothing published yet; `on_no_match` holds where no document says it.
    #[must_use]
    pub fn new(on_no_match: OnNoMatch) -> Self {
        Self { on_no_match, ..Self::default() }
    }

    /// What is live, by id.
    pub fn live(&self) -> impl Iterator<Item = &Source> {
        self.live.values()
    }

    /// What waits to be published, by id.
    pub fn drafts(&self) -> impl Iterator<Item = &Source> {
        self.drafts.values()
    }

    /// Changes of what is live, oldest first; the newest thousand.
    pub fn publications(&self) -> impl DoubleEndedIterator<Item = &Publication> {
        self.publications.iter()
    }

    /// Saves a draft in place of the last one of its id. It is not in force.
    ///
    /// # Errors
    ///
    /// Every mistake in it, its signature and its scope.
    pub fn draft(&mut self, source: Source, trust: &Trust) -> Result<(), BundleErrors> {
        PolicySet::new().bundle(source.read(trust)?).compile()?;
        self.drafts.insert(source.id.clone(), source);
        Ok(())
    }

    /// Throws a draft away. Whether there was one.
    pub fn discard(&mut self, id: &str) -> bool {
        self.drafts.remove(id).is_some()
    }

    /// Makes drafts live, all or none.
    ///
    /// # Errors
    ///
    /// A change without author or reason, an id without a draft, and every mistake in what would be live.
    pub fn publish(&mut self, ids: &[&str], change: Change, trust: &Trust) -> Result<&Publication, BundleErrors> {
        let mut live = self.live.clone();
        for id in ids {
            let draft = self.drafts.get(*id).ok_or_else(|| unknown(id, "has no draft", "save one first"))?;
            live.insert((*id).to_owned(), draft.clone());
        }
        self.commit(Action::Publish, live, change, trust)?;
        self.drafts.retain(|id, _| !ids.contains(&id.as_str()));
        self.newest()
    }

    /// Takes bundles out, all or none.
    ///
    /// # Errors
    ///
    /// A change without author or reason, an id that is not live, and every mistake in what would be left.
    pub fn withdraw(&mut self, ids: &[&str], change: Change, trust: &Trust) -> Result<&Publication, BundleErrors> {
        let mut live = self.live.clone();
        for id in ids {
            live.remove(*id).ok_or_else(|| unknown(id, "is not live", "name a bundle that is"))?;
        }
        self.commit(Action::Withdraw, live, change, trust)?;
        self.newest()
    }

    /// Makes live again what was so since publication `number`. Drafts stay.
    ///
    /// # Errors
    ///
    /// A change without author or reason, a publication that is not kept, and every mistake in what would be live.
    pub fn rollback(&mut self, number: u64, change: Change, trust: &Trust) -> Result<&Publication, BundleErrors> {
        let target = self.publications.iter().find(|one| one.number == number).and_then(|one| one.live.clone());
        let live = target.ok_or_else(|| {
            let hint = format!("the newest {KEPT} publications are kept");
            unknown(&number.to_string(), "is no publication that is kept", &hint)
        })?;
        self.commit(Action::Rollback { to: number }, live, change, trust)?;
        self.newest()
    }

    /// What is live, compiled.
    ///
    /// # Errors
    ///
    /// Every mistake in it: none, if `trust` and the language have not changed since it was published.
    pub fn compile(&self, trust: &Trust) -> Result<CompiledPolicy, BundleErrors> {
        self.compiled(&self.live, trust)
    }

    /// What the drafts together would change for `requests`, beside everything that is live. Nothing is published.
    ///
    /// # Errors
    ///
    /// Every mistake in what would be live.
    pub fn simulate(&self, requests: &[PolicyRequest<'_>], trust: &Trust) -> Result<Simulation, BundleErrors> {
        let mut next = self.live.clone();
        next.extend(self.drafts.clone());
        Ok(Simulation::of(&self.compile(trust)?, &self.compiled(&next, trust)?, requests))
    }

    fn compiled(&self, live: &BTreeMap<String, Source>, trust: &Trust) -> Result<CompiledPolicy, BundleErrors> {
        let mut errors = Vec::new();
        let mut bundles: Vec<Bundle> = Vec::new();
        for source in live.values() {
            match source.read(trust) {
                Ok(bundle) => bundles.push(bundle),
                Err(found) => errors.extend(found),
            }
        }
        let set = bundles.into_iter().collect::<PolicySet>().on_no_match(self.on_no_match);
        match set.compile() {
            Ok(policy) if errors.is_empty() => Ok(policy),
            Ok(_) => Err(BundleErrors(errors)),
            Err(found) => {
                errors.extend(found);
                Err(BundleErrors(errors))
            }
        }
    }

    fn commit(
        &mut self,
        action: Action,
        live: BTreeMap<String, Source>,
        change: Change,
        trust: &Trust,
    ) -> Result<(), BundleErrors> {
        for (field, text) in [("by", &change.by), ("why", &change.why)] {
            if text.trim().is_empty() {
                let place = Place { source: "change".into(), path: field.to_owned(), ..Place::default() };
                let message = "a change of what is live has no author or no reason";
                return Err(
                    BundleError::new(ErrorCode::Unexplained, place, message, "say who changes it and why").into()
                );
            }
        }
        let before = self.compiled(&self.live, trust).map_or_else(|_| "unknown".into(), |policy| policy.id().clone());
        let after = self.compiled(&live, trust)?.id().clone();
        let ids = self.live.keys().chain(live.keys()).filter(|id| self.live.get(*id) != live.get(*id));
        let mut bundles: Vec<String> = ids.cloned().collect();
        bundles.sort();
        bundles.dedup();
        self.next += 1;
        let live_since = Some(live.clone());
        self.live = live;
        self.publications.push_back(Publication {
            number: self.next,
            action,
            change,
            bundles,
            before,
            after,
            live: live_since,
        });
        while self.publications.len() > REMEMBERED {
            self.publications.pop_front();
        }
        if let Some(old) = self.publications.iter_mut().rev().nth(KEPT) {
            old.live = None;
        }
        Ok(())
    }

    fn newest(&self) -> Result<&Publication, BundleErrors> {
        self.publications.back().ok_or_else(|| unknown("0", "is no publication", "publish first"))
    }
}

fn unknown(name: &str, what: &str, hint: &str) -> BundleErrors {
    let place = Place { source: name.into(), ..Place::default() };
    BundleError::new(ErrorCode::UnknownVersion, place, format!("`{name}` {what}"), hint).into()
}

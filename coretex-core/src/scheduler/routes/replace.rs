//! Replacing the configuration in force: a good one at once, a bad one never.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{ConfigError, Routes, Timeouts};

/// The configuration in force and the last attempt to replace it.
///
/// The rule is *last known good*: documents are read and judged as a whole, and only when all of them are legal they
/// take the place of what is in force. After a refused attempt everything goes on as before, and [`Routing::refused`]
/// says what was wrong until a good one comes.
#[derive(Clone, Debug)]
pub struct Routing {
    current: Arc<Routes>,
    version: u64,
    refused: Option<ConfigError>,
}

/// One document, by its name and text.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file's name; its ending tells YAML from JSON.
    pub name: &'a str,
    /// What it says.
    pub text: &'a str,
}

/// The documents that make a configuration. What is not given is as if it were never written: open routes, no timeouts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Documents<'a> {
    /// `pools.yaml`.
    pub pools: Option<Source<'a>>,
    /// `timeouts.yaml`.
    pub timeouts: Option<Source<'a>>,
}

/// Names that came, went or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names that are new.
    pub added: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
    /// Names whose entry reads differently.
    pub changed: Vec<String>,
}

/// What a replacement changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingDiff {
    /// Topics and patterns.
    pub topics: Changes,
    /// Pools, by their own configuration.
    pub pools: Changes,
    /// Keyed limits.
    pub limits: Changes,
    /// Entries of `timeouts.yaml`: `topics.<topic>`, `workflows.<id>`, `reconciler`.
    pub timeouts: Changes,
}

impl Changes {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    fn between(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Self {
        let only = |these: &BTreeMap<String, String>, others: &BTreeMap<String, String>| {
            these.keys().filter(|name| !others.contains_key(*name)).cloned().collect()
        };
        let changed = after.iter().filter(|(name, entry)| before.get(*name).is_some_and(|old| old != *entry));
        Self {
            added: only(after, before),
            removed: only(before, after),
            changed: changed.map(|(name, _)| name.clone()).collect(),
        }
    }
}

impl RoutingDiff {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.pools.is_empty() && self.limits.is_empty() && self.timeouts.is_empty()
    }

    /// What changes from `before` to `after`. O(n log n) in the entries.
    #[must_use]
    pub fn between(before: &Routes, after: &Routes) -> Self {
        let [before, after] = [before, after].map(Entries::of);
        Self {
            topics: Changes::between(&before.topics, &after.topics),
            pools: Changes::between(&before.pools, &after.pools),
            limits: Changes::between(&before.limits, &after.limits),
            timeouts: Changes::between(&before.timeouts, &after.timeouts),
        }
    }
}

/// Each entry by its name, as text that is equal when the entries are.
struct Entries {
    topics: BTreeMap<String, String>,
    pools: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
    timeouts: BTreeMap<String, String>,
}

impl Entries {
    fn of(routes: &Routes) -> Self {
        let document = routes.document();
        let names: BTreeSet<&str> = routes.pool_names().collect();
        let (topics, workflows, reconciler) = routes.timeouts().written();
        let topics = topics.iter().map(|(topic, entry)| (format!("topics.{topic}"), format!("{entry:?}")));
        let workflows = workflows.iter().map(|(id, entry)| (format!("workflows.{id}"), format!("{entry:?}")));
        let reconciler = (reconciler != super::ReconcilerTimeouts::default())
            .then(|| ("reconciler".into(), format!("{reconciler:?}")));
        Self {
            topics: document.topics.iter().map(|(topic, pools)| (topic.clone(), format!("{pools:?}"))).collect(),
            pools: names.into_iter().map(|name| (name.to_owned(), format!("{:?}", routes.pool(name)))).collect(),
            limits: document
                .limits
                .iter()
                .map(|rule| {
                    let entry = (rule.key.text(), &rule.topics, rule.max_concurrent, rule.rate);
                    (rule.name.to_string(), format!("{entry:?}"))
                })
                .collect(),
            timeouts: topics.chain(workflows).chain(reconciler).collect(),
        }
    }
}

impl Documents<'_> {
    /// Reads and judges all of them.
    ///
    /// # Errors
    /// Everything that is wrong in any of them; the code is that of the first bad document.
    pub fn compile(&self) -> Result<Routes, ConfigError> {
        let pools = self.pools.map_or_else(|| Ok(Routes::open()), |source| Routes::parse(source.name, source.text));
        let timeouts = self.timeouts.map(|source| Timeouts::parse(source.name, source.text)).transpose();
        match (pools, timeouts) {
            (Ok(routes), Ok(timeouts)) => Ok(routes.with_timeouts(timeouts.unwrap_or_default())),
            (Err(first), Err(second)) => Err(first.and(second)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }
}

impl Routing {
    /// Begins with `routes` in force, as version 1.
    #[must_use]
    pub fn new(routes: Routes) -> Self {
        Self { current: Arc::new(routes), version: 1, refused: None }
    }

    /// What is in force.
    #[must_use]
    pub const fn current(&self) -> &Arc<Routes> {
        &self.current
    }

    /// How often what is in force changed, from 1.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Why the last replacement was refused; `None` when it was taken.
    #[must_use]
    pub const fn refused(&self) -> Option<&ConfigError> {
        self.refused.as_ref()
    }

    /// Puts `documents` in force, if they are legal, and says what changed. Equal documents change nothing, not even
    /// the version.
    ///
    /// # Errors
    /// What is wrong with them; what was in force stays.
    pub fn replace(&mut self, documents: &Documents<'_>) -> Result<RoutingDiff, ConfigError> {
        match documents.compile() {
            Ok(routes) => {
                self.refused = None;
                let diff = RoutingDiff::between(&self.current, &routes);
                let opened = self.current.is_open() != routes.is_open();
                if opened || !diff.is_empty() {
                    self.current = Arc::new(routes);
                    self.version += 1;
                }
                Ok(diff)
            }
            Err(error) => {
                self.refused = Some(error.clone());
                Err(error)
            }
        }
    }
}

//! Topics to pools, as established in `pools.yaml`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    job::Topic,
    value::{DocumentError, Value},
};

/// `pools.yaml`: which pools serve which topics, and what each pool offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolsDocument {
    /// Topic, or pattern with `*` (one word) and a last `>` (one or more words), to one pool or several.
    #[serde(default)]
    pub topics: BTreeMap<String, OneOrMany>,
    /// Pool to what it offers.
    #[serde(default)]
    pub pools: BTreeMap<String, Pool>,
}

/// A pool name or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One pool.
    One(String),
    /// Several, in order of preference.
    Many(Vec<String>),
}

impl OneOrMany {
    fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

/// What a pool offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Capabilities on offer. A job fits when all that it requires is among them.
    #[serde(default)]
    pub requires: Vec<String>,
}

/// A pools document that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoutesError {
    /// It is not YAML or JSON.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// It is, but not of the shape of a pools document.
    #[error("{name}: {message}")]
    Shape {
        /// The file.
        name: String,
        /// What is wrong, and where.
        message: String,
    },
}

impl RoutesError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "pools_invalid"
    }
}

/// Why a job has nowhere to go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// Nothing is mapped.
    #[error("topic `{0}` has no pool; map it under `topics:` in pools.yaml")]
    Unmapped(String),
    /// Something is mapped, but does not offer enough.
    #[error("topic `{topic}` is mapped to {pools}, none of which offers {missing}; add it to the pool's `requires:`")]
    Requires {
        /// The topic.
        topic: String,
        /// The mapped pools.
        pools: String,
        /// What is missing in the first of them.
        missing: String,
    },
}

/// Compiled routes: immutable, cheap to share. Looking up a topic costs one hash and a walk over the patterns.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    open: Option<Arc<str>>,
    exact: HashMap<String, Vec<Arc<Offer>>>,
    patterns: Vec<(Vec<String>, Vec<Arc<Offer>>)>,
}

#[derive(Debug)]
struct Offer {
    name: Arc<str>,
    capabilities: BTreeSet<String>,
}

impl Routes {
    /// Sends every topic to the pool `default`, whatever it requires: what a host gets that configures nothing.
    #[must_use]
    pub fn open() -> Self {
        Self { open: Some("default".into()), ..Self::default() }
    }

    /// Reads `pools.yaml` or its JSON form; `name` is used in messages.
    ///
    /// # Errors
    /// When it is not legal; the message names the place.
    pub fn parse(name: &str, text: &str) -> Result<Self, RoutesError> {
        let value = crate::value::document::parse(name, text)?;
        Self::from_value(name, value)
    }

    /// Reads an already parsed pools document; `name` is used in messages.
    ///
    /// # Errors
    /// When it is not legal; the message names the place.
    pub fn from_value(name: &str, value: Value) -> Result<Self, RoutesError> {
        let shape = |message: String| RoutesError::Shape { name: name.to_owned(), message };
        let document: PoolsDocument = serde_json::from_value(value).map_err(|error| shape(error.to_string()))?;
        if document.topics.is_empty() {
            return Err(shape("`topics` is empty; map at least one topic to a pool".into()));
        }
        for (topic, pools) in &document.topics {
            if !topic.starts_with("job.") || topic.split('.').any(str::is_empty) {
                return Err(shape(format!("`topics.{topic}`: a topic starts with `job.` and has no empty word")));
            }
            if pools.names().is_empty() || pools.names().iter().any(|pool| pool.trim().is_empty()) {
                return Err(shape(format!("`topics.{topic}`: name at least one pool")));
            }
        }
        Ok(Self::compile(&document))
    }

    /// Compiles a document. Pools that `topics` names and `pools` does not are pools that offer nothing special.
    #[must_use]
    pub fn compile(document: &PoolsDocument) -> Self {
        let mut offers: HashMap<&str, Arc<Offer>> = HashMap::new();
        let mut routes = Self::default();
        for (topic, names) in &document.topics {
            let pools = names
                .names()
                .iter()
                .map(|name| {
                    let offer = offers.entry(name).or_insert_with(|| {
                        let capabilities = document
                            .pools
                            .get(name)
                            .map(|pool| pool.requires.iter().map(|c| c.trim().to_lowercase()).collect::<BTreeSet<_>>());
                        Arc::new(Offer { name: name.as_str().into(), capabilities: capabilities.unwrap_or_default() })
                    });
                    offer.clone()
                })
                .collect();
            if topic.contains(['*', '>']) {
                routes.patterns.push((topic.split('.').map(str::to_owned).collect(), pools));
            } else {
                routes.exact.insert(topic.clone(), pools);
            }
        }
        // The more literal words a pattern has, the more it was meant for this topic.
        routes.patterns.sort_by_key(|(words, _)| {
            std::cmp::Reverse(words.iter().filter(|word| *word != "*" && *word != ">").count())
        });
        routes
    }

    /// The pool for a job of `topic` that requires `requires`: the first mapped pool that offers everything.
    ///
    /// # Errors
    /// [`NoRoute`], saying what to change.
    pub fn route(&self, topic: &Topic, requires: &[String]) -> Result<Arc<str>, NoRoute> {
        if let Some(pool) = &self.open {
            return Ok(pool.clone());
        }
        let topic = topic.as_str();
        let Some(pools) = self
            .exact
            .get(topic)
            .or_else(|| self.patterns.iter().find(|(words, _)| matches(words, topic)).map(|(_, pools)| pools))
        else {
            return Err(NoRoute::Unmapped(topic.to_owned()));
        };
        let lacks = |offer: &Offer| {
            requires.iter().find(|need| !offer.capabilities.contains(need.trim().to_lowercase().as_str())).cloned()
        };
        let mut missing = None;
        for offer in pools {
            match lacks(offer) {
                None => return Ok(offer.name.clone()),
                Some(need) => missing = missing.or(Some(need)),
            }
        }
        Err(NoRoute::Requires {
            topic: topic.to_owned(),
            pools: pools.iter().map(|offer| format!("`{}`", offer.name)).collect::<Vec<_>>().join(", "),
            missing: format!("`{}`", missing.unwrap_or_default()),
        })
    }
}

fn matches(words: &[String], topic: &str) -> bool {
    let mut rest = topic.split('.');
    for word in words {
        match (word.as_str(), rest.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (word, Some(next)) if word == next => {}
            _ => return false,
        }
    }
    rest.next().is_none()
}

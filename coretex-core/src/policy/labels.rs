//! Labels: free keys and values of a job, by which policy, routes and people tell jobs apart.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

type Map = BTreeMap<String, String>;

/// The labels of a job: reads as a map.
///
/// Those of a step are put together from the labels of its run and of its definition when somebody looks at one of them.
/// Most jobs end without anybody having looked.
#[derive(Clone)]
pub struct Labels {
    whole: OnceLock<Arc<Map>>,
    layers: Option<Layers>,
}

/// What labels are put together from; the later, the stronger.
#[derive(Clone)]
struct Layers {
    below: Arc<Map>,
    above: Arc<Map>,
    last: (&'static str, Arc<str>),
}

impl Labels {
    /// Those of `below`, those of `above`, which win, and the one in `last`, which wins over both.
    #[must_use]
    pub fn layered(below: Arc<Map>, above: Arc<Map>, last: (&'static str, Arc<str>)) -> Self {
        Self { whole: OnceLock::new(), layers: Some(Layers { below, above, last }) }
    }

    /// Sets one of them.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let mut whole = Map::clone(self);
        whole.insert(key.into(), value.into());
        *self = whole.into();
    }

    fn whole(&self) -> &Arc<Map> {
        self.whole.get_or_init(|| self.layers.as_ref().map(Layers::merged).unwrap_or_default())
    }
}

impl Layers {
    fn merged(&self) -> Arc<Map> {
        let mut labels = Map::clone(&self.below);
        labels.extend(self.above.iter().map(|(key, value)| (key.clone(), value.clone())));
        let (key, value) = &self.last;
        labels.insert((*key).to_owned(), value.as_ref().to_owned());
        Arc::new(labels)
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self { whole: OnceLock::new(), layers: None }
    }
}

impl From<Arc<Map>> for Labels {
    fn from(labels: Arc<Map>) -> Self {
        Self { whole: OnceLock::from(labels), layers: None }
    }
}

impl From<Map> for Labels {
    fn from(labels: Map) -> Self {
        Arc::new(labels).into()
    }
}

impl Deref for Labels {
    type Target = Map;

    fn deref(&self) -> &Map {
        self.whole()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Labels {}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.whole().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(labels: &[(&str, &str)]) -> Arc<Map> {
        Arc::new(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn what_lies_above_wins_and_the_last_wins_over_all() {
        let below = map(&[("a", "run"), ("b", "run"), ("run_id", "forged")]);
        let above = map(&[("b", "step"), ("c", "step"), ("run_id", "forged too")]);
        let labels = Labels::layered(below, above, ("run_id", "r1".into()));
        let whole = map(&[("a", "run"), ("b", "step"), ("c", "step"), ("run_id", "r1")]);
        assert_eq!(labels, Labels::from(whole.clone()));
        assert_eq!(serde_json::to_value(&labels).unwrap(), serde_json::to_value(&*whole).unwrap());
        assert_eq!(serde_json::from_value::<Labels>(serde_json::to_value(&labels).unwrap()).unwrap(), labels);
    }

    #[test]
    fn a_change_is_not_seen_by_a_clone() {
        let mut labels = Labels::layered(map(&[("a", "1")]), map(&[]), ("run_id", "r1".into()));
        let before = labels.clone();
        labels.insert("a", "2");
        assert_eq!((&labels["a"], &before["a"]), (&"2".to_owned(), &"1".to_owned()));
        assert_eq!(labels["run_id"], "r1");
    }
}

//! Topics and patterns of topics to what was written for them; the most specific wins.

use std::collections::BTreeMap;

use crate::protocol::subjects::{SubjectError, SubjectFilter};

/// A value per topic or pattern. In a pattern `*` stands for one word and a last `>` for one or more.
///
/// Of several patterns that match a topic the most specific counts: word by word from the left, a literal word beats
/// `*`, and `*` beats `>`. So `job.a.>` beats `job.*.x` for `job.a.x`. The order is total: two different patterns
/// never tie.
///
/// A lookup walks a trie, most specific branch first: one step per word of the topic, and back where a branch ends
/// without a match.
#[derive(Clone, Debug)]
pub(crate) struct TopicMap<T> {
    root: Node<T>,
}

#[derive(Clone, Debug)]
struct Node<T> {
    here: Option<T>,
    rest: Option<T>,
    any: Option<Box<Node<T>>>,
    words: BTreeMap<Box<str>, Node<T>>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { here: None, rest: None, any: None, words: BTreeMap::new() }
    }
}

impl<T> Default for TopicMap<T> {
    fn default() -> Self {
        Self { root: Node::default() }
    }
}

impl<T> TopicMap<T> {
    /// Writes `value` under `pattern`, in place of an older one. The pattern was checked before.
    pub(crate) fn insert(&mut self, pattern: &str, value: T) {
        let mut node = &mut self.root;
        for word in pattern.split('.') {
            node = match word {
                ">" => {
                    node.rest = Some(value);
                    return;
                }
                "*" => node.any.get_or_insert_default(),
                word => node.words.entry(word.into()).or_default(),
            };
        }
        node.here = Some(value);
    }

    /// What counts for `topic`.
    pub(crate) fn get(&self, topic: &str) -> Option<&T> {
        self.root.find(topic)
    }
}

impl<T> Node<T> {
    fn find(&self, topic: &str) -> Option<&T> {
        let (word, rest) = match topic.split_once('.') {
            Some((word, rest)) => (word, Some(rest)),
            None => (topic, None),
        };
        if word.is_empty() {
            return None;
        }
        match rest {
            Some(rest) => self
                .words
                .get(word)
                .and_then(|node| node.find(rest))
                .or_else(|| self.any.as_ref().and_then(|node| node.find(rest))),
            None => self
                .words
                .get(word)
                .and_then(|node| node.here.as_ref())
                .or_else(|| self.any.as_ref().and_then(|node| node.here.as_ref())),
        }
        .or(self.rest.as_ref())
    }
}

/// Whether some topic matches both patterns.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
            (Some(x), Some(y)) if x == y || x == "*" || y == "*" => {}
            _ => return false,
        }
    }
}

/// Judges a topic or a pattern of topics as configuration may name them.
pub(crate) fn check(pattern: &str) -> Result<SubjectFilter, String> {
    let filter = SubjectFilter::new(pattern).map_err(|error: SubjectError| error.to_string())?;
    match pattern.strip_prefix("job.") {
        Some(_) => Ok(filter),
        None => Err("a topic starts with `job.`".to_owned()),
    }
}

//! The longest stored prefix of a text, by binary search.

use super::words::Words;

/// Prefixes in order; each knows the longest other one that it begins with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prefixes(Box<[Entry]>);

#[derive(Clone, Debug)]
struct Entry {
    prefix: Box<str>,
    /// Index of the longest stored proper prefix, plus one; 0 if there is none.
    parent: usize,
    /// The rules of this prefix and of every prefix of it.
    rules: Words,
}

impl Prefixes {
    /// From prefixes in ascending order, each once, and the rules that have it.
    pub(crate) fn new(own: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let mut sets: Vec<Vec<usize>> = Vec::new();
        for (prefix, mut rules) in own {
            let mut parent = entries.len();
            while let Some(above) = parent.checked_sub(1).and_then(|index| entries.get(index)) {
                if prefix.starts_with(&*above.prefix) {
                    break;
                }
                parent = above.parent;
            }
            if let Some(inherited) = parent.checked_sub(1).and_then(|index| sets.get(index)) {
                rules.extend(inherited);
            }
            entries.push(Entry { prefix: prefix.into(), parent, rules: Words::new(&mut rules) });
            sets.push(rules);
        }
        Self(entries.into())
    }

    /// The rules whose prefix `text` begins with.
    pub(crate) fn rules(&self, text: &str) -> Option<&Words> {
        // Everything between a prefix of `text` and `text` itself begins with that prefix, so the longest one is
        // the nearest entry below, or one that it begins with.
        let mut next = self.0.partition_point(|entry| *entry.prefix <= *text);
        loop {
            let entry = self.0.get(next.checked_sub(1)?)?;
            if text.starts_with(&*entry.prefix) {
                return Some(&entry.rules);
            }
            next = entry.parent;
        }
    }
}

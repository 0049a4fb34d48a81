//! Which rules could match a request: per criterion a map from value to the rules that accept it, combined word
//! by word.
//!
//! Criteria without a small set of values (labels, `requires`, MCP lists, secrets) are not indexed.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
};

use super::prefixes::Prefixes;
use crate::{
    evaluate::Facts,
    fold::{self, FoldMap},
    rule::Match,
};

/// Most risk tags of a request that are looked up; of requests with more, every rule with tags is a candidate.
const RISK_TAGS: usize = 6;
/// Topic patterns with a shorter literal start tell nothing about a topic: all begin with `job.`.
const TELLING_PREFIX: usize = 5;

/// A sparse set of rules: pairs of word number and 64 rules, in order, without empty words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words(Box<[(usize, u64)]>);

impl Words {
    pub(crate) fn new(rules: &mut Vec<usize>) -> Self {
        rules.sort_unstable();
        rules.dedup();
        let mut words: Vec<(usize, u64)> = Vec::new();
        for rule in rules.iter() {
            let bit = 1 << (rule % 64);
            match words.last_mut() {
                Some((word, bits)) if *word == rule / 64 => *bits |= bit,
                _ => words.push((rule / 64, bit)),
            }
        }
        Self(words.into())
    }
}

/// Reads a [`Words`] forwards.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor<'a>(&'a [(usize, u64)]);

impl<'a> Cursor<'a> {
    fn on(words: Option<&'a Words>) -> Self {
        words.map_or(Self(&[]), |words| Self(&words.0))
    }

    /// The 64 rules of `word`; earlier words are passed over for good.
    #[inline]
    fn take(&mut self, word: usize) -> u64 {
        while let [(at, bits), rest @ ..] = self.0 {
            if *at > word {
                break;
            }
            self.0 = rest;
            if *at == word {
                return *bits;
            }
        }
        0
    }
}

/// For 64 rules, per criterion, those that do not ask for it.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    topics: u64,
    tenants: u64,
    capabilities: u64,
    pack_ids: u64,
    actor_ids: u64,
    actor_types: u64,
    risk_tags: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    open: Box<[Open]>,
    exact_topics: HashMap<Box<str>, Words>,
    topic_prefixes: Prefixes,
    tenants: FoldMap<Words>,
    capabilities: FoldMap<Words>,
    pack_ids: FoldMap<Words>,
    actor_ids: FoldMap<Words>,
    actor_types: FoldMap<Words>,
    risk_tags: FoldMap<Words>,
}

impl Index {
    pub(crate) fn build<'a>(rules: impl ExactSizeIterator<Item = &'a Match>) -> Self {
        let mut open = vec![Open::default(); rules.len().div_ceil(64)];
        let mut exact_topics = BTreeMap::new();
        let mut prefixes = BTreeMap::new();
        let (mut tenants, mut capabilities, mut packs) = (Values::default(), Values::default(), Values::default());
        let (mut actors, mut kinds, mut tags) = (Values::default(), Values::default(), Values::default());
        for (number, rule) in rules.enumerate() {
            let Some(open) = open.get_mut(number / 64) else { break };
            let bit = 1 << (number % 64);
            tenants.add(&rule.tenants, number, &mut open.tenants);
            capabilities.add(&rule.capabilities, number, &mut open.capabilities);
            packs.add(&rule.pack_ids, number, &mut open.pack_ids);
            actors.add(&rule.actor_ids, number, &mut open.actor_ids);
            kinds.add(&rule.actor_types, number, &mut open.actor_types);
            tags.add(&rule.risk_tags, number, &mut open.risk_tags);
            let vague =
                |topic: &crate::rule::Glob| !topic.is_literal() && topic.literal_prefix().len() < TELLING_PREFIX;
            if rule.topics.is_empty() || rule.topics.iter().any(vague) {
                open.topics |= bit;
                continue;
            }
            for topic in &rule.topics {
                let map = if topic.is_literal() { &mut exact_topics } else { &mut prefixes };
                map.entry(topic.literal_prefix().to_owned()).or_insert_with(Vec::new).push(number);
            }
        }
        Self {
            open: open.into(),
            exact_topics: exact_topics
                .into_iter()
                .map(|(topic, mut rules): (String, _)| (topic.into(), Words::new(&mut rules)))
                .collect(),
            topic_prefixes: Prefixes::new(prefixes),
            tenants: tenants.finish(),
            capabilities: capabilities.finish(),
            pack_ids: packs.finish(),
            actor_ids: actors.finish(),
            actor_types: kinds.finish(),
            risk_tags: tags.finish(),
        }
    }

    /// Shows `visit` the candidates in order. It answers from which rule on it wants to see more.
    pub(crate) fn candidates(&self, facts: &Facts<'_>, mut visit: impl FnMut(usize) -> ControlFlow<(), usize>) {
        let mut exact = Cursor::on(self.exact_topics.get(facts.topic));
        let mut prefix = Cursor::on(self.topic_prefixes.rules(facts.topic));
        let mut tenant = Cursor::on(self.tenants.get(facts.tenant));
        let mut capability = Cursor::on(self.capabilities.get(facts.capability));
        let mut pack = Cursor::on(self.pack_ids.get(facts.pack_id));
        let mut actor = Cursor::on(self.actor_ids.get(facts.actor_id));
        let mut kind = Cursor::on(self.actor_types.get(facts.actor_type));
        let mut tags = [Cursor::default(); RISK_TAGS];
        let all_tags = facts.risk_tags.len() > RISK_TAGS;
        for (cursor, tag) in tags.iter_mut().zip(facts.risk_tags) {
            *cursor = Cursor::on(self.risk_tags.get(tag.trim()));
        }
        let mut from = 0;
        for (word, open) in self.open.iter().enumerate() {
            let start = word * 64;
            if start + 64 <= from {
                continue;
            }
            let mut left = open.topics | exact.take(word) | prefix.take(word);
            if left == 0 {
                continue;
            }
            left &= open.tenants | tenant.take(word);
            left &= open.capabilities | capability.take(word);
            if left == 0 {
                continue;
            }
            left &= open.pack_ids | pack.take(word);
            left &= open.actor_ids | actor.take(word);
            left &= open.actor_types | kind.take(word);
            if left == 0 {
                continue;
            }
            if !all_tags {
                left &= tags.iter_mut().fold(open.risk_tags, |rules, tag| rules | tag.take(word));
            }
            while left != 0 {
                let rule = start + left.trailing_zeros() as usize;
                left &= left - 1;
                if rule < from {
                    continue;
                }
                match visit(rule) {
                    ControlFlow::Continue(next) => from = next,
                    ControlFlow::Break(()) => return,
                }
            }
        }
    }
}

/// Collects the rules of each value of one criterion.
#[derive(Default)]
struct Values(BTreeMap<String, Vec<usize>>);

impl Values {
    fn add(&mut self, values: &[String], rule: usize, open: &mut u64) {
        if values.is_empty() {
            *open |= 1 << (rule % 64);
        }
        for value in values {
            self.0.entry(fold::lower(value)).or_default().push(rule);
        }
    }

    fn finish(self) -> FoldMap<Words> {
        self.0.into_iter().map(|(value, mut rules)| (value, Words::new(&mut rules))).collect()
    }
}

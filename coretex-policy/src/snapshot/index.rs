//! Which rules could match a request: per criterion a map from value to the rules that accept it, combined word by
//! word, and before that 64 words at a time, so that rules which are nowhere near cost nothing.
//!
//! Of `labels` and `requires`, all of which must hold, a rule stands under its rarest entry. MCP lists, secrets, `not`,
//! `during` and `when` are not indexed.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
};

use super::{
    prefixes::Prefixes,
    words::{Cursor, Several, Words},
};
use crate::{
    evaluate::Facts,
    fold::{self, FoldMap},
    rule::Match,
};

/// Topic patterns with a shorter literal start tell nothing about a topic: all begin with `job.`.
const TELLING_PREFIX: usize = 5;

/// For 64 rules (or 64 words of rules), per criterion, those that do not ask for it.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    topics: u64,
    tenants: u64,
    capabilities: u64,
    pack_ids: u64,
    actor_ids: u64,
    actor_types: u64,
    risk_tags: u64,
    requires: u64,
    labels: u64,
}

impl Open {
    /// Bit `at` is set where any bit of `words` is.
    fn summarise(&mut self, words: &Self, at: usize) {
        let mark = |own: &mut u64, bits: u64| *own |= u64::from(bits != 0) << at;
        mark(&mut self.topics, words.topics);
        mark(&mut self.tenants, words.tenants);
        mark(&mut self.capabilities, words.capabilities);
        mark(&mut self.pack_ids, words.pack_ids);
        mark(&mut self.actor_ids, words.actor_ids);
        mark(&mut self.actor_types, words.actor_types);
        mark(&mut self.risk_tags, words.risk_tags);
        mark(&mut self.requires, words.requires);
        mark(&mut self.labels, words.labels);
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    open: Box<[Open]>,
    blocks: Box<[Open]>,
    exact_topics: HashMap<Box<str>, Words>,
    topic_prefixes: Prefixes,
    tenants: FoldMap<Words>,
    capabilities: FoldMap<Words>,
    pack_ids: FoldMap<Words>,
    actor_ids: FoldMap<Words>,
    actor_types: FoldMap<Words>,
    risk_tags: FoldMap<Words>,
    requires: FoldMap<Words>,
    /// By key, then by value.
    labels: HashMap<Box<str>, HashMap<Box<str>, Words>>,
}

impl Index {
    pub(crate) fn build<'a>(rules: impl ExactSizeIterator<Item = &'a Match> + Clone) -> Self {
        let mut open = vec![Open::default(); rules.len().div_ceil(64)];
        let (mut exact_topics, mut prefixes) = (BTreeMap::new(), BTreeMap::new());
        let (mut tenants, mut capabilities, mut packs) = (Values::default(), Values::default(), Values::default());
        let (mut actors, mut kinds, mut tags) = (Values::default(), Values::default(), Values::default());
        let (mut requires, mut labels) = (Values::default(), BTreeMap::<(&str, &str), Vec<usize>>::new());
        let common = Common::of(rules.clone());
        for (number, rule) in rules.enumerate() {
            let Some(open) = open.get_mut(number / 64) else { break };
            let bit = 1 << (number % 64);
            tenants.add(&rule.tenants, number, &mut open.tenants);
            capabilities.add(&rule.capabilities, number, &mut open.capabilities);
            packs.add(&rule.pack_ids, number, &mut open.pack_ids);
            actors.add(&rule.actor_ids, number, &mut open.actor_ids);
            kinds.add(&rule.actor_types, number, &mut open.actor_types);
            tags.add(&rule.risk_tags, number, &mut open.risk_tags);
            requires.add(common.rarest_need(rule), number, &mut open.requires);
            match common.rarest_label(rule) {
                Some(label) => labels.entry(label).or_default().push(number),
                None => open.labels |= bit,
            }
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
        let mut blocks = vec![Open::default(); open.len().div_ceil(64)];
        for (word, of) in open.iter().enumerate() {
            if let Some(block) = blocks.get_mut(word / 64) {
                block.summarise(of, word % 64);
            }
        }
        let mut by_label: HashMap<Box<str>, HashMap<Box<str>, Words>> = HashMap::new();
        for ((key, value), mut rules) in labels {
            by_label.entry(key.into()).or_default().insert(value.into(), Words::new(&mut rules));
        }
        Self {
            open: open.into(),
            blocks: blocks.into(),
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
            requires: requires.finish(),
            labels: by_label,
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
        let mut tags = Several::of(facts.risk_tags.iter().filter_map(|tag| self.risk_tags.get(tag.trim())));
        let mut needs = Several::of(facts.requires.iter().filter_map(|own| self.requires.get(own.trim())));
        let mut labels = match self.labels.is_empty() {
            true => Several::default(),
            false => Several::of(facts.labels.iter().filter_map(|(key, value)| self.labels.get(&**key)?.get(&**value))),
        };
        let mut from = 0;
        for (block, open) in self.blocks.iter().enumerate() {
            let mut words = (open.topics | exact.block(block) | prefix.block(block))
                & (open.tenants | tenant.block(block))
                & (open.capabilities | capability.block(block))
                & (open.labels | labels.block(block))
                & (open.risk_tags | tags.block(block))
                & (open.requires | needs.block(block))
                & (open.pack_ids | pack.block(block))
                & (open.actor_ids | actor.block(block))
                & (open.actor_types | kind.block(block));
            while words != 0 {
                let word = block * 64 + words.trailing_zeros() as usize;
                words &= words - 1;
                let start = word * 64;
                if start + 64 <= from {
                    continue;
                }
                let Some(open) = self.open.get(word) else { return };
                let mut left = (open.topics | exact.take(word) | prefix.take(word))
                    & (open.tenants | tenant.take(word))
                    & (open.capabilities | capability.take(word));
                if left == 0 {
                    continue;
                }
                left &= (open.labels | labels.take(word))
                    & (open.risk_tags | tags.take(word))
                    & (open.requires | needs.take(word))
                    & (open.pack_ids | pack.take(word))
                    & (open.actor_ids | actor.take(word))
                    & (open.actor_types | kind.take(word));
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
}

/// How many rules ask for each label and each need.
struct Common<'a> {
    labels: HashMap<(&'a str, &'a str), usize>,
    needs: HashMap<String, usize>,
}

impl<'a> Common<'a> {
    fn of(rules: impl Iterator<Item = &'a Match>) -> Self {
        let mut common = Self { labels: HashMap::new(), needs: HashMap::new() };
        for rule in rules {
            for (key, value) in &rule.labels {
                *common.labels.entry((key, value)).or_default() += 1;
            }
            for need in &rule.requires {
                *common.needs.entry(fold::lower(need)).or_default() += 1;
            }
        }
        common
    }

    fn rarest_label(&self, rule: &'a Match) -> Option<(&'a str, &'a str)> {
        let labels = rule.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        labels.min_by_key(|label| self.labels.get(label))
    }

    fn rarest_need(&self, rule: &'a Match) -> &'a [String] {
        let rarest = rule.requires.iter().enumerate().min_by_key(|(_, need)| self.needs.get(&fold::lower(need)));
        rarest.and_then(|(at, _)| rule.requires.get(at..=at)).unwrap_or_default()
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
            self.0.entry(fold::lower(value.trim())).or_default().push(rule);
        }
    }

    fn finish(self) -> FoldMap<Words> {
        self.0.into_iter().map(|(value, mut rules)| (value, Words::new(&mut rules))).collect()
    }
}

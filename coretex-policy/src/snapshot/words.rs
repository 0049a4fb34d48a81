//! Sparse sets of rules that are combined 64 rules, and 4,096 rules, at a time.

/// Pairs of word number and 64 rules, in order, without empty words, and which of the words are there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    words: Box<[(usize, u64)]>,
    /// Bit `n % 64` of entry `n / 64`: word `n` is there.
    summary: Box<[u64]>,
}

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
        let mut summary = vec![0; words.last().map_or(0, |(word, _)| word / 64 + 1)];
        for (word, _) in &words {
            if let Some(bits) = summary.get_mut(word / 64) {
                *bits |= 1 << (word % 64);
            }
        }
        Self { words: words.into(), summary: summary.into() }
    }
}

/// Reads a [`Words`] forwards.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor<'a> {
    words: &'a [(usize, u64)],
    summary: &'a [u64],
}

impl<'a> Cursor<'a> {
    pub(crate) fn on(words: Option<&'a Words>) -> Self {
        words.map_or_else(Self::default, |words| Self { words: &words.words, summary: &words.summary })
    }

    /// Which of the words `64 * block..` are there.
    #[inline]
    pub(crate) fn block(&self, block: usize) -> u64 {
        self.summary.get(block).copied().unwrap_or(0)
    }

    /// The 64 rules of `word`; earlier words are passed over for good.
    #[inline]
    pub(crate) fn take(&mut self, word: usize) -> u64 {
        while let [(at, bits), rest @ ..] = self.words {
            if *at > word {
                break;
            }
            self.words = rest;
            if *at == word {
                return *bits;
            }
        }
        0
    }
}

/// Most sets that are read as one.
const MOST: usize = 6;

/// Up to six sets as one: rules that are in any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Several<'a> {
    cursors: [Cursor<'a>; MOST],
    used: usize,
    /// More sets than there is room for: every rule counts as in one.
    all: bool,
}

impl<'a> Several<'a> {
    pub(crate) fn of(sets: impl IntoIterator<Item = &'a Words>) -> Self {
        let mut several = Self::default();
        for set in sets {
            match several.cursors.get_mut(several.used) {
                Some(cursor) => {
                    *cursor = Cursor::on(Some(set));
                    several.used += 1;
                }
                None => several.all = true,
            }
        }
        several
    }

    #[inline]
    pub(crate) fn block(&self, block: usize) -> u64 {
        if self.all {
            return u64::MAX;
        }
        self.cursors.iter().take(self.used).fold(0, |bits, cursor| bits | cursor.block(block))
    }

    #[inline]
    pub(crate) fn take(&mut self, word: usize) -> u64 {
        if self.all {
            return u64::MAX;
        }
        self.cursors.iter_mut().take(self.used).fold(0, |bits, cursor| bits | cursor.take(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_gives_back_its_rules_word_by_word_and_says_which_words_it_has() {
        let rules = [0, 63, 64, 4_095, 4_096, 300_000];
        let words = Words::new(&mut rules.to_vec());
        let mut cursor = Cursor::on(Some(&words));
        let mut found = Vec::new();
        for word in 0..5_000 {
            let there = cursor.block(word / 64) & (1 << (word % 64)) != 0;
            let bits = cursor.take(word);
            assert_eq!(there, bits != 0, "word {word}");
            found.extend((0..64).filter(|bit| bits & (1 << bit) != 0).map(|bit| word * 64 + bit));
        }
        assert_eq!(found, rules);
    }

    #[test]
    fn more_sets_than_there_is_room_for_leave_nothing_out() {
        let sets: Vec<_> = (0..7).map(|n| Words::new(&mut vec![n * 64])).collect();
        let mut six = Several::of(sets.iter().take(6));
        assert_eq!((six.take(5), six.take(6)), (1, 0));
        let mut seven = Several::of(&sets);
        assert_eq!((seven.take(0), seven.take(6)), (u64::MAX, u64::MAX));
    }
}

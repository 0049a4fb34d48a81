//! What a decision changed among many, by place.
//!
//! Nearly every decision touches one or two of them, which a search finds sooner than a table; a table is only made for
//! the few decisions that touch many.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// As many are searched one by one.
const FEW: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct Touched<T> {
    entries: Vec<(usize, T)>,
    /// Where the entry of a place lies; empty as long as there are few.
    places: HashMap<usize, usize, BuildHasherDefault<Spread>>,
}

impl<T> Default for Touched<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: HashMap::default() }
    }
}

impl<T> Touched<T> {
    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.entries.get(self.find(place)?).map(|(_, value)| value)
    }

    /// The one at `place`; `value` where it was not touched yet.
    pub(super) fn get_or_insert_with(&mut self, place: usize, value: impl FnOnce() -> T) -> Option<&mut T> {
        let at = match self.find(place) {
            Some(at) => at,
            None => {
                if self.entries.is_empty() {
                    // A step that ends and the one that begins.
                    self.entries.reserve_exact(2);
                }
                self.entries.push((place, value()));
                let count = self.entries.len();
                if count > FEW {
                    let from = self.places.len();
                    self.places.extend(self.entries.iter().enumerate().skip(from).map(|(at, (place, _))| (*place, at)));
                }
                count - 1
            }
        };
        self.entries.get_mut(at).map(|(_, value)| value)
    }

    #[inline]
    fn find(&self, place: usize) -> Option<usize> {
        if self.entries.len() > FEW {
            return self.places.get(&place).copied();
        }
        self.entries.iter().position(|(at, _)| *at == place)
    }
}

impl<T> IntoIterator for Touched<T> {
    type Item = (usize, T);
    type IntoIter = std::vec::IntoIter<(usize, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<T> FromIterator<(usize, T)> for Touched<T> {
    /// Of places that differ.
    fn from_iter<I: IntoIterator<Item = (usize, T)>>(entries: I) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
        let mut touched = Self { entries, ..Self::default() };
        if touched.entries.len() > FEW {
            touched.places = touched.entries.iter().enumerate().map(|(at, (place, _))| (*place, at)).collect();
        }
        touched
    }
}

/// Places are small, dense and not chosen by anyone: spreading their bits is all that a table needs.
#[derive(Clone, Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, place: usize) {
        self.0 = (self.0 ^ place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_touched_whether_few_or_many() {
        for count in [1, FEW, FEW + 1, 10 * FEW] {
            let mut touched = Touched::default();
            for place in 0..count {
                *touched.get_or_insert_with(place * 3, || 0).unwrap() += place;
                *touched.get_or_insert_with(place * 3, || 1_000).unwrap() += 1;
            }
            let collected: Touched<usize> = touched.clone().into_iter().collect();
            for place in 0..count {
                assert_eq!(touched.get(place * 3), Some(&(place + 1)), "{place} of {count}");
                assert_eq!(collected.get(place * 3), Some(&(place + 1)), "{place} of {count}");
                assert_eq!(touched.get(place * 3 + 1), None);
            }
            assert_eq!(touched.into_iter().count(), count);
        }
    }
}

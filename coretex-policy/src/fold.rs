//! Comparing names without regard to case, and a map whose look-ups do so without allocating.
//!
//! Two names are the same if they are equal after each character is lowered by itself. Names of ASCII letters,
//! which is all of them in practice, are compared as bytes; others cost one short allocation per look-up.

/// Whether two names are the same.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!(a.is_ascii() && b.is_ascii()) && lowered(a).eq(lowered(b)))
}

/// The form that all spellings of a name share.
pub(crate) fn lower(text: &str) -> String {
    lowered(text).collect()
}

fn lowered(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().flat_map(char::to_lowercase)
}

/// A fixed map from names to values.
#[derive(Clone, Debug)]
pub(crate) struct FoldMap<V> {
    entries: Vec<(Box<str>, V)>,
    /// Open addressing, at most half full: 0 is free, n is entry n - 1.
    slots: Box<[u32]>,
}

impl<V> Default for FoldMap<V> {
    fn default() -> Self {
        Self { entries: Vec::new(), slots: Box::default() }
    }
}

impl<V> FromIterator<(String, V)> for FoldMap<V> {
    /// Keys must be different and [lowered](lower); of equal ones the first is found.
    fn from_iter<I: IntoIterator<Item = (String, V)>>(entries: I) -> Self {
        let entries: Vec<_> = entries.into_iter().map(|(key, value)| (key.into_boxed_str(), value)).collect();
        let mut slots = vec![0; (entries.len() * 2).next_power_of_two()].into_boxed_slice();
        let mask = slots.len() - 1;
        for (number, (key, _)) in (1..).zip(&entries) {
            let mut at = hash(key) & mask;
            while slots.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) & mask;
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = number;
            }
        }
        Self { entries, slots }
    }
}

impl<V> FoldMap<V> {
    /// The value of `name` in any case.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        if self.entries.is_empty() || name.is_empty() {
            None
        } else if name.is_ascii() {
            self.find(name, hash(name))
        } else {
            let name = lower(name);
            self.find(&name, hash(&name))
        }
    }

    fn find(&self, name: &str, hash: usize) -> Option<&V> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash & mask;
        loop {
            let number = usize::try_from(*self.slots.get(at)?).ok()?;
            let (key, value) = self.entries.get(number.checked_sub(1)?)?;
            if key.eq_ignore_ascii_case(name) {
                return Some(value);
            }
            at = (at + 1) & mask;
        }
    }
}

/// Equal for names that differ in the case of ASCII letters only, because the bit that tells case is always set.
fn hash(name: &str) -> usize {
    const CASE: u64 = 0x2020_2020_2020_2020;
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut state = name.len() as u64;
    let mut feed = |chunk: u64| state = (state.rotate_left(23) ^ (chunk | CASE)).wrapping_mul(MIX);
    let (chunks, tail) = name.as_bytes().as_chunks::<8>();
    for chunk in chunks {
        feed(u64::from_le_bytes(*chunk));
    }
    if !tail.is_empty() {
        feed(tail.iter().fold(0, |chunk, byte| chunk << 8 | u64::from(*byte)));
    }
    // The well-mixed bits are the high ones; which of them are kept does not matter on narrower machines.
    #[expect(clippy::cast_possible_truncation, reason = "a hash may lose bits")]
    let folded = (state ^ (state >> 32)) as usize;
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        let map: FoldMap<u32> =
            ["", "prod", "a-longer-name-than-eight", "straße", "école"].iter().map(|s| lower(s)).zip(0..).collect();
        assert_eq!(map.get("PROD"), Some(&1));
        assert_eq!(map.get("A-Longer-NAME-than-eight"), Some(&2));
        assert_eq!(map.get("STRAßE"), Some(&3));
        assert_eq!(map.get("École"), Some(&4));
        assert_eq!(map.get("pro"), None);
        assert_eq!(map.get(""), None);
    }

    #[test]
    fn a_letter_outside_ascii_that_lowers_into_it_is_the_same() {
        let map: FoldMap<()> = [("kelvin".to_owned(), ())].into_iter().collect();
        assert!(map.get("\u{212A}elvin").is_some());
        assert!(same("\u{212A}elvin", "kelvin"));
        assert!(!same("kelvin", "celsius"));
    }

    #[test]
    fn many_names_do_not_hide_each_other() {
        let map: FoldMap<usize> = (0..5_000).map(|n| (format!("name-{n}"), n)).collect();
        assert!((0..5_000).all(|n| map.get(&format!("NAME-{n}")) == Some(&n)));
        assert_eq!(map.get("name-5000"), None);
    }
}

//! One at a time for each of many things, and never a request to look at one that goes unheard.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

/// What is being looked at now. A thing that is asked for meanwhile is looked at once more.
pub(super) struct Turns<K>(Mutex<HashMap<K, bool>>);

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K> fmt::Debug for Turns<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turns")
    }
}

impl<K: Clone + Eq + Hash> Turns<K> {
    /// Whether the caller is to look at `key`; otherwise somebody does, and will once more.
    pub(super) fn begin(&self, key: &K) -> bool {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match turns.get_mut(key) {
            Some(again) => {
                *again = true;
                false
            }
            None => turns.insert(key.clone(), false).is_none(),
        }
    }

    /// Ends a look, unless another one was asked for meanwhile: then true.
    pub(super) fn again(&self, key: &K) -> bool {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match turns.get_mut(key) {
            Some(again) if *again => {
                *again = false;
                true
            }
            _ => {
                turns.remove(key);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    #[test]
    fn a_request_during_a_look_leads_to_one_more() {
        let turns = Turns::default();
        assert!(turns.begin(&1) && turns.begin(&2));
        assert!(!turns.begin(&1) && !turns.begin(&1));
        assert!(turns.again(&1), "asked for twice, looked at once more");
        assert!(!turns.again(&1) && !turns.again(&2));
        assert!(turns.begin(&1), "nobody looks now");
    }
}

//! Forgetting aggregates that are idle.

use super::Executor;

impl Executor {
    /// Forgets the longest idle aggregates while those at hand weigh more than allowed.
    pub(super) fn forget_idle(&mut self) {
        // The last one stays, however large: reading it back for every input would cost more than it takes.
        while self.idle_weight > self.shared.options.cache_bytes && self.idle.len() > 1 {
            let Some((stamp, aggregate)) = self.idle.pop_front() else { return };
            if self.entries.get(&aggregate).is_some_and(|entry| entry.stamp == stamp && entry.is_idle())
                && let Some(entry) = self.entries.remove(&aggregate)
            {
                self.idle_weight = self.idle_weight.saturating_sub(entry.counted);
            }
        }
        // Stale marks weigh nothing but take room.
        if self.idle.len() > 1_024 && self.idle.len() > 4 * self.entries.len() {
            let entries = &self.entries;
            self.idle.retain(|(stamp, aggregate)| entries.get(aggregate).is_some_and(|entry| entry.stamp == *stamp));
        }
    }
}

//! Things by place, where a place that is used again is told apart from before.

/// A place and how often it was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slot {
    index: u32,
    generation: u32,
}

/// Values by [`Slot`]. Everything is O(1).
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<(u32, Option<T>)>,
    unused: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), unused: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, value: T) -> Slot {
        if let Some(index) = self.unused.pop()
            && let Some((generation, entry)) = self.entries.get_mut(index as usize)
        {
            *entry = Some(value);
            return Slot { index, generation: *generation };
        }
        // Four billion waiting jobs do not fit into memory.
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push((0, Some(value)));
        Slot { index, generation: 0 }
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        let (generation, entry) = self.entries.get(slot.index as usize)?;
        entry.as_ref().filter(|_| *generation == slot.generation)
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let (generation, entry) = self.entries.get_mut(slot.index as usize)?;
        entry.as_mut().filter(|_| *generation == slot.generation)
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let (generation, entry) = self.entries.get_mut(slot.index as usize)?;
        if *generation != slot.generation {
            return None;
        }
        let value = entry.take()?;
        *generation = generation.wrapping_add(1);
        self.unused.push(slot.index);
        Some(value)
    }
}

//! Definitions of an executor's own.
//!
//! All runs share a compiled definition, and count references to its parts, many for each step. Executors on two cores
//! that count in the same places wait for each other, which takes longer than anything else that a step does. So a
//! definition that many runs of an executor start under is compiled once more, for that executor alone.

use std::sync::Arc;

use foldhash::HashMap;

use crate::workflow::Workflow;

/// Starts under a definition after which it is worth a compilation.
const MANY: u32 = 64;
/// Definitions that are counted at once. One more, and all are counted anew: what is compiled once for so many starts
/// stays cheap however many definitions take turns.
const MOST: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Definitions(HashMap<Arc<str>, Known>);

#[derive(Debug, Default)]
struct Known {
    starts: u32,
    own: Option<Arc<Workflow>>,
}

impl Definitions {
    /// The definition for a run that starts under `shared`: that, or the equal one of this executor alone.
    pub(super) fn of(&mut self, shared: &Arc<Workflow>) -> Arc<Workflow> {
        if self.0.len() >= MOST && !self.0.contains_key(shared.digest()) {
            self.0.clear();
        }
        let known = self.0.entry(shared.digest().clone()).or_default();
        known.starts = known.starts.saturating_add(1);
        if known.starts == MANY {
            // It was compiled before: the same definition compiles again.
            known.own = Workflow::compile("store", shared.spec().clone()).ok().map(Arc::new);
        }
        known.own.as_ref().unwrap_or(shared).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(id: usize) -> Arc<Workflow> {
        let text = format!("id: w{id}\nsteps:\n  a: {{type: worker, topic: job.a}}\n");
        Arc::new(Workflow::parse("test", &text).unwrap())
    }

    #[test]
    fn a_definition_that_many_runs_start_under_is_compiled_for_the_executor_alone() {
        let mut own = Definitions::default();
        let shared = workflow(0);
        for _ in 1..MANY {
            assert!(Arc::ptr_eq(&own.of(&shared), &shared));
        }
        let first = own.of(&shared);
        assert!(!Arc::ptr_eq(&first, &shared));
        assert_eq!(first, shared);
        assert!(Arc::ptr_eq(&own.of(&shared), &first));
    }

    #[test]
    fn definitions_that_take_turns_are_bounded() {
        let mut own = Definitions::default();
        for n in 0..2 * MOST {
            own.of(&workflow(n));
            assert!(own.0.len() <= MOST);
        }
    }
}

//! `switch`: chooses which of its dependents go on.

use std::{collections::BTreeSet, sync::Arc};

use super::super::Machine;
use crate::{
    job::Failure,
    workflow::{Case, RunEvent},
};

impl Machine<'_> {
    pub(super) fn begin_switch(&mut self, slot: usize, cases: &[Case], all: bool, default: &[usize]) {
        let mut matched: Vec<Arc<str>> = Vec::new();
        let mut chosen = BTreeSet::new();
        for case in cases {
            match self.seen(slot, |scope| case.when.evaluate_bool(scope)) {
                Ok(true) => {
                    matched.push(case.name.clone());
                    chosen.extend(&case.then);
                    if !all {
                        break;
                    }
                }
                Ok(false) => {}
                Err(error) => {
                    let message = format!("case `{}`: {error}", case.name);
                    return self.fail(slot, Failure::fatal(error.code(), message));
                }
            }
        }
        if matched.is_empty() {
            chosen.extend(default);
        }
        let name = |position: &usize| self.workflow.steps().get(*position).map(|step| step.id.shared());
        let taken = chosen.iter().filter_map(name).collect();
        self.record_step(slot, |step| RunEvent::StepSwitched { step, cases: matched, taken });
        self.ended(slot);
    }
}

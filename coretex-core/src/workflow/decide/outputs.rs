//! Expressions that read outputs kept by pointer.
//!
//! A decision never waits. One that comes upon such an output ends with [`Rejected::OutputNeeded`], and nothing has
//! happened; whoever asked loads the output and asks again with it among the facts. What is rendered lies in the events as
//! always, so a replay needs no output. An evaluation reads at most `decision_bytes` of such outputs, and a decision that
//! has read as many begins nothing more.

use std::{cell::Cell, sync::Arc};

use super::{Machine, Rejected, Transition};
use crate::{
    job::{LoadedOutputs, OutputNeeded},
    value::{Elsewhere, EvalError, EvalErrorKind, Node, Object, Scope, Value},
    workflow::{StepRun, fold::RunMut, scope::RunScope},
};

/// What a decision has to do with outputs kept by pointer.
#[derive(Default)]
pub(super) struct Away {
    /// Read so far, by digest.
    read: Vec<(Arc<str>, u64)>,
    /// Needed to go on.
    needed: Option<OutputNeeded>,
}

impl Away {
    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.read.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Whether the decision cannot go on.
    pub(super) const fn is_waiting(&self) -> bool {
        self.needed.is_some()
    }
}

impl Machine<'_> {
    /// The transition, or what it needs first.
    pub(super) fn conclude(mut self) -> Result<Transition, Rejected> {
        match self.away.needed.take() {
            Some(needed) => Err(Rejected::OutputNeeded(needed)),
            None => Ok(self.finish()),
        }
    }

    /// What `evaluate` gives as seen from the step run at `slot`.
    pub(super) fn seen<T>(
        &mut self,
        slot: usize,
        evaluate: impl Fn(&dyn Scope) -> Result<T, EvalError>,
    ) -> Result<T, EvalError> {
        let block = self.draft.step_at(slot).map_or(0, |step| step.block as usize);
        self.seen_in(block, evaluate)
    }

    /// What `evaluate` gives as seen from within `block`. An error that is followed by a need to load something counts for
    /// nothing: the decision is made again.
    pub(super) fn seen_in<T>(
        &mut self,
        block: usize,
        evaluate: impl Fn(&dyn Scope) -> Result<T, EvalError>,
    ) -> Result<T, EvalError> {
        let scope = RunScope { state: &self.draft, block };
        let error = match evaluate(&scope) {
            Err(error) if error.kind() == EvalErrorKind::Elsewhere => error,
            other => return other,
        };
        let Some(loaded) = self.facts.outputs else { return Err(error) };
        let scope = AwayScope::of(scope, loaded, self.facts.bounds.decision_bytes);
        let result = evaluate(&scope);
        let read: Vec<_> = scope.read().collect();
        let needed = scope.needed();
        for (sha256, bytes) in read {
            if !self.away.read.iter().any(|(known, _)| *known == sha256) {
                self.away.read.push((sha256, bytes));
            }
        }
        if result.as_ref().is_err_and(|error| error.kind() == EvalErrorKind::Elsewhere) {
            self.away.needed = needed;
        }
        result
    }
}

/// A scope that knows of outputs that were loaded, and notes those that were not.
struct AwayScope<'a, S> {
    inner: RunScope<'a, S>,
    /// The visible steps whose output is kept by pointer, by where they lie.
    steps: Vec<(usize, AwayStep<'a>)>,
}

struct AwayStep<'a> {
    step: &'a StepRun,
    sha256: &'a Arc<str>,
    bytes: u64,
    /// `None` when nobody looked, `Some(None)` where nothing can be read.
    value: Option<Option<&'a Value>>,
    asked: Cell<bool>,
    /// Bytes that one evaluation may read.
    most: u64,
}

impl<'a, S: RunMut> AwayScope<'a, S> {
    fn of(inner: RunScope<'a, S>, loaded: &'a LoadedOutputs, most: u64) -> Self {
        let steps = inner.state.workflow().steps().iter().filter_map(|step| {
            let slot = inner.slot(step.id().as_str())?;
            let step = inner.state.step_at(slot)?;
            let output = step.output.as_ref().filter(|output| output.value.is_none())?;
            let (sha256, bytes) = output.sha256.as_ref().zip(output.bytes)?;
            let value = loaded.get(sha256);
            Some((slot, AwayStep { step, sha256, bytes, value, asked: Cell::new(false), most }))
        });
        let steps = steps.collect();
        Self { inner, steps }
    }

    fn asked(&self) -> impl Iterator<Item = &AwayStep<'a>> {
        self.steps.iter().map(|(_, step)| step).filter(|step| step.asked.get())
    }

    /// What was read, by digest.
    fn read(&self) -> impl Iterator<Item = (Arc<str>, u64)> {
        self.asked().filter(|step| matches!(step.value, Some(Some(_)))).map(|step| (step.sha256.clone(), step.bytes))
    }

    /// The first that was asked for and not looked for, if it may be read beside what was.
    fn needed(&self) -> Option<OutputNeeded> {
        let mut read: Vec<_> = self.read().collect();
        read.sort_unstable();
        read.dedup();
        let read: u64 = read.iter().map(|(_, bytes)| bytes).sum();
        let needed = self.asked().find(|step| step.value.is_none() && read.saturating_add(step.bytes) <= step.most)?;
        Some(OutputNeeded { sha256: needed.sha256.clone(), bytes: needed.bytes })
    }
}

impl<S: RunMut> Scope for AwayScope<'_, S> {
    fn variable(&self, name: &str) -> Option<Node<'_>> {
        match name {
            "steps" => Some(Node::Object(self)),
            _ => self.inner.variable(name),
        }
    }
}

impl<S: RunMut> Object for AwayScope<'_, S> {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        let slot = self.inner.slot(key)?;
        match self.steps.iter().find(|(at, _)| *at == slot) {
            Some((_, step)) => Some(Node::Object(step)),
            None => self.inner.field(key),
        }
    }

    fn keys(&self) -> Vec<String> {
        self.inner.keys()
    }
}

impl Object for AwayStep<'_> {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        if key != "output" {
            return self.step.field(key);
        }
        self.asked.set(true);
        match self.value {
            Some(Some(value)) => Some(Node::Json(value)),
            _ => Some(Node::Elsewhere(self)),
        }
    }

    fn keys(&self) -> Vec<String> {
        self.step.keys()
    }
}

impl Elsewhere for AwayStep<'_> {
    fn reason(&self) -> String {
        let reason = self.step.reason();
        match self.value {
            Some(_) => format!("{reason}; it cannot be read there any more"),
            None => format!("{reason}; one step reads at most {} bytes of such outputs (`decision_bytes`)", self.most),
        }
    }
}

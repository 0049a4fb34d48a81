//! What expressions see of a run: `input`, `ctx`, `steps.<id>.{output,status,error,attempts}`, `run.{id,…}`, and inside of
//! groups `item`, `index` and `carry`.

use std::sync::Arc;

use super::{
    StepKind, StepRun,
    fold::{self, RunMut},
    state::Block,
};
use crate::value::{Elsewhere, Node, Object, Scope, Value};

/// The scope of one evaluation, borrowed from the state, as seen from inside of a block.
pub(super) struct RunScope<'a, S> {
    pub(super) state: &'a S,
    pub(super) block: usize,
}

impl<S: RunMut> RunScope<'_, S> {
    /// The blocks around, the innermost first.
    fn around(&self) -> impl Iterator<Item = &Block> {
        std::iter::successors(self.state.block_at(self.block), |block| {
            let holder = self.state.step_at(block.holder? as usize)?;
            self.state.block_at(holder.block as usize)
        })
    }

    /// Where the step run lies that `steps.<key>` is.
    pub(super) fn slot(&self, key: &str) -> Option<usize> {
        fold::visible(self.state, self.block, self.state.workflow().position(key)?)
    }

    fn iterates(&self, block: &Block) -> bool {
        self.state.workflow().scopes().get(block.scope as usize).is_some_and(|scope| scope.iterates)
    }

    /// The item of the innermost `for_each` around.
    pub(super) fn item(&self) -> Option<&Value> {
        self.around().find_map(|block| {
            let holder = self.state.step_at(block.holder? as usize)?;
            let step = self.state.workflow().steps().get(holder.position as usize)?;
            if !matches!(step.kind, StepKind::ForEach { .. }) {
                return None;
            }
            holder.group.as_deref()?.items.as_deref()?.get(block.index as usize)
        })
    }

    /// The index of the innermost loop or `for_each` around.
    pub(super) fn index(&self) -> Option<u32> {
        self.around().find(|block| self.iterates(block)).map(|block| block.index)
    }

    fn carry(&self) -> Option<&Arc<Value>> {
        self.around().find_map(|block| block.carry.as_ref())
    }
}

impl<S: RunMut> Scope for RunScope<'_, S> {
    fn variable(&self, name: &str) -> Option<Node<'_>> {
        match name {
            "input" => self.state.core().info.as_ref().map(|info| Node::Json(&info.input)),
            "ctx" => Some(Node::Json(&self.state.core().context)),
            "steps" => Some(Node::Object(self)),
            "run" => Some(Node::Object(self.state.core())),
            "item" => self.item().map(Node::Json),
            "index" => self.index().map(|index| Node::Int(i64::from(index))),
            "carry" => self.carry().map(|carry| Node::Json(carry)),
            _ => None,
        }
    }
}

/// The steps by id.
impl<S: RunMut> Object for RunScope<'_, S> {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        let step = self.state.step_at(self.slot(key)?)?;
        Some(Node::Object(step))
    }

    fn keys(&self) -> Vec<String> {
        let steps = self.state.workflow().steps().iter();
        steps.map(|step| step.id.to_string()).filter(|id| self.slot(id).is_some()).collect()
    }
}

impl Object for StepRun {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        let output = self.output.as_ref();
        let count = |count: u32| Some(Node::Int(i64::from(count)));
        match key {
            "output" => match output.map(|output| (output.value.as_deref(), output.pointer.as_deref())) {
                Some((Some(value), _)) => Some(Node::Json(value)),
                Some((None, Some(_))) => Some(Node::Elsewhere(self)),
                _ => None,
            },
            "result_ptr" => output.and_then(|output| output.pointer.as_deref()).map(Node::Text),
            "status" => Some(Node::Text(self.status.as_str())),
            "attempts" => count(self.attempts),
            "error" => self.failure.as_ref().map(|failure| Node::Object(failure)),
            "total" => self.group.as_ref().and_then(|group| count(group.total)),
            "succeeded" => self.group.as_ref().and_then(|group| count(group.succeeded)),
            "failed" => self.group.as_ref().and_then(|group| count(group.failed)),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<String> {
        let group: &[&str] = if self.group.is_some() { &["total", "succeeded", "failed"] } else { &[] };
        ["output", "result_ptr", "status", "attempts", "error"]
            .iter()
            .chain(group)
            .map(|key| (*key).to_owned())
            .collect()
    }
}

/// An output that is kept by pointer.
impl Elsewhere for StepRun {
    fn reason(&self) -> String {
        let step = self.job.as_ref().and_then(|job| job.id.step_parts()).map_or("?", |(_, step, _)| step);
        let output = self.output.as_ref();
        let pointer = output.and_then(|output| output.pointer.as_deref()).unwrap_or_default();
        let size = match output.and_then(|output| output.bytes) {
            Some(bytes) => format!("has {bytes} bytes, which `inline_bytes` does not allow in a record, and"),
            None => "was handed over by pointer and could not be read, so it".to_owned(),
        };
        format!(
            "the output of step `{step}` {size} is kept behind the pointer `{pointer}`; pass on `steps.{step}.result_ptr`, \
             or make the output smaller"
        )
    }
}

impl Object for crate::job::Failure {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        match key {
            "code" => Some(Node::Text(&self.code)),
            "message" => Some(Node::Text(&self.message)),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<String> {
        ["code", "message"].map(str::to_owned).into()
    }
}

/// `run`: what is known of the run itself. `status` and `error` are of use in `finally` steps.
impl Object for super::state::RunCore {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        let info = self.info.as_deref()?;
        match key {
            "id" => Some(Node::Text(info.id.as_str())),
            "tenant" => Some(Node::Text(info.tenant.as_str())),
            "principal" => Some(Node::Text(&info.principal)),
            "started_at" => Some(Node::Text(&info.started_at)),
            "dry_run" => Some(Node::Bool(info.dry_run)),
            "status" => Some(Node::Text(match self.cause.as_deref() {
                None if self.phase == super::Phase::Forward => "running",
                None => "succeeded",
                Some(super::Cause::Failed { timed_out: false, .. }) => "failed",
                Some(super::Cause::Cancelled { .. }) => "cancelled",
                Some(super::Cause::Failed { .. } | super::Cause::TimedOut) => "timed_out",
            })),
            "error" => match self.cause.as_deref() {
                Some(super::Cause::Failed { failure, .. }) => Some(Node::Object(failure)),
                _ => None,
            },
            _ => None,
        }
    }

    fn keys(&self) -> Vec<String> {
        ["id", "tenant", "principal", "started_at", "dry_run", "status", "error"].map(str::to_owned).into()
    }
}

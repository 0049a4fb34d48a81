//! What expressions see of a run: `input`, `ctx`, `steps.<id>.{output,status,error,attempts}`, `run.{id,…}`.

use super::{StepRun, evolve::RunMut};
use crate::value::{Node, Object, Scope};

/// The scope of one evaluation, borrowed from the state.
pub(super) struct RunScope<'a, S>(pub(super) &'a S);

impl<S: RunMut> Scope for RunScope<'_, S> {
    fn variable(&self, name: &str) -> Option<Node<'_>> {
        match name {
            "input" => Some(Node::Json(&self.0.core().input)),
            "ctx" => Some(Node::Json(&self.0.core().context)),
            "steps" => Some(Node::Object(self)),
            "run" => Some(Node::Object(self.0.core())),
            _ => None,
        }
    }
}

/// The steps by id.
impl<S: RunMut> Object for RunScope<'_, S> {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        let step = self.0.step_at(self.0.workflow().position(key)?)?;
        Some(Node::Object(step))
    }

    fn keys(&self) -> Vec<String> {
        self.0.workflow().steps().iter().map(|step| step.id.to_string()).collect()
    }
}

impl Object for StepRun {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        let output = self.output.as_ref();
        match key {
            "output" => output.and_then(|output| output.value.as_deref()).map(Node::Json),
            "result_ptr" => output.and_then(|output| output.pointer.as_deref()).map(Node::Text),
            "status" => Some(Node::Text(self.status.as_str())),
            "attempts" => Some(Node::Int(i64::from(self.attempts))),
            "error" => self.failure.as_ref().map(|failure| Node::Object(failure)),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<String> {
        ["output", "result_ptr", "status", "attempts", "error"].map(str::to_owned).into()
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

impl Object for super::state::RunCore {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        match key {
            "id" => self.id.as_ref().map(|id| Node::Text(id.as_str())),
            "tenant" => Some(Node::Text(self.tenant.as_str())),
            "principal" => Some(Node::Text(&self.principal)),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<String> {
        ["id", "tenant", "principal"].map(str::to_owned).into()
    }
}

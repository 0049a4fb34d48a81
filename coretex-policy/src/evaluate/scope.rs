//! What a `when` sees: the request, lent to the expression.
//!
//! Invariant: what nobody told is not false. Reading the input where it is not at hand, the time where none is given,
//! or a fact that no host lends fails, and a condition that fails denies; `'name' in known` asks first.

use std::{cell::OnceCell, collections::BTreeMap};

use coretex_core::{
    policy::RunFacts,
    value::{Elsewhere, Node, Object, Scope, Value},
};

use super::Facts;

/// See the module.
pub(crate) struct RequestScope<'f, 'a> {
    facts: &'f Facts<'a>,
    labels: Labels<'a>,
    told: Told<'a>,
    now: OnceCell<String>,
    risk_tags: OnceCell<Value>,
    requires: OnceCell<Value>,
    known: OnceCell<Value>,
}

impl<'f, 'a> RequestScope<'f, 'a> {
    pub(crate) fn of(facts: &'f Facts<'a>) -> Self {
        Self {
            facts,
            labels: Labels(facts.labels),
            told: Told(facts.request.facts),
            now: OnceCell::new(),
            risk_tags: OnceCell::new(),
            requires: OnceCell::new(),
            known: OnceCell::new(),
        }
    }
}

impl Scope for RequestScope<'_, '_> {
    fn variable(&self, name: &str) -> Option<Node<'_>> {
        let facts = self.facts;
        let request = &facts.request;
        let list = |of: &[String]| of.iter().map(String::as_str).collect::<Value>();
        match name {
            "topic" => Some(Node::Text(facts.topic)),
            "tenant" => Some(Node::Text(facts.tenant)),
            "principal" => Some(Node::Text(request.principal_id)),
            "actor_id" => Some(Node::Text(facts.actor_id)),
            "actor_type" => Some(Node::Text(facts.actor_type)),
            "capability" => Some(Node::Text(facts.capability)),
            "pack" => Some(Node::Text(facts.pack_id)),
            "risk_tags" => Some(Node::Json(self.risk_tags.get_or_init(|| list(facts.risk_tags)))),
            "requires" => Some(Node::Json(self.requires.get_or_init(|| list(facts.requires)))),
            "labels" => Some(Node::Object(&self.labels)),
            "secrets_present" => Some(Node::Bool(facts.secrets())),
            "workflow" => request.workflow_id.map(Node::Text),
            "run" => request.run_id.map(Node::Text),
            "step" => request.step_id.map(Node::Text),
            "attempt" => Some(Node::Int(request.attempt.into())),
            "input" => Some(request.input.map_or(Node::Elsewhere(&Untold("the input is not at hand")), Node::Json)),
            "now" => Some(match request.now {
                Some(now) => Node::Text(self.now.get_or_init(|| now.to_string())),
                None => Node::Elsewhere(&Untold("nobody told the time")),
            }),
            "facts" => Some(Node::Object(&self.told)),
            "known" => Some(Node::Json(self.known.get_or_init(|| self.told.keys().into()))),
            _ => None,
        }
    }
}

struct Labels<'a>(&'a BTreeMap<String, String>);

impl Object for Labels<'_> {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        self.0.get(key).map(|value| Node::Text(value))
    }

    fn keys(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

struct Told<'a>(Option<&'a RunFacts>);

impl Object for Told<'_> {
    fn field(&self, key: &str) -> Option<Node<'_>> {
        let told = self.0.and_then(|facts| facts.get(key)).map(Node::Json);
        Some(told.unwrap_or(Node::Elsewhere(&Untold("nobody told this fact; ask `'name' in known` first"))))
    }

    fn keys(&self) -> Vec<String> {
        self.0.map(|facts| facts.names().map(str::to_owned).collect()).unwrap_or_default()
    }
}

struct Untold(&'static str);

impl Elsewhere for Untold {
    fn reason(&self) -> String {
        self.0.to_owned()
    }
}

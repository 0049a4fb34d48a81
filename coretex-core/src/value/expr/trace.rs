//! What each part of an expression gave, for a person who asks why.
//!
//! Invariant: a trace is bounded whatever the scope holds. Large values are summed up, of a comprehension the first
//! elements are shown, and after [`MAX_NODES`] parts nothing more is written down.

use std::fmt;

use serde::Serialize;

use super::ast::{Ast, Comprehension, Hop, Kind};
use super::error::{EvalError, EvalErrorKind, Failure};
use super::eval::{self, Budget};
use super::scope::Scope;
use super::val::{List, Val};
use crate::value::json::{Value, canonical};
use crate::value::path::Segment;

/// Most parts of one trace.
pub(super) const MAX_NODES: usize = 500;
/// Most elements of one comprehension that are shown.
const MAX_ROUNDS: usize = 10;
/// Largest value that is shown, in values or 16 bytes of text.
const MAX_VALUE: usize = 200;

/// The evaluation of one expression, part by part.
///
/// `Display` draws it as a tree, each part with its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Trace {
    /// The whole expression, its parts below it.
    pub root: TraceNode,
    /// Whether parts were left out because there are too many.
    pub truncated: bool,
    /// What the evaluation gave, as [`Expr::evaluate`](super::Expr::evaluate) does.
    #[serde(skip)]
    pub result: Result<Option<Value>, EvalError>,
}

/// One part of an expression, or one element that a comprehension visits.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TraceNode {
    /// The part as it is written; for an element, the name of the variable.
    pub text: String,
    /// Where it starts, in bytes.
    pub start: usize,
    /// Where it ends, in bytes.
    pub end: usize,
    /// For an element of a comprehension, its position in the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element: Option<usize>,
    /// What it gave.
    #[serde(flatten)]
    pub outcome: TraceOutcome,
    /// The parts of this part, in the order of evaluation. Literals are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<TraceNode>,
}

/// What a part gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
#[non_exhaustive]
pub enum TraceOutcome {
    /// A value.
    Value {
        /// The value.
        value: Value,
    },
    /// A value that is too large to show, or that JSON cannot hold.
    Large {
        /// What it is, in words.
        summary: String,
    },
    /// Nothing: a path leads nowhere.
    Missing {
        /// Which step of the path it is, in words, when that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        because: Option<String>,
    },
    /// It could not be evaluated.
    Failed {
        /// Why.
        reason: String,
    },
    /// Nobody asked for it: another part decided, or failed.
    NotEvaluated,
}

/// Evaluates and records. The result of the trace is filled in by the caller, who knows the text for the error.
pub(super) fn of(text: &str, ast: &Ast, scope: &dyn Scope) -> (Trace, Result<Option<Value>, Box<Failure>>) {
    let mut recorder = Recorder { text, stack: vec![Frame::default()], nodes: 0, truncated: false };
    let result = eval::record(ast, scope, &mut recorder);
    let recorded = recorder.stack.pop().and_then(|mut frame| frame.parts.pop());
    // A literal by itself is its own trace.
    let root = recorded.map_or_else(
        || {
            let outcome = match &result {
                Ok(Some(value)) => TraceOutcome::Value { value: value.clone() },
                Ok(None) => TraceOutcome::Missing { because: None },
                Err(failure) => TraceOutcome::Failed { reason: failure.reason.clone() },
            };
            recorder.node(ast, outcome, Vec::new())
        },
        |(_, root)| root,
    );
    (Trace { root, truncated: recorder.truncated, result: Ok(None) }, result)
}

/// Collects the parts while an expression is evaluated.
#[derive(Debug)]
pub(super) struct Recorder<'t> {
    text: &'t str,
    stack: Vec<Frame>,
    nodes: usize,
    truncated: bool,
}

#[derive(Debug, Default)]
struct Frame {
    /// Recorded parts with the address of their tree.
    parts: Vec<(usize, TraceNode)>,
    /// The element that is visited.
    round: Option<TraceNode>,
    /// How many locals there are where the comprehension stands, when this frame is one of its rounds.
    slot: usize,
    rounds: usize,
    is_round: bool,
    /// Nothing below is written down.
    hidden: bool,
}

impl Recorder<'_> {
    pub(super) fn enter(&mut self) -> usize {
        let level = self.stack.len();
        let hidden = self.stack.last().is_some_and(|frame| frame.hidden);
        self.stack.push(Frame { hidden, ..Frame::default() });
        level
    }

    pub(super) fn leave(
        &mut self,
        level: usize,
        ast: &Ast,
        outcome: &Result<Val<'_>, Box<Failure>>,
        gap: Option<(&Hop, &'static str)>,
    ) {
        while self.stack.len() > level + 1 {
            self.close_round();
        }
        let Some(frame) = self.stack.pop() else { return };
        if frame.hidden || matches!(ast.kind, Kind::Literal(_)) {
            return;
        }
        if self.nodes >= MAX_NODES {
            self.truncated = true;
            // The root is always there.
            if level > 1 {
                return;
            }
        }
        let mut parts = frame.parts;
        let visited = parts.iter().any(|(_, part)| part.element.is_some());
        for (at, child) in ast.kind.children().into_iter().enumerate() {
            let within_rounds = matches!(ast.kind, Kind::Comprehension(_)) && at > 0 && visited;
            let known = parts.iter().any(|(address, _)| *address == address_of(child));
            if !known && !within_rounds && !matches!(child.kind, Kind::Literal(_)) && self.nodes < MAX_NODES {
                self.nodes += 1;
                parts.push((address_of(child), self.node(child, TraceOutcome::NotEvaluated, Vec::new())));
            }
        }
        let parts = parts.into_iter().map(|(_, part)| part).collect();
        let because = gap.map(|(hop, on)| {
            let owner = hop.owner(self.text, ast.start);
            match &hop.segment {
                Segment::Key(key) => format!("`{owner}` is {on} without `{key}`"),
                Segment::Index(index) => format!("`{owner}` is {on} without a position {index}"),
            }
        });
        let outcome = match outcome {
            Ok(Val::Missing) => TraceOutcome::Missing { because },
            Ok(value) => shown(value),
            Err(failure) => TraceOutcome::Failed { reason: failure.reason.clone() },
        };
        self.nodes += 1;
        let node = self.node(ast, outcome, parts);
        self.record(address_of(ast), node);
    }

    /// A comprehension goes on to its element `at`.
    pub(super) fn round(&mut self, slot: usize, at: usize, parts: &Comprehension, element: &Val<'_>) {
        if self.stack.last().is_some_and(|frame| frame.is_round && frame.slot == slot) {
            self.close_round();
        }
        let Some(frame) = self.stack.last_mut() else { return };
        frame.rounds += 1;
        let hidden = frame.hidden || frame.rounds > MAX_ROUNDS || self.nodes >= MAX_NODES;
        self.truncated |= hidden;
        let range = &parts.range;
        let round = (!hidden).then(|| TraceNode {
            text: parts.variable.to_string(),
            start: range.start,
            end: range.end,
            element: Some(at),
            outcome: shown(element),
            parts: Vec::new(),
        });
        self.stack.push(Frame { slot, hidden, round, is_round: true, ..Frame::default() });
    }

    fn close_round(&mut self) {
        let Some(frame) = self.stack.pop() else { return };
        if let Some(mut round) = frame.round {
            round.parts = frame.parts.into_iter().map(|(_, part)| part).collect();
            self.nodes += 1;
            self.record(0, round);
        }
    }

    fn record(&mut self, address: usize, node: TraceNode) {
        if let Some(frame) = self.stack.last_mut() {
            frame.parts.push((address, node));
        }
    }

    fn node(&self, ast: &Ast, outcome: TraceOutcome, parts: Vec<TraceNode>) -> TraceNode {
        let text = self.text.get(ast.start..ast.end).unwrap_or_default();
        let end = ast.start + text.trim_end().len();
        TraceNode { text: text.trim().to_owned(), start: ast.start, end, element: None, outcome, parts }
    }
}

/// Tells the nodes of one tree apart.
fn address_of(ast: &Ast) -> usize {
    std::ptr::from_ref(ast).addr()
}

fn shown(value: &Val<'_>) -> TraceOutcome {
    match value.to_json(&mut Budget::of(MAX_VALUE)) {
        Ok(Some(value)) => TraceOutcome::Value { value },
        Ok(None) => TraceOutcome::Missing { because: None },
        Err(failure) if failure.kind == EvalErrorKind::Limit => TraceOutcome::Large {
            summary: match value {
                Val::Text(text) => format!("a string of {} bytes", text.len()),
                Val::List(list) => format!("a list of {}", List::len(list)),
                Val::Map(map) => format!("a map of {}", map.len()),
                other => other.describe().to_owned(),
            },
        },
        Err(failure) => TraceOutcome::Large { summary: failure.reason },
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.draw(f, "", "")?;
        if self.truncated { writeln!(f, "(the rest is not shown)") } else { Ok(()) }
    }
}

impl TraceNode {
    /// One line, and below it the parts. `first` stands before the line, `rest` before the lines of the parts.
    fn draw(&self, f: &mut fmt::Formatter<'_>, first: &str, rest: &str) -> fmt::Result {
        let on_one_line: Vec<&str> = self.text.split_whitespace().collect();
        write!(f, "{first}{}", on_one_line.join(" "))?;
        if let Some(at) = self.element {
            write!(f, " [{at}]")?;
        }
        match &self.outcome {
            TraceOutcome::Value { value } => writeln!(f, " = {}", canonical(value))?,
            TraceOutcome::Large { summary } => writeln!(f, " = ({summary})")?,
            TraceOutcome::Missing { because: None } => writeln!(f, " = missing")?,
            TraceOutcome::Missing { because: Some(because) } => writeln!(f, " = missing: {because}")?,
            TraceOutcome::Failed { reason } => writeln!(f, ": failed: {reason}")?,
            TraceOutcome::NotEvaluated => writeln!(f, ": not evaluated")?,
        }
        for (at, part) in self.parts.iter().enumerate() {
            let (branch, below) = if at + 1 == self.parts.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            part.draw(f, &format!("{rest}{branch}"), &format!("{rest}{below}"))?;
        }
        Ok(())
    }
}

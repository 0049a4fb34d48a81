//! What is wrong with a definition: every problem at once, each with its place and a way out.

use std::fmt;

/// One problem of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable code.
    pub code: &'static str,
    /// Where: a path into the document, such as `steps.fetch.depends_on[0]`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What an expression says of itself may hold the help already.
        let help = if self.message.ends_with(&self.help) { "" } else { &self.help };
        let between = if help.is_empty() { "" } else { "; " };
        write!(f, "`{}`: {}{between}{help} [{}]", self.path, self.message, self.code)
    }
}

/// A definition that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionError {
    /// The file or request that it came from.
    pub source_name: String,
    /// Everything that is wrong with it; never empty.
    pub problems: Vec<Problem>,
}

impl DefinitionError {
    /// An error with one problem.
    pub fn one(source_name: &str, code: &'static str, path: &str, message: String, help: &str) -> Self {
        Self {
            source_name: source_name.to_owned(),
            problems: vec![Problem { code, path: path.to_owned(), message, help: help.to_owned() }],
        }
    }

    /// The stable code of the first problem.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.problems.first().map_or("workflow_invalid", |problem| problem.code)
    }
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            let lead = if n == 0 { "" } else { "\n" };
            write!(f, "{lead}{}: {problem}", self.source_name)?;
        }
        Ok(())
    }
}

impl std::error::Error for DefinitionError {}

/// Finds the steps of one cycle, in order, given each step's dependencies; `None` if the graph has none. O(V + E).
pub(super) fn find_cycle(deps: &[Vec<usize>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; deps.len()];
    for root in 0..deps.len() {
        // An explicit stack: a chain of 10,000 steps must not overflow ours.
        let mut stack = vec![(root, 0)];
        while let Some((node, next)) = stack.pop() {
            let Some(mark) = marks.get_mut(node) else { continue };
            if next == 0 {
                if *mark != Mark::New {
                    continue;
                }
                *mark = Mark::Open;
            }
            match deps.get(node).and_then(|deps| deps.get(next)) {
                Some(&dep) => {
                    stack.push((node, next + 1));
                    match marks.get(dep) {
                        Some(Mark::New) => stack.push((dep, 0)),
                        Some(Mark::Open) => {
                            let from = stack.iter().position(|(open, _)| *open == dep).unwrap_or(0);
                            return Some(stack.iter().skip(from).map(|(open, _)| *open).collect());
                        }
                        _ => {}
                    }
                }
                None => *mark = Mark::Done,
            }
        }
    }
    None
}

//! The expression language of conditions and templates: CEL over JSON.
//!
//! An [`Expr`] is compiled and checked once, when a workflow is registered, and evaluated many
//! times against a [`Scope`] that lends values instead of copying them. The whole language,
//! what established texts mean in it and where it goes beyond CEL is written in
//! `docs/reference/expressions.md`; a test keeps that page and this module together.
//!
//! Two lanes, one meaning: a text that is just a path (`steps.fetch-data.output.url`) is walked
//! without any interpreter; every other text is a syntax tree.
//!
//! Invariants:
//!
//! - Evaluation is a function of the expression and the scope. Maps are visited in key order,
//!   there is no clock and no randomness, so a replay computes the same value.
//! - Every evaluation ends: work, list sizes and results are bounded, and nothing panics.
//! - A path that leads nowhere is *missing*: it compares as null, is false as a condition, and
//!   evaluates to `None`.

mod ast;
mod check;
mod error;
mod eval;
mod functions;
mod lexer;
mod operators;
mod options;
mod parser;
mod scope;
mod signatures;
mod trace;
mod types;
mod val;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::value::json::Value;
use crate::value::path::{Path, Segment, is_key_char};

pub use error::{EvalError, EvalErrorKind, ExprError};
pub(in crate::value) use error::{excerpt, position};
pub(in crate::value) use eval::Budget;
pub(in crate::value) use lexer::string_at;
pub use options::{CompileOptions, References};
pub use scope::{Elsewhere, Node, Object, Scope};
pub use trace::{Trace, TraceNode, TraceOutcome};
pub use types::Types;

/// Longest expression text, in bytes.
pub const MAX_BYTES: usize = 4096;

/// A compiled expression. Cloning shares it.
///
/// ```
/// use coretex_core::value::{CompileOptions, Expr};
/// use serde_json::json;
///
/// let expr = Expr::compile("input.count > 3 && input.tags.exists(t, t == 'urgent')", &CompileOptions::new()).unwrap();
/// let scope = json!({"input": {"count": 4, "tags": ["urgent"]}});
/// assert!(expr.evaluate_bool(&scope).unwrap());
/// ```
#[derive(Clone)]
pub struct Expr(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    program: Program,
    references: References,
    types: Types,
    warnings: Vec<String>,
}

enum Program {
    Path(Path),
    Tree(ast::Ast),
}

impl Expr {
    /// Compiles and checks `text`. Takes microseconds; O(n) in its length.
    ///
    /// # Errors
    ///
    /// [`ExprError`] with position and hint: a syntax error, an unknown root, step or function,
    /// a property that a declared schema rules out, an operation that can only fail, a text of
    /// more than [`MAX_BYTES`], a list literal of more than 256 elements, comprehensions nested
    /// more than two deep, or a tree that is too deep.
    pub fn compile(text: &str, options: &CompileOptions) -> Result<Self, ExprError> {
        if text.len() > MAX_BYTES {
            return Err(ExprError::new(
                text.get(..64).unwrap_or_default(),
                0,
                format!("longer than {MAX_BYTES} bytes"),
            )
            .with_hint(Some("pass data as input instead of literals".to_owned())));
        }
        if text.trim().is_empty() {
            return Err(ExprError::new(text, 0, "it is empty"));
        }
        if let Some(path) = path_lane(text, options) {
            return compile_path(text, path, options);
        }
        let parsed = parser::parse(text, options)?;
        let (types, warnings) = check::check(text, &parsed.ast, options)?;
        Ok(Self(Arc::new(Compiled {
            text: text.into(),
            program: Program::Tree(parsed.ast),
            references: parsed.references,
            types,
            warnings,
        })))
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// What it reads.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.0.references
    }

    /// The types that its value can have; any, where no schema is declared.
    #[must_use]
    pub fn types(&self) -> Types {
        self.0.types
    }

    /// What is probably a mistake, though it has a meaning.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// The path, when the whole text is one.
    #[must_use]
    pub fn as_path(&self) -> Option<&Path> {
        match &self.0.program {
            Program::Path(path) => Some(path),
            Program::Tree(_) => None,
        }
    }

    /// The value, or `None` when it is missing.
    ///
    /// # Errors
    ///
    /// [`EvalError`] naming the expression and the reason. A plain path fails only when its value is kept
    /// elsewhere, or is larger than an evaluation may copy (about one million values or 16 MiB of text).
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Option<Value>, EvalError> {
        self.evaluate_within(scope, &mut Budget::default())
    }

    /// Like [`evaluate`](Self::evaluate), on a budget that several evaluations share.
    pub(in crate::value) fn evaluate_within(
        &self,
        scope: &dyn Scope,
        budget: &mut Budget,
    ) -> Result<Option<Value>, EvalError> {
        self.run(scope, budget, |val, budget| val.to_json(budget))
    }

    /// The truthiness of the value; a missing value is false. Nothing is copied.
    ///
    /// # Errors
    ///
    /// [`EvalError`] naming the expression and the reason. A plain path fails only when its value is kept elsewhere.
    pub fn evaluate_bool(&self, scope: &dyn Scope) -> Result<bool, EvalError> {
        self.run(scope, &mut Budget::default(), |val, _| Ok(val.truthy()))
    }

    /// Evaluates like [`evaluate`](Self::evaluate) and writes down what each part of the expression
    /// gives, in the order of evaluation, and which parts are not evaluated. For people who ask why;
    /// it copies more than an evaluation does.
    ///
    /// ```
    /// use coretex_core::value::{CompileOptions, Expr};
    ///
    /// let expr = Expr::compile("input.count > 3 && input.late", &CompileOptions::new()).unwrap();
    /// let trace = expr.trace(&serde_json::json!({"input": {"count": 2}}));
    /// assert_eq!(
    ///     trace.to_string(),
    ///     "input.count > 3 && input.late = false\n\
    ///      ├─ input.count > 3 = false\n\
    ///      │  └─ input.count = 2\n\
    ///      └─ input.late: not evaluated\n",
    /// );
    /// ```
    #[must_use]
    pub fn trace(&self, scope: &dyn Scope) -> Trace {
        let text = self.text();
        let (tree, result) = match &self.0.program {
            Program::Path(path) => trace::of(text, &path_tree(text, path), scope),
            Program::Tree(ast) => trace::of(text, ast, scope),
        };
        Trace { result: result.map_err(|failure| failure.attach(text)), ..tree }
    }

    fn run<T>(
        &self,
        scope: &dyn Scope,
        budget: &mut Budget,
        finish: impl FnOnce(&val::Val<'_>, &mut Budget) -> Result<T, Box<error::Failure>>,
    ) -> Result<T, EvalError> {
        let result = match &self.0.program {
            Program::Path(path) => eval::walk(scope, path).and_then(|value| finish(&value, budget)),
            Program::Tree(ast) => eval::evaluate(ast, scope, budget, finish),
        };
        result.map_err(|failure| failure.attach(&self.0.text))
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expr").field(&self.0.text).finish()
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

/// The path that the whole text is, if it is one. The parser words the error for unknown roots.
fn path_lane(text: &str, options: &CompileOptions) -> Option<Path> {
    let path = Path::parse(text).ok()?;
    (options.has_root(path.root()) && !["true", "false", "null"].contains(&path.root())).then_some(path)
}

fn compile_path(text: &str, path: Path, options: &CompileOptions) -> Result<Expr, ExprError> {
    let root = path.root();
    let mut references = References::default();
    references.roots.insert(root.to_owned());
    let mut keys = path.segments().iter().skip(1);
    if root == "steps" {
        match keys.next() {
            Some(Segment::Key(id)) => {
                if options.steps().is_some_and(|steps| !steps.contains(&**id)) {
                    let offset = text.find(&**id).unwrap_or(0);
                    return Err(parser::unknown_step(text, id, offset, options));
                }
                references.steps.insert(id.to_string());
            }
            _ => references.all_steps = true,
        }
    }
    for segment in keys {
        match segment {
            Segment::Key(key) => reject_subtraction(text, key, options)?,
            Segment::Index(_) => break,
        }
    }
    let (types, warnings) = check::check(text, &path_tree(text, &path), options)?;
    Ok(Expr(Arc::new(Compiled { text: text.into(), program: Program::Path(path), references, types, warnings })))
}

/// What `look` sees in the tree of an expression.
fn with_tree<T>(expr: &Expr, look: impl FnOnce(&ast::Ast) -> T) -> T {
    match &expr.0.program {
        Program::Tree(tree) => look(tree),
        Program::Path(path) => look(&path_tree(&expr.0.text, path)),
    }
}

/// The tree that the path would be, for the checks that trees get.
fn path_tree(text: &str, path: &Path) -> ast::Ast {
    let mut at = text.find(path.root()).unwrap_or(0);
    let start = at;
    at += path.root().len();
    let mut hops = Vec::new();
    for segment in path.segments().iter().skip(1) {
        let name = match segment {
            Segment::Key(key) => key.to_string(),
            Segment::Index(index) => index.to_string(),
        };
        // A quoted key with escapes is not found as it is; the error then points before it.
        at += text.get(at..).and_then(|rest| rest.find(&name)).unwrap_or(0);
        hops.push(ast::Hop { segment: segment.clone(), at, optional: false });
        at += if text.get(at..).is_some_and(|rest| rest.starts_with(&name)) { name.len() } else { 0 };
    }
    let base = ast::Base::Variable(path.root().into());
    ast::Ast { kind: ast::Kind::Path(base, hops), start, end: text.len(), depth: 1 }
}

/// `input.count-1` would silently be the key `count-1`; refuse what is more likely a subtraction.
fn reject_subtraction(text: &str, key: &str, options: &CompileOptions) -> Result<(), ExprError> {
    let Some((_, tail)) = key.rsplit_once('-') else {
        return Ok(());
    };
    let looks_computed = key.chars().all(is_key_char)
        && (options.has_root(tail) || (!tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit())));
    let Some(offset) = text.find(&format!(".{key}")) else {
        // In brackets and quotes there is no doubt.
        return Ok(());
    };
    if !looks_computed {
        return Ok(());
    }
    Err(ExprError::new(text, offset + 1, format!("`{key}` may be a key or a subtraction"))
        .with_hint(Some(format!("write ['{key}'] for the key, spaces around `-` to subtract"))))
}

//! Templates: JSON trees whose strings contain `${expression}`.
//!
//! Compiled once, rendered per job. Owns the scanner and the rules of splicing:
//!
//! - A string that is exactly one `${...}` (white space around it aside) becomes the typed value.
//!   When that value is missing, the map key that holds it is dropped, an array element becomes
//!   null, and a whole template is missing itself.
//! - In any other string, each `${...}` is replaced by its printed value: strings as they are,
//!   null and missing as nothing, everything else as compact JSON.
//! - `$${` is a literal `${`. Keys are never templates.
//!
//! What contains no `${` is shared with every rendering instead of being rebuilt.

use std::fmt;
use std::sync::Arc;

use serde_json::Map;

use crate::value::expr::{Budget, CompileOptions, EvalError, Expr, ExprError, References, Scope, position, string_at};
use crate::value::json::{Value, print_into};
use crate::value::limits::{LimitError, Limits};

/// A compiled template. Cloning shares it.
///
/// ```
/// use coretex_core::value::{CompileOptions, Template};
/// use serde_json::json;
///
/// let source = json!({"url": "https://${input.host}/", "limit": "${input.limit}", "note": "${input.note}"});
/// let template = Template::compile(&source, &CompileOptions::new()).unwrap();
/// let scope = json!({"input": {"host": "example.org", "limit": 5}});
/// assert_eq!(
///     template.render(&scope).unwrap(),
///     Some(json!({"url": "https://example.org/", "limit": 5})),
/// );
/// ```
#[derive(Clone)]
pub struct Template(Arc<Compiled>);

struct Compiled {
    tree: Tree,
    references: References,
    warnings: Vec<String>,
}

enum Tree {
    Static(Arc<Value>),
    /// One expression, and where it stands.
    Whole(Expr, Box<str>),
    Text(Vec<Piece>, Box<str>),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

enum Piece {
    Literal(Box<str>),
    Expr(Expr),
}

/// A JSON tree is not a valid template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template at `{path}`: {reason}", path = if path.is_empty() { "the root" } else { path })]
pub struct TemplateError {
    path: String,
    #[source]
    reason: TemplateErrorReason,
}

/// Why a [`TemplateError`] happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateErrorReason {
    /// A `${` without its `}`.
    #[error("the `${{` at {line}:{column} is not closed; add `}}`, or write `$${{` for a literal `${{`")]
    Unterminated {
        /// Line within the string, from 1.
        line: usize,
        /// Column within that line, in characters from 1.
        column: usize,
    },
    /// The text between `${` and `}` is not a valid expression.
    #[error(transparent)]
    Expression(#[from] ExprError),
    /// The template itself is too large or too deep.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl TemplateError {
    /// `template_invalid`, `expression_invalid`, or the code of the [`LimitError`].
    #[must_use]
    pub fn code(&self) -> &'static str {
        match &self.reason {
            TemplateErrorReason::Unterminated { .. } => "template_invalid",
            TemplateErrorReason::Expression(error) => error.code(),
            TemplateErrorReason::Limit(error) => error.code(),
        }
    }

    /// Where the string stands in the template, as a dotted path; empty for the root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &TemplateErrorReason {
        &self.reason
    }
}

impl Template {
    /// Compiles every `${...}` in `source`. O(n) in its size.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] with the path inside `source`, when an expression is invalid, a `${` is
    /// not closed, or the tree exceeds the default [`Limits`].
    pub fn compile(source: &Value, options: &CompileOptions) -> Result<Self, TemplateError> {
        Self::compile_whole(source, options).map_err(|errors| errors.0)
    }

    /// As [`compile`](Self::compile), with the first error and all others.
    pub(crate) fn compile_whole(
        source: &Value,
        options: &CompileOptions,
    ) -> Result<Self, Box<(TemplateError, Vec<TemplateError>)>> {
        let refused = |error: LimitError| TemplateError { path: error.path().to_owned(), reason: error.into() };
        Limits::default().check(source).map_err(|error| Box::new((refused(error), Vec::new())))?;
        let mut compiler =
            Compiler { options, references: References::default(), warnings: Vec::new(), errors: Vec::new() };
        let tree = compiler.tree(source, &mut String::new());
        let mut errors = compiler.errors.into_iter();
        if let Some(first) = errors.next() {
            return Err(Box::new((first, errors.collect())));
        }
        let tree = tree.unwrap_or_else(|| Tree::Static(Arc::new(source.clone())));
        Ok(Self(Arc::new(Compiled { tree, references: compiler.references, warnings: compiler.warnings })))
    }

    /// What all expressions together read.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.0.references
    }

    /// What is probably a mistake, though it has a meaning.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// The value itself, when the template contains no `${`.
    #[must_use]
    pub fn as_static(&self) -> Option<&Arc<Value>> {
        match &self.0.tree {
            Tree::Static(value) => Some(value),
            _ => None,
        }
    }

    /// The rendered value; `None` when the whole template is one expression whose value is
    /// missing. A static template is copied; see [`render_shared`](Self::render_shared).
    ///
    /// # Errors
    ///
    /// [`EvalError`] with [`template_path`](EvalError::template_path), also when the rendering
    /// copies more than about one million values or 16 MiB of text.
    pub fn render(&self, scope: &dyn Scope) -> Result<Option<Value>, EvalError> {
        render(&self.0.tree, scope, &mut Budget::default())
    }

    /// Like [`render`](Self::render); a static template costs one reference count.
    ///
    /// # Errors
    ///
    /// As [`render`](Self::render).
    pub fn render_shared(&self, scope: &dyn Scope) -> Result<Option<Arc<Value>>, EvalError> {
        match &self.0.tree {
            Tree::Static(value) => Ok(Some(Arc::clone(value))),
            tree => Ok(render(tree, scope, &mut Budget::default())?.map(Arc::new)),
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("references", &self.0.references)
            .field("static", &self.as_static())
            .finish_non_exhaustive()
    }
}

struct Compiler<'o> {
    options: &'o CompileOptions,
    references: References,
    warnings: Vec<String>,
    errors: Vec<TemplateError>,
}

impl Compiler<'_> {
    /// `None` when `source` is static.
    fn tree(&mut self, source: &Value, path: &mut String) -> Option<Tree> {
        match source {
            Value::String(text) => self.text(text, path).unwrap_or_else(|error| {
                self.errors.push(error);
                None
            }),
            Value::Array(items) => {
                let mut trees = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let length = path.len();
                    path.push_str(&format!("[{index}]"));
                    trees.push(self.tree(item, path));
                    path.truncate(length);
                }
                trees
                    .iter()
                    .any(Option::is_some)
                    .then(|| Tree::Array(trees.into_iter().zip(items).map(shared).collect()))
            }
            Value::Object(map) => {
                let mut trees = Vec::with_capacity(map.len());
                for (key, item) in map {
                    let length = path.len();
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                    trees.push(self.tree(item, path));
                    path.truncate(length);
                }
                trees.iter().any(Option::is_some).then(|| {
                    let trees = trees.into_iter().zip(map.values()).map(shared);
                    Tree::Object(map.keys().cloned().zip(trees).collect())
                })
            }
            _ => None,
        }
    }

    fn text(&mut self, text: &str, path: &str) -> Result<Option<Tree>, TemplateError> {
        if !text.contains("${") {
            return Ok(None);
        }
        let fail = |reason: TemplateErrorReason| TemplateError { path: path.to_owned(), reason };
        let trimmed = text.trim();
        if let Some(body) = trimmed.strip_prefix("${")
            && let Some(end) = closing_brace(body)
            && end + 1 == body.len()
        {
            let expr = self.expr(body.get(..end).unwrap_or_default()).map_err(fail)?;
            return Ok(Some(Tree::Whole(expr, path.into())));
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, marked) = rest.split_at(at);
            let body = marked.get(2..).unwrap_or_default();
            if let Some(before) = before.strip_suffix('$') {
                literal.push_str(before);
                literal.push_str("${");
                rest = body;
                continue;
            }
            literal.push_str(before);
            let Some(end) = closing_brace(body) else {
                let (line, column) = position(text, text.len() - marked.len());
                return Err(fail(TemplateErrorReason::Unterminated { line, column }));
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            let expr = self.expr(body.get(..end).unwrap_or_default()).map_err(fail)?;
            pieces.push(Piece::Expr(expr));
            rest = body.get(end + 1..).unwrap_or_default();
        }
        literal.push_str(rest);
        if pieces.is_empty() {
            // Only escapes: the text is known now.
            return Ok(Some(Tree::Static(Arc::new(Value::String(literal)))));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Ok(Some(Tree::Text(pieces, path.into())))
    }

    fn expr(&mut self, text: &str) -> Result<Expr, TemplateErrorReason> {
        let expr = Expr::compile(text, self.options)?;
        self.references.merge(expr.references());
        for warning in expr.warnings() {
            if !self.warnings.contains(warning) {
                self.warnings.push(warning.clone());
            }
        }
        Ok(expr)
    }
}

fn shared((tree, source): (Option<Tree>, &Value)) -> Tree {
    tree.unwrap_or_else(|| Tree::Static(Arc::new(source.clone())))
}

/// The offset of the `}` that closes an expression: braces inside it are balanced, those in
/// string literals do not count.
fn closing_brace(body: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut in_name = false;
    let mut skip_to = 0;
    for (at, ch) in body.char_indices() {
        if at < skip_to {
            continue;
        }
        if !in_name
            && matches!(ch, '\'' | '"' | 'r' | 'R' | 'b' | 'B')
            && let Some(string) = string_at(body.get(at..)?)
        {
            skip_to = at + string.length?;
            continue;
        }
        match ch {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        in_name = ch.is_alphanumeric() || ch == '_';
    }
    None
}

fn render(tree: &Tree, scope: &dyn Scope, budget: &mut Budget) -> Result<Option<Value>, EvalError> {
    Ok(Some(match tree {
        Tree::Static(value) => (**value).clone(),
        Tree::Whole(expr, path) => {
            return expr.evaluate_within(scope, budget).map_err(|error| error.at_template_path(path));
        }
        Tree::Text(pieces, path) => {
            let mut out = String::new();
            for piece in pieces {
                match piece {
                    Piece::Literal(text) => out.push_str(text),
                    Piece::Expr(expr) => {
                        let value =
                            expr.evaluate_within(scope, budget).map_err(|error| error.at_template_path(path))?;
                        print_into(&value.unwrap_or_default(), &mut out);
                    }
                }
            }
            Value::String(out)
        }
        Tree::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| Ok(render(item, scope, budget)?.unwrap_or_default()))
                .collect::<Result<_, EvalError>>()?,
        ),
        Tree::Object(entries) => {
            let mut map = Map::new();
            for (key, item) in entries {
                if let Some(value) = render(item, scope, budget)? {
                    map.insert(key.clone(), value);
                }
            }
            Value::Object(map)
        }
    }))
}

#[cfg(test)]
mod tests;

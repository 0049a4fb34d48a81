//! The syntax tree: what the parser builds and the evaluator walks.
//!
//! Invariant: no tree is deeper than [`MAX_DEPTH`](super::parser::MAX_DEPTH), so that walking and
//! dropping it by recursion is safe on a small stack.

use crate::value::path::Segment;

#[derive(Debug)]
pub(super) struct Ast {
    pub(super) kind: Kind,
    /// Byte offset in the text.
    pub(super) start: usize,
    pub(super) depth: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    Literal(Literal),
    Path(Base, Vec<Segment>),
    Select(Box<Ast>, Segment),
    Index(Box<Ast>, Box<Ast>),
    Has(Box<Ast>),
    Not(Box<Ast>),
    Negate(Box<Ast>),
    /// All operands of one `&&` chain: a chain is as deep as its deepest operand.
    And(Vec<Ast>),
    Or(Vec<Ast>),
    Binary(Operator, Box<Ast>, Box<Ast>),
    Conditional(Box<[Ast; 3]>),
    List(Vec<Ast>),
    Map(Vec<(Ast, Ast)>),
    Call(Function, Vec<Ast>),
    /// `matches` with a pattern known at compile time.
    Matches(Box<Ast>, Box<regex::Regex>),
    Comprehension(Box<Comprehension>),
}

#[derive(Clone, Debug)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Type(&'static str),
}

/// Where a path starts.
#[derive(Debug)]
pub(super) enum Base {
    Variable(Box<str>),
    /// A comprehension variable: its position on the stack of locals.
    Local(usize),
}

#[derive(Debug)]
pub(super) struct Comprehension {
    pub(super) kind: Macro,
    pub(super) range: Ast,
    /// `filter` and three-argument `map`: which elements take part.
    pub(super) condition: Option<Ast>,
    /// The predicate, or for `map` the new element; `filter` has none.
    pub(super) body: Option<Ast>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

impl Macro {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "exists" => Self::Exists,
            "exists_one" | "existsOne" => Self::ExistsOne,
            "map" => Self::Map,
            "filter" => Self::Filter,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// How a function may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `f(x)`
    Global,
    /// `x.f()`
    Method,
    Both,
}

macro_rules! functions {
    ($($variant:ident $name:literal $form:ident $min:literal ..= $max:literal)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function { $($variant),* }

        impl Function {
            /// Every function: name, form and the number of operands, a receiver included.
            pub(super) const TABLE: &'static [(Self, &'static str, Form, usize, usize)] =
                &[$((Self::$variant, $name, Form::$form, $min, $max)),*];
        }
    };
}

functions! {
    Size "size" Both 1..=1
    Length "length" Both 1..=1
    First "first" Both 1..=1
    Contains "contains" Both 2..=2
    StartsWith "startsWith" Both 2..=2
    EndsWith "endsWith" Both 2..=2
    Matches "matches" Both 2..=2
    LowerAscii "lowerAscii" Method 1..=1
    UpperAscii "upperAscii" Method 1..=1
    Trim "trim" Method 1..=1
    Split "split" Method 2..=2
    Join "join" Method 1..=2
    Replace "replace" Method 3..=3
    ToInt "int" Global 1..=1
    ToUint "uint" Global 1..=1
    ToDouble "double" Global 1..=1
    ToText "string" Global 1..=1
    ToBool "bool" Global 1..=1
    Dyn "dyn" Global 1..=1
    TypeOf "type" Global 1..=1
}

impl Function {
    pub(super) fn name(self) -> &'static str {
        Self::TABLE.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }
}

/// The names that `type(x)` can give.
pub(super) const TYPE_NAMES: [&str; 9] =
    ["bool", "int", "uint", "double", "string", "list", "map", "null_type", "type"];

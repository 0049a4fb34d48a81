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
    /// Byte offset of what follows; white space may lie before it.
    pub(super) end: usize,
    pub(super) depth: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    Literal(Literal),
    Path(Base, Vec<Hop>),
    Select(Box<Ast>, Hop),
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

impl Kind {
    /// The parts, in the order of the text.
    pub(super) fn children(&self) -> Vec<&Ast> {
        match self {
            Self::Literal(_) | Self::Path(..) => Vec::new(),
            Self::Select(inner, _)
            | Self::Has(inner)
            | Self::Not(inner)
            | Self::Negate(inner)
            | Self::Matches(inner, _) => vec![inner],
            Self::Index(left, right) | Self::Binary(_, left, right) => vec![left, right],
            Self::And(items) | Self::Or(items) | Self::List(items) | Self::Call(_, items) => items.iter().collect(),
            Self::Conditional(parts) => parts.iter().collect(),
            Self::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
            Self::Comprehension(parts) => {
                [Some(&parts.range), parts.condition.as_ref(), parts.body.as_ref()].into_iter().flatten().collect()
            }
        }
    }
}

/// One step of a path.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) segment: Segment,
    /// Byte offset in the text.
    pub(super) at: usize,
    /// Written `.?x` or `[?x]`: no schema has to declare it.
    pub(super) optional: bool,
}

impl Hop {
    /// What the step is taken from, as it is written, when that starts at `start`.
    pub(super) fn owner<'t>(&self, text: &'t str, start: usize) -> &'t str {
        text.get(start..self.at).unwrap_or_default().trim_end_matches(['.', '[', '?', '`', '\'', '"', ' '])
    }
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
    pub(super) variable: Box<str>,
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
    SortBy,
}

impl Macro {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "exists" => Self::Exists,
            "exists_one" | "existsOne" => Self::ExistsOne,
            "map" => Self::Map,
            "filter" => Self::Filter,
            "sortBy" => Self::SortBy,
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
    Contains "contains" Both 2..=2
    StartsWith "startsWith" Both 2..=2
    EndsWith "endsWith" Both 2..=2
    Matches "matches" Both 2..=2
    LowerAscii "lowerAscii" Method 1..=1
    UpperAscii "upperAscii" Method 1..=1
    Trim "trim" Method 1..=1
    Split "split" Method 2..=3
    Join "join" Method 1..=2
    Replace "replace" Method 3..=4
    CharAt "charAt" Method 2..=2
    IndexOf "indexOf" Method 2..=3
    LastIndexOf "lastIndexOf" Method 2..=2
    Substring "substring" Method 2..=3
    First "first" Both 1..=1
    Last "last" Both 1..=1
    Slice "slice" Method 2..=3
    Reverse "reverse" Both 1..=1
    Sort "sort" Both 1..=1
    Distinct "distinct" Both 1..=1
    Flatten "flatten" Both 1..=2
    Range "range" Global 1..=1
    Sum "sum" Both 1..=1
    Avg "avg" Both 1..=1
    Min "min" Both 1..=16
    Max "max" Both 1..=16
    SetContains "sets.contains" Global 2..=2
    SetEquivalent "sets.equivalent" Global 2..=2
    SetIntersects "sets.intersects" Global 2..=2
    Keys "keys" Both 1..=1
    Values "values" Both 1..=1
    Merge "merge" Both 2..=8
    Default "default" Both 2..=2
    OrValue "orValue" Method 2..=2
    Abs "math.abs" Global 1..=1
    Ceil "math.ceil" Global 1..=1
    Floor "math.floor" Global 1..=1
    Round "math.round" Global 1..=1
    Trunc "math.trunc" Global 1..=1
    Sign "math.sign" Global 1..=1
    Json "json" Global 1..=1
    ToJson "toJson" Both 1..=1
    Encode64 "base64.encode" Global 1..=1
    Decode64 "base64.decode" Global 1..=1
    Sha256 "hash.sha256" Global 1..=1
    Time "timestamp" Global 1..=1
    Span "duration" Global 1..=1
    FullYear "getFullYear" Method 1..=2
    Month "getMonth" Method 1..=2
    Date "getDate" Method 1..=2
    DayOfMonth "getDayOfMonth" Method 1..=2
    DayOfWeek "getDayOfWeek" Method 1..=2
    DayOfYear "getDayOfYear" Method 1..=2
    Hours "getHours" Method 1..=2
    Minutes "getMinutes" Method 1..=2
    Seconds "getSeconds" Method 1..=2
    Milliseconds "getMilliseconds" Method 1..=2
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

    /// Whether functions have names that start with `name` and a dot.
    pub(super) fn is_namespace(name: &str) -> bool {
        let within = |full: &str| full.split_once('.').is_some_and(|(space, _)| space == name);
        Self::TABLE.iter().any(|row| within(row.1)) || Self::ALIASES.iter().any(|row| within(row.0))
    }

    /// What the libraries of CEL call functions that have a short name here.
    pub(super) const ALIASES: [(&'static str, &'static str); 3] =
        [("lists.range", "range"), ("math.greatest", "max"), ("math.least", "min")];
}

/// The names that `type(x)` can give.
pub(super) const TYPE_NAMES: [&str; 11] =
    ["bool", "int", "uint", "double", "string", "list", "map", "null_type", "type", "timestamp", "duration"];

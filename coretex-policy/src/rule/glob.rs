//! Topic patterns: path-style globs.
//!
//! `*` stands for any run of characters except `/`, dots included; `?` for one character except `/`; `[a-z]` and
//! `[^a-z]` for one of a class; `\` takes the next character as it is. Case counts. Matching takes at most
//! pattern times topic steps, whatever the pattern.

use serde::{Serialize, Serializer};

/// A checked topic pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    pattern: Box<str>,
    /// What every match begins with.
    prefix: Box<str>,
    rest: Rest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rest {
    /// The prefix is all.
    Nothing,
    /// The prefix and one `*`.
    Anything,
    /// More than that.
    Tokens(Box<[Token]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    One(char),
    AnyOne,
    AnyRun,
    Class { negated: bool, ranges: Box<[(char, char)]> },
}

impl Glob {
    /// Checks `pattern`. The error says what is wrong with it.
    pub(crate) fn new(pattern: &str) -> Result<Self, &'static str> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars();
        while let Some(next) = chars.next() {
            tokens.push(match next {
                '*' => {
                    if tokens.last() == Some(&Token::AnyRun) {
                        continue;
                    }
                    Token::AnyRun
                }
                '?' => Token::AnyOne,
                '\\' => Token::One(chars.next().ok_or("nothing follows the `\\`")?),
                '[' => class(&mut chars)?,
                other => Token::One(other),
            });
        }
        let literal = tokens.iter().take_while(|token| matches!(token, Token::One(_))).count();
        let rest = tokens.split_off(literal);
        let prefix: String =
            tokens.iter().filter_map(|token| if let Token::One(c) = token { Some(*c) } else { None }).collect();
        let rest = match rest.as_slice() {
            [] => Rest::Nothing,
            [Token::AnyRun] => Rest::Anything,
            _ => Rest::Tokens(rest.into()),
        };
        Ok(Self { pattern: pattern.into(), prefix: prefix.into(), rest })
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// What every topic that matches begins with.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        &self.prefix
    }

    /// The whole pattern.
    pub(super) fn tokens(&self) -> Vec<Token> {
        let mut tokens: Vec<_> = self.prefix.chars().map(Token::One).collect();
        match &self.rest {
            Rest::Nothing => {}
            Rest::Anything => tokens.push(Token::AnyRun),
            Rest::Tokens(rest) => tokens.extend(rest.iter().cloned()),
        }
        tokens
    }

    /// Whether it names exactly one topic.
    #[must_use]
    pub const fn is_literal(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// Whether `topic` matches.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        let Some(tail) = topic.strip_prefix(&*self.prefix) else { return false };
        match &self.rest {
            Rest::Nothing => tail.is_empty(),
            Rest::Anything => !tail.contains('/'),
            Rest::Tokens(tokens) => matches(tokens, tail),
        }
    }
}

impl Serialize for Glob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.pattern)
    }
}

fn class(chars: &mut std::str::Chars<'_>) -> Result<Token, &'static str> {
    const OPEN: &str = "the `[` is not closed";
    let mut ranges = Vec::new();
    let mut next = chars.next().ok_or(OPEN)?;
    let negated = next == '^';
    if negated {
        next = chars.next().ok_or(OPEN)?;
    }
    loop {
        match next {
            ']' if ranges.is_empty() => return Err("the `[]` is empty"),
            ']' => return Ok(Token::Class { negated, ranges: ranges.into() }),
            '-' => return Err("a range in `[]` has no start"),
            _ => {}
        }
        let low = if next == '\\' { chars.next().ok_or(OPEN)? } else { next };
        next = chars.next().ok_or(OPEN)?;
        let mut high = low;
        if next == '-' {
            high = match chars.next().ok_or(OPEN)? {
                '\\' => chars.next().ok_or(OPEN)?,
                ']' | '-' => return Err("a range in `[]` has no end"),
                other => other,
            };
            next = chars.next().ok_or(OPEN)?;
        }
        if high < low {
            return Err("a range in `[]` runs backwards");
        }
        ranges.push((low, high));
    }
}

/// Remembers only the last `*`: whatever an earlier one took, the later one can make up for, because neither
/// crosses a `/`.
fn matches(tokens: &[Token], text: &str) -> bool {
    let (mut pattern, mut rest) = (tokens, text);
    let mut retry: Option<(&[Token], &str)> = None;
    loop {
        let step = match pattern.split_first() {
            None if rest.is_empty() => return true,
            None => None,
            Some((Token::AnyRun, after)) => {
                retry = Some((after, rest));
                pattern = after;
                continue;
            }
            Some((token, after)) => {
                let mut chars = rest.chars();
                chars.next().filter(|c| token.accepts(*c)).map(|_| (after, chars.as_str()))
            }
        };
        if let Some((after, tail)) = step {
            (pattern, rest) = (after, tail);
            continue;
        }
        // The last `*` takes one more.
        let Some((after, from)) = retry else { return false };
        let mut chars = from.chars();
        match chars.next() {
            Some(taken) if taken != '/' => {
                retry = Some((after, chars.as_str()));
                (pattern, rest) = (after, chars.as_str());
            }
            _ => return false,
        }
    }
}

impl Token {
    pub(super) fn accepts(&self, c: char) -> bool {
        match self {
            Self::One(own) => *own == c,
            Self::AnyOne => c != '/',
            Self::AnyRun => false,
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

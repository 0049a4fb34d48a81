//! Tokens of the expression language, read on demand.
//!
//! Owns the spelling of literals and operators. It knows no grammar: what follows a `.` is read
//! by the parser through [`Lexer::field`], since step ids may contain dashes.

use super::error::ExprError;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    /// An operator or a bracket.
    Mark(&'static str),
    End,
}

impl Token {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Name(name) => format!("`{name}`"),
            Self::Int(_) | Self::Uint(_) | Self::Double(_) => "a number".to_owned(),
            Self::Text(_) => "a string".to_owned(),
            Self::Mark(mark) => format!("`{mark}`"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Longest first, so that the first that fits is right.
const MARKS: [&str; 22] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "?", ":", "+", "-", "*", "/", "%", "(", ")", "[", "]", ",", "{",
];

#[derive(Debug)]
pub(super) struct Lexer<'t> {
    text: &'t str,
    offset: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, offset: 0 }
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    /// What is not read yet.
    pub(super) fn rest(&self) -> &'t str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    /// Goes back to an offset that a token started at.
    pub(super) fn rewind(&mut self, offset: usize) {
        self.offset = offset;
    }

    /// Skips white space and `//` comments.
    pub(super) fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.offset += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.offset += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn error(&self, reason: impl Into<String>) -> ExprError {
        ExprError::new(self.text, self.offset, reason)
    }

    /// The next token and the offset where it starts.
    pub(super) fn next(&mut self) -> Result<(Token, usize), ExprError> {
        self.skip_space();
        let start = self.offset;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok((Token::End, start));
        };
        if let Some(string) = string_at(rest) {
            return Ok((self.string(string)?, start));
        }
        if first.is_ascii_digit() || (first == '.' && rest.chars().nth(1).is_some_and(|ch| ch.is_ascii_digit())) {
            return Ok((self.number()?, start));
        }
        if first.is_alphabetic() || first == '_' {
            let end = rest.find(|ch| !is_name_char(ch)).unwrap_or(rest.len());
            self.offset += end;
            return Ok((Token::Name(rest.get(..end).unwrap_or_default().to_owned()), start));
        }
        if let Some(mark) = MARKS.iter().chain(&["}", "."]).find(|mark| rest.starts_with(**mark)) {
            self.offset += mark.len();
            return Ok((Token::Mark(mark), start));
        }
        let hint = match first {
            '=' => Some("compare with `==`".to_owned()),
            '&' => Some("write `&&`".to_owned()),
            '|' => Some("write `||`".to_owned()),
            '$' => Some("an expression outside of a template is written without `${` and `}`".to_owned()),
            '`' => Some("backticks quote a field after `.`".to_owned()),
            '\'' | '"' => Some("close the string with the quote that opens it".to_owned()),
            _ => None,
        };
        Err(self.error(format!("unexpected `{first}`")).with_hint(hint))
    }

    /// A field name after `.`: letters, digits, `_`, or anything in backticks.
    pub(super) fn field(&mut self) -> Result<String, ExprError> {
        self.skip_space();
        let rest = self.rest();
        if let Some(quoted) = rest.strip_prefix('`') {
            let Some(end) = quoted.find('`') else {
                return Err(self.error("the quoted field does not end"));
            };
            self.offset += end + 2;
            return Ok(quoted.get(..end).unwrap_or_default().to_owned());
        }
        let end = rest.find(|ch| !is_name_char(ch)).unwrap_or(rest.len());
        if end == 0 {
            let hint = rest.starts_with('?').then(|| "a missing field already reads as null: write `.`".to_owned());
            return Err(self.error("expected a field name after `.`").with_hint(hint));
        }
        self.offset += end;
        Ok(rest.get(..end).unwrap_or_default().to_owned())
    }

    fn number(&mut self) -> Result<Token, ExprError> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let digits =
            |from: usize| bytes.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let hex = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
        let (token, length) = if let Some(hex) = hex {
            let count = hex.bytes().take_while(u8::is_ascii_hexdigit).count();
            let value = u64::from_str_radix(hex.get(..count).unwrap_or_default(), 16);
            (value.ok().map(Token::Int), 2 + count)
        } else {
            let mut end = digits(0);
            let mut double = false;
            if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
                double = true;
                end += 1 + digits(end + 1);
            }
            if matches!(bytes.get(end), Some(b'e' | b'E')) {
                let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
                let exponent = digits(end + 1 + sign);
                if exponent > 0 {
                    double = true;
                    end += 1 + sign + exponent;
                }
            }
            let text = rest.get(..end).unwrap_or_default();
            let token = if double {
                text.parse().ok().filter(|double: &f64| double.is_finite()).map(Token::Double)
            } else {
                text.parse().ok().map(Token::Int)
            };
            (token, end)
        };
        let unsigned = matches!(bytes.get(length), Some(b'u' | b'U'));
        let token = match (token, unsigned) {
            (Some(Token::Int(value)), true) => Token::Uint(value),
            (Some(token), false) => token,
            _ => return Err(self.error("this number is not valid or too large")),
        };
        self.offset += length + usize::from(unsigned);
        if self.rest().chars().next().is_some_and(is_name_char) {
            return Err(self
                .error("a name cannot start with a digit")
                .with_hint(Some("quote such a key: input['1st']".to_owned())));
        }
        Ok(token)
    }

    fn string(&mut self, string: StringAt) -> Result<Token, ExprError> {
        let rest = self.rest();
        if string.bytes {
            return Err(self.error("bytes are not a JSON value").with_hint(Some("drop the `b`".to_owned())));
        }
        let (Some(body), Some(length)) = (string.body, string.length) else {
            return Err(self
                .error("the string does not end")
                .with_hint(Some("close it with the quote that opens it".to_owned())));
        };
        let body = rest.get(body.0..body.1).unwrap_or_default();
        let text = if string.raw { body.to_owned() } else { self.unescape(body)? };
        self.offset += length;
        Ok(Token::Text(text))
    }

    fn unescape(&self, body: &str) -> Result<String, ExprError> {
        let mut out = String::with_capacity(body.len());
        let mut chars = body.chars();
        let bad = |what: &str| {
            self.error(format!("the string contains an invalid escape `\\{what}`"))
                .with_hint(Some(r"write \\ for a backslash, or a raw string: r'...'".to_owned()))
        };
        while let Some(ch) = chars.next() {
            if ch != '\\' {
                out.push(ch);
                continue;
            }
            let escape = chars.next().ok_or_else(|| bad(""))?;
            let digits = match escape {
                'x' | 'X' => 2,
                'u' => 4,
                'U' => 8,
                '0'..='3' => 3,
                _ => 0,
            };
            out.push(match escape {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'v' => '\u{b}',
                '\\' | '\'' | '"' | '`' | '?' => escape,
                _ if digits > 0 => {
                    let octal = escape.is_ascii_digit();
                    let mut code: String = chars.by_ref().take(digits - usize::from(octal)).collect();
                    if octal {
                        code.insert(0, escape);
                    }
                    if code.len() != digits {
                        return Err(bad(&escape.to_string()));
                    }
                    u32::from_str_radix(&code, if octal { 8 } else { 16 })
                        .ok()
                        .and_then(char::from_u32)
                        .ok_or_else(|| bad(&escape.to_string()))?
                }
                other => return Err(bad(&other.to_string())),
            });
        }
        Ok(out)
    }
}

pub(super) fn is_name_char(ch: char) -> bool {
    ch.is_alphanumeric() || ch == '_'
}

/// A string literal found at the start of a text.
#[derive(Clone, Copy, Debug)]
pub(in crate::value) struct StringAt {
    raw: bool,
    bytes: bool,
    /// What stands between the quotes; `None` when the literal does not end.
    body: Option<(usize, usize)>,
    /// Length with prefix and quotes; `None` when the literal does not end.
    pub(in crate::value) length: Option<usize>,
}

/// Recognises a string literal, with its optional prefix and single or triple quotes.
pub(in crate::value) fn string_at(text: &str) -> Option<StringAt> {
    let bytes = text.as_bytes();
    let (mut raw, mut is_bytes, mut open) = (false, false, 0);
    for byte in bytes.iter().take(2) {
        match byte {
            b'r' | b'R' if !raw => raw = true,
            b'b' | b'B' if !is_bytes => is_bytes = true,
            _ => break,
        }
        open += 1;
    }
    let quote = *bytes.get(open).filter(|byte| matches!(byte, b'"' | b'\''))?;
    let triple = bytes.get(open + 1) == Some(&quote) && bytes.get(open + 2) == Some(&quote);
    let width = if triple { 3 } else { 1 };
    let start = open + width;
    let mut at = start;
    let end = loop {
        match bytes.get(at) {
            None => break None,
            Some(b'\n') if !triple => break None,
            Some(b'\\') if !raw => at += 2,
            Some(byte) if *byte == quote => {
                let closes = !triple || (bytes.get(at + 1) == Some(&quote) && bytes.get(at + 2) == Some(&quote));
                if closes {
                    break Some(at);
                }
                at += 1;
            }
            Some(_) => at += 1,
        }
    };
    Some(StringAt { raw, bytes: is_bytes, body: end.map(|end| (start, end)), length: end.map(|end| end + width) })
}

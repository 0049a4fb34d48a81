//! A text that fits a pattern.
//!
//! JSON Schema writes patterns in the dialect of ECMA 262. What the `regex` crate's parser cannot read
//! (look-around, back references) has no text here.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Most parts of a pattern that are written, every repetition counted.
const MAX_PARTS: usize = 4096;

/// A short text that `pattern` matches: the first alternative, the fewest repetitions, the first letter or digit of a
/// class.
pub(super) fn example(pattern: &str) -> Option<String> {
    let parsed = regex_syntax::ParserBuilder::new().nest_limit(64).build().parse(pattern).ok()?;
    let mut out = String::new();
    write(&parsed, &mut out, &mut MAX_PARTS.clone())?;
    Some(out)
}

fn write(hir: &Hir, out: &mut String, left: &mut usize) -> Option<()> {
    *left = left.checked_sub(1)?;
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = || class.ranges().iter();
            let within = |ch: char| ranges().any(|range| (range.start()..=range.end()).contains(&ch));
            let plain = ('a'..='z').chain('0'..='9').chain('A'..='Z').chain(' '..='~').find(|ch| within(*ch));
            out.push(plain.or_else(|| ranges().next().map(|range| range.start()))?);
        }
        HirKind::Class(Class::Bytes(_)) => return None,
        HirKind::Repetition(repetition) => {
            for _ in 0..repetition.min {
                write(&repetition.sub, out, left)?;
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, out, left)?,
        HirKind::Concat(parts) => {
            for part in parts {
                write(part, out, left)?;
            }
        }
        HirKind::Alternation(parts) => write(parts.first()?, out, left)?,
    }
    Some(())
}

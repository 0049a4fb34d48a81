//! What patterns have to do with each other, over topics, which have no `/`.

use std::collections::HashSet;

use super::glob::{Glob, Token};

/// Whether every topic that `narrow` matches is matched by `wide`. Sound; where two classes of characters are compared
/// that are not written alike it may say no. Takes the product of the lengths.
pub(crate) fn covers(wide: &Glob, narrow: &Glob) -> bool {
    let (wide, narrow) = (wide.tokens(), narrow.tokens());
    // Row by row from the end: whether the rest of `wide` covers the rest of `narrow`.
    let mut below = vec![false; narrow.len() + 1];
    if let Some(last) = below.last_mut() {
        *last = true;
    }
    for token in wide.iter().rev() {
        let mut row = vec![false; narrow.len() + 1];
        let mut right = false;
        for at in (0..=narrow.len()).rev() {
            let under = below.get(at).copied().unwrap_or(false);
            let diagonal = below.get(at + 1).copied().unwrap_or(false);
            let covered = match (token, narrow.get(at)) {
                (Token::AnyRun, Some(_)) => under || right,
                (Token::AnyRun, None) => under,
                (_, None | Some(Token::AnyRun)) => false,
                (token, Some(one)) => diagonal && one_covers(token, one),
            };
            if let Some(cell) = row.get_mut(at) {
                *cell = covered;
            }
            right = covered;
        }
        below = row;
    }
    below.first().copied().unwrap_or(false)
}

fn one_covers(wide: &Token, narrow: &Token) -> bool {
    match (wide, narrow) {
        (Token::AnyOne, _) => true,
        (_, Token::One(c)) => wide.accepts(*c),
        _ => wide == narrow,
    }
}

/// A topic that both match, if one is found. It may miss one only where two classes of characters meet.
pub(crate) fn common(a: &Glob, b: &Glob) -> Option<String> {
    let (a, b) = (a.tokens(), b.tokens());
    let mut seen = HashSet::new();
    let mut open = vec![(0, 0, String::new())];
    while let Some((i, j, text)) = open.pop() {
        if !seen.insert((i, j)) {
            continue;
        }
        let (left, right) = (a.get(i), b.get(j));
        if left.is_none() && right.is_none() {
            return Some(text);
        }
        // The shortest way is tried first, since the last pushed is taken next.
        if let (Some(left), Some(right)) = (left, right)
            && let Some(c) = shared(left, right)
        {
            let mut longer = text.clone();
            longer.push(c);
            let stay = |token: &Token, at: usize| if *token == Token::AnyRun { at } else { at + 1 };
            open.push((stay(left, i), stay(right, j), longer));
        }
        if left == Some(&Token::AnyRun) {
            open.push((i + 1, j, text.clone()));
        }
        if right == Some(&Token::AnyRun) {
            open.push((i, j + 1, text));
        }
    }
    None
}

/// A character that both take.
fn shared(a: &Token, b: &Token) -> Option<char> {
    let takes = |token: &Token, c: char| *token == Token::AnyRun || token.accepts(c);
    let named = [a, b].into_iter().flat_map(|token| match token {
        Token::One(c) => vec![*c],
        Token::Class { negated: false, ranges } => ranges.iter().flat_map(|(low, high)| [*low, *high]).collect(),
        _ => Vec::new(),
    });
    let named: Vec<char> = named.collect();
    let plain = ('a'..='z').rev().chain('0'..='9').chain('A'..='Z').chain(['-', '_', '.']);
    named.into_iter().chain(plain).find(|c| takes(a, *c) && takes(b, *c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(pattern: &str) -> Glob {
        Glob::new(pattern).unwrap()
    }

    #[test]
    fn patterns_are_compared() {
        for (wide, narrow, expected) in [
            ("job.*", "job.a.*", true),
            ("job.a.*", "job.*", false),
            ("*", "job.[a-z]", true),
            ("job.a", "job.a", true),
            ("job.?", "job.[^x]", true),
            ("job.[a-c]", "job.b", true),
            ("job.[a-c]", "job.[a-b]", false),
            ("job.*.read", "job.a.*.read", true),
            ("job.*.read", "job.a.*", false),
            ("job.**", "job.*", true),
        ] {
            assert_eq!(covers(&glob(wide), &glob(narrow)), expected, "{wide} {narrow}");
        }
        assert_eq!(common(&glob("job.*.read"), &glob("job.a.*")).as_deref(), Some("job.a.read"));
        assert_eq!(common(&glob("job.[a-c]"), &glob("job.[^ab]")).as_deref(), Some("job.c"));
        assert_eq!(common(&glob("job.a*"), &glob("job.b*")), None);
    }

    proptest! {
        #[test]
        fn a_wider_pattern_matches_what_the_narrower_does(a in "[ab*?]{0,6}", b in "[ab*?]{0,6}", text in "[ab]{0,7}") {
            let (a, b) = (glob(&a), glob(&b));
            if covers(&a, &b) && b.matches(&text) {
                prop_assert!(a.matches(&text));
            }
            match common(&a, &b) {
                Some(topic) => prop_assert!(a.matches(&topic) && b.matches(&topic), "{}", topic),
                None => prop_assert!(!(a.matches(&text) && b.matches(&text))),
            }
        }
    }
}

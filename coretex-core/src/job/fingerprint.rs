//! Which failures are the same failure.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Job, JobSpec};

/// Goes into the digest, so that another rule of grouping gives other fingerprints.
const RULE: &str = "1";
/// Longest message that is looked at, and longest pattern made of it, in bytes.
const LONGEST: usize = 512;

/// A short digest of a failure: equal for failures of one kind, whichever job they hit.
///
/// It is made of the state in which the job ended, its topic, the code, and the [pattern](pattern) of the message:
/// not of the tenant, the workflow or the step, so that one cause that hits many of them is one group. The rule is
/// numbered; a letter keeps the fingerprint that it was stored with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(Arc<str>);

impl Fingerprint {
    /// The fingerprint of a job that was given up, and the pattern of its message.
    #[must_use]
    pub fn of(job: &Job, spec: &JobSpec, code: &str, message: &str) -> (Self, String) {
        let run = spec.run.as_ref().map_or("", |run| run.as_str());
        let own = [spec.id.as_str(), &*spec.trace_id, run, job.worker.as_deref().unwrap_or_default()];
        let pattern = pattern(message, &own);
        let mut hash = Sha256::new();
        for part in [RULE, job.state.as_str(), spec.topic.as_str(), code, &pattern] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = crate::value::json::hex(&hash.finalize());
        (Self(digest.get(..16).unwrap_or(&digest).into()), pattern)
    }

    /// Takes over what was given out before; what is none finds nothing.
    #[must_use]
    pub fn named(text: &str) -> Self {
        Self(text.into())
    }

    /// The text: 16 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What messages of one kind have in common: identities become `<id>`, numbers `<n>`, white space one space.
///
/// Identities are the texts in `own` (of the job, its run, trace and worker; three bytes and more) as words of their own,
/// hexadecimal words of eight characters and
/// more that hold a digit, dashes aside, and words of sixteen and more that hold four digits. Every other run of digits
/// is a number; numbers that `.`, `:` and `,` join are one. What follows the first 512 bytes is cut off. O(n).
#[must_use]
pub fn pattern(message: &str, own: &[&str]) -> String {
    let mut text = clip(message).to_owned();
    // The longest first: a job's id holds the run's.
    let mut own: Vec<&str> = own.iter().copied().filter(|id| id.len() >= 3).collect();
    own.sort_by_key(|id| std::cmp::Reverse(id.len()));
    for id in own {
        text = replace_whole(&text, id);
    }
    let mut made = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\u{1}' => {
                made.push_str("<id>");
                first.len_utf8()
            }
            _ if is_word(first) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                push_word(&mut made, rest.get(..length).unwrap_or_default());
                length
            }
            _ if first.is_whitespace() => {
                made.push(' ');
                rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len())
            }
            _ => {
                made.push(first);
                first.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    for join in ["<n>.<n>", "<n>:<n>", "<n>,<n>"] {
        while made.contains(join) {
            made = made.replace(join, "<n>");
        }
    }
    clip(made.trim()).to_owned()
}

/// Marks `id` where it stands by itself, rather than within a word.
fn replace_whole(text: &str, id: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(id) {
        let (before, found) = rest.split_at(at);
        let behind = found.get(id.len()..).unwrap_or_default();
        made.push_str(before);
        let is_whole = !made.ends_with(is_word) && !behind.starts_with(is_word);
        made.push_str(if is_whole { "\u{1}" } else { id });
        rest = behind;
    }
    made.push_str(rest);
    made
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

fn push_word(made: &mut String, word: &str) {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number && ((is_hex && digits > 0 && word.len() >= 8) || (digits >= 4 && word.len() >= 16)) {
        return made.push_str("<id>");
    }
    let mut is_in_number = false;
    for c in word.chars() {
        if !c.is_ascii_digit() {
            made.push(c);
        } else if !is_in_number {
            made.push_str("<n>");
        }
        is_in_number = c.is_ascii_digit();
    }
}

fn clip(text: &str) -> &str {
    let end = (0..=text.len().min(LONGEST)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_one_kind_have_one_pattern() {
        for (messages, wanted) in [
            (
                &["no result by 2030-01-01T00:00:05Z", "no result by 2031-11-30T23:59:59.123456Z"][..],
                "no result by <n>-<n>-<n>T<n>Z",
            ),
            (&["status 503 after 12ms", "status 502  after\n7ms"], "status <n> after <n>ms"),
            (&["connect to 10.0.0.1:8080", "connect to 192.168.1.77:443"], "connect to <n>"),
            (&["user 7f9c2ba4-e88f-427d-b104-0123456789ab", "user 00000000-0000-0000-0000-00000000000a"], "user <id>"),
            (&["key deadbeef01 is gone", "key 0123abcd is gone"], "key <id> is gone"),
            (&["object 01HZX3K9Q2W8R7T6Y5U4I3O2P1"], "object <id>"),
            (&["model gpt-4-turbo refused"], "model gpt-<n>-turbo refused"),
            (&["Ümläut 5", "Ümläut 66"], "Ümläut <n>"),
            (&["run one:scan[3]@2 failed on w-7"], "run <id> failed on <id>"),
            (&[""], ""),
        ] {
            for message in messages {
                assert_eq!(pattern(message, &["one:scan[3]@2", "one", "w-7"]), wanted, "{message}");
            }
        }
        let long = format!("{} tail", "é".repeat(600));
        assert!(pattern(&long, &[]).len() <= LONGEST);
    }

    #[test]
    fn what_differs_in_kind_differs() {
        let words = ["status 503 of db", "status 503 of cache", "state 503 of db"];
        let patterns: std::collections::BTreeSet<String> = words.iter().map(|word| pattern(word, &[])).collect();
        assert_eq!(patterns.len(), words.len());
    }
}

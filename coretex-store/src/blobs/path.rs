//! Where a key's file lies below the directory.
//!
//! Each segment of a key is a directory, the last one a file whose name ends in `~`, so that `a` and `a/b` can
//! both exist. Letters, digits, `_`, `-` and inner dots stand for themselves, everything else is `%` and two hex
//! digits. A segment longer than a file name may be continues in a directory whose name ends in `+`. Both marks
//! are always escaped inside a name, and so is a leading dot: no key leads out of the directory, no two keys meet,
//! and names that start with a dot are free for our own use. The file system must tell upper from lower case.

use std::path::PathBuf;

use coretex_core::ports::BlobKey;

/// Longest name of a chunk; file systems take 255 bytes.
const CHUNK: usize = 200;

/// The path of the key's file, relative to the directory.
pub(super) fn of_key(key: &BlobKey) -> PathBuf {
    let mut path = PathBuf::new();
    let mut segments = key.as_str().split('/').peekable();
    while let Some(segment) = segments.next() {
        let mut name = String::with_capacity(segment.len() + 1);
        for (index, character) in segment.bytes().enumerate() {
            if name.len() >= CHUNK {
                name.push('+');
                path.push(std::mem::take(&mut name));
            }
            match character {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(character)),
                b'.' if index > 0 && !name.is_empty() => name.push('.'),
                other => name.push_str(&format!("%{other:02X}")),
            }
        }
        if segments.peek().is_none() {
            name.push('~');
        }
        path.push(name);
    }
    path
}

/// What an entry of a directory stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The end of a key.
    File(String),
    /// A whole segment and its slash, or a part of a segment.
    Directory(String),
}

/// Reads a name that [`of_key`] made; `None` for anything else.
pub(super) fn parse(name: &str) -> Option<Name> {
    if name.starts_with('.') {
        return None;
    }
    if let Some(name) = name.strip_suffix('~') {
        return Some(Name::File(unescape(name)?));
    }
    if let Some(name) = name.strip_suffix('+') {
        return Some(Name::Directory(unescape(name)?));
    }
    let mut segment = unescape(name)?;
    segment.push('/');
    Some(Name::Directory(segment))
}

fn unescape(name: &str) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('%') {
        let (plain, escape) = rest.split_at(at);
        text.push_str(plain);
        let code = u8::from_str_radix(escape.get(1..3)?, 16).ok()?;
        text.push(char::from(code));
        rest = escape.get(3..)?;
    }
    text.push_str(rest);
    (!text.contains(['/', '~', '\0'])).then_some(text)
}

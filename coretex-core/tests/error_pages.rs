//! Every stable code has a page in `docs/errors`, and the index there lists exactly the pages.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const CRATES: [&str; 6] =
    ["coretex-core", "coretex-bus", "coretex-policy", "coretex-store", "coretex-worker", "coretex-server"];
/// What stands before the block that holds codes.
const BEFORE_A_CODE: [&str; 4] = ["fn code(", "PlaneError::new(", "impl ViolationCode {", "pub mod codes {"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn pages() -> BTreeSet<String> {
    let names = fs::read_dir(root().join("docs/errors")).unwrap().map(|entry| entry.unwrap().path());
    let pages = names.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let stems = pages.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    stems.filter(|name| name != "README").collect()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

/// The workers of the demo have codes of their own, as workers of users do.
fn is_demo(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "demo")
}

/// The text from the opening bracket in `text` to the one that closes it.
fn body(text: &str, open: char, close: char) -> &str {
    let Some(start) = text.find(open) else { return "" };
    let mut depth = 0_usize;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < start) {
        depth = if c == open { depth + 1 } else { depth - usize::from(c == close) };
        if depth == 0 {
            return text.get(start..at).unwrap();
        }
    }
    ""
}

fn is_code(text: &str) -> bool {
    text.contains('_') && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Quoted words that look like codes.
fn codes_in(text: &str) -> impl Iterator<Item = String> {
    text.split('"').skip(1).step_by(2).filter(|word| is_code(word)).map(str::to_owned)
}

fn codes_of(source: &str) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for lead in BEFORE_A_CODE {
        for (at, _) in source.match_indices(lead) {
            let rest = source.get(at..).unwrap();
            let text = if lead.ends_with("new(") { body(rest, '(', ')') } else { body(rest, '{', '}') };
            codes.extend(codes_in(text));
        }
    }
    // The first argument of the compiler's `problem`, and the code of a `Problem`.
    for lead in [
        "self.problem(",
        "problems.add(",
        "code: \"",
        "fatal(\"",
        ".with_code(\"",
        "bad_request(",
        "refuse(\"",
        "StatusCode::",
    ] {
        for (at, _) in source.match_indices(lead) {
            let rest = source.get(at..).unwrap();
            // Within the same call: a status may stand without a code.
            let call = rest.split(';').next().unwrap();
            codes.extend(codes_in(call).take(1));
        }
    }
    codes
}

#[test]
fn every_code_in_the_source_has_a_page() {
    let pages = pages();
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for name in CRATES {
        let mut files = Vec::new();
        sources(&root().join(name).join("src"), &mut files);
        for file in files.iter().filter(|file| !file.ends_with("tests.rs") && !is_demo(file)) {
            let source = fs::read_to_string(file).unwrap();
            // Examples in comments and tests at the end of a file have codes of their own.
            let library = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code: String = library
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .flat_map(|line| [line, "\n"])
                .collect();
            let codes = codes_of(&code);
            seen += codes.len();
            missing.extend(codes.into_iter().filter(|code| !pages.contains(code)));
        }
    }
    assert!(seen > 100, "the source is read: {seen} codes");
    assert!(missing.is_empty(), "codes without a page in docs/errors: {missing:?}");
}

#[test]
fn the_index_lists_exactly_the_pages() {
    let index = fs::read_to_string(root().join("docs/errors/README.md")).unwrap();
    let listed: Vec<&str> = index.lines().filter_map(|line| line.strip_prefix("| [`")?.split('`').next()).collect();
    let distinct: BTreeSet<String> = listed.iter().map(|&code| code.to_owned()).collect();
    assert_eq!(listed.len(), distinct.len(), "no code is listed twice");
    assert_eq!(distinct, pages());
}

#[test]
fn every_page_says_what_to_do() {
    for code in pages() {
        let text = fs::read_to_string(root().join(format!("docs/errors/{code}.md"))).unwrap();
        assert!(text.starts_with(&format!("# {code}\n\n")) && text.contains("\n## What to do\n\n"), "{code}");
    }
}

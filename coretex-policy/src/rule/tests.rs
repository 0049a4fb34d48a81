use std::fmt::Write as _;

use coretex_core::policy::Outcome;
use proptest::prelude::*;

use super::*;
use crate::error::ErrorCode;

const ESTABLISHED: &str = r#"
# An operator's file in the established language, every key once.
version: 1.10
default_tenant: default
rules:
  - id: constrained
    match:
      tenants: [default, acme]
      topics: ["job.patch.*", job.exact]
      capabilities: [repo.write]
      risk_tags: [write]
      requires: [git]
      pack_ids: [patcher]
      actor_ids: [bot-1]
      actor_types: [service]
      labels: { attempt: 1, dry: false, env: "prod " }
      secrets_present: false
      mcp:
        allow_servers: [github]
        deny_servers: []
        allow_tools: []
        deny_tools: [delete_repo]
        allow_resources: []
        deny_resources: []
        allow_actions: []
        deny_actions: [write]
    decision: allow_with_constraints
    reason: "bounded"
    constraints:
      budgets: { max_runtime_ms: 1_000, max_retries: 2, max_artifact_bytes: 3, max_concurrent_jobs: 4 }
      sandbox: { isolated: true, network_allowlist: [api.example.com], fs_read_only: [/etc], fs_read_write: [/tmp] }
      toolchain: { allowed_tools: [go], allowed_commands: [go test] }
      diff: { max_files: 5, max_lines: 6, deny_path_globs: [".git/**"] }
      redaction_level: high
    remediations:
      - id: smaller
        title: Smaller
        summary: Do less
        replacement_topic: job.patch.small
        replacement_capability: repo.read
        add_labels: { safe: "true" }
        remove_labels: [unsafe]
  - { id: rest, decision: permit }
tenants:
  default:
    allow_topics: ["job.*"]
    deny_topics: ["sys.*"]
    allowed_repo_hosts: []
    denied_repo_hosts: [evil.example.com]
    max_concurrent_jobs: 5
    mcp: { allow_servers: [], deny_tools: [rm] }
  empty:
"#;

fn errors(yaml: &str) -> Vec<crate::BundleError> {
    Document::parse("safety.yaml", yaml).expect_err("the document is broken").0
}

fn only_code(yaml: &str) -> ErrorCode {
    let errors = errors(yaml);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors[0].code
}

#[test]
fn the_established_language_is_accepted_unchanged() {
    let document = Document::parse("safety.yaml", ESTABLISHED).unwrap();
    assert_eq!(document.version(), "1.10", "a version is a text, however it is spelled");
    assert_eq!(document.rules().len(), 2);
    let rule = &document.rules()[0];
    assert_eq!(rule.decision, Outcome::AllowWithConstraints);
    assert_eq!(rule.line, 6);
    assert_eq!(rule.criteria.labels["attempt"], "1");
    assert_eq!(rule.criteria.labels["dry"], "false");
    assert_eq!(rule.criteria.labels["env"], "prod ", "labels are compared as they are");
    let budgets = rule.constraints.as_ref().unwrap().budgets.as_ref().unwrap();
    assert_eq!(budgets.max_runtime_ms, 1000);
    assert_eq!(document.tenants().len(), 2);
}

#[test]
fn json_is_accepted_too() {
    let document =
        Document::parse("p", r#"{"rules": [{"id": "a", "decision": "deny", "match": {"topics": ["job.a"]}}]}"#);
    assert_eq!(document.unwrap().rules()[0].decision, Outcome::Deny);
}

#[test]
fn every_decision_word_means_what_it_says() {
    for (word, outcome) in DECISION_WORDS {
        for spelled in [word.to_owned(), word.to_uppercase(), format!("\" {word} \"")] {
            let yaml = format!("rules: [{{ id: a, decision: {spelled} }}]");
            assert_eq!(Document::parse("p", &yaml).unwrap().rules()[0].decision, outcome, "{spelled}");
        }
    }
}

#[test]
fn allow_with_limits_is_allow_with_constraints() {
    let with = Document::parse("p", "rules: [{decision: allow, constraints: {budgets: {max_retries: 1}}}]").unwrap();
    assert_eq!(with.rules()[0].decision, Outcome::AllowWithConstraints);
    let empty =
        Document::parse("p", "rules: [{decision: allow, constraints: {budgets: {}, sandbox: {isolated: false}}}]");
    assert_eq!(empty.unwrap().rules()[0].decision, Outcome::Allow, "sections that limit nothing are no limits");
}

#[test]
fn w30_a_rule_without_a_decision_is_an_error_not_an_allow() {
    assert_eq!(only_code("rules: [{ id: a }]"), ErrorCode::MissingDecision);
    assert_eq!(only_code("rules: [{ id: a, decision: }]"), ErrorCode::MissingDecision);
    assert_eq!(only_code("rules: [{ id: a, decision: alow }]"), ErrorCode::UnknownDecision);
    assert_eq!(only_code("rules: [{ id: a, decision: '' }]"), ErrorCode::UnknownDecision);
    assert_eq!(only_code("rules: [{ id: a, decision: no }]"), ErrorCode::UnknownDecision, "`no` is a word, not false");
    assert_eq!(only_code("default_decision: maybe"), ErrorCode::UnknownDecision);
    assert_eq!(only_code("default_decision:"), ErrorCode::WrongType);
}

#[test]
fn what_could_mean_everything_or_nothing_is_an_error() {
    for list in ["tenants", "topics", "capabilities", "risk_tags", "requires", "pack_ids", "actor_ids", "actor_types"] {
        for empty in ["[]", "", "['']", "[' ']"] {
            let yaml = format!("rules:\n  - decision: deny\n    match:\n      {list}: {empty}\n");
            assert_eq!(only_code(&yaml), ErrorCode::EmptyPattern, "{yaml}");
        }
    }
    assert_eq!(only_code("rules: [{decision: deny, match: {labels: {}}}]"), ErrorCode::EmptyPattern);
    assert_eq!(only_code("tenants: {a: {allow_topics: []}}"), ErrorCode::EmptyPattern);
    assert!(Document::parse("p", "tenants: {a: {deny_topics: []}}").is_ok(), "an empty deny list denies nothing");
    assert!(Document::parse("p", "rules: [{decision: deny}, {decision: allow, match: {}}]").is_ok());
}

#[test]
fn every_code_has_a_page() {
    for code in ErrorCode::ALL {
        let page = format!("{}/../docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.starts_with(&format!("# {code}\n")), "{page} starts with the code");
    }
}

#[test]
fn error_texts_tell_place_and_remedy() {
    let cases = [
        "rules:\n  - id: a\n    decision: alow\n",
        "rules:\n  - id: a\n    decision: whatever\n",
        "rules:\n  - id: a\n    match: { topics: [job.a] }\n",
        "rules:\n  - id: a\n    decision: deny\n    math: {}\n",
        "rule: []\n",
        "rules:\n  - id: a\n    decision: deny\n    match:\n      topic: [job.a]\n",
        "rules:\n  - id: a\n    decision: deny\n    match:\n      topics: job.a\n",
        "rules:\n  - id: a\n    decision: deny\n    match:\n      topics:\n        - job.a\n        - job.[a\n",
        "rules:\n  - id: a\n    decision: deny\n    match:\n      topics: ['job.[z-a]', 'job.\\']\n",
        "rules:\n  - { id: a, decision: deny }\n  - { id: a, decision: allow }\n",
        "rules:\n  - id: a\n    id: b\n",
        "rules:\n  - id: a\n    decision: deny\n    match: { secrets_present: yes }\n",
        "rules:\n  - id: a\n    decision: deny\n    match: { actor_types: [robot] }\n",
        "rules:\n  - id: a\n    decision: allow\n    constraints: { budgets: { max_retries: -1, max_runtime_ms: 30s } }\n",
        "rules:\n  - id: a\n    decision: allow\n    constraints: { budgets: { max_retries: 99999999999 } }\n",
        "rules:\n  - id: a\n    decision: deny\n    velocity: { max_requests: 3 }\n",
        "rules: {}\n",
        "rules: [1]\n",
        "- a\n",
        "",
        "# only a comment\n",
        "rules: [\n",
        "rules:\n\t- id: a\n",
        "rules: *nowhere\n",
        "a: 1\n---\nb: 2\n",
        "tenants: { Acme: {}, acme: {} }\n",
        "rules:\n  - id: a\n    decision: deny\n    match:\n      tenants: []\n      labels:\n",
    ];
    let mut out = String::new();
    for yaml in cases {
        writeln!(out, "{yaml:?}").unwrap();
        for error in errors(yaml) {
            writeln!(out, "  {} {error}", error.code()).unwrap();
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn hostile_documents_end_with_a_named_error() {
    // Each level repeats the one below nine times.
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..12 {
        let item = format!("*a{}", n - 1);
        writeln!(bomb, "a{n}: &a{n} [{}]", [item.as_str(); 9].join(",")).unwrap();
    }
    let many_rules = format!("rules:\n{}", "  - { decision: deny }\n".repeat(crate::rule::MAX_BYTES / 23 + 1));
    for (name, yaml) in [
        ("alias bomb", bomb),
        ("deep flow lists", "[".repeat(100_000)),
        ("deep flow mappings", "{a: ".repeat(100_000)),
        ("deep block lists", (0..200).map(|n| format!("{}-\n", " ".repeat(n))).collect()),
        ("nested deeper than policies are", format!("rules: {}1{}", "[".repeat(40), "]".repeat(40))),
        ("ten megabytes of spaces", " ".repeat(10 << 20)),
        ("ten megabytes of rules", many_rules),
    ] {
        let errors = errors(&yaml);
        let named = |error: &crate::BundleError| matches!(error.code, ErrorCode::TooLarge | ErrorCode::Syntax);
        assert!(errors.len() == 1 && errors.iter().all(named), "{name}: {errors:?}");
    }
    assert_eq!(only_code(&" ".repeat(10 << 20)), ErrorCode::TooLarge);
    assert_eq!(only_code(&format!("rules: {}1{}", "[".repeat(40), "]".repeat(40))), ErrorCode::TooLarge);
    for yaml in
        ["\0", "\u{feff}", "%YAML 9.9\n---\n", "!!binary x", "!include x", "? [a, b] : c", "<<: 1", "&a *a", "1: 2"]
    {
        assert!(!errors(yaml).is_empty(), "{yaml:?}");
    }
}

#[test]
fn mistakes_without_end_are_cut_off() {
    let yaml = format!("rules:\n{}", "  - { id: a, decisoin: deny }\n".repeat(1_000));
    assert_eq!(errors(&yaml).len(), 100);
}

#[test]
fn globs_match_as_paths_do() {
    let cases = [
        ("job.a", "job.a", true),
        ("job.a", "job.ab", false),
        ("job.*", "job.a.b", true),
        ("job.*", "job.", true),
        ("job.*", "job.a/b", false),
        ("*", "job.a", true),
        ("job.*.read", "job.a.b.read", true),
        ("job.*.read", "job.a.b.write", false),
        ("job.*.a*c", "job.x.abac", true),
        ("job.?", "job.a", true),
        ("job.?", "job.ab", false),
        ("job.?", "job./", false),
        ("job.[a-c]x", "job.bx", true),
        ("job.[^a-c]x", "job.bx", false),
        ("job.[^a-c]x", "job.zx", true),
        ("job.[ab]", "job.c", false),
        (r"job.\*", "job.*", true),
        (r"job.\*", "job.a", false),
        ("job.é*", "job.été", true),
        ("JOB.*", "job.a", false),
        ("job.**", "job.a", true),
    ];
    for (pattern, topic, expected) in cases {
        assert_eq!(Glob::new(pattern).unwrap().matches(topic), expected, "{pattern} {topic}");
    }
    for broken in ["[", "[]", "[a", "[a-", "[a-]", "[-a]", "[b-a]", r"a\", r"[\", "[^]", "[^"] {
        assert!(Glob::new(broken).is_err(), "{broken}");
    }
}

#[test]
fn a_pattern_full_of_stars_is_still_quick() {
    let glob = Glob::new(&format!("job.{}b", "*a".repeat(50))).unwrap();
    assert!(!glob.matches(&format!("job.{}", "a".repeat(20_000))));
}

/// By trying everything.
fn slow(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => slow(rest, text) || (!text.is_empty() && text[0] != '/' && slow(pattern, &text[1..])),
        ['?', rest @ ..] => !text.is_empty() && text[0] != '/' && slow(rest, &text[1..]),
        [c, rest @ ..] => text.first() == Some(c) && slow(rest, &text[1..]),
    }
}

proptest! {
    #[test]
    fn globs_agree_with_trying_everything(pattern in "[ab/*?]{0,9}", text in "[ab/]{0,9}") {
        let expected = slow(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
        prop_assert_eq!(Glob::new(&pattern).unwrap().matches(&text), expected);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in r"[\PC\n]{0,200}") {
        let _ = Document::parse("p", &text);
        let _ = Document::parse("p", &format!("rules:\n  - decision: deny\n    match: {text}\n"));
    }
}

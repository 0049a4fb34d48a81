//! Reading, positions, hostile input.

use super::*;
use serde_json::json;

#[test]
fn yaml_and_json_give_the_same_values() {
    let yaml = "name: demo\nsteps:\n  - id: fetch-data\n    on: yes\n    when: ${input.x}\n    n: 1\n    f: 2.5\n    none: null\n    empty:\n    flag: true\n    date: 2024-01-01\n    quoted: \"1\"\n    block: |\n      a\n      b\n";
    let expected = json!({"name": "demo", "steps": [{
        "id": "fetch-data", "on": "yes", "when": "${input.x}", "n": 1, "f": 2.5, "none": null, "empty": null,
        "flag": true, "date": "2024-01-01", "quoted": "1", "block": "a\nb\n"
    }]});
    assert_eq!(parse("w.yaml", yaml).unwrap(), expected);
    assert_eq!(parse("w", &expected.to_string()).unwrap(), expected);
    assert_eq!(parse_yaml("w", &expected.to_string()).unwrap(), expected);
    assert_eq!(parse("w.yml", "").unwrap(), Value::Null);
    assert_eq!(parse("w", "[1, 2]").unwrap(), json!([1, 2]));
}

#[test]
fn anchors_and_merge_keys_are_expanded() {
    let yaml = "base: &b\n  x: 1\nfirst:\n  <<: *b\n  y: 2\nsecond: *b\n";
    assert_eq!(
        parse_yaml("a.yaml", yaml).unwrap(),
        json!({"base": {"x": 1}, "first": {"x": 1, "y": 2}, "second": {"x": 1}})
    );
}

#[test]
fn errors_carry_file_line_column_and_excerpt() {
    let error = parse("w.yaml", "a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
    assert_eq!((error.code(), error.name()), ("document_invalid", "w.yaml"));
    assert!(error.line() >= 2 && !error.excerpt().is_empty(), "{error:?}");

    let error = parse("w.yaml", "first: 1\nkey: a\nkey: b\n").unwrap_err();
    assert_eq!((error.code(), error.line(), error.column()), ("document_invalid", 3, 1), "{error:?}");
    assert_eq!(error.excerpt(), "key: b\n^");
    assert!(error.reason().contains("key"), "{error}");

    let error = parse("w.json", "{\n  \"a\": 1,\n  \"é\": tru\n}").unwrap_err();
    assert_eq!((error.code(), error.line()), ("document_invalid", 3), "{error:?}");

    let error = parse("w.json", "{\"a\": 1, \"a\": 2}").unwrap_err();
    assert!(error.to_string().starts_with("w.json:1:12: the key `a` is repeated"), "{error}");

    let error = parse_json("w.json", b"{\"a\": \"\xff\"}").unwrap_err();
    assert_eq!((error.code(), error.column()), ("document_invalid", 8));
    for second in ["a: 1\n---\nb: 2\n", "a: &x [*x]", "a: *nowhere", "? [1, 2]\n: x", "a: .nan"] {
        let error = parse("w.yaml", second).expect_err(second);
        assert!(error.to_string().starts_with("w.yaml:"), "{error}");
    }
}

#[test]
fn hostile_documents_end_with_a_named_error() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let alias = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    let cases = [
        ("bomb.yaml", bomb, "payload_too_large"),
        ("deep.yaml", "[".repeat(5000), "payload_too_deep"),
        ("deep.json", "[".repeat(5000), "payload_too_deep"),
        ("closed.json", format!("{}{}", "[".repeat(100), "]".repeat(100)), "payload_too_deep"),
        ("block.yaml", (0..300).map(|level| format!("{}a:\n", " ".repeat(level))).collect(), "payload_too_deep"),
        ("large.yaml", "x".repeat(MAX_BYTES + 1), "payload_too_large"),
        ("many.yaml", format!("[{}]", "1,".repeat(300_000)), "payload_too_large"),
        ("many.json", format!("[{}1]", "1,".repeat(300_000)), "payload_too_large"),
    ];
    for (name, text, code) in cases {
        let error = parse(name, &text).expect_err(name);
        assert_eq!(error.code(), code, "{error}");
        assert!(!error.reason().contains('\n'), "{error}");
    }
}

#[test]
fn what_the_parser_says_of_itself_is_put_in_plain_words() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let alias = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    let cases = [
        ("a: 1\na: 2\n".to_owned(), "w.yaml:2:1: the key `a` is repeated"),
        (format!("{}x{}", "[".repeat(70), "]".repeat(70)), "nested deeper than 64 levels"),
        (bomb, "aliases repeat more than 50000 values"),
        ("~: 1\n".to_owned(), "a key is a text"),
        ("[1, 2]: x\n".to_owned(), "key"),
    ];
    for (text, expected) in cases {
        let error = parse("w.yaml", &text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        for inner in ["DuplicateKeyPolicy", "budget", "Depth {", "replay", "Option<", "deserialize"] {
            assert!(!error.contains(inner), "{error}");
        }
    }
}

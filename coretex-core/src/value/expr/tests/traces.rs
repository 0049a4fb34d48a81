//! Traces: what they show, that they agree with the evaluation, that they are bounded.

use super::*;

fn drawn(text: &str, scope: &Value) -> String {
    Expr::compile(text, &options()).unwrap().trace(scope).to_string()
}

#[test]
fn a_trace_shows_every_part_and_what_was_not_evaluated() {
    let scope = page_scope();
    for (text, expected) in [
        ("42", "42 = 42\n"),
        ("input.name", "input.name = \"Ada\"\n"),
        ("input.map.x.y.z", "input.map.x.y.z = missing: `input.map.x` is an int without `y`\n"),
        ("input['no'].x", "input['no'].x = missing: `input` is a map without `no`\n"),
        (
            "input.tags[7] == null",
            "input.tags[7] == null = true\n└─ input.tags[7] = missing: `input.tags` is a list without a position 7\n",
        ),
        (
            "input.on || input.off && input.name == 'x'",
            "input.on || input.off && input.name == 'x' = true\n├─ input.on = true\n└─ input.off && input.name == 'x': not evaluated\n",
        ),
        (
            "input.off ? input.name : input.count +\n  1",
            "input.off ? input.name : input.count + 1 = 11\n├─ input.off = false\n├─ input.count + 1 = 11\n│  └─ input.count = 10\n└─ input.name: not evaluated\n",
        ),
        (
            "input.name + 1 == input.count",
            "input.name + 1 == input.count: failed: `+` does not apply to a string and an int; convert with int(...), double(...) or string(...)\n\
             ├─ input.name + 1: failed: `+` does not apply to a string and an int; convert with int(...), double(...) or string(...)\n\
             │  └─ input.name = \"Ada\"\n└─ input.count: not evaluated\n",
        ),
        (
            "input.items.exists(i, i.n > 0)",
            "input.items.exists(i, i.n > 0) = true\n├─ input.items = [{\"k\":\"a\",\"n\":1},{\"k\":\"b\",\"n\":2}]\n\
             └─ i [0] = {\"k\":\"a\",\"n\":1}\n   └─ i.n > 0 = true\n      └─ i.n = 1\n",
        ),
        (
            "input.nothing.map(x, x + 1)",
            "input.nothing.map(x, x + 1) = []\n├─ input.nothing = []\n└─ x + 1: not evaluated\n",
        ),
        ("double('NaN')", "double('NaN') = (the result is NaN, which JSON cannot hold)\n"),
        ("has(input.q)", "has(input.q) = false\n└─ input.q = missing: `input` is a map without `q`\n"),
        ("(input.count + 1) * 2", "(input.count + 1) * 2 = 22\n└─ (input.count + 1) = 11\n   └─ input.count = 10\n"),
    ] {
        assert_eq!(drawn(text, &scope), expected, "{text}");
    }
}

#[test]
fn a_trace_has_the_result_of_the_evaluation() {
    let scope = page_scope();
    let mut seen = 0;
    for (text, _) in rows("expression") {
        let Ok(expr) = Expr::compile(&text, &options()) else { continue };
        let trace = expr.trace(&scope);
        assert_eq!(trace.result, expr.evaluate(&scope), "{text}");
        match (&trace.root.outcome, &trace.result) {
            (TraceOutcome::Value { value }, Ok(Some(result))) => assert_eq!(value, result, "{text}"),
            (TraceOutcome::Missing { .. }, Ok(None))
            | (TraceOutcome::Failed { .. }, Err(_))
            | (TraceOutcome::Large { .. }, _) => {}
            other => panic!("{text}: {other:?}"),
        }
        assert!(spans_hold(&text, &trace.root), "{text}: {trace}");
        seen += 1;
    }
    assert!(seen > 100);
}

/// Whether every part's span holds its text.
fn spans_hold(text: &str, node: &TraceNode) -> bool {
    let here = node.element.is_some() || text.get(node.start..node.end) == Some(node.text.as_str());
    here && node.parts.iter().all(|part| spans_hold(text, part))
}

#[test]
fn traces_are_bounded() {
    let scope = json!({"input": {"big": (0..9000).collect::<Vec<_>>(), "text": "a".repeat(100_000), "t": "long"}});
    let count = |text: &str| {
        fn nodes(node: &TraceNode) -> usize {
            1 + node.parts.iter().map(nodes).sum::<usize>()
        }
        let trace = Expr::compile(text, &options()).unwrap().trace(&scope);
        assert!(trace.to_string().len() < 400_000);
        (nodes(&trace.root), trace)
    };
    let (nodes, trace) = count("input.big.map(x, x + x).filter(y, y > 5)");
    assert!(nodes < 120 && trace.truncated, "{nodes}");
    assert!(trace.to_string().ends_with("(the rest is not shown)\n"));
    let TraceOutcome::Large { summary } = &trace.root.outcome else { panic!("{trace}") };
    assert_eq!(summary, "a list of 8997");
    // What comes after a long walk is still shown.
    let (_, trace) = count("input.big.exists(x, x == 8999) && input.text.size() > 3");
    assert!(trace.to_string().contains("input.text = (a string of 100000 bytes)"), "{trace}");
    let (nodes, trace) = count(&format!("true{}", " && size(input.t) > 3".repeat(180)));
    assert!(nodes <= 510 && trace.truncated, "{nodes}");
    let (nodes, _) = count("input.big.map(x, input.big.map(y, x + y))");
    assert!(nodes <= 510, "{nodes}");
}

#[test]
fn a_trace_is_json() {
    let trace = Expr::compile("input.a > 1 || input.b", &options()).unwrap().trace(&json!({"input": {"a": 2}}));
    assert_eq!(
        serde_json::to_value(&trace).unwrap(),
        json!({"truncated": false, "root": {
            "text": "input.a > 1 || input.b", "start": 0, "end": 22, "outcome": "value", "value": true, "parts": [
                {"text": "input.a > 1", "start": 0, "end": 11, "outcome": "value", "value": true, "parts": [
                    {"text": "input.a", "start": 0, "end": 7, "outcome": "value", "value": 2}
                ]},
                {"text": "input.b", "start": 15, "end": 22, "outcome": "not_evaluated"}
            ]
        }})
    );
}

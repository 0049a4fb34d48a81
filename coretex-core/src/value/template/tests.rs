//! Scanning, splicing and errors; the page's table runs beside the expressions.

use super::*;
use serde_json::json;

fn compile(source: &Value) -> Result<Template, TemplateError> {
    Template::compile(source, &CompileOptions::new().with_steps(["fetch"]))
}

#[test]
fn nested_trees_render_and_static_parts_stay() {
    let source = json!({
        "static": {"deep": [1, {"x": "plain"}]},
        "list": ["${input.a}", "${input.none}", "x-${input.a}", {"drop": "${input.none}", "keep": true}],
    });
    let template = compile(&source).unwrap();
    assert!(template.as_static().is_none());
    let rendered = template.render(&json!({"input": {"a": 1}})).unwrap();
    assert_eq!(
        rendered,
        Some(json!({"static": {"deep": [1, {"x": "plain"}]}, "list": [1, null, "x-1", {"keep": true}]}))
    );
}

#[test]
fn quotes_and_braces_inside_an_expression_do_not_close_it() {
    for (text, expected) in [
        (r#"${ '}' + "}" }"#, json!("}}")),
        (r"a${ r'\' + '}' }b", json!("a\\}b")),
        ("${ '''it's }''' }", json!("it's }")),
        ("${ {'a': {'b': 1}}.a.b }", json!(1)),
        ("${input.a}${input.a}", json!("11")),
        ("it's ${input.a}", json!("it's 1")),
        ("$${a} ${input.a} $${b}", json!("${a} 1 ${b}")),
        ("$$${input.a}", json!("$${input.a}")),
        ("cost: $5 {x}", json!("cost: $5 {x}")),
    ] {
        let template = compile(&json!(text)).expect(text);
        assert_eq!(template.render(&json!({"input": {"a": 1}})).unwrap(), Some(expected), "{text}");
    }
}

#[test]
fn compile_errors_say_where_in_the_tree() {
    let cases = [
        (
            json!({"a": [{"b": "x ${input.a"}]}),
            "template_invalid",
            "template at `a[0].b`: the `${` at 1:3 is not closed; add `}`, or write `$${` for a literal `${`",
        ),
        (
            json!("line\n  ${'}"),
            "template_invalid",
            "template at `the root`: the `${` at 2:3 is not closed; add `}`, or write `$${` for a literal `${`",
        ),
        (
            json!({"a": "${steps.fetsh.output}"}),
            "expression_invalid",
            "template at `a`: expression `steps.fetsh.output` is not valid at 1:7: unknown step `fetsh`; did you mean `fetch`?",
        ),
        (json!({"a": "${}"}), "expression_invalid", "template at `a`: expression `` is not valid at 1:1: it is empty"),
    ];
    for (source, code, text) in cases {
        let error = compile(&source).unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (code, text));
    }
    let deep = (0..70).fold(json!("${input}"), |inner, _| json!([inner]));
    assert_eq!(compile(&deep).unwrap_err().code(), "payload_too_deep");
}

#[test]
fn evaluation_errors_say_where_in_the_tree() {
    let template = compile(&json!({"a": [1, {"b": "n=${input.n / 0}"}]})).unwrap();
    let error = template.render(&json!({"input": {"n": 1}})).unwrap_err();
    assert_eq!(error.template_path(), Some("a[1].b"));
    assert_eq!(error.to_string(), "template at `a[1].b`: expression `input.n / 0` failed at 1:1: `/` by zero");
}

#[test]
fn references_and_warnings_are_collected() {
    let schema = json!({"additionalProperties": false, "properties": {"a": {"type": "string"}}});
    let options = CompileOptions::new().with_steps(["fetch"]).with_input_schema(&schema);
    let source = json!(["${input.a == 1}", "${input.a == 1} ${steps.fetch.output}"]);
    let template = Template::compile(&source, &options).unwrap();
    assert_eq!(template.references().steps().collect::<Vec<_>>(), ["fetch"]);
    assert_eq!(template.references().roots().collect::<Vec<_>>(), ["input", "steps"]);
    assert_eq!(template.warnings(), ["`input.a` is a string and `1` is a number: they are never equal"]);
    let error = Template::compile(&json!({"x": ["${input.b}"]}), &options).unwrap_err();
    assert_eq!((error.code(), error.path()), ("expression_invalid", "x[0]"));
}

#[test]
fn a_rendering_cannot_multiply_its_input_without_bound() {
    let source = Value::Array(vec![json!("${input}"); 1000]);
    let template = compile(&source).unwrap();
    let scope = json!({"input": {"text": "x".repeat(1_000_000)}});
    let error = template.render(&scope).unwrap_err();
    assert_eq!(error.template_path(), Some("[15]"));
    assert_eq!(error.code(), "expression_failed");
}

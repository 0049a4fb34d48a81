//! The page's tables, hostile input, and the judge.

use super::*;
use crate::value::template::Template;
use serde_json::json;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/expressions.md"));

fn options() -> CompileOptions {
    CompileOptions::new().with_steps(["fetch-data", "a"])
}

fn page_scope() -> Value {
    let block = PAGE.split("<!-- scope -->").nth(1).expect("scope marker");
    let block = block.split("```json").nth(1).and_then(|tail| tail.split("```").next()).expect("scope block");
    serde_json::from_str(block).expect("scope is JSON")
}

/// The rows of every table whose header starts with `first` and has a result column.
fn rows(first: &str) -> Vec<(String, String)> {
    columns(first, ["result"]).into_iter().map(|(text, [result])| (text, result)).collect()
}

/// The first column and the named ones of every table that has them all.
fn columns<const N: usize>(first: &str, wanted: [&str; N]) -> Vec<(String, [String; N])> {
    let mut found = Vec::new();
    let mut places = None;
    for line in PAGE.lines() {
        let Some(line) = line.strip_prefix('|') else {
            places = None;
            continue;
        };
        let cells: Vec<String> =
            line.replace("\\|", "\u{1}").split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
        if cells[0] == first {
            let at = wanted.map(|name| cells.iter().position(|cell| cell == name));
            places = at.iter().all(Option::is_some).then(|| at.map(Option::unwrap));
        } else if let Some(places) = places
            && !cells[0].starts_with("---")
        {
            let text = cells[0].strip_prefix('`').and_then(|text| text.strip_suffix('`')).unwrap_or(&cells[0]);
            found.push((text.to_owned(), places.map(|at: usize| cells[at].clone())));
        }
    }
    found
}

fn shown(result: Result<Option<Value>, &'static str>) -> String {
    match result {
        Ok(Some(value)) => format!("`{}`", crate::value::json::canonical(&value)),
        Ok(None) => "`missing`".to_owned(),
        Err(code) => format!("error `{code}`"),
    }
}

fn eval(text: &str, scope: &Value) -> Result<Option<Value>, &'static str> {
    Expr::compile(text, &options()).map_err(|error| error.code())?.evaluate(scope).map_err(|error| error.code())
}

fn compile_error(text: &str) -> ExprError {
    Expr::compile(text, &options()).expect_err(text)
}

fn eval_error(text: &str, scope: &Value) -> EvalError {
    Expr::compile(text, &options()).expect(text).evaluate(scope).expect_err(text)
}

#[test]
fn every_expression_of_the_page_gives_what_the_page_says() {
    let scope = page_scope();
    let rows = rows("expression");
    assert!(rows.len() > 100, "only {} rows found", rows.len());
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(text, expected)| {
            let found = shown(eval(text, &scope));
            (found != *expected).then(|| format!("{text}: page says {expected}, code gives {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_page_says_what_became_of_established_texts() {
    let rows = columns("expression", ["before", "result", "now"]);
    assert!(rows.len() > 40, "only {} rows found", rows.len());
    for (text, [before, result, now]) in rows {
        // Nothing prints and compares as null.
        let same = before == result || (before == "`null`" && result == "`missing`");
        let expected = match (result.starts_with("error"), same) {
            (true, _) => "error",
            (false, true) => "kept",
            (false, false) => "fixed",
        };
        assert_eq!(now, expected, "{text}: {before} -> {result}");
    }
}

#[test]
fn every_function_is_on_the_page() {
    for (_, name, ..) in ast::Function::TABLE {
        let named = PAGE.contains(&format!("{name}(")) || PAGE.contains(&format!("`{name}`"));
        assert!(named, "{name}");
    }
    for (alias, _) in ast::Function::ALIASES {
        assert!(PAGE.contains(&format!("`{alias}`")), "{alias}");
    }
    for name in ast::TYPE_NAMES {
        assert!(PAGE.contains(name), "{name}");
    }
}

#[test]
fn conditions_of_the_page_agree_with_their_values() {
    let scope = page_scope();
    for (text, _) in rows("expression") {
        let Ok(value) = eval(&text, &scope) else {
            continue;
        };
        let condition = Expr::compile(&text, &options()).unwrap().evaluate_bool(&scope).unwrap();
        assert_eq!(condition, value.is_some_and(|value| crate::value::json::truthy(&value)), "{text}");
    }
}

#[test]
fn every_template_of_the_page_gives_what_the_page_says() {
    let scope = page_scope();
    let rows = rows("template");
    assert!(rows.len() > 10, "only {} rows found", rows.len());
    for (text, expected) in rows {
        let source: Value = serde_json::from_str(&text).expect(&text);
        let result = Template::compile(&source, &options())
            .map_err(|error| error.code())
            .and_then(|template| template.render(&scope).map_err(|error| error.code()));
        assert_eq!(shown(result), expected, "{text}");
    }
}

#[test]
fn compile_errors_point_at_the_problem_and_say_what_to_do() {
    let cases = [
        ("input.a ==\n  inptu.b", 2, 3, "unknown name `inptu`", "did you mean `input`?"),
        ("steps.fetch-dta.output > 1", 1, 7, "unknown step `fetch-dta`", "did you mean `fetch-data`?"),
        ("input.a = 1", 1, 9, "unexpected `=`", "compare with `==`"),
        ("input.a and input.b", 1, 9, "expected an operator or the end, found `and`", "write `&&`"),
        ("sise(input.a)", 1, 1, "unknown function `sise`", "did you mean `size`?"),
        ("input.a.all(i, i).x(1)", 1, 19, "unknown function `x`", ""),
        ("size(input.a, 1)", 1, 1, "`size` takes 1 argument, not 2", ""),
        ("'abc", 1, 1, "the string does not end", "close it with the quote that opens it"),
        ("{1: 2}", 1, 2, "map keys are strings", "quote the key"),
        ("math.abc(1)", 1, 1, "unknown function `math.abc`", "did you mean `math.abs`?"),
        ("math + 1", 1, 1, "unknown name `math`", ""),
        (
            "now()",
            1,
            1,
            "unknown function `now`",
            "an expression has no clock; read a time that the run or a step recorded",
        ),
        ("'a'.split()", 1, 5, "`split` takes 1 to 2 arguments, not 0", ""),
        ("sort(1)", 1, 1, "`sort` takes a list, and `1` is a number", ""),
        ("Foo{a: 1}", 1, 1, "unknown name `Foo`", ""),
        ("input.x.matches('(')", 1, 9, "the pattern of `matches` is not valid: unclosed group", ""),
        ("${input.a}", 1, 1, "unexpected `$`", "an expression outside of a template is written without `${` and `}`"),
        ("exists(input.a, x)", 1, 1, "`exists` is called on a list", "write input.items.exists(item, ...)"),
        ("  ", 1, 1, "it is empty", ""),
    ];
    for (text, line, column, reason, hint) in cases {
        let error = compile_error(text);
        assert_eq!((error.line(), error.column(), error.reason()), (line, column, reason), "{error:?}");
        assert_eq!(error.code(), "expression_invalid");
        if !hint.is_empty() {
            assert_eq!(error.hint(), Some(hint), "{text}");
        }
    }
    let error = compile_error("input.count > 3 && inptu.b");
    assert_eq!(error.excerpt(), "input.count > 3 && inptu.b\n                   ^");
    assert_eq!(
        error.to_string(),
        "expression `input.count > 3 && inptu.b` is not valid at 1:20: unknown name `inptu`; did you mean `input`?"
    );
}

#[test]
fn evaluation_errors_name_the_expression_the_place_and_the_reason() {
    let scope = page_scope();
    let cases = [
        ("1 + input.missing", 1, "`+` does not apply to an int and a missing value; test it with has(...) first"),
        (
            "true && input.name + 1 > 2",
            9,
            "`+` does not apply to a string and an int; convert with int(...), double(...) or string(...)",
        ),
        ("input.count / input.zero", 1, "`/` by zero"),
        ("size(input.count)", 1, "`size` takes a string, list or map, not an int"),
        ("int('x')", 1, "the string `x` does not convert to int"),
        (
            "input.missing.map(x, x)",
            1,
            "a list or a map can be walked, not a missing value; test it with has(...) first",
        ),
        ("1.0 / 0", 1, "the result is inf, which JSON cannot hold"),
    ];
    for (text, column, reason) in cases {
        let error = eval_error(text, &scope);
        assert_eq!((error.column(), error.reason()), (column, reason), "{text}");
        assert_eq!(error.code(), "expression_failed");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn dashed_step_ids_work_anywhere_when_declared() {
    let options = CompileOptions::new().with_steps(["a", "a-b", "fetch-data-2", "x_1-y"]);
    let scope = json!({"steps": {
        "a": {"output": 1}, "a-b": {"output": 2}, "fetch-data-2": {"output": {"n": [7]}}, "x_1-y": {"output": 3}
    }});
    for (text, expected) in [
        ("steps.a-b.output + steps.a.output", json!(3)),
        ("steps.fetch-data-2.output.n[0] - steps.x_1-y.output", json!(4)),
        ("[steps.a-b.output].exists(v, v == steps.a-b.output)", json!(true)),
        ("steps . a-b . output == 2", json!(true)),
        ("(steps).a.output == 1", json!(true)),
        ("steps.`a-b`.output == 2", json!(true)),
    ] {
        let expr = Expr::compile(text, &options).unwrap();
        assert_eq!(expr.evaluate(&scope).unwrap(), Some(expected), "{text}");
    }
    let error = Expr::compile("steps.a-c.output == 2", &options).unwrap_err();
    assert_eq!((error.reason(), error.hint()), ("unknown step `a-c`", Some("did you mean `a-b`?")));
    assert!(Expr::compile("(steps).b.output == 1", &options).is_err());
    assert!(Expr::compile("steps['b'].output == 1", &options).is_err());
    assert!(Expr::compile("steps.b", &options).is_err());
}

#[test]
fn references_name_roots_and_steps() {
    let refs = |text: &str| {
        let expr = Expr::compile(text, &options()).unwrap();
        let references = expr.references();
        (
            references.roots().map(str::to_owned).collect::<Vec<_>>().join(","),
            references.steps().map(str::to_owned).collect::<Vec<_>>().join(","),
            references.reads_all_steps(),
        )
    };
    let own = |roots: &str, steps: &str, all| (roots.to_owned(), steps.to_owned(), all);
    assert_eq!(refs("steps.fetch-data.output"), own("steps", "fetch-data", false));
    assert_eq!(
        refs("steps['fetch-data'].output.x + steps.a.output > input.n"),
        own("input,steps", "a,fetch-data", false)
    );
    assert_eq!(refs("steps[input.name].output"), own("input,steps", "", true));
    assert_eq!(refs("steps"), own("steps", "", true));
    assert_eq!(refs("steps.exists(s, s == 'a')"), own("steps", "", true));
    assert_eq!(refs("input.items.all(item, item.x && ctx.y)"), own("ctx,input", "", false));
    assert_eq!(refs("has(steps.a.error)"), own("steps", "a", false));
}

#[test]
fn hostile_texts_end_with_a_named_error() {
    let list = |length: usize| format!("[{}]", vec!["1"; length].join(","));
    let cases = [
        ("(".repeat(5000), "longer than 4096 bytes"),
        ("(".repeat(2000), "nested more than 48 levels deep"),
        ("[".repeat(2000), "nested more than 48 levels deep"),
        ("!".repeat(4000), "nested more than 48 levels deep"),
        ("-".repeat(4000), "nested more than 48 levels deep"),
        ("a(".repeat(1000), "nested more than 48 levels deep"),
        (format!("1{}", "+1".repeat(1500)), "more than 96 operations inside each other"),
        (format!("1{}", "?1:1".repeat(500)), "nested more than 48 levels deep"),
        (format!("input{}", "['a'][input.b]".repeat(200)), "more than 96 operations inside each other"),
        (list(257), "more than 256 elements"),
        ("input.a.map(x, x.map(y, y.map(z, z)))".to_owned(), "`map` is nested more than 2 levels deep"),
        (format!("input.a.matches('{}')", "(a{1000}){1000}"), "the pattern of `matches` is too large"),
        ("99999999999999999999".to_owned(), "this number is not valid or too large"),
        ("'\\u12'".to_owned(), "the string contains an invalid escape `\\u`"),
        ("'\\uD800'".to_owned(), "the string contains an invalid escape `\\u`"),
        ("1e999".to_owned(), "this number is not valid or too large"),
    ];
    for (text, reason) in cases {
        let error = compile_error(&text);
        assert!(error.reason().starts_with(reason), "{} <- {}", error.reason(), &text[..text.len().min(40)]);
    }
    assert!(eval(&list(256), &json!({})).is_ok());
    assert!(eval(&format!("true{}", " && true".repeat(400)), &json!({})).is_ok());
}

#[test]
fn hostile_evaluations_end_with_a_named_error() {
    let scope = json!({"input": {
        "big": (0..9000).collect::<Vec<_>>(), "huge": vec![0; 10_001], "text": "a".repeat(100_000),
        "pattern": "(a{1000}){1000}"
    }});
    let work = "it takes too much work; compute this in a worker";
    for (text, reason) in [
        ("input.big.map(x, input.big.filter(y, y == x))", work),
        ("input.big.all(x, input.big == input.big)", work),
        ("input.big.map(x, input)", work),
        ("input.big.map(x, input.text + input.text)", work),
        ("input.big.exists(x, input.text.contains('b'))", work),
        ("input.big.map(x, input.text.replace('a', input.text))", work),
        ("input.text.replace('', input.text)", work),
        ("input.big.exists(x, input.text.matches('b' + string(x)))", work),
        ("input.big.exists(x, (input.text == 'b') || x == 'c' || input.big + input.big == 1)", work),
        ("input.huge.all(x, x == 0)", "a list of 10001 elements is walked, more than 10000; do this in a worker"),
        ("input.text.matches(input.pattern)", "the pattern of `matches` is too large"),
    ] {
        assert_eq!(eval_error(text, &scope).reason(), reason, "{text}");
    }
    assert_eq!(eval_error("input.big.map(x, input)", &scope).kind(), EvalErrorKind::Limit);
}

#[test]
fn the_deepest_accepted_expressions_fit_a_small_stack() {
    let texts = [
        format!("1{}", "+1".repeat(95)),
        format!("{}1{}", "(".repeat(47), ")".repeat(47)),
        format!("{}1{}", "[".repeat(47), "]".repeat(47)),
        format!("{}1{}", "int(".repeat(47), ")".repeat(47)),
        format!("{}true", "!".repeat(46)),
        format!("{}1", "true?1:".repeat(46)),
        format!("input{}", "['a'][input.b]".repeat(47)),
        format!("[1].map(a, [a].map(b, {}b{}))", "[".repeat(40), "]".repeat(40)),
    ];
    let deep = std::thread::Builder::new().stack_size(1024 * 1024).spawn(move || {
        for text in texts {
            assert!(eval(&text, &json!({"input": {}})).is_ok(), "{:?}", eval(&text, &json!({})));
        }
    });
    deep.unwrap().join().unwrap();
}

#[test]
fn compiled_forms_are_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<Expr>();
    shared::<Template>();
    shared::<crate::value::Schema>();
    shared::<CompileOptions>();
}

#[test]
fn roots_can_be_narrowed() {
    let options = CompileOptions::new().without_roots(&["item", "index"]);
    assert_eq!(Expr::compile("item.x", &options).unwrap_err().reason(), "unknown name `item`");
    assert_eq!(eval("type(1) == int && int == int", &json!({})), Ok(Some(json!(true))));
    assert_eq!(eval("int", &json!({})), Ok(Some(json!("int"))));
}

#[test]
fn roots_can_be_added_for_one_place() {
    let plain = CompileOptions::new();
    let inside = plain.clone().with_root("loop").with_root("carry").with_root("error");
    let scope = json!({"loop": {"index": 2}, "carry": [1], "error": {"code": "x"}});
    for text in ["loop.index", "loop.index + 1 > 2 && carry[0] == 1", "error.code == 'x' ? loop : carry"] {
        assert!(Expr::compile(text, &plain).is_err(), "{text}");
        assert!(Expr::compile(text, &inside).unwrap().evaluate_bool(&scope).unwrap(), "{text}");
    }
    let error = Expr::compile("cary[0]", &inside).unwrap_err();
    assert_eq!(error.hint(), Some("did you mean `carry`?"));
    assert!(Expr::compile("carry", &inside.without_roots(&["carry"])).is_err());
}

#[test]
fn objects_are_looked_up_and_listed_only_when_needed() {
    struct Steps;
    struct Step;
    impl Object for Steps {
        fn field(&self, key: &str) -> Option<Node<'_>> {
            (key == "a").then_some(Node::Object(&Step))
        }
        fn keys(&self) -> Vec<String> {
            vec!["a".into()]
        }
    }
    impl Object for Step {
        fn field(&self, key: &str) -> Option<Node<'_>> {
            match key {
                "status" => Some(Node::Text("succeeded")),
                "attempt" => Some(Node::Int(2)),
                _ => None,
            }
        }
        fn keys(&self) -> Vec<String> {
            vec!["status".into(), "attempt".into()]
        }
    }
    struct Run;
    impl Scope for Run {
        fn variable(&self, name: &str) -> Option<Node<'_>> {
            match name {
                "steps" => Some(Node::Object(&Steps)),
                "index" => Some(Node::Int(3)),
                _ => None,
            }
        }
    }
    let value = |text: &str| Expr::compile(text, &options()).unwrap().evaluate(&Run).unwrap();
    assert_eq!(value("steps.a.status"), Some(json!("succeeded")));
    assert_eq!(value("steps.a.attempt + index"), Some(json!(5)));
    assert_eq!(value("steps"), Some(json!({"a": {"attempt": 2, "status": "succeeded"}})));
    assert_eq!(value("steps.map(s, steps[s].status)"), Some(json!(["succeeded"])));
    assert_eq!(value("steps.a == {'status': 'succeeded', 'attempt': 2}"), Some(json!(true)));
    assert_eq!(value("steps.fetch-data.output"), None);
    assert_eq!(value("item"), None);
}

mod functions;
mod judge;
mod traces;
mod typed;

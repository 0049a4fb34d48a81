//! Functions: what the page has no room for, hostile operands, laws.

use super::*;
use crate::value::tests::values;
use proptest::prelude::*;

#[test]
fn errors_of_functions_name_the_types_of_their_operands() {
    let scope = page_scope();
    for (text, reason) in [
        ("input.count.lowerAscii()", "`lowerAscii` takes a string, not an int"),
        ("input.count.reverse()", "`reverse` takes a string or a list, not an int"),
        ("input.name.substring(input.name)", "`substring` takes an int, not a string"),
        ("input.name.charAt(input.count - 11)", "`charAt` takes a position of 0 or more, not -1"),
        (
            "input.items.sort()",
            "`sort` takes strings, numbers, bools, timestamps or durations, all of one type, not a map and a map",
        ),
        (
            "input.items.sortBy(i, i)",
            "`sortBy` takes strings, numbers, bools, timestamps or durations, all of one type, not a map and a map",
        ),
        (
            "[1, input.name].max()",
            "`max` takes strings, numbers, bools, timestamps or durations, all of one type, not a list with a string",
        ),
        ("input.tags.sum()", "`sum` takes numbers or durations, not a list with a string"),
        ("avg(input.tags)", "`avg` takes numbers, not a list with a string"),
        ("keys(input.tags)", "`keys` takes a map, not a list"),
        ("merge(input.map, input.tags)", "`merge` takes maps, not a list"),
        ("input.missing.values()", "`values` takes a map, not a missing value; test it with has(...) first"),
        ("toJson(input.missing)", "`toJson` takes a value, not a missing value; test it with has(...) first"),
        ("json(input.name)", "the string is not JSON: expected value at line 1 column 1"),
        ("base64.decode(input.name + '!')", "`base64.decode` takes standard base64"),
        ("timestamp(input.name)", "the string `Ada` does not convert to timestamp"),
        ("duration(input.name)", "the string `Ada` does not convert to duration"),
        ("string(input.map)", "a map does not convert to string; write toJson(...)"),
        ("input.name.getMonth()", "`getMonth` takes a timestamp, not a string"),
        ("input.name.getHours()", "`getHours` takes a timestamp or a duration, not a string"),
        ("timestamp('9999-01-01T00:00:00Z') + duration('87600000h')", "the result of `+` is out of the range of time"),
        ("math.abs(-9223372036854775808)", "the result does not fit a 64-bit integer"),
        ("range(input.count * -1)", "`range` takes 0 to 10000, not -10; do this in a worker"),
    ] {
        assert_eq!(eval_error(text, &scope).reason(), reason, "{text}");
    }
}

#[test]
fn functions_give_what_they_should_at_the_edges() {
    let scope = page_scope();
    for (text, expected) in [
        ("''.split(',')", json!([""])),
        ("''.split('')", json!([])),
        ("'abc'.split('', 2)", json!(["a", "bc"])),
        ("'a,b'.split(',', 0)", json!([])),
        ("'a,b'.split(',', -1)", json!(["a", "b"])),
        ("'aaa'.replace('a', 'b', -1)", json!("bbb")),
        ("'abc'.indexOf('')", json!(0)),
        ("'abc'.indexOf('c', 9)", json!(-1)),
        ("'abc'.charAt(3)", json!("")),
        ("'abc'.substring(9)", json!("")),
        ("[].sort() == [] && [].distinct() == []", json!(true)),
        ("[2, 2.0, 1].sort()", json!([1, 2, 2.0])),
        ("[double('NaN'), 1, 2].sort().slice(1)", json!([1, 2])),
        ("['b', 'a', 'B'].sort()", json!(["B", "a", "b"])),
        (
            "[{'a': [1]}, {'a': [1.0]}, {'a': [2]}, null, null, [], []].distinct()",
            json!([{"a": [1]}, {"a": [2]}, null, []]),
        ),
        ("[[1], 2, [[3]]].flatten(0)", json!([[1], 2, [[3]]])),
        (
            "[{'k': 1, 'v': 'x'}, {'k': 1, 'v': 'y'}, {'k': 0, 'v': 'z'}].sortBy(e, e.k).map(e, e.v)",
            json!(["z", "x", "y"]),
        ),
        ("{'b': 1, 'a': 2}.sortBy(k, k)", json!(["a", "b"])),
        ("[duration('1h'), duration('30m')].sum()", json!("5400s")),
        ("[1, 2.5].sum()", json!(3.5)),
        ("[18446744073709551615u].sum()", json!(18_446_744_073_709_551_615_u64)),
        ("max([timestamp(0), timestamp(5)])", json!("1970-01-01T00:00:05Z")),
        ("math.greatest(1, 3, 2) + math.least(4, 2)", json!(5)),
        ("max([]).orValue(0) + min(3)", json!(3)),
        ("math.sign(-0.5)", json!(-1.0)),
        ("math.round(-2.5)", json!(-3.0)),
        ("base64.encode('a') + base64.encode('ab') + base64.encode('abc') + base64.encode('')", json!("YQ==YWI=YWJj")),
        ("base64.decode('YQ') + base64.decode('YWI=') + base64.decode('')", json!("aab")),
        ("json('[1, 2.5, null, {\"b\": true}]')", json!([1, 2.5, null, {"b": true}])),
        ("json(toJson(input)) == input", json!(true)),
        ("duration('-1h30m')", json!("-5400s")),
        ("duration('1.5h') == duration('PT1H30M')", json!(true)),
        ("duration('-250ms')", json!("-0.25s")),
        ("duration('0')", json!("0s")),
        ("string(timestamp(0)) + string(duration('1m'))", json!("1970-01-01T00:00:00Z60s")),
        ("timestamp('2026-01-01T00:30:00Z').getDate('-01:00')", json!(31)),
        ("type(timestamp(0)) == timestamp && type(duration(1)) == duration", json!(true)),
        ("timestamp(0) in [timestamp(0)] && timestamp(0) ? 1 : 2", json!(1)),
        ("dyn(timestamp(0)) == '1970-01-01T00:00:00Z'", json!(false)),
        ("sets.contains([], [])", json!(true)),
        ("sets.intersects([1], [])", json!(false)),
        ("merge(input.missing, null)", json!({})),
        ("input.map.merge({'x': null})", json!({"a-b": 2, "x": null})),
        ("has(input.map.?y)", json!(false)),
        ("steps.?a.output", json!(1)),
    ] {
        assert_eq!(eval(text, &scope), Ok(Some(expected)), "{text}");
    }
    for text in [
        "base64.decode('Y')",
        "base64.decode('YQ=')",
        "base64.decode('YR==')",
        "base64.decode('Y Q==')",
        "base64.decode('===')",
        "timestamp(0).getHours('2')",
        "timestamp(0).getHours('+2:00')",
        "timestamp(0).getHours('+99:00')",
        "duration('1 parsec')",
    ] {
        assert_eq!(eval(text, &scope), Err("expression_failed"), "{text}");
    }
}

#[test]
fn a_root_hides_a_namespace() {
    let options = CompileOptions::new().with_root("math");
    let expr = Expr::compile("math.abs + 1", &options).unwrap();
    assert_eq!(expr.evaluate(&json!({"math": {"abs": 1}})).unwrap(), Some(json!(2)));
    assert_eq!(eval("[2].map(math, math + 1)", &json!({})), Ok(Some(json!([3]))));
}

#[test]
fn hostile_operands_end_with_a_named_error() {
    let scope = json!({"input": {
        "big": (0..9000).collect::<Vec<_>>(), "text": "a".repeat(100_000), "deep": "[".repeat(100_000),
        "pairs": (0..9000).map(|n| json!([n, "x".repeat(100)])).collect::<Vec<_>>(),
        "wide": format!("[{}1]", "1,".repeat(900_000))
    }});
    let work = "it takes too much work; compute this in a worker";
    for text in [
        "input.big.map(x, input.big.sort())",
        "input.big.map(x, input.big.distinct())",
        "input.big.map(x, input.big.reverse())",
        "input.big.map(x, input.big.sum())",
        "input.big.map(x, input.big.max())",
        "input.big.map(x, input.big.flatten())",
        "input.big.map(x, range(10000))",
        "sets.equivalent(input.big, input.big)",
        "input.big.map(x, input.text.split(''))",
        "input.big.map(x, input.text.reverse())",
        "input.big.map(x, base64.encode(input.text))",
        "input.big.map(x, hash.sha256(input.text))",
        "input.big.map(x, toJson(input.big))",
        "input.big.map(x, input.text.indexOf('b'))",
        "json(input.wide)",
        "input.pairs.map(x, input.pairs.distinct())",
    ] {
        let error = eval_error(text, &scope);
        assert_eq!((error.kind(), error.reason()), (EvalErrorKind::Limit, work), "{text}");
    }
    // A built text that is read again is not copied: this is 9000 times 200 KB.
    for text in [
        "size([input.text + input.text].map(t, input.big.map(x, t)))",
        "size([{input.text + 'k': 1}].map(m, input.big.map(x, keys(m))))",
        "size([[input.text + 'a']].map(l, input.big.map(x, l[0])))",
    ] {
        let expr = Expr::compile(text, &options()).unwrap();
        assert_eq!(expr.evaluate(&scope).unwrap(), Some(json!(1)), "{text}");
    }
    assert!(eval_error("json(input.deep)", &scope).reason().starts_with("the string is not JSON: recursion limit"));
    assert_eq!(eval("size(input.pairs.distinct()) + size(input.big.sort())", &scope), Ok(Some(json!(18_000))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back(value in values(), text in any::<String>()) {
        let scope = json!({"input": {"v": value, "t": text}});
        prop_assert_eq!(eval("json(toJson(input.v)) == input.v", &scope), Ok(Some(json!(true))));
        prop_assert_eq!(eval("base64.decode(base64.encode(input.t))", &scope), Ok(Some(json!(text))));
        prop_assert_eq!(eval("input.t.reverse().reverse()", &scope), Ok(Some(json!(text))));
        prop_assert_eq!(eval("input.t.split('').join()", &scope), Ok(Some(json!(text))));
    }

    #[test]
    fn sorting_agrees_with_the_standard_library(numbers in prop::collection::vec(-20_i64..20, 0..40)) {
        let scope = json!({"input": numbers});
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        prop_assert_eq!(eval("input.sort()", &scope), Ok(Some(json!(sorted))));
        let mut kept = Vec::new();
        numbers.iter().for_each(|number| if !kept.contains(number) { kept.push(*number) });
        prop_assert_eq!(eval("input.distinct()", &scope), Ok(Some(json!(kept))));
        prop_assert_eq!(eval("max(input)", &scope), Ok(sorted.last().map(|last| json!(last))));
        prop_assert_eq!(eval("sum(input)", &scope), Ok(Some(json!(numbers.iter().sum::<i64>()))));
    }

    #[test]
    fn equal_values_are_one_and_others_are_not(left in values(), right in values()) {
        let scope = json!({"input": [left, right]});
        let equal = eval("input[0] == input[1]", &scope) == Ok(Some(json!(true)));
        prop_assert_eq!(eval("size(input.distinct())", &scope), Ok(Some(json!(if equal { 1 } else { 2 }))));
        prop_assert_eq!(eval("size([input[0], input[0]].distinct())", &scope), Ok(Some(json!(1))));
    }

    #[test]
    fn any_function_of_any_value_ends_without_a_panic(value in values(), other in values(), at in 0_usize..1000) {
        let table = ast::Function::TABLE;
        let (_, name, form, min, max) = table[at % table.len()];
        for count in min..=max.min(4) {
            let operands: Vec<_> = (0..count).map(|n| format!("input[{}]", n % 2)).collect();
            let text = if form == ast::Form::Method {
                format!("{}.{name}({})", operands[0], operands[1..].join(", "))
            } else {
                format!("{name}({})", operands.join(", "))
            };
            drop(eval(&text, &json!({"input": [value, other]})));
        }
    }
}

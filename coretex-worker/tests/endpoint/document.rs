//! Documents: everything that is wrong is told at once, with its place.

use coretex_worker::endpoint::{Endpoints, Host};

fn problems(text: &str) -> Vec<String> {
    let error = Endpoints::parse("endpoints.yaml", text, &Host::default()).unwrap_err();
    assert_eq!(error.code(), "endpoints_invalid");
    error.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn a_text_that_is_no_document_says_so() {
    let error = Endpoints::parse("endpoints.yaml", "endpoints: {a: 1, a: 2}", &Host::default()).unwrap_err();
    assert_eq!(error.code(), "document_invalid");
    assert!(error.problems().is_empty());
    assert_eq!(problems("7"), ["$: a document of endpoints is a map with `endpoints:`"]);
    assert_eq!(problems("{}"), ["endpoints: name at least one endpoint"]);
}

#[test]
#[cfg(all(feature = "script", feature = "http", target_os = "linux"))]
fn all_that_is_wrong_is_told_at_once_with_its_place() {
    let text = r#"
profiles:
  sealed: { sandbox: isolated, network: none }
  odd: { sandbx: none }
endpoint: {}
endpoints:
  a b:
    topics: []
    timeout_sec: 0
    script: { argv: [wc, "${input.x", "${secrets.nothing}"], limit: {} }
  scan:
    topics: [job.scan.*, sys.job.result]
    profile: sealed
    secrets: { token: hunter2-is-no-reference, other: "secret://vault/x" }
    script: { argv: ["/usr/bin/wc"], exit_codes: { "0": { as: retry }, "3": { as: fatal, code: "No!" } } }
  scan2:
    topics: [job.scan.x]
    profile: missing
    output: ${secrets.token}
    http:
      method: TRACE
      url: https://user@example.org/
      headers: { Host: x, "b d": y }
      retry_on: [200]
      allow_addresses: [10.0.0.1/8]
      max_redirects: 11
  two: { topics: [job.two], script: { argv: [/bin/true] }, http: { url: "https://a.b/" } }
  none: { topics: [job.none], comment: why }
"#;
    let found = problems(text);
    let places: Vec<&str> = found.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    let expected = [
        "profiles.odd.sandbx",
        "endpoint",
        "endpoints.a b",
        "endpoints.a b.script.limit",
        "endpoints.none.comment",
        "endpoints.none",
        "endpoints.scan.topics[1]",
        "endpoints.scan.secrets.other",
        "endpoints.scan.secrets.token",
        "endpoints.scan.script.exit_codes.0",
        "endpoints.scan.script.exit_codes.3.code",
        "endpoints.scan.profile",
        "endpoints.scan2.topics",
        "endpoints.scan2.http.method",
        "endpoints.scan2.http.url",
        "endpoints.scan2.http.headers.Host",
        "endpoints.scan2.http.headers.b d",
        "endpoints.scan2.http.retry_on[0]",
        "endpoints.scan2.http.max_redirects",
        "endpoints.scan2.http.allow_addresses[0]",
        "endpoints.scan2.output",
        "endpoints.two",
    ];
    assert_eq!(places, expected, "{found:#?}");
    assert!(!found.join("\n").contains("hunter2"), "what may be a secret is not repeated");

    let text = r#"
endpoints:
  a: { topics: [job.a], script: { argv: [wc, "${input.x", "${secrets.nothing}"] } }
  b: { topics: [job.b], http: { url: "https://${input.host}/x" } }
  c: { topics: [job.c], http: { url: "https://a.b/x?y=${input.y}", ca_file: /does/not/exist } }
"#;
    let found = problems(text);
    let places: Vec<&str> = found.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    let expected = [
        "endpoints.a.script.argv[0]",
        "endpoints.a.script.argv[1]",
        "endpoints.a.script.argv[2]",
        "endpoints.b.http.url",
        "endpoints.c.http.url",
        "endpoints.c.http.ca_file",
    ];
    assert_eq!(places, expected, "{found:#?}");
}

#[test]
#[cfg(all(feature = "script", target_os = "linux"))]
fn an_endpoint_advertises_what_it_enforces_and_no_more() {
    let text = r"
profiles:
  small: { sandbox: process, tools: [wc, jq] }
endpoints:
  count: { topics: [job.count], profile: small, tools: [wc], script: { argv: [/usr/bin/wc] } }
";
    let endpoints = Endpoints::parse("endpoints.yaml", text, &Host::default()).unwrap();
    assert_eq!(endpoints.capabilities("count"), ["profile=small", "sandbox=process", "tool=wc"]);
}

#[test]
#[cfg(not(feature = "lambda"))]
fn a_kind_that_is_not_built_in_says_so() {
    let text =
        "endpoints: {f: {topics: [job.f], lambda: {function: f, region: r, access_key_id: k, secret_access_key: s}}}";
    let expected = "endpoints.f.lambda: this program is built without it; build it with the feature `lambda`";
    assert_eq!(problems(text), [expected]);
}

//! HTTP endpoints against servers of this machine.

use coretex_core::protocol::JobStatus;
use coretex_worker::endpoint::{Endpoints, Host};
use serde_json::{Value, json};

use crate::{
    rig::{Rig, Scratch, TOPIC, constrained, due_in, host, job},
    server::{Seen, Server, json, reply},
};

/// An endpoint on servers of this machine.
fn endpoint(http: &str, more: &str) -> String {
    format!(
        "endpoints:\n  e:\n    topics: [{TOPIC}]\n{more}\n    http:\n      allow_addresses: [127.0.0.0/8]\n{http}\n"
    )
}

fn echo(seen: &Seen) -> String {
    json(&json!({ "line": seen.line, "body": String::from_utf8_lossy(&seen.body), "host": seen.header("host") }))
}

#[tokio::test]
async fn a_request_is_made_from_the_job_and_the_output_from_the_answer() {
    let server = Server::start(echo).await;
    let http = format!(
        "      method: PUT
      url: {}
      query: {{ q: '${{input.q}}', none: '${{input.none}}', n: 7, 'a b': 'ü' }}
      headers: {{ X-Tenant: '${{job.tenant}}', Accept: text/x }}
      body: {{ id: '${{input.id}}', all: '${{input}}' }}",
        server.url("/v1/items/${input.id}/x?fixed=1")
    );
    let more = "    output: { line: '${answer.body.line}', status: '${answer.status}', type: \"${answer.headers['content-type']}\" }";
    let mut rig = Rig::start(&endpoint(&http, more)).await;
    let input = json!({"id": "../a/b?c=d#e%2f", "q": "x&y=z"});
    let expected = json!({
        "line": "PUT /v1/items/..%2Fa%2Fb%3Fc%3Dd%23e%252f/x?fixed=1&a%20b=%C3%BC&n=7&q=x%26y%3Dz HTTP/1.1",
        "status": 200,
        "type": "application/json; charset=utf-8",
    });
    assert_eq!(rig.run(input.clone()).await.output(), expected);
    let seen = &server.seen()[0];
    assert_eq!(seen.json(), json!({"id": input["id"], "all": input}));
    let header = |name| seen.header(name).unwrap();
    assert_eq!(header("host"), server.address.to_string());
    assert_eq!((header("x-tenant"), header("accept")), ("acme", "text/x"));
    assert_eq!((header("content-type"), header("accept-encoding")), ("application/json", "identity"));
    for odd in ["..", ".", ""] {
        rig.run(json!({"id": odd})).await.failed(JobStatus::FailedFatal, "endpoint_request_invalid");
    }
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_header_cannot_be_split_and_text_goes_as_text() {
    let server = Server::start(echo).await;
    let http =
        format!("      url: {}\n      headers: {{ x-note: '${{input}}', content-type: text/plain }}", server.url("/"));
    let mut rig = Rig::start(&endpoint(&http, "")).await;
    rig.run(json!("a\r\nx-evil: 1")).await.failed(JobStatus::FailedFatal, "endpoint_request_invalid");
    assert!(server.seen().is_empty());
    assert_eq!(rig.run(json!("plain")).await.output()["body"], json!("plain"));
}

#[tokio::test]
async fn statuses_say_whether_trying_again_helps() {
    let server = Server::start(|seen| {
        let status: u16 = seen.line.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        let wait: &[(&str, &str)] = if status == 429 { &[("retry-after", "7")] } else { &[] };
        reply(status, wait, "because")
    })
    .await;
    let mut rig = Rig::start(&endpoint(&format!("      url: {}", server.url("/${input}")), "")).await;
    for (status, expected) in [
        (400, JobStatus::FailedFatal),
        (404, JobStatus::FailedFatal),
        (410, JobStatus::FailedFatal),
        (429, JobStatus::FailedRetryable),
        (500, JobStatus::Failed),
        (503, JobStatus::FailedRetryable),
    ] {
        let ended = rig.run(json!(status)).await;
        ended.failed(expected, "http_status");
        assert_eq!(ended.text(), format!("the service answered {status}: because"));
        let wait = ended.output.map(|output| output["retry_after_ms"].clone());
        assert_eq!(wait, (status == 429).then(|| json!(7000)), "{status}");
    }
    assert_eq!(rig.run(json!(200)).await.output(), json!("because"));
    let http = format!("      url: {}\n      retry_on: [404]", server.url("/${input}"));
    let mut rig = Rig::start(&endpoint(&http, "")).await;
    rig.run(json!(404)).await.failed(JobStatus::FailedRetryable, "http_status");
    rig.run(json!(503)).await.failed(JobStatus::Failed, "http_status");
}

#[tokio::test]
async fn bodies_are_read_by_their_type_and_bounded() {
    let server = Server::start(|seen| match seen.line.split(' ').nth(1).unwrap() {
        "/empty" => reply(204, &[], ""),
        "/problem" => reply(200, &[("content-type", "application/problem+json")], "[1]"),
        "/malformed" => reply(200, &[("content-type", "application/json")], "[1"),
        "/endless" => "HTTP/1.1 200 X\r\nx-hold: 1\r\n\r\n".to_owned() + &"x".repeat(2000),
        _ => reply(200, &[], "{}"),
    })
    .await;
    let document = endpoint(&format!("      url: {}", server.url("/${input}")), "    max_output_bytes: 1000");
    let mut rig = Rig::start(&document).await;
    assert_eq!(rig.run(json!("empty")).await.output(), Value::Null);
    assert_eq!(rig.run(json!("problem")).await.output(), json!([1]));
    assert_eq!(rig.run(json!("text")).await.output(), json!("{}"));
    rig.run(json!("malformed")).await.failed(JobStatus::FailedFatal, "endpoint_output_malformed");
    // Refused at the bound, though the answer has no end.
    rig.run(json!("endless")).await.failed(JobStatus::FailedFatal, "endpoint_output_too_large");
}

#[tokio::test]
async fn cancel_and_deadline_end_a_request_that_is_not_answered() {
    let server = Server::start(|_| "HTTP/1.1 200 X\r\nx-hold: 1\r\ncontent-length: 5\r\n\r\n".to_owned()).await;
    let mut rig = Rig::start(&endpoint(&format!("      url: {}", server.url("/")), "    timeout_sec: 1")).await;
    rig.send(job("r1:a@1"), json!(null)).await;
    while server.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    rig.cancel("r1:a@1").await;
    rig.result().await.failed(JobStatus::Cancelled, "cancelled");
    rig.ask(due_in(50, job("")), json!(null)).await.failed(JobStatus::Failed, "deadline_exceeded");
    rig.run(json!(null)).await.failed(JobStatus::Failed, "endpoint_timeout");
}

#[tokio::test]
async fn a_service_that_is_not_there_may_be_there_later() {
    let server = Server::start(echo).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut rig = Rig::start(&endpoint(&format!("      url: http://{closed}/"), "")).await;
    rig.run(json!(null)).await.failed(JobStatus::FailedRetryable, "http_unreachable");
    // A plain server does not speak TLS.
    let mut rig = Rig::start(&endpoint(&format!("      url: https://{}/", server.address), "")).await;
    rig.run(json!(null)).await.failed(JobStatus::FailedRetryable, "http_unreachable");
    let broken = Server::start(|_| "HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nhalf".to_owned()).await;
    let mut rig = Rig::start(&endpoint(&format!("      url: {}", broken.url("/")), "")).await;
    rig.run(json!(null)).await.failed(JobStatus::Failed, "http_unreachable");
}

#[tokio::test]
async fn secrets_go_to_the_service_and_nowhere_else() {
    let scratch = Scratch::new();
    scratch.file("token", "t0p-s3cr3t");
    let server = Server::start(|seen| {
        let all = format!("{seen:?}");
        if seen.line.contains("/bad") {
            reply(400, &[], &all)
        } else {
            reply(200, &[("x-echo", seen.header("authorization").unwrap())], &all)
        }
    })
    .await;
    let more = "    secrets: { token: secret://file/token }\n    output: '${answer}'";
    for (auth, expected) in [
        ("{ bearer: '${secrets.token}' }", "Bearer t0p-s3cr3t"),
        ("{ basic: { user: ann, password: '${secrets.token}' } }", "Basic YW5uOnQwcC1zM2NyM3Q="),
    ] {
        let http = format!("      url: {}\n      auth: {auth}", server.url("/${input}"));
        let mut rig = Rig::on(&endpoint(&http, more), &host(scratch.path())).await;
        for path in ["good", "bad"] {
            let ended = rig.run(json!(path)).await;
            assert_eq!(server.seen().last().unwrap().header("authorization"), Some(expected));
            assert!(ended.told().contains("<redacted>"), "{}", ended.told());
            for part in ["s3cr3t", "YW5uOnQwcC1zM2NyM3Q="] {
                assert!(!ended.told().contains(part), "{}", ended.told());
            }
        }
    }
}

#[tokio::test]
async fn redirects_are_followed_without_credentials_beyond_the_origin() {
    let scratch = Scratch::new();
    scratch.file("token", "t0p-s3cr3t");
    let other = Server::start(echo).await;
    let away = other.url("/away");
    let server = Server::start(move |seen| match seen.line.split(' ').nth(1).unwrap() {
        "/same" => reply(302, &[("location", "there?x=1")], ""),
        "/keep" => reply(307, &[("location", "/there")], ""),
        "/away" => reply(303, &[("location", &away)], ""),
        "/carry" => reply(308, &[("location", &away)], ""),
        "/round" => reply(302, &[("location", "/round")], ""),
        "/script" => reply(302, &[("location", "javascript:alert(1)")], ""),
        "/metadata" => reply(302, &[("location", "http://169.254.169.254/latest/meta-data/")], ""),
        "/mapped" => reply(302, &[("location", "http://[::ffff:10.0.0.1]/")], ""),
        _ => echo(seen),
    })
    .await;
    let http = format!(
        "      url: {}\n      auth: {{ bearer: '${{secrets.token}}' }}\n      headers: {{ x-api-key: '${{secrets.token}}' }}",
        server.url("/${input}")
    );
    let document = endpoint(&http, "    secrets: { token: secret://file/token }");
    let mut rig = Rig::on(&document, &host(scratch.path())).await;

    assert_eq!(rig.run(json!("same")).await.output()["line"], json!("GET /there?x=1 HTTP/1.1"));
    let last = server.seen().pop().unwrap();
    assert_eq!((last.header("authorization"), last.header("content-type")), (Some("Bearer t0p-s3cr3t"), None));
    assert_eq!(rig.run(json!("keep")).await.output()["line"], json!("POST /there HTTP/1.1"));

    assert_eq!(rig.run(json!("away")).await.output()["line"], json!("GET /away HTTP/1.1"));
    let there = other.seen().pop().unwrap();
    assert!(!format!("{there:?}").contains("s3cr3t"), "{there:?}");
    assert_eq!(there.header("x-api-key"), None);

    for refused in ["carry", "round", "script"] {
        rig.run(json!(refused)).await.failed(JobStatus::FailedFatal, "http_redirect_refused");
    }
    assert_eq!(other.seen().len(), 1);
    for refused in ["metadata", "mapped"] {
        rig.run(json!(refused)).await.failed(JobStatus::FailedFatal, "http_address_refused");
    }
}

#[tokio::test]
async fn hosts_that_a_constraint_does_not_list_are_refused() {
    let server = Server::start(echo).await;
    let elsewhere = server.url("/").replace("127.0.0.1", "127.0.0.2");
    let redirecting = Server::start(move |_| reply(302, &[("location", &elsewhere)], "")).await;
    let mut rig = Rig::start(&endpoint(&format!("      url: {}", redirecting.url("/")), "")).await;
    let listing = |host: &str| constrained(&json!({"sandbox": {"network_allowlist": [host]}}));
    rig.ask(listing("example.org"), json!(null)).await.failed(JobStatus::FailedFatal, "http_address_refused");
    assert!(redirecting.seen().is_empty());
    rig.ask(listing("127.0.0.1"), json!(null)).await.failed(JobStatus::FailedFatal, "http_address_refused");
    assert_eq!((redirecting.seen().len(), server.seen().len()), (1, 0));
}

#[tokio::test]
async fn an_endpoint_with_a_list_of_hosts_keeps_to_it_and_says_so() {
    let server = Server::start(echo).await;
    let port = server.address.port();
    let away = server.url("/").replace("127.0.0.1", "127.0.0.2");
    let redirecting = Server::start(move |_| reply(302, &[("location", &away)], "")).await;
    let http = |hosts: &str| format!("      url: '${{input}}'\n      allow_hosts: {hosts}");
    let document = endpoint(&http("[127.0.0.1]"), "");
    let mut rig = Rig::start(&document).await;
    assert_eq!(rig.run(json!(server.url("/x"))).await.output()["line"], json!("POST /x HTTP/1.1"));
    for url in [format!("http://127.0.0.2:{port}/"), redirecting.url("/"), "http://example.org/".to_owned()] {
        rig.run(json!(url)).await.failed(JobStatus::FailedFatal, "http_address_refused");
    }
    assert_eq!(server.seen().len(), 1);
    // An endpoint without a list has none to advertise.
    let advertised = |document: &str| {
        let endpoints = Endpoints::parse("e.yaml", document, &Host::default()).unwrap();
        endpoints.capabilities("e").join(" ")
    };
    assert_eq!(advertised(&document), "network=egress-allowlist");
    assert_eq!(advertised(&endpoint("      url: https://example.org/", "")), "");
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_asked() {
    // The variables are read when a process starts: this one runs the test again with them set.
    const MARK: &str = "CORETEX_TEST_BEHIND_PROXY";
    if std::env::var_os(MARK).is_none() {
        let closed = "http://127.0.0.1:9";
        let again = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "http::proxies_of_the_environment_are_not_asked"])
            .env(MARK, "1")
            .env("http_proxy", closed)
            .env("HTTP_PROXY", closed)
            .env("ALL_PROXY", closed)
            .status()
            .unwrap();
        assert!(again.success());
        return;
    }
    let server = Server::start(echo).await;
    let mut rig = Rig::start(&endpoint(&format!("      url: {}", server.url("/x")), "")).await;
    assert_eq!(rig.run(json!(null)).await.output()["line"], json!("POST /x HTTP/1.1"));
}

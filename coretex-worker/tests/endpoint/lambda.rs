//! Functions behind the invoke API: a server that verifies signatures as AWS documents them.

use coretex_core::protocol::JobStatus;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    rig::{Rig, Scratch, TOPIC, host},
    server::{Seen, Server, reply},
};

const KEY_ID: &str = "AKIDEXAMPLE";
const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "session-token-value";

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 2104.
fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::digest([block.map(|b| b ^ 0x36).as_slice(), text.as_bytes()].concat());
    Sha256::digest([block.map(|b| b ^ 0x5c).as_slice(), &inner].concat()).to_vec()
}

/// The signature that a request should have, computed from the request alone and the key.
/// Source: AWS, "Create a signed AWS API request".
fn verifies(seen: &Seen, key: &str) -> bool {
    let authorization = seen.header("authorization").unwrap();
    let field = |name: &str| {
        let at = authorization.split(&format!("{name}=")).nth(1).unwrap();
        at.split(',').next().unwrap().trim()
    };
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 "));
    let scope = field("Credential").strip_prefix(&format!("{KEY_ID}/")).unwrap();
    let [date, region, "lambda", "aws4_request"] = scope.split('/').collect::<Vec<_>>()[..] else { return false };
    let [method, target, _] = seen.line.split(' ').collect::<Vec<_>>()[..] else { return false };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // Every service but S3 encodes the path once more.
    let path = path.replace('%', "%25");
    let signed = field("SignedHeaders");
    let headers: String =
        signed.split(';').map(|name| format!("{name}:{}\n", seen.header(name).unwrap().trim())).collect();
    let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{signed}\n{}", sha256(&seen.body));
    let at = seen.header("x-amz-date").unwrap();
    assert!(at.starts_with(date));
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut derived = format!("AWS4{key}").into_bytes();
    for part in [date, region, "lambda", "aws4_request"] {
        derived = hmac(&derived, part);
    }
    for needed in ["host", "x-amz-date", "x-amz-security-token"] {
        assert!(signed.split(';').any(|name| name == needed), "{signed}");
    }
    hex(&hmac(&derived, &text)) == field("Signature")
}

fn lambda(seen: &Seen) -> String {
    if !verifies(seen, KEY) || seen.header("x-amz-security-token") != Some(TOKEN) {
        return reply(403, &[], r#"{"message":"The request signature we calculated does not match"}"#);
    }
    let input = seen.json();
    let unhandled = [("x-amz-function-error", "Unhandled")];
    match input["do"].as_str() {
        Some("fail") => reply(200, &unhandled, r#"{"errorMessage":"no invoice","errorType":"KeyError"}"#),
        Some("throttle") => reply(429, &[], r#"{"Reason":"ConcurrentInvocationLimitExceeded"}"#),
        Some("leak") => reply(200, &unhandled, &json!({ "errorMessage": format!("key {KEY}") }).to_string()),
        Some("nothing") => reply(200, &[], ""),
        _ => reply(200, &[("x-amz-executed-version", "7")], &json!({ "got": input, "line": seen.line }).to_string()),
    }
}

async fn rig(server: &Server, scratch: &Scratch, more: &str) -> Rig {
    scratch.file("id", KEY_ID);
    scratch.file("token", TOKEN);
    let document = format!(
        "endpoints:
  e:
    topics: [{TOPIC}]
    secrets: {{ id: secret://file/id, key: secret://file/key, token: secret://file/token }}
{more}
    lambda:
      function: 'arn:aws:lambda:eu-central-1:123456789012:function:read-invoice'
      qualifier: live
      region: eu-central-1
      endpoint: {}
      access_key_id: ${{secrets.id}}
      secret_access_key: ${{secrets.key}}
      session_token: ${{secrets.token}}
      allow_addresses: [127.0.0.1]",
        server.url("")
    );
    Rig::on(&document, &host(scratch.path())).await
}

#[tokio::test]
async fn an_invocation_is_signed_and_its_answer_read() {
    let scratch = Scratch::new();
    scratch.file("key", KEY);
    let server = Server::start(lambda).await;
    let mut rig =
        rig(&server, &scratch, "    output: { all: '${answer.payload}', version: '${answer.version}' }").await;
    let input = json!({"id": 7, "text": "ümlaut"});
    let line = "POST /2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Aread-invoice/invocations?Qualifier=live HTTP/1.1";
    let expected = json!({"all": {"got": input, "line": line}, "version": "7"});
    assert_eq!(rig.run(input).await.output(), expected);
    assert_eq!(server.seen()[0].header("x-amz-invocation-type"), Some("RequestResponse"));
    // The judge is awake: another key, or another body, does not verify.
    let mut changed = server.seen()[0].clone();
    assert!(verifies(&changed, KEY) && !verifies(&changed, "another-key"));
    changed.body.push(b' ');
    assert!(!verifies(&changed, KEY));
}

#[tokio::test]
async fn errors_of_functions_and_of_the_api_are_told_apart() {
    let scratch = Scratch::new();
    scratch.file("key", KEY);
    let server = Server::start(lambda).await;
    let mut rig = rig(&server, &scratch, "").await;
    let ended = rig.run(json!({"do": "fail"})).await;
    ended.failed(JobStatus::Failed, "lambda_failed");
    assert!(ended.text().contains("no invoice"), "{}", ended.text());
    rig.run(json!({"do": "throttle"})).await.failed(JobStatus::FailedRetryable, "lambda_refused");
    let ended = rig.run(json!({"do": "leak"})).await;
    ended.failed(JobStatus::Failed, "lambda_failed");
    assert!(ended.text().contains("<redacted>") && !ended.told().contains(KEY), "{}", ended.told());
    assert_eq!(rig.run(json!({"do": "nothing"})).await.output(), Value::Null);
    scratch.file("key", "another-key");
    rig.run(json!({})).await.failed(JobStatus::FailedFatal, "lambda_refused");
}

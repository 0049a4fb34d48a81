//! Functions behind the invoke API of AWS Lambda, or of what speaks it.
//!
//! One signed request per job, through the client and the guard of HTTP endpoints, without redirects.

mod sign;

use std::sync::Arc;

use bytes::Bytes;
use coretex_core::value::{Template, Value};
use futures::future::BoxFuture;
use hyper::{
    Method,
    header::{self, HeaderMap, HeaderValue},
};
use serde_json::json;

use self::sign::Keys;
use super::{
    answer::{self, Answer},
    call::Call,
    http::url::encode,
    kind::Built,
    net::{
        client::{Ask, Bounds, Client, Reach, Reply},
        target::Target,
    },
    profile::{Network, Profile},
    runner::Runner,
    spec::LambdaSpec,
    start::Host,
    template::{Compiler, Rendered},
};
use crate::job_error::JobError;

#[derive(Debug)]
struct Lambda {
    client: Client,
    target: Target,
    region: String,
    access_key_id: Template,
    secret_access_key: Template,
    session_token: Option<Template>,
    payload: Template,
}

/// Builds the runner.
pub(crate) fn build(place: &str, spec: &LambdaSpec, host: &Host, compiler: &mut Compiler<'_>) -> Option<Built> {
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !word(&spec.region) {
        compiler.note(format!("{place}.region"), "use the name of a region, such as `eu-central-1`");
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_:/$.".contains(c);
    if spec.function.is_empty() || !spec.function.chars().all(legal) {
        compiler.note(format!("{place}.function"), "use the name or the ARN of a function");
    }
    let origin = spec.endpoint.clone().unwrap_or_else(|| format!("https://lambda.{}.amazonaws.com", spec.region));
    let mut url = format!("{}/2015-03-31/functions/", origin.trim_end_matches('/'));
    encode(&spec.function, &mut url);
    url.push_str("/invocations");
    if let Some(qualifier) = &spec.qualifier {
        url.push_str("?Qualifier=");
        encode(qualifier, &mut url);
    }
    let target = Target::parse(&url).map_err(|why| compiler.note(format!("{place}.endpoint"), why)).ok();
    let mut text = |field: &str, text: &str| compiler.request(&format!("{place}.{field}"), &Value::from(text));
    let access_key_id = text("access_key_id", &spec.access_key_id);
    let secret_access_key = text("secret_access_key", &spec.secret_access_key);
    let session_token = spec.session_token.as_ref().map(|token| text("session_token", token));
    let payload = spec.payload.clone().unwrap_or_else(|| Value::from("${input}"));
    let payload = compiler.request(&format!("{place}.payload"), &payload);
    let reach = Reach {
        allow_addresses: &spec.allow_addresses,
        allow_hosts: None,
        ca_file: spec.ca_file.as_deref(),
        max_redirects: 0,
    };
    let client = Client::build(place, reach, Arc::clone(&host.resolver), compiler);
    let session_token = match session_token {
        None => None,
        Some(compiled) => Some(compiled?),
    };
    let lambda = Lambda {
        client: client?,
        target: target?,
        region: spec.region.clone(),
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
        session_token,
        payload: payload?,
    };
    // Its one host is fixed, and no redirect leads away from it.
    let enforced = Profile { network: Some(Network::EgressAllowlist), ..Profile::default() };
    Some(Built { runner: Arc::new(lambda), enforced, judges_hosts: true, main: "${answer.payload}" })
}

impl Runner for Lambda {
    fn run<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Answer, JobError>> {
        Box::pin(async move {
            let ask = self.ask(call)?;
            let bounds = Bounds { max_bytes: call.limits.max_output_bytes, hosts: call.limits.hosts.as_deref() };
            let reply = call.within(self.client.send(ask, bounds)).await?;
            read(&reply, call)
        })
    }
}

impl Lambda {
    fn ask(&self, call: &Call) -> Result<Ask, JobError> {
        let payload = call.scope.render("the payload", &self.payload)?;
        let payload = payload.as_ref().map_or(&Value::Null, Rendered::get);
        let body = Bytes::from(payload.to_string());
        let token = self.session_token.as_ref();
        let keys = Keys {
            id: call.scope.text("`access_key_id`", &self.access_key_id)?,
            key: call.scope.text("`secret_access_key`", &self.secret_access_key)?,
            token: token.map(|template| call.scope.text("`session_token`", template)).transpose()?,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-amz-invocation-type", HeaderValue::from_static("RequestResponse"));
        sign::sign(&mut headers, &self.target, &body, &keys, &self.region, call.now())?;
        Ok(Ask { method: Method::POST, target: self.target.clone(), headers, body })
    }
}

/// What the answer means. A function that failed is answered with 200 and a header that says so.
fn read(reply: &Reply, call: &Call) -> Result<Answer, JobError> {
    let status = reply.status.as_u16();
    let said = || {
        let text = call.redactor.text(String::from_utf8_lossy(&reply.body).into_owned());
        text.get(..text.floor_char_boundary(1024)).unwrap_or_default().trim().to_owned()
    };
    if !reply.status.is_success() {
        let text = format!("the API answered {status}: {}", said());
        return Err(match status {
            429 | 502..=504 => JobError::retry(text).with_code("lambda_refused"),
            500.. => JobError::failed(text).with_code("lambda_refused"),
            _ => JobError::fatal("lambda_refused", text),
        });
    }
    if let Some(kind) = reply.headers.get("x-amz-function-error") {
        let kind = kind.to_str().unwrap_or("Unhandled");
        let text = format!("the function failed ({kind}): {}", said());
        return Err(JobError::failed(text).with_code("lambda_failed"));
    }
    let version = reply.headers.get("x-amz-executed-version").and_then(|version| version.to_str().ok());
    let payload = answer::read(&reply.body, true, "the answer of the function")?;
    Ok(json!({ "status": status, "version": version, "payload": payload }))
}

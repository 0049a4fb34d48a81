//! HTTP services: a request per job, made from templates, to an address that the guard allows.

mod reply;
pub(crate) mod url;

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use coretex_core::value::{Template, Value};
use futures::future::BoxFuture;
use hyper::{
    Method,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use zeroize::Zeroizing;

use self::url::UrlTemplate;
use super::{
    answer::Answer,
    call::Call,
    kind::Built,
    net::client::{Ask, Bounds, Client, Reach},
    profile::{Network, Profile},
    runner::Runner,
    secret::Secret,
    spec::{HttpAuth, HttpSpec},
    start::Host,
    template::Compiler,
};
use crate::job_error::JobError;

#[derive(Debug)]
struct Http {
    client: Client,
    method: Method,
    url: UrlTemplate,
    headers: Vec<(HeaderName, Template)>,
    body: Option<Template>,
    auth: Option<Auth>,
    retry_on: Vec<u16>,
}

#[derive(Debug)]
enum Auth {
    Bearer(Template),
    Basic(Template, Template),
}

/// Headers that the client sets itself, or that would change where a message ends.
const OWN_HEADERS: [HeaderName; 5] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE];

/// Builds the runner.
pub(crate) fn build(place: &str, spec: &HttpSpec, host: &Host, compiler: &mut Compiler<'_>) -> Option<Built> {
    let method = spec.method.parse::<Method>().ok().filter(|method| {
        matches!(*method, Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE)
    });
    if method.is_none() {
        compiler.note(format!("{place}.method"), "use GET, HEAD, POST, PUT, PATCH or DELETE");
    }
    let url = UrlTemplate::compile(place, &spec.url, &spec.query, compiler);
    let mut headers = Vec::new();
    for (name, text) in &spec.headers {
        let place = format!("{place}.headers.{name}");
        match HeaderName::from_bytes(name.as_bytes()) {
            Err(_) => compiler.note(place, "this is no name of a header"),
            Ok(own) if OWN_HEADERS.contains(&own) => compiler.note(place, "this header is set by the worker"),
            Ok(header) => {
                headers.extend(compiler.request(&place, &Value::from(text.as_str())).map(|value| (header, value)));
            }
        }
    }
    let bodiless = method.as_ref().is_some_and(|m| matches!(*m, Method::GET | Method::HEAD | Method::DELETE));
    let body = spec.body.clone().or_else(|| (!bodiless).then(|| Value::from("${input}")));
    let body = body.map(|source| compiler.request(&format!("{place}.body"), &source));
    let mut secret = |field: &str, text: &str| compiler.request(&format!("{place}.auth.{field}"), &Value::from(text));
    let auth = match &spec.auth {
        None => None,
        Some(HttpAuth::Bearer(token)) => Some(secret("bearer", token).map(Auth::Bearer)),
        Some(HttpAuth::Basic { user, password }) => {
            let (user, password) = (secret("basic.user", user), secret("basic.password", password));
            Some(user.zip(password).map(|(user, password)| Auth::Basic(user, password)))
        }
    };
    for (index, status) in spec.retry_on.iter().enumerate() {
        if !(400..=599).contains(status) {
            compiler.note(format!("{place}.retry_on[{index}]"), "use statuses of failures, 400 to 599");
        }
    }
    if spec.max_redirects > 10 {
        compiler.note(format!("{place}.max_redirects"), "use 0 to 10");
    }
    let reach = Reach {
        allow_addresses: &spec.allow_addresses,
        allow_hosts: spec.allow_hosts.as_deref(),
        ca_file: spec.ca_file.as_deref(),
        max_redirects: spec.max_redirects,
    };
    let client = Client::build(place, reach, Arc::clone(&host.resolver), compiler);
    let http = Http {
        client: client?,
        method: method?,
        url: url?,
        headers,
        body: transpose(body)?,
        auth: transpose(auth)?,
        retry_on: spec.retry_on.clone(),
    };
    let network = spec.allow_hosts.as_ref().map(|_| Network::EgressAllowlist);
    let enforced = Profile { network, ..Profile::default() };
    Some(Built { runner: Arc::new(http), enforced, judges_hosts: true, main: "${answer.body}" })
}

/// Something that is there and could not be compiled makes no runner.
fn transpose<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

impl Runner for Http {
    fn run<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Answer, JobError>> {
        Box::pin(async move {
            let (ask, derived) = self.ask(call)?;
            let mut redactor = call.redactor.clone();
            redactor.add(derived);
            let bounds = Bounds { max_bytes: call.limits.max_output_bytes, hosts: call.limits.hosts.as_deref() };
            let reply = call.within(self.client.send(ask, bounds)).await?;
            reply::answer(reply, &self.retry_on, &redactor, call.now())
        })
    }
}

impl Http {
    /// The request, and the secret that was made from secrets for it.
    fn ask(&self, call: &Call) -> Result<(Ask, Option<Secret>), JobError> {
        let target = self.url.render(call)?;
        let mut headers = HeaderMap::new();
        for (name, template) in &self.headers {
            let value = call.scope.text(&format!("the header `{name}`"), template)?;
            headers.insert(name, header_value(name.as_str(), value.expose())?);
        }
        let (authorization, derived) = self.authorization(call)?;
        if let Some(value) = authorization {
            let mut value = header_value("authorization", &value)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let body = self.body.as_ref().map(|template| call.scope.render("the body", template)).transpose()?.flatten();
        let body = match body.as_ref().map(super::template::Rendered::get) {
            None => Bytes::new(),
            Some(value) => {
                let json = |content: &HeaderValue| content.to_str().is_ok_and(|text| text.contains("json"));
                let content = headers.entry(header::CONTENT_TYPE);
                let as_json = json(content.or_insert(HeaderValue::from_static("application/json")));
                match value {
                    Value::String(text) if !as_json => Bytes::from(text.clone()),
                    other => Bytes::from(other.to_string()),
                }
            }
        };
        Ok((Ask { method: self.method.clone(), target, headers, body }, derived))
    }

    fn authorization(&self, call: &Call) -> Result<(Option<Zeroizing<String>>, Option<Secret>), JobError> {
        Ok(match &self.auth {
            None => (None, None),
            Some(Auth::Bearer(token)) => {
                let token = call.scope.text("the bearer token", token)?;
                (Some(Zeroizing::new(format!("Bearer {}", token.expose()))), None)
            }
            Some(Auth::Basic(user, password)) => {
                let user = call.scope.text("the user", user)?;
                let password = call.scope.text("the password", password)?;
                if user.expose().contains(':') {
                    let text = "the user of `auth.basic` holds a colon, which would end it";
                    return Err(JobError::fatal("endpoint_request_invalid", text));
                }
                let pair = Zeroizing::new(format!("{}:{}", user.expose(), password.expose()));
                let encoded = Secret::new(BASE64_STANDARD.encode(pair.as_bytes()));
                (Some(Zeroizing::new(format!("Basic {}", encoded.expose()))), Some(encoded))
            }
        })
    }
}

fn header_value(name: &str, text: &str) -> Result<HeaderValue, JobError> {
    HeaderValue::from_str(text).map_err(|_| {
        let text = format!("the header `{name}` has characters that no header may have, such as a line feed");
        JobError::fatal("endpoint_request_invalid", text)
    })
}

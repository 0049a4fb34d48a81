//! The client: a request to a judged address, and redirects judged as if they were new requests.

use std::{net::SocketAddr, path::Path, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use tokio::net::TcpStream;

use super::{
    exchange::{self, Open},
    guard::{self, Block, Guard},
    resolve::Resolver,
    target::Target,
    tls::Tls,
};
use crate::{
    endpoint::{answer, template::Compiler},
    job_error::{JobError, JobErrorKind},
};

/// What is sent.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Limits of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    pub(crate) max_bytes: usize,
    /// Hosts that may be reached; `None` is any.
    pub(crate) hosts: Option<&'a [String]>,
}

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Client {
    guard: Guard,
    /// The operator's list, beside that of a job; `None` is any.
    hosts: Option<Vec<String>>,
    resolver: Arc<dyn Resolver>,
    tls: Tls,
    max_redirects: u8,
}

/// Where a client may go, as a document says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach<'a> {
    pub(crate) allow_addresses: &'a [String],
    pub(crate) allow_hosts: Option<&'a [String]>,
    pub(crate) ca_file: Option<&'a Path>,
    pub(crate) max_redirects: u8,
}

impl Client {
    /// Builds the client, or notes what is wrong.
    pub(crate) fn build(
        place: &str,
        reach: Reach<'_>,
        resolver: Arc<dyn Resolver>,
        compiler: &mut Compiler<'_>,
    ) -> Option<Self> {
        let mut allowed = Vec::new();
        for (index, text) in reach.allow_addresses.iter().enumerate() {
            match text.parse::<Block>() {
                Ok(block) => allowed.push(block),
                Err(error) => compiler.note(format!("{place}.allow_addresses[{index}]"), error),
            }
        }
        match Tls::new(reach.ca_file) {
            Ok(tls) => Some(Self {
                guard: Guard { allowed },
                hosts: reach.allow_hosts.map(<[String]>::to_vec),
                resolver,
                tls,
                max_redirects: reach.max_redirects,
            }),
            Err(error) => {
                compiler.note(format!("{place}.ca_file"), error);
                None
            }
        }
    }

    /// Sends `ask` and follows redirects. Each goes through the guard from its beginning.
    ///
    /// What was configured (headers, credentials among them, and bodies) goes to the first origin alone: a redirect to
    /// another one is asked without them.
    pub(crate) async fn send(&self, mut ask: Ask, bounds: Bounds<'_>) -> Result<Reply, JobError> {
        let mut left = self.max_redirects;
        loop {
            let (response, open) = self.once(&ask, bounds).await?;
            let status = response.status();
            let location = response.headers().get(header::LOCATION).filter(|_| follows(status));
            let Some(location) = location else {
                let (parts, body) = response.into_parts();
                let read = exchange::collect(body, bounds.max_bytes).await;
                drop(open);
                let (body, whole) = read.map_err(|error| broken(&ask.target, &error))?;
                // Of a refusal the beginning is enough.
                if !whole && status.is_success() {
                    return Err(answer::too_large("the body of the answer", bounds.max_bytes));
                }
                return Ok(Reply { status, headers: parts.headers, body });
            };
            if left == 0 {
                let text = format!("{} redirects more than {} times", ask.target.origin(), self.max_redirects);
                return Err(JobError::fatal("http_redirect_refused", text));
            }
            left -= 1;
            ask = redirected(ask, status, location)?;
        }
    }

    async fn once(&self, ask: &Ask, bounds: Bounds<'_>) -> Result<(Response<Incoming>, Open), JobError> {
        let target = &ask.target;
        let addresses = self.judged(target, bounds.hosts).await?;
        let stream = connect(target, &addresses).await?;
        let request = request(ask)?;
        let sent = if target.tls {
            let stream = self.tls.connect(target, stream).await.map_err(|error| {
                let text = format!("no secure connection to {}: {error}", target.origin());
                JobError::new(JobErrorKind::Retryable, "http_unreachable", text)
            })?;
            exchange::send(stream, request).await
        } else {
            exchange::send(stream, request).await
        };
        sent.map_err(|error| broken(target, &error))
    }

    /// The addresses of the target, if all of them may be reached: one that may not is a sign of a trick.
    async fn judged(&self, target: &Target, hosts: Option<&[String]>) -> Result<Vec<SocketAddr>, JobError> {
        let refused = |text: String| JobError::fatal("http_address_refused", text);
        if let Some(own) = &self.hosts
            && !guard::listed(own, &target.host)
        {
            return Err(refused(format!("`{}` is not among the endpoint's `allow_hosts`", target.host)));
        }
        if let Some(hosts) = hosts
            && !guard::listed(hosts, &target.host)
        {
            return Err(refused(format!("`{}` is not among the hosts that the job's constraints allow", target.host)));
        }
        let found = match target.address {
            Some(address) => vec![address],
            None => self.resolver.resolve(&target.host).await.map_err(|error| {
                let text = format!("`{}` has no address: {error}", target.host);
                JobError::new(JobErrorKind::Retryable, "http_unreachable", text)
            })?,
        };
        if found.is_empty() {
            return Err(JobError::retry(format!("`{}` has no address", target.host)).with_code("http_unreachable"));
        }
        for address in &found {
            self.guard.judge(*address).map_err(|why| {
                refused(format!("`{}` is not reached: {why}; name it in `allow_addresses` if it is meant", target.host))
            })?;
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address.to_canonical(), target.port)).collect())
    }
}

async fn connect(target: &Target, addresses: &[SocketAddr]) -> Result<TcpStream, JobError> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are small and answered before the next one.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    let why = last.map_or_else(|| "it has no address".to_owned(), |error| error.to_string());
    let text = format!("no connection to {}: {why}", target.origin());
    Err(JobError::new(JobErrorKind::Retryable, "http_unreachable", text))
}

fn request(ask: &Ask) -> Result<Request<Full<Bytes>>, JobError> {
    let invalid = |error: &dyn std::fmt::Display| {
        JobError::fatal("endpoint_request_invalid", format!("the request cannot be sent: {error}"))
    };
    let mut request = Request::builder()
        .method(ask.method.clone())
        .uri(&*ask.target.path)
        .body(Full::new(ask.body.clone()))
        .map_err(|error| invalid(&error))?;
    let headers = request.headers_mut();
    headers.clone_from(&ask.headers);
    let host = HeaderValue::from_str(&ask.target.authority()).map_err(|error| invalid(&error))?;
    headers.insert(header::HOST, host);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static("coretex"));
    Ok(request)
}

const fn follows(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// What to ask instead. Source: RFC 9110, 15.4; 301 and 302 turn a `POST` into a `GET`, as everybody does.
fn redirected(ask: Ask, status: StatusCode, location: &HeaderValue) -> Result<Ask, JobError> {
    let refused = |text: String| JobError::fatal("http_redirect_refused", text);
    let from = ask.target.origin();
    let text = location.to_str().map_err(|_| refused(format!("{from} redirects to what is no URL")))?;
    let target =
        ask.target.join(text).map_err(|why| refused(format!("{from} redirects to what is not followed: {why}")))?;
    if ask.target.tls && !target.tls {
        return Err(refused(format!("{from} redirects to `http://`, where everybody can read along")));
    }
    let same = ask.target.same_origin(&target);
    let keeps_method = matches!(status.as_u16(), 307 | 308) || ask.method == Method::GET || ask.method == Method::HEAD;
    if keeps_method && !same && !ask.body.is_empty() {
        return Err(refused(format!("{from} redirects a request with a body to {}", target.origin())));
    }
    let mut next = Ask { target, ..ask };
    if !keeps_method {
        next.method = Method::GET;
        next.body = Bytes::new();
        next.headers.remove(header::CONTENT_TYPE);
    }
    if !same {
        next.headers = harmless(&next.headers);
    }
    Ok(next)
}

/// The headers that say nothing about who asks.
fn harmless(headers: &HeaderMap) -> HeaderMap {
    const KEPT: [HeaderName; 3] = [header::ACCEPT, header::ACCEPT_LANGUAGE, header::USER_AGENT];
    KEPT.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect()
}

/// The request may have arrived: whether trying again is safe is for the step to say.
fn broken(target: &Target, error: &std::io::Error) -> JobError {
    let text = format!("the connection to {} broke before the answer was complete: {error}", target.origin());
    JobError::new(JobErrorKind::Failed, "http_unreachable", text)
}

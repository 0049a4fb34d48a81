//! Signature Version 4, by the crate of those who specified it.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_request},
    sign::v4,
};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::{
    endpoint::{net::target::Target, secret::Secret},
    job_error::JobError,
};

/// Who asks.
pub(super) struct Keys {
    pub(super) id: Secret,
    pub(super) key: Secret,
    pub(super) token: Option<Secret>,
}

/// Adds the headers that prove who asks to those of a `POST` to `target`.
pub(super) fn sign(
    headers: &mut HeaderMap,
    target: &Target,
    body: &[u8],
    keys: &Keys,
    region: &str,
    now: Timestamp,
) -> Result<(), JobError> {
    let token = keys.token.as_ref().map(|token| token.expose().to_owned());
    let credentials = Credentials::new(keys.id.expose(), keys.key.expose(), token, None, "coretex");
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("lambda")
        .time(SystemTime::from(now))
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| unsignable(&error))?;
    let authority = target.authority();
    let mut signed: Vec<(&str, &str)> = vec![("host", &authority)];
    signed.extend(headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))));
    let url = format!("{}{}", target.origin(), target.path);
    let request = SignableRequest::new("POST", &url, signed.into_iter(), SignableBody::Bytes(body))
        .map_err(|error| unsignable(&error))?;
    let (instructions, _) = sign_request(request, &params.into()).map_err(|error| unsignable(&error))?.into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| unsignable(&error))?;
        let mut value = HeaderValue::from_str(value).map_err(|error| unsignable(&error))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(())
}

/// The error's text may hold what was signed; its kind is told.
fn unsignable(_: &dyn std::error::Error) -> JobError {
    JobError::fatal("endpoint_request_invalid", "the request cannot be signed; check the keys and the function's name")
}

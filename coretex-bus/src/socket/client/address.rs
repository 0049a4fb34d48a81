//! Where a server is: `ws://host:port/prefix`.

use std::fmt;

use tokio_tungstenite::tungstenite::http::Uri;

use crate::socket::PATH;

/// A text is no address of a server, or the connection cannot be made secure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{address}` cannot be connected to: {problem}")]
pub struct AddressError {
    address: String,
    problem: String,
}

impl AddressError {
    pub(super) fn tls(address: &str, problem: String) -> Self {
        Self { address: address.to_owned(), problem }
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "worker_address_invalid"
    }
}

#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) secure: bool,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What is asked for: scheme, authority and the whole path.
    pub(super) request: Uri,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        let refuse = |problem: &str| Err(AddressError { address: text.to_owned(), problem: problem.to_owned() });
        let Ok(uri) = text.trim().parse::<Uri>() else { return refuse("write it as `ws://host:port`") };
        let secure = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return refuse("it begins with `ws://`, or with `wss://` for a secure connection"),
        };
        let Some(authority) = uri.authority() else { return refuse("it names no host") };
        if authority.as_str().contains('@') {
            return refuse("it holds a name or a password; give the API key by itself");
        }
        if uri.query().is_some() || text.contains('#') {
            return refuse("nothing may follow the path");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return refuse("it names no host");
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = format!("{}{PATH}", uri.path().trim_end_matches('/'));
        let mut parts = uri.clone().into_parts();
        let Ok(path) = path.parse() else { return refuse("its path is none") };
        parts.path_and_query = Some(path);
        match Uri::from_parts(parts) {
            Ok(request) => Ok(Self { secure, host, port, request }),
            Err(_) => refuse("write it as `ws://host:port`"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_the_socket_of_its_server() {
        for (text, host, port, request) in [
            ("ws://127.0.0.1:8081", "127.0.0.1", 8081, "ws://127.0.0.1:8081/api/v1/worker-socket"),
            ("wss://coretex.example/", "coretex.example", 443, "wss://coretex.example/api/v1/worker-socket"),
            ("ws://[::1]:9/behind/proxy/", "::1", 9, "ws://[::1]:9/behind/proxy/api/v1/worker-socket"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((&*address.host, address.port, &*address.to_string()), (host, port, request), "{text}");
        }
        assert!(Address::parse("wss://a").unwrap().secure);
    }

    #[test]
    fn what_is_no_address_is_told() {
        for (text, told) in [
            ("", "ws://host:port"),
            ("127.0.0.1:8081", "begins with `ws://`"),
            ("http://127.0.0.1:8081", "begins with `ws://`"),
            ("ws://", "ws://host:port"),
            ("ws://key@host", "API key"),
            ("ws://host/?a=b", "nothing may follow"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.to_string().contains(told), "{text}: {error}");
            assert_eq!(error.code(), "worker_address_invalid");
        }
    }
}

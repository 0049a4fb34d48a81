//! Where a request goes: a URL, read strictly.
//!
//! One spelling for one place: what URL parsers disagree about (user information, backslashes, IPv4 addresses as one
//! number, octal or hexadecimal, names that are not ASCII) is refused rather than guessed.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The longest URL, in bytes.
const MAX_BYTES: usize = 8192;

/// A scheme, a host, a port, and what is asked for there.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) tls: bool,
    /// Lower case; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
    /// Begins with `/`; the query included.
    pub(crate) path: String,
}

/// The path may hold what a template put there.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

impl Target {
    /// Reads an absolute URL.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        if url.len() > MAX_BYTES {
            return Err(format!("the URL is longer than {MAX_BYTES} bytes"));
        }
        if let Some(odd) = url.chars().find(|c| !c.is_ascii_graphic() || "\\\"<>^`{|}".contains(*c)) {
            return Err(format!("the URL has the character `{}`; percent-encode it", odd.escape_debug()));
        }
        let (scheme, rest) = url.split_once("://").ok_or("the URL has no scheme; use `https://`")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            other => return Err(format!("the scheme `{other}` is not spoken; use `https://` or `http://`")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (host, address, port) = authority_of(authority)?;
        let path = rest.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, host, address, port: port.unwrap_or(if tls { 443 } else { 80 }), path })
    }

    /// Reads what a `Location` header says, relative to this target (RFC 3986, 5.2).
    pub(crate) fn join(&self, location: &str) -> Result<Self, String> {
        let before = location.split(['/', '?', '#']).next().unwrap_or_default();
        if before.contains(':') {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme()));
        }
        let base = self.path.split('?').next().unwrap_or_default();
        let path = match location.chars().next() {
            None | Some('#') => self.path.clone(),
            Some('?') => format!("{base}{location}"),
            Some('/') => location.to_owned(),
            Some(_) => {
                let directory = base.rfind('/').map_or("/", |at| base.get(..=at).unwrap_or("/"));
                without_dots(&format!("{directory}{location}"))
            }
        };
        Self::parse(&format!("{}{path}", self.origin()))
    }

    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.tls == other.tls && self.host == other.host && self.port == other.port
    }

    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The value of the `Host` header.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority())
    }
}

fn authority_of(authority: &str) -> Result<(String, Option<IpAddr>, Option<u16>), String> {
    if authority.contains('@') {
        return Err("the URL has user information before an `@`; use `auth`".to_owned());
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']').ok_or("the URL's `[` is not closed")?;
            let v6: Ipv6Addr = inside.parse().map_err(|_| format!("`{inside}` is no IPv6 address"))?;
            (Ok(IpAddr::V6(v6)), after)
        }
        None => {
            let at = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(at);
            (Err(host), port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number = digits.parse::<u16>().ok().filter(|port| *port > 0);
            Some(number.ok_or_else(|| format!("`{digits}` is no port"))?)
        }
        _ => return Err(format!("`{port}` is no port")),
    };
    match host {
        Ok(address) => Ok((address.to_string(), Some(address), port)),
        Err(name) => host_of(name).map(|(host, address)| (host, address, port)),
    }
}

fn host_of(name: &str) -> Result<(String, Option<IpAddr>), String> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    // Strict: four decimal numbers without leading zeros.
    if let Ok(v4) = name.parse::<Ipv4Addr>() {
        return Ok((name, Some(v4.into())));
    }
    let legal = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(legal) {
        return Err(format!("`{name}` is no host name; use letters, digits, `-` and dots"));
    }
    // The URL standard reads a name whose last label is a number as an IPv4 address in some spelling.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    if hex || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("`{name}` is an odd spelling of an address; write it as four decimal numbers"));
    }
    Ok((name, None))
}

/// RFC 3986, 5.2.4, for a path that begins with `/`; the query stays.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    let path = format!("/{}", kept.join("/"));
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_one_place() {
        for (url, origin, path) in [
            ("https://Api.Example.org/a?b=c#d", "https://api.example.org", "/a?b=c"),
            ("http://a.b:8080", "http://a.b:8080", "/"),
            ("http://a.b?x", "http://a.b", "/?x"),
            ("https://a.b.:443/", "https://a.b", "/"),
            ("http://[::1]:81/x", "http://[::1]:81", "/x"),
            ("http://127.0.0.1/", "http://127.0.0.1", "/"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.origin().as_str(), target.path.as_str()), (origin, path), "{url}");
        }
        for odd in [
            "//a.b/",
            "a.b",
            "ftp://a.b/",
            "file:///etc/passwd",
            "gopher://a.b/",
            "http://",
            "http:///x",
            "http://user@a.b/",
            "http://user:pass@a.b/",
            "http://a.b@127.0.0.1/",
            "http://a.b\\@127.0.0.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://127.0.1/",
            "http://1.2.3.4.5/",
            "http://127.0.0.01/",
            "http://[::1/",
            "http://[fe80::1%25eth0]/",
            "http://[::1]x/",
            "http://a.b:0/",
            "http://a.b:65536/",
            "http://a.b:+80/",
            "http://a.b:/",
            "http://a..b/",
            "http://-a.b/",
            "http://a b/",
            "http://a.b/x y",
            "http://a.b/\r\nx: y",
            "http://ⓛocalhost/",
            "http://127。0。0。1/",
            "http://a%2eb/",
        ] {
            assert!(Target::parse(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn locations_are_read_from_where_they_were_found() {
        let base = Target::parse("https://a.b/x/y?q").unwrap();
        for (location, expected) in [
            ("https://c.d/e", "https://c.d/e"),
            ("//c.d/e", "https://c.d/e"),
            ("/z", "https://a.b/z"),
            ("z", "https://a.b/x/z"),
            ("../z?r", "https://a.b/z?r"),
            ("../../../z", "https://a.b/z"),
            ("./", "https://a.b/x/"),
            ("?r", "https://a.b/x/y?r"),
            ("#top", "https://a.b/x/y?q"),
            ("z?u=http://e.f", "https://a.b/x/z?u=http://e.f"),
        ] {
            let target = base.join(location).unwrap();
            assert_eq!(format!("{}{}", target.origin(), target.path), expected, "{location}");
        }
        for odd in ["javascript:alert(1)", "file:///etc/passwd", "https://u@c.d/", "http:/x"] {
            assert!(base.join(odd).is_err(), "{odd}");
        }
    }
}

//! URLs from templates, in which a value stays within its segment.

use std::collections::BTreeMap;

use coretex_core::value::{Template, Value};

use crate::{
    endpoint::{
        call::Call,
        net::target::Target,
        template::{Compiler, all},
    },
    job_error::JobError,
};

#[derive(Debug)]
pub(super) struct UrlTemplate {
    base: Base,
    query: Vec<(String, Template)>,
}

#[derive(Debug)]
enum Base {
    /// The whole URL comes from the job; the guard judges where it leads.
    Whole(Template),
    /// The origin is fixed, and each piece between slashes is literal or a template.
    Pieces { origin: String, pieces: Vec<Piece>, query: Option<String> },
}

#[derive(Debug)]
enum Piece {
    Literal(String),
    Template(Template),
}

impl UrlTemplate {
    pub(super) fn compile(
        place: &str,
        url: &str,
        query: &BTreeMap<String, Value>,
        compiler: &mut Compiler<'_>,
    ) -> Option<Self> {
        let queries = all(query
            .iter()
            .map(|(name, source)| Some((name.clone(), compiler.request(&format!("{place}.query.{name}"), source)?))));
        let place = format!("{place}.url");
        let trimmed = url.trim();
        if trimmed.starts_with("${") {
            let base = Base::Whole(compiler.request(&place, &Value::from(trimmed))?);
            return Some(Self { base, query: queries? });
        }
        let base = pieces(&place, trimmed, compiler)?;
        Some(Self { base, query: queries? })
    }

    /// Where the job's request goes.
    pub(super) fn render(&self, call: &Call) -> Result<Target, JobError> {
        let invalid =
            |why: String| JobError::fatal("endpoint_request_invalid", format!("the URL cannot be used: {why}"));
        let (mut url, static_query) = match &self.base {
            Base::Whole(template) => {
                let url = call.scope.text("the URL", template)?.expose().to_owned();
                let has_query = url.contains('?');
                (url, has_query)
            }
            Base::Pieces { origin, pieces, query } => {
                let mut url = origin.clone();
                for piece in pieces {
                    url.push('/');
                    match piece {
                        Piece::Literal(text) => url.push_str(text),
                        Piece::Template(template) => {
                            let text = call.scope.text("a part of the URL", template)?;
                            if matches!(text.expose(), "" | "." | "..") {
                                return Err(invalid("a part of it is empty or only dots".to_owned()));
                            }
                            encode(text.expose(), &mut url);
                        }
                    }
                }
                if let Some(query) = query {
                    url.push('?');
                    url.push_str(query);
                }
                (url, query.is_some())
            }
        };
        let mut separator = if static_query { '&' } else { '?' };
        for (name, template) in &self.query {
            let Some(value) = call.scope.render(&format!("the query parameter `{name}`"), template)? else { continue };
            if value.get().is_null() {
                continue;
            }
            url.push(separator);
            separator = '&';
            encode(name, &mut url);
            url.push('=');
            match value.get() {
                Value::String(text) => encode(text, &mut url),
                other => encode(&other.to_string(), &mut url),
            }
        }
        Target::parse(&url).map_err(invalid)
    }
}

fn pieces(place: &str, url: &str, compiler: &mut Compiler<'_>) -> Option<Base> {
    let after = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(after..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| after + at);
    let (origin, path) = url.split_at(end);
    if origin.contains("${") {
        compiler.note(place, "scheme and host are fixed; a template may stand in the path, or be the whole URL");
        return None;
    }
    let (path, query) = split_query(path);
    let mut probe = origin.to_owned();
    let mut pieces = Vec::new();
    for text in segments(path.strip_prefix('/').unwrap_or(path)) {
        probe.push('/');
        if text.contains("${") {
            pieces.push(Piece::Template(compiler.request(place, &Value::from(text))?));
            probe.push('x');
        } else {
            probe.push_str(text);
            pieces.push(Piece::Literal(text.to_owned()));
        }
    }
    if let Some(query) = query {
        if query.contains("${") {
            compiler.note(place, "templates of the query stand under `query:`, where their values are encoded");
            return None;
        }
        probe.push('?');
        probe.push_str(query);
    }
    if let Err(why) = Target::parse(&probe) {
        compiler.note(place, why);
        return None;
    }
    let origin = origin.to_owned();
    Some(Base::Pieces { origin, pieces, query: query.map(str::to_owned) })
}

/// Where a template is open, as far as braces tell; one in a string literal is refused when the piece is compiled.
fn outside(text: &str, wanted: char) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if c == wanted && depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

fn split_query(path: &str) -> (&str, Option<&str>) {
    match outside(path, '?') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..)),
        None => (path, None),
    }
}

fn segments(mut path: &str) -> Vec<&str> {
    let mut found = Vec::new();
    while let Some(at) = outside(path, '/') {
        found.push(path.get(..at).unwrap_or_default());
        path = path.get(at + 1..).unwrap_or_default();
    }
    found.push(path);
    found
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(crate) fn encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(HEX.get(usize::from(nibble)).map_or('0', |digit| char::from(*digit)));
            }
        }
    }
}

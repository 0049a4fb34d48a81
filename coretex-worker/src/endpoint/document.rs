//! `endpoints.yaml`: from text to endpoints, with everything that is wrong told at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use coretex_core::value::{Value, document};
use serde::de::DeserializeOwned;

use super::{
    admit::Offer,
    kind::{self, Built},
    problem::{EndpointsError, Problems},
    profile::{Network, Profile},
    runner::Endpoint,
    secret::SecretRef,
    spec::{EndpointSpec, KindSpec},
    start::{Endpoints, Host, Station},
    template::Compiler,
};
use crate::builder::{self, MAX_PARALLEL};

const KINDS: [&str; 4] = ["script", "http", "lambda", "container"];
const MAX_OUTPUT_BYTES: usize = 64 * 1024 * 1024;
const MAX_TIMEOUT_SEC: u64 = 7 * 24 * 3600;
const MAX_GRACE_SEC: u64 = 300;

/// Reads a document and builds its endpoints for `host`.
pub(crate) fn parse(name: &str, text: &str, host: &Host) -> Result<Endpoints, EndpointsError> {
    let value = document::parse(name, text)?;
    let mut problems = Problems::default();
    let stations = read(value, host, &mut problems);
    let problems = problems.into_vec();
    if problems.is_empty() {
        return Ok(Endpoints::new(stations));
    }
    Err(EndpointsError::Invalid { name: name.to_owned(), problems })
}

fn read(value: Value, host: &Host, problems: &mut Problems) -> Vec<Station> {
    let Value::Object(mut fields) = value else {
        problems.note("$", "a document of endpoints is a map with `endpoints:`");
        return Vec::new();
    };
    let profiles = fields.remove("profiles").map_or_else(BTreeMap::new, |value| profiles(value, problems));
    let endpoints = match fields.remove("endpoints") {
        Some(Value::Object(endpoints)) if !endpoints.is_empty() => endpoints,
        _ => {
            problems.note("endpoints", "name at least one endpoint");
            serde_json::Map::new()
        }
    };
    for key in fields.keys() {
        problems.note(key, "this is not known here; use `profiles` and `endpoints`");
    }
    let mut stations: Vec<Station> = Vec::new();
    for (name, value) in endpoints {
        let place = format!("endpoints.{name}");
        if !is_name(&name) {
            problems.note(&*place, "a name is 1 to 64 letters, digits, `-` and `_`");
        }
        let Some((spec, kind)) = shape(&place, value, problems) else { continue };
        judge(&place, &spec, problems);
        for (other, topic) in stations.iter().flat_map(|s| s.topics.iter().map(move |topic| (&s.name, topic))) {
            if let Some(twice) = spec.topics.iter().find(|mine| builder::overlap(mine, topic)) {
                let text =
                    format!("`{twice}` matches jobs of `{topic}`, which endpoint `{other}` does; keep one of them");
                problems.note(format!("{place}.topics"), text);
            }
        }
        stations.extend(build(&place, name, spec, kind, &profiles, host, problems));
    }
    stations
}

fn profiles(value: Value, problems: &mut Problems) -> BTreeMap<String, Profile> {
    let Value::Object(fields) = value else {
        problems.note("profiles", "this is a map of names to profiles");
        return BTreeMap::new();
    };
    let read = |(name, value): (String, Value)| typed(&format!("profiles.{name}"), value, problems).map(|p| (name, p));
    fields.into_iter().filter_map(read).collect()
}

/// The common part and the kind's own part, each with its first problem of shape.
fn shape(place: &str, value: Value, problems: &mut Problems) -> Option<(EndpointSpec, KindSpec)> {
    let Value::Object(mut fields) = value else {
        problems.note(place, "an endpoint is a map");
        return None;
    };
    let mut found = Vec::new();
    for kind in KINDS {
        found.extend(fields.remove(kind).map(|part| (kind, part)));
    }
    let known = fields.keys().filter(|key| !FIELDS.contains(&key.as_str())).cloned().collect::<Vec<_>>();
    for key in &known {
        problems.note(
            format!("{place}.{key}"),
            format!("unknown field; use {}, or a kind: {}", FIELDS.join(", "), KINDS.join(", ")),
        );
        fields.remove(key);
    }
    let common = typed::<EndpointSpec>(place, Value::Object(fields), problems);
    let mut found = found.into_iter();
    let (kind, part) = match (found.next(), found.next()) {
        (Some(one), None) => one,
        (None, _) => {
            problems.note(place, "the endpoint has no kind; add `script`, `http`, `lambda` or `container`");
            return None;
        }
        (Some((one, _)), Some((other, _))) => {
            problems.note(place, format!("the endpoint has two kinds, `{one}` and `{other}`; keep one"));
            return None;
        }
    };
    let place = format!("{place}.{kind}");
    let kind = match kind {
        "script" => typed(&place, part, problems).map(KindSpec::Script),
        "http" => typed(&place, part, problems).map(KindSpec::Http),
        "lambda" => typed(&place, part, problems).map(KindSpec::Lambda),
        _ => typed(&place, part, problems).map(KindSpec::Container),
    };
    Some((common?, kind?))
}

const FIELDS: [&str; 10] = [
    "topics",
    "pool",
    "max_parallel",
    "timeout_sec",
    "grace_sec",
    "max_output_bytes",
    "secrets",
    "profile",
    "tools",
    "output",
];

fn typed<T: DeserializeOwned>(place: &str, value: Value, problems: &mut Problems) -> Option<T> {
    match serde_path_to_error::deserialize(value) {
        Ok(typed) => Some(typed),
        Err(error) => {
            let path = error.path().to_string();
            let place = if path == "." { place.to_owned() } else { format!("{place}.{path}") };
            problems.note(place, error.inner().to_string());
            None
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn judge(place: &str, spec: &EndpointSpec, problems: &mut Problems) {
    if spec.topics.is_empty() {
        problems.note(format!("{place}.topics"), "name at least one topic");
    }
    for (index, topic) in spec.topics.iter().enumerate() {
        if let Err(error) = builder::judge_topic(topic) {
            problems.note(format!("{place}.topics[{index}]"), error.to_string());
        }
        if spec.topics.iter().take(index).any(|other| builder::overlap(other, topic)) {
            problems.note(format!("{place}.topics[{index}]"), "it matches jobs of another topic of the endpoint");
        }
    }
    let mut range = |field: &str, found: u64, min: u64, max: u64| {
        if !(min..=max).contains(&found) {
            problems.note(format!("{place}.{field}"), format!("{found} is out of range; use {min} to {max}"));
        }
    };
    range("max_parallel", spec.max_parallel.into(), 1, MAX_PARALLEL.into());
    range("timeout_sec", spec.timeout_sec, 1, MAX_TIMEOUT_SEC);
    range("grace_sec", spec.grace_sec, 0, MAX_GRACE_SEC);
    let as_u64 = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    range("max_output_bytes", as_u64(spec.max_output_bytes), 1, as_u64(MAX_OUTPUT_BYTES));
}

fn build(
    place: &str,
    name: String,
    spec: EndpointSpec,
    kind: KindSpec,
    profiles: &BTreeMap<String, Profile>,
    host: &Host,
    problems: &mut Problems,
) -> Option<Station> {
    let references = references(place, &spec, host, problems);
    let names: BTreeSet<String> = spec.secrets.keys().cloned().collect();
    let mut compiler = Compiler::new(&names, problems);
    let built = kind::build(place, &name, &spec, &kind, host, &mut compiler);
    let main = built.as_ref().map_or("${answer}", |built| built.main);
    let source = spec.output.clone().unwrap_or_else(|| Value::from(main));
    let output = compiler.output(&format!("{place}.output"), &source);
    let Built { runner, mut enforced, judges_hosts, .. } = built?;
    enforced.tools = spec.tools.as_ref().map(|tools| tools.iter().cloned().collect());
    let mut capabilities: BTreeSet<String> = enforced.capabilities().into_iter().collect();
    if let Some(profile) = &spec.profile {
        match profiles.get(profile) {
            None => problems
                .note(format!("{place}.profile"), format!("there is no profile `{profile}`; add it under `profiles:`")),
            Some(promise) => {
                let missing = enforced.missing(promise);
                if !missing.is_empty() {
                    let text = format!(
                        "this endpoint does not enforce {}, which profile `{profile}` promises",
                        missing.join(", ")
                    );
                    problems.note(format!("{place}.profile"), text);
                }
                capabilities.insert(format!("profile={}", profile.to_lowercase()));
            }
        }
    }
    if judges_hosts {
        enforced.network = enforced.network.max(Some(Network::EgressAllowlist));
    }
    let offer = Offer {
        enforced,
        capabilities,
        timeout: Duration::from_secs(spec.timeout_sec),
        max_output_bytes: spec.max_output_bytes,
    };
    let grace = Duration::from_secs(spec.grace_sec);
    let endpoint = Endpoint { runner, offer, output: output?, references, secrets: host.secrets.clone(), grace };
    Some(Station {
        name,
        topics: spec.topics,
        pool: spec.pool,
        max_parallel: spec.max_parallel,
        endpoint: Arc::new(endpoint),
    })
}

fn references(place: &str, spec: &EndpointSpec, host: &Host, problems: &mut Problems) -> BTreeMap<String, SecretRef> {
    let mut found = BTreeMap::new();
    for (name, text) in &spec.secrets {
        let place = format!("{place}.secrets.{name}");
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            problems.note(&*place, "the name of a secret is letters, digits and `_`");
        }
        match SecretRef::parse(text) {
            Err(error) => problems.note(place, error.to_string()),
            Ok(reference) if !host.secrets.knows(reference.resolver()) => {
                let text = format!("nobody resolves `{}`; the host has to add a resolver for it", reference.resolver());
                problems.note(place, text);
            }
            Ok(reference) => drop(found.insert(name.clone(), reference)),
        }
    }
    found
}

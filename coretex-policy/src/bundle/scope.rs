//! What a bundle may speak about, and what stays closed while it is broken.

use coretex_core::policy::Outcome;

use super::{Bundle, Origin, owner};
use crate::{
    error::{BundleError, ErrorCode, Place},
    fold,
    rule::{Document, Glob, Match, Rule},
};

/// Checks that a bundle keeps to its scope, and narrows rules that leave it open.
pub(super) fn narrow(bundle: &mut Bundle, errors: &mut Vec<BundleError>) {
    match bundle.origin {
        Origin::SecOps | Origin::Base => {}
        Origin::Pack => pack(bundle, errors),
        Origin::Tenant => tenant(bundle, errors),
    }
}

fn pack(bundle: &mut Bundle, errors: &mut Vec<BundleError>) {
    let pack = owner(&bundle.id).to_owned();
    let at = Whole::of(bundle);
    if pack.is_empty() || !pack.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        errors.push(at.error(
            "",
            format!("`{}` does not start with a pack id", bundle.id),
            "name the bundle `<pack>/<overlay>`; pack ids have a-z, 0-9 and `-`",
        ));
        return;
    }
    at.no_defaults(&bundle.document, errors);
    if !bundle.document.tenants.is_empty() {
        errors.push(at.error(
            "tenants",
            format!("pack `{pack}` sets limits on tenants"),
            "move them to a bundle of the operator",
        ));
    }
    let namespace = format!("job.{pack}.");
    let own = Glob::new(&format!("{namespace}*"));
    for (index, rule) in bundle.document.rules.iter_mut().enumerate() {
        for (n, topic) in rule.criteria.topics.iter().enumerate() {
            if !topic.literal_prefix().starts_with(&namespace) {
                errors.push(at.rule_error(
                    rule,
                    format!("rules[{index}].match.topics[{n}]"),
                    format!("rule `{}` of pack `{pack}` is about `{}`", rule.id, topic.as_str()),
                    format!("a pack may only speak about topics that start with `{namespace}`"),
                ));
            }
        }
        if let (true, Ok(own)) = (rule.criteria.topics.is_empty(), &own) {
            rule.criteria.topics.push(own.clone());
        }
    }
}

fn tenant(bundle: &mut Bundle, errors: &mut Vec<BundleError>) {
    let tenant = owner(&bundle.id).trim().to_owned();
    let at = Whole::of(bundle);
    if tenant.is_empty() {
        errors.push(at.error("", "the bundle names no tenant", "name the bundle `<tenant>/<name>`"));
        return;
    }
    at.no_defaults(&bundle.document, errors);
    for other in bundle.document.tenants.keys().filter(|other| !fold::same(other, &tenant)) {
        errors.push(at.error(
            &format!("tenants.{other}"),
            format!("tenant `{tenant}` sets limits on tenant `{other}`"),
            "move them to a bundle of that tenant or of the operator",
        ));
    }
    for (index, rule) in bundle.document.rules.iter_mut().enumerate() {
        for (n, other) in rule.criteria.tenants.iter().enumerate().filter(|(_, other)| !fold::same(other, &tenant)) {
            errors.push(at.rule_error(
                rule,
                format!("rules[{index}].match.tenants[{n}]"),
                format!("rule `{}` of tenant `{tenant}` is about tenant `{other}`", rule.id),
                "a tenant may only speak about itself",
            ));
        }
        if rule.criteria.tenants.is_empty() {
            rule.criteria.tenants.push(tenant.clone());
        }
    }
}

/// What a broken bundle becomes when the others go on without it: everything that it might have denied is denied.
pub(super) fn quarantine(id: &str, origin: Origin) -> Bundle {
    let mut criteria = Match::default();
    let owner = owner(id);
    match origin {
        Origin::SecOps | Origin::Base => {}
        Origin::Tenant => criteria.tenants.push(owner.to_owned()),
        Origin::Pack => {
            // Characters that mean something in a pattern stand for themselves.
            let escaped: String =
                owner.chars().flat_map(|c| "*?[\\".contains(c).then_some('\\').into_iter().chain([c])).collect();
            criteria.topics.extend(Glob::new(&format!("job.{escaped}.*")));
        }
    }
    let rule = Rule {
        id: format!("quarantine:{id}"),
        line: 0,
        priority: 0,
        decision: Outcome::Deny,
        reason: format!("policy bundle `{id}` is broken; what it governs stays closed until it is repaired"),
        criteria,
        constraints: None,
        remediations: Vec::new(),
        retry_after: None,
    };
    let document = Document {
        source: id.into(),
        stand_in: true,
        version: String::new(),
        default_tenant: String::new(),
        default_decision: None,
        default_reason: String::new(),
        rules: vec![rule],
        tenants: std::collections::BTreeMap::new(),
    };
    Bundle::new(id, origin, document)
}

/// The bundle as a place.
struct Whole(Place);

impl Whole {
    fn of(bundle: &Bundle) -> Self {
        Self(Place { source: bundle.document.source.clone(), ..Place::default() })
    }

    fn error(&self, path: &str, message: impl Into<String>, hint: &str) -> BundleError {
        let place = Place { path: path.to_owned(), ..self.0.clone() };
        BundleError::new(ErrorCode::OutOfScope, place, message, hint)
    }

    fn rule_error(&self, rule: &Rule, path: String, message: String, hint: impl Into<String>) -> BundleError {
        let place = Place { path, line: rule.line, column: 1, ..self.0.clone() };
        BundleError::new(ErrorCode::OutOfScope, place, message, hint)
    }

    fn no_defaults(&self, document: &Document, errors: &mut Vec<BundleError>) {
        let mut refuse = |present: bool, key: &str| {
            if present {
                errors.push(self.error(
                    key,
                    format!("`{key}` holds for everybody"),
                    "only bundles of the operator and the security team may set it",
                ));
            }
        };
        refuse(document.default_decision.is_some(), "default_decision");
        refuse(!document.default_reason.is_empty(), "default_reason");
        refuse(!document.default_tenant.is_empty(), "default_tenant");
    }
}

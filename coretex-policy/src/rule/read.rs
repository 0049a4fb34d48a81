//! From located YAML to a [`Document`]. Collects every mistake instead of stopping at the first.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::Arc,
};

use coretex_core::policy::{Outcome, Remediation};

use super::{
    constraints,
    document::{DefaultDecision, Document, Match, McpLists, Rule, TenantPolicy},
    glob::Glob,
    node::{self, Content, Key, Kind, Node},
    words,
};
use crate::{
    error::{BundleError, BundleErrors, ErrorCode, Place},
    fold,
};

const RULE_KEYS: [&str; 9] =
    ["id", "priority", "decision", "reason", "match", "when", "constraints", "remediations", "retry_after"];
const MATCH_KEYS: [&str; 13] = [
    "tenants",
    "topics",
    "capabilities",
    "risk_tags",
    "requires",
    "pack_ids",
    "actor_ids",
    "actor_types",
    "labels",
    "secrets_present",
    "mcp",
    "not",
    "during",
];

/// Most mistakes told at once.
const MAX_ERRORS: usize = 100;

/// The way to a value, without a copy per value.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    pub(super) const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    pub(super) const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    fn write(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(out);
        }
        match self.step {
            Step::Root => {}
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Step::Index(index) => {
                // Writing to a String does not fail.
                let _ = write!(out, "[{index}]");
            }
        }
    }
}

pub(super) struct Reader {
    source: Arc<str>,
    errors: Vec<BundleError>,
    /// Named lists of the document; `None` in one without, where `@` is a character like any other.
    pub(super) groups: Option<BTreeMap<String, Vec<String>>>,
    /// How many entries the use of groups has made.
    pub(super) expanded: usize,
}

/// Line and column.
pub(super) type At = (u32, u32);

/// A mapping whose keys were all known.
pub(super) struct Fields<'a>(&'a [(Key, Node)]);

impl<'a> Fields<'a> {
    /// Of a mapping whose keys are the author's own.
    pub(super) const fn of(entries: &'a [(Key, Node)]) -> Self {
        Self(entries)
    }

    /// The value of `key`; a key with nothing after it reads as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.0
            .iter()
            .find(|(own, _)| own.text == key)
            .map(|(_, node)| node)
            .filter(|n| !matches!(n.content, Content::Null))
    }

    /// The value of `key`, also if nothing stands there.
    pub(super) fn raw(&self, key: &str) -> Option<&'a Node> {
        self.0.iter().find(|(own, _)| own.text == key).map(|(_, node)| node)
    }
}

pub(super) fn document(source: &str, text: &str) -> Result<Document, BundleErrors> {
    let mut reader = Reader { source: source.into(), errors: Vec::new(), groups: None, expanded: 0 };
    let root = node::parse(&reader.source, text)?;
    let document = reader.document(&root);
    match document {
        Some(document) if reader.errors.is_empty() => Ok(document),
        _ => {
            reader.errors.sort_by_key(|error| (error.place.line, error.place.column));
            Err(BundleErrors(reader.errors))
        }
    }
}

impl Reader {
    pub(super) fn error(
        &mut self,
        code: ErrorCode,
        (line, column): (u32, u32),
        path: &Path<'_>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.errors.len() < MAX_ERRORS {
            let mut text = String::new();
            path.write(&mut text);
            let place = Place { source: self.source.clone(), line, column, path: text };
            self.errors.push(BundleError::new(code, place, message, hint));
        }
    }

    pub(super) fn wrong_type(&mut self, node: &Node, path: &Path<'_>, wanted: &str, hint: &str) {
        let found = node.content.name();
        self.error(
            ErrorCode::WrongType,
            (node.line, node.column),
            path,
            format!("{wanted} is expected here, not {found}"),
            hint,
        );
    }

    fn document(&mut self, root: &Node) -> Option<Document> {
        let path = &Path::ROOT;
        let fields = self.fields(
            root,
            path,
            &["version", "default_tenant", "default_decision", "default_reason", "groups", "rules", "tenants"],
        )?;
        self.read_groups(&fields, path);
        let version = self.text(&fields, "version", path);
        let default_tenant = self.text(&fields, "default_tenant", path);
        let default_reason = self.text(&fields, "default_reason", path);
        let default_decision = self.default_decision(&fields, path);
        let mut rules = Vec::new();
        if let Some(node) = fields.get("rules") {
            let path = &path.key("rules");
            let mut lines = HashMap::new();
            for (index, item) in self.list(node, path).iter().enumerate() {
                let path = &path.index(index);
                let Some(rule) = self.rule(item, path, index) else { continue };
                if let Some(first) = lines.insert(rule.id.clone(), rule.line) {
                    self.error(
                        ErrorCode::DuplicateId,
                        (item.line, item.column),
                        path,
                        format!("rule id `{}` is already used in line {first}", rule.id),
                        "give each rule its own id, decisions are traced by it",
                    );
                }
                rules.push(rule);
            }
        }
        let mut tenants = BTreeMap::new();
        if let Some(node) = fields.get("tenants") {
            let path = &path.key("tenants");
            for (key, value) in self.entries(node, path) {
                let path = &path.key(&key.text);
                let name = key.text.trim();
                if name.is_empty() {
                    self.error(
                        ErrorCode::EmptyPattern,
                        (key.line, key.column),
                        path,
                        "the tenant has no name",
                        "name it or remove the entry",
                    );
                } else if let Some(policy) = self.tenant(value, path) {
                    let key_place = (key.line, key.column);
                    if tenants.insert(fold::lower(name), policy).is_some() {
                        self.error(
                            ErrorCode::DuplicateKey,
                            key_place,
                            path,
                            format!("tenant `{name}` stands twice (case does not count)"),
                            "join the two entries",
                        );
                    }
                }
            }
        }
        Some(Document {
            source: self.source.clone(),
            stand_in: false,
            version,
            default_tenant,
            default_decision,
            default_reason,
            rules,
            tenants,
        })
    }

    fn default_decision(&mut self, fields: &Fields<'_>, path: &Path<'_>) -> Option<DefaultDecision> {
        let node = fields.raw("default_decision")?;
        let path = &path.key("default_decision");
        let word = self.scalar(node, path)?;
        match words::decision(&word) {
            Some(Outcome::Allow) => Some(DefaultDecision::Allow),
            Some(Outcome::Deny) => Some(DefaultDecision::Deny),
            _ => {
                self.error(
                    ErrorCode::UnknownDecision,
                    (node.line, node.column),
                    path,
                    format!("the default cannot be `{word}`"),
                    "write `allow` or `deny`",
                );
                None
            }
        }
    }

    fn rule(&mut self, node: &Node, path: &Path<'_>, index: usize) -> Option<Rule> {
        let fields = self.fields(node, path, &RULE_KEYS)?;
        let mut id = self.text(&fields, "id", path);
        if id.is_empty() {
            id = format!("rules[{index}]");
        }
        let reason = self.text(&fields, "reason", path);
        let mut criteria = match fields.get("match") {
            Some(node) => self.criteria(node, &path.key("match"), &MATCH_KEYS),
            None => Some(Match::default()),
        };
        let when = self.when(&fields, path);
        if let Some(criteria) = &mut criteria {
            criteria.when = when;
        }
        let priority = self.priority(&fields, path);
        let constraints =
            fields.get("constraints").and_then(|node| constraints::read(self, node, &path.key("constraints")));
        let mut remediations = Vec::new();
        if let Some(node) = fields.get("remediations") {
            let path = &path.key("remediations");
            for (index, item) in self.list(node, path).iter().enumerate() {
                remediations.extend(self.remediation(item, &path.index(index)));
            }
        }
        let mut decision = self.decision(&fields, node, path, &id)?;
        if decision == Outcome::Allow && constraints.is_some() {
            decision = Outcome::AllowWithConstraints;
        }
        let retry_after = self.retry_after(&fields, path, decision);
        let (line, criteria) = (node.line, criteria?);
        Some(Rule { id, line, priority, decision, reason, criteria, constraints, remediations, retry_after })
    }

    fn decision(&mut self, fields: &Fields<'_>, rule: &Node, path: &Path<'_>, id: &str) -> Option<Outcome> {
        let Some(node) = fields.get("decision") else {
            self.error(
                ErrorCode::MissingDecision,
                (rule.line, rule.column),
                path,
                format!("rule `{id}` does not say what it decides"),
                "add `decision: allow`, `deny`, `require_approval`, `allow_with_constraints` or `throttle`",
            );
            return None;
        };
        let path = &path.key("decision");
        let word = self.scalar(node, path)?;
        let decision = words::decision(&word);
        if decision.is_none() {
            let hint = match words::nearest(&word, words::DECISION_WORDS.iter().map(|(own, _)| *own)) {
                Some(own) => format!("did you mean `{own}`?"),
                None => "write `allow`, `deny`, `require_approval`, `allow_with_constraints` or `throttle`".to_owned(),
            };
            self.error(
                ErrorCode::UnknownDecision,
                (node.line, node.column),
                path,
                format!("`{word}` is no decision"),
                hint,
            );
        }
        decision
    }

    /// `match` and the `not` within it.
    pub(super) fn criteria(&mut self, node: &Node, path: &Path<'_>, keys: &[&str]) -> Option<Match> {
        let fields = self.fields(node, path, keys)?;
        let actor_types = self.patterns(&fields, "actor_types", path);
        if let Some(node) = fields.get("actor_types") {
            for kind in &actor_types {
                if !["human", "service"].iter().any(|own| own.eq_ignore_ascii_case(kind)) {
                    self.error(
                        ErrorCode::WrongType,
                        (node.line, node.column),
                        &path.key("actor_types"),
                        format!("`{kind}` is no kind of actor"),
                        "write `human` or `service`",
                    );
                }
            }
        }
        Some(Match {
            tenants: self.patterns(&fields, "tenants", path),
            topics: self.globs(&fields, "topics", path),
            capabilities: self.patterns(&fields, "capabilities", path),
            risk_tags: self.patterns(&fields, "risk_tags", path),
            requires: self.patterns(&fields, "requires", path),
            pack_ids: self.patterns(&fields, "pack_ids", path),
            actor_ids: self.patterns(&fields, "actor_ids", path),
            actor_types,
            labels: self.label_criteria(&fields, path),
            secrets_present: fields
                .get("secrets_present")
                .and_then(|node| self.flag(node, &path.key("secrets_present"))),
            mcp: self.mcp(&fields, path),
            not: self.exclusions(&fields, path),
            during: self.during(&fields, path),
            when: None,
        })
    }

    fn label_criteria(&mut self, fields: &Fields<'_>, path: &Path<'_>) -> BTreeMap<String, String> {
        let Some(node) = fields.raw("labels") else { return BTreeMap::new() };
        let path = &path.key("labels");
        let labels = self.labels(node, path);
        if matches!(&node.content, Content::Null) || matches!(&node.content, Content::Map(m) if m.is_empty()) {
            self.empty(node, path);
        }
        labels
    }

    fn mcp(&mut self, fields: &Fields<'_>, path: &Path<'_>) -> McpLists {
        const KEYS: [&str; 8] = [
            "allow_servers",
            "deny_servers",
            "allow_tools",
            "deny_tools",
            "allow_resources",
            "deny_resources",
            "allow_actions",
            "deny_actions",
        ];
        let Some(node) = fields.get("mcp") else { return McpLists::default() };
        let path = &path.key("mcp");
        let Some(fields) = self.fields(node, path, &KEYS) else { return McpLists::default() };
        let mut list = |key| {
            let texts = self.located(&fields, key, path);
            self.write_out(texts, &path.key(key)).into_iter().map(|(text, _)| text).collect()
        };
        McpLists {
            allow_servers: list("allow_servers"),
            deny_servers: list("deny_servers"),
            allow_tools: list("allow_tools"),
            deny_tools: list("deny_tools"),
            allow_resources: list("allow_resources"),
            deny_resources: list("deny_resources"),
            allow_actions: list("allow_actions"),
            deny_actions: list("deny_actions"),
        }
    }

    fn tenant(&mut self, node: &Node, path: &Path<'_>) -> Option<TenantPolicy> {
        if matches!(node.content, Content::Null) {
            return Some(TenantPolicy::default());
        }
        let fields = self.fields(
            node,
            path,
            &["allow_topics", "deny_topics", "allowed_repo_hosts", "denied_repo_hosts", "max_concurrent_jobs", "mcp"],
        )?;
        // An empty deny list denies nothing, plainly; an empty allow list reads both ways.
        let deny_topics = match fields.get("deny_topics").map(|node| &node.content) {
            Some(Content::List(items)) if items.is_empty() => Vec::new(),
            None => Vec::new(),
            Some(_) => self.globs(&fields, "deny_topics", path),
        };
        Some(TenantPolicy {
            allow_topics: self.globs(&fields, "allow_topics", path),
            deny_topics,
            allowed_repo_hosts: self.texts(&fields, "allowed_repo_hosts", path),
            denied_repo_hosts: self.texts(&fields, "denied_repo_hosts", path),
            max_concurrent_jobs: self.number(&fields, "max_concurrent_jobs", path),
            mcp: self.mcp(&fields, path),
        })
    }

    fn remediation(&mut self, node: &Node, path: &Path<'_>) -> Option<Remediation> {
        let fields = self.fields(
            node,
            path,
            &["id", "title", "summary", "replacement_topic", "replacement_capability", "add_labels", "remove_labels"],
        )?;
        Some(Remediation {
            id: self.text(&fields, "id", path),
            title: self.text(&fields, "title", path),
            summary: self.text(&fields, "summary", path),
            replacement_topic: self.text(&fields, "replacement_topic", path),
            replacement_capability: self.text(&fields, "replacement_capability", path),
            add_labels: fields.get("add_labels").map(|n| self.labels(n, &path.key("add_labels"))).unwrap_or_default(),
            remove_labels: self.texts(&fields, "remove_labels", path),
        })
    }
}

/// The small pieces.
impl Reader {
    /// The fields of a mapping. Unknown keys are reported and do not hide the known ones.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, path: &Path<'_>, known: &[&str]) -> Option<Fields<'n>> {
        let Content::Map(entries) = &node.content else {
            self.wrong_type(node, path, "a mapping", "write `key: value` lines");
            return None;
        };
        for (key, _) in entries {
            if known.contains(&key.text.as_str()) {
                continue;
            }
            let at = (key.line, key.column);
            let path = &path.key(&key.text);
            if words::UNSUPPORTED.contains(&key.text.as_str()) {
                self.error(
                    ErrorCode::Unsupported,
                    at,
                    path,
                    format!("`{}` is not enforced here", key.text),
                    "remove it, or express it with the criteria in docs/reference/policy.md",
                );
                continue;
            }
            let hint = match words::nearest(&key.text, known.iter().copied()) {
                Some(own) => format!("did you mean `{own}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.error(ErrorCode::UnknownKey, at, path, format!("key `{}` is unknown", key.text), hint);
        }
        Some(Fields(entries))
    }

    pub(super) fn entries<'n>(&mut self, node: &'n Node, path: &Path<'_>) -> &'n [(Key, Node)] {
        match &node.content {
            Content::Map(entries) => entries,
            _ => {
                self.wrong_type(node, path, "a mapping", "write `key: value` lines");
                &[]
            }
        }
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, path: &Path<'_>) -> &'n [Node] {
        match &node.content {
            Content::List(items) => items,
            _ => {
                self.wrong_type(node, path, "a list", "start each entry with `- `");
                &[]
            }
        }
    }

    /// A scalar as it is spelled.
    pub(super) fn scalar(&mut self, node: &Node, path: &Path<'_>) -> Option<String> {
        match &node.content {
            Content::Scalar { text, .. } => Some(text.trim().to_owned()),
            _ => {
                self.wrong_type(node, path, "a text", "write one value");
                None
            }
        }
    }

    pub(super) fn text(&mut self, fields: &Fields<'_>, key: &str, path: &Path<'_>) -> String {
        fields.get(key).and_then(|node| self.scalar(node, &path.key(key))).unwrap_or_default()
    }

    pub(super) fn flag(&mut self, node: &Node, path: &Path<'_>) -> Option<bool> {
        match &node.content {
            Content::Scalar { text, kind: Kind::Bool } => Some(text == "true"),
            _ => {
                self.wrong_type(node, path, "true or false", "write `true` or `false`, without quotes");
                None
            }
        }
    }

    /// A whole number from 0; 0 if absent.
    pub(super) fn number<N: TryFrom<u64> + Default>(&mut self, fields: &Fields<'_>, key: &str, path: &Path<'_>) -> N {
        let Some(node) = fields.get(key) else { return N::default() };
        let value = match &node.content {
            Content::Scalar { text, kind: Kind::Number } => {
                text.replace('_', "").parse::<u64>().ok().and_then(|value| N::try_from(value).ok())
            }
            _ => None,
        };
        value.unwrap_or_else(|| {
            self.error(
                ErrorCode::WrongType,
                (node.line, node.column),
                &path.key(key),
                format!("`{key}` is not a whole number in range"),
                "write a whole number from 0 upwards, without quotes or units",
            );
            N::default()
        })
    }

    /// A list of texts, which may be empty.
    pub(super) fn texts(&mut self, fields: &Fields<'_>, key: &str, path: &Path<'_>) -> Vec<String> {
        self.located(fields, key, path).into_iter().map(|(text, _)| text).collect()
    }

    fn located(&mut self, fields: &Fields<'_>, key: &str, path: &Path<'_>) -> Vec<(String, At)> {
        let Some(node) = fields.get(key) else { return Vec::new() };
        let path = &path.key(key);
        let mut texts = Vec::new();
        for (index, item) in self.list(node, path).iter().enumerate() {
            let path = &path.index(index);
            let at = (item.line, item.column);
            match self.scalar(item, path) {
                Some(text) if text.is_empty() => self.error(
                    ErrorCode::EmptyPattern,
                    at,
                    path,
                    "the entry is empty and would never match",
                    "fill it in or remove the line",
                ),
                Some(text) => texts.push((text, at)),
                None => {}
            }
        }
        texts
    }

    /// A list of texts that, if written at all, must say something. Groups are written out.
    pub(super) fn patterns(&mut self, fields: &Fields<'_>, key: &str, path: &Path<'_>) -> Vec<String> {
        self.patterns_at(fields, key, path).into_iter().map(|(text, _)| text).collect()
    }

    fn patterns_at(&mut self, fields: &Fields<'_>, key: &str, path: &Path<'_>) -> Vec<(String, At)> {
        if let Some(node) = fields.raw(key) {
            let empty = match &node.content {
                Content::Null => true,
                Content::List(items) => items.is_empty(),
                _ => false,
            };
            if empty {
                self.empty(node, &path.key(key));
            }
        }
        let texts = self.located(fields, key, path);
        self.write_out(texts, &path.key(key))
    }

    pub(super) fn empty(&mut self, node: &Node, path: &Path<'_>) {
        self.error(
            ErrorCode::EmptyPattern,
            (node.line, node.column),
            path,
            "the list is empty: it could mean everything or nothing",
            "remove the key if everything is meant",
        );
    }

    fn globs(&mut self, fields: &Fields<'_>, key: &str, path: &Path<'_>) -> Vec<Glob> {
        let patterns = self.patterns_at(fields, key, path);
        let path = &path.key(key);
        let mut globs = Vec::with_capacity(patterns.len());
        for (index, (pattern, at)) in patterns.iter().enumerate() {
            match Glob::new(pattern) {
                Ok(glob) => globs.push(glob),
                Err(problem) => self.error(
                    ErrorCode::BadGlob,
                    *at,
                    &path.index(index),
                    format!("`{pattern}` is no topic pattern: {problem}"),
                    "use `*`, `?`, `[a-z]`, and `\\` before a character meant as it is",
                ),
            }
        }
        globs
    }

    fn labels(&mut self, node: &Node, path: &Path<'_>) -> BTreeMap<String, String> {
        if matches!(node.content, Content::Null) {
            return BTreeMap::new();
        }
        let mut labels = BTreeMap::new();
        for (key, value) in self.entries(node, path) {
            // Labels are compared as they are: no trimming.
            match &value.content {
                Content::Scalar { text, .. } => {
                    labels.insert(key.text.clone(), text.clone());
                }
                _ => self.wrong_type(value, &path.key(&key.text), "a text", "quote the label's value"),
            }
        }
        labels
    }
}

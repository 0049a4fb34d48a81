//! What the rule language has beyond the established one: groups, negation, hours, conditions, priorities, delays.

use std::{collections::BTreeMap, time::Duration};

use coretex_core::policy::Outcome;
use jiff::{civil::Time, tz::TimeZone};

use super::{
    condition::Condition,
    document::Match,
    during::{self, During},
    node::{Content, Kind},
    read::{At, Fields, Path, Reader},
    words,
};
use crate::error::ErrorCode;

/// Most entries that the groups of one document may make where they are used.
const MAX_EXPANDED: usize = 1_000_000;
const NOT_KEYS: [&str; 9] =
    ["tenants", "topics", "capabilities", "risk_tags", "requires", "pack_ids", "actor_ids", "actor_types", "labels"];

impl Reader {
    /// Named lists, which `@name` stands for in the lists of `match`.
    pub(super) fn read_groups(&mut self, fields: &Fields<'_>, path: &Path<'_>) {
        let Some(node) = fields.get("groups") else { return };
        let path = &path.key("groups");
        let entries = self.entries(node, path);
        let own = Fields::of(entries);
        let mut groups = BTreeMap::new();
        for (key, _) in entries {
            let name = key.text.trim();
            if name.is_empty() || name.starts_with('@') {
                self.error(
                    ErrorCode::EmptyPattern,
                    (key.line, key.column),
                    path,
                    format!("`{name}` is no name of a group"),
                    "write a name without `@`; rules say `@name`",
                );
                continue;
            }
            // Read before groups are known: a group does not stand in another.
            let members = self.patterns(&own, &key.text, path);
            groups.insert(name.to_owned(), members);
        }
        self.groups = Some(groups);
    }

    /// Puts the members of groups where their names stand.
    pub(super) fn write_out(&mut self, texts: Vec<(String, At)>, path: &Path<'_>) -> Vec<(String, At)> {
        let Some(groups) = self.groups.take() else { return texts };
        let mut out = Vec::with_capacity(texts.len());
        for (index, (text, at)) in texts.into_iter().enumerate() {
            let Some(name) = text.strip_prefix('@') else {
                out.push((text, at));
                continue;
            };
            let Some(members) = groups.get(name) else {
                let hint = match words::nearest(name, groups.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean `@{near}`?"),
                    None => "name it under `groups`".to_owned(),
                };
                self.error(
                    ErrorCode::UnknownGroup,
                    at,
                    &path.index(index),
                    format!("the document has no group `{name}`"),
                    hint,
                );
                continue;
            };
            self.expanded += members.len();
            if self.expanded > MAX_EXPANDED {
                self.error(
                    ErrorCode::TooLarge,
                    at,
                    path,
                    format!("the groups of the document make more than {MAX_EXPANDED} entries"),
                    "use patterns, labels or risk tags instead of long lists",
                );
                break;
            }
            out.extend(members.iter().map(|member| (member.clone(), at)));
        }
        self.groups = Some(groups);
        out
    }

    pub(super) fn exclusions(&mut self, fields: &Fields<'_>, path: &Path<'_>) -> Option<Box<Match>> {
        let node = fields.raw("not")?;
        let path = &path.key("not");
        if matches!(&node.content, Content::Null) || matches!(&node.content, Content::Map(keys) if keys.is_empty()) {
            self.empty(node, path);
            return None;
        }
        self.criteria(node, path, &NOT_KEYS).map(Box::new)
    }

    pub(super) fn during(&mut self, fields: &Fields<'_>, path: &Path<'_>) -> Option<During> {
        let node = fields.get("during")?;
        let path = &path.key("during");
        let fields = self.fields(node, path, &["days", "from", "to", "time_zone"])?;
        let at = |key: &str| fields.get(key).map_or((node.line, node.column), |node| (node.line, node.column));
        let mut days = 0;
        for text in self.patterns(&fields, "days", path) {
            match during::days(&text) {
                Some(bits) => days |= bits,
                None => self.error(
                    ErrorCode::WrongType,
                    at("days"),
                    &path.key("days"),
                    format!("`{text}` is no day or span of days"),
                    "write `mon`, `tue`, … or `mon-fri`",
                ),
            }
        }
        let mut time = |key: &str| {
            let text = self.text(&fields, key, path);
            let found = if text.is_empty() { Some(Time::midnight()) } else { during::time(&text) };
            if found.is_none() {
                self.error(
                    ErrorCode::WrongType,
                    at(key),
                    &path.key(key),
                    format!("`{text}` is no time of the day"),
                    "write \"09:00\" with quotes, up to \"24:00\"",
                );
            }
            found
        };
        let (from, to) = (time("from"), time("to"));
        let mut zone_name = self.text(&fields, "time_zone", path);
        if zone_name.is_empty() {
            "UTC".clone_into(&mut zone_name);
        }
        let zone = TimeZone::get(&zone_name);
        if zone.is_err() {
            self.error(
                ErrorCode::WrongType,
                at("time_zone"),
                &path.key("time_zone"),
                format!("`{zone_name}` is no time zone"),
                "write a name like `Europe/Berlin`",
            );
        }
        let days = if days == 0 { 0b111_1111 } else { days };
        let found = During { days, from: from?, to: to?, zone: zone.ok()?, zone_name };
        if found.from == found.to && found.from != Time::midnight() {
            self.error(
                ErrorCode::WrongType,
                (node.line, node.column),
                path,
                "it starts and ends at the same time",
                "leave both out for the whole day",
            );
        }
        Some(found)
    }

    pub(super) fn when(&mut self, fields: &Fields<'_>, path: &Path<'_>) -> Option<Condition> {
        let node = fields.raw("when")?;
        let path = &path.key("when");
        let text = match &node.content {
            Content::Scalar { text, .. } => text,
            _ => {
                self.wrong_type(node, path, "an expression", "write `when: attempt > 1`");
                return None;
            }
        };
        match Condition::new(text) {
            Ok(condition) => Some(condition),
            Err(error) => {
                let hint = error.hint().unwrap_or("see docs/reference/expressions.md and docs/reference/policy.md");
                let message = format!("column {} of the condition: {}", error.column(), error.reason());
                self.error(ErrorCode::BadCondition, (node.line, node.column), path, message, hint);
                None
            }
        }
    }

    pub(super) fn priority(&mut self, fields: &Fields<'_>, path: &Path<'_>) -> i32 {
        let Some(node) = fields.get("priority") else { return 0 };
        let value = match &node.content {
            Content::Scalar { text, kind: Kind::Number } => text.replace('_', "").parse().ok(),
            _ => None,
        };
        value.unwrap_or_else(|| {
            self.error(
                ErrorCode::WrongType,
                (node.line, node.column),
                &path.key("priority"),
                "`priority` is not a whole number in range",
                "write a number like `10` or `-5`; higher ones speak first within the bundle",
            );
            0
        })
    }

    pub(super) fn retry_after(&mut self, fields: &Fields<'_>, path: &Path<'_>, decision: Outcome) -> Option<Duration> {
        let node = fields.raw("retry_after")?;
        let path = &path.key("retry_after");
        let text = self.scalar(node, path)?;
        let wait = duration(&text);
        if wait.is_none() {
            self.error(
                ErrorCode::WrongType,
                (node.line, node.column),
                path,
                format!("`{text}` is no span of time"),
                "write `500ms`, `30s`, `5m` or `1h`, up to a day",
            );
        } else if decision != Outcome::Throttle {
            self.error(
                ErrorCode::Misplaced,
                (node.line, node.column),
                path,
                "only a `throttle` waits",
                "remove it, or decide `throttle`",
            );
        }
        wait
    }
}

/// From one millisecond to a day.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let millis = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=86_400_000).contains(&millis).then(|| Duration::from_millis(millis))
}

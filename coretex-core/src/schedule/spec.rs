//! A schedule as written, and compiled.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{
    calendar::{self, Cron},
    fire::spread,
};
use crate::{
    job::{Priority, WorkflowId},
    value::{CompileOptions, Node, Scope, Template, Value},
    workflow::{DefinitionError, Problem, shape},
};

/// Longest interval, jitter and the like, in seconds: a year.
const MAX_SECONDS: i64 = 366 * 24 * 3600;
/// Most times that may wait, or are made up for, at once.
const MAX_COUNT: u32 = 1_000;

/// A schedule as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Its name: letters, digits, `-`, `_`, `.`, at most 96 bytes.
    pub id: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The workflow to start, as it is stored when the time comes.
    pub workflow_id: String,
    /// The input of the runs: a template that sees `schedule.id`, `schedule.time` (RFC 3339) and `schedule.date` (in the
    /// time zone); an empty object when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The team within the tenant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub team_id: String,
    /// Labels of the runs; `schedule_id` and `scheduled_at` are added.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How urgent the runs are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// A cron pattern; either this or `interval`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cron: String,
    /// A fixed distance; either this or `cron`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<IntervalSpec>,
    /// The IANA name of the zone whose clock `cron` reads; `UTC` when absent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
    /// No time before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// No time after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_at: Option<Timestamp>,
    /// Each time comes up to this many seconds late, each by its own share, always the same.
    #[serde(skip_serializing_if = "is_zero")]
    pub jitter_sec: i64,
    /// What happens to a time while a run of an earlier one is under way.
    pub overlap: OverlapPolicy,
    /// Most times that wait under `queue_all`; 100 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<u32>,
    /// What happens to times that have passed while nobody was there to start their runs.
    pub missed: MissedPolicy,
    /// Most times that `all` makes up for, the latest of them; 100 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_missed: Option<u32>,
    /// A time counts as missed when it is this many seconds late; 60 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed_after_sec: Option<i64>,
}

/// A fixed distance between times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntervalSpec {
    /// The distance in seconds.
    pub every_sec: i64,
    /// A time that the others are counted from; the beginning of 1970 in UTC when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Timestamp>,
    /// Moves every time by this many seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub offset_sec: i64,
}

/// What happens to a time while a run of an earlier one is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlapPolicy {
    /// It is left out.
    #[default]
    Skip,
    /// One waits; further ones are left out.
    Queue,
    /// It waits, up to `max_queued` of them.
    QueueAll,
    /// What is under way is cancelled for it.
    CancelRunning,
    /// It starts a run beside it.
    Allow,
}

/// What happens to times that have passed while nobody was there to start their runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissedPolicy {
    /// They are left out.
    Skip,
    /// The latest is made up for.
    #[default]
    Latest,
    /// All are made up for, the latest `max_missed` of them.
    All,
}

#[derive(Clone, Debug)]
enum Rhythm {
    Cron(Box<Cron>),
    Interval { every: i64, anchor: i64 },
}

/// A compiled schedule: pure answers about its times.
#[derive(Clone, Debug)]
pub struct Timetable {
    id: Arc<str>,
    rhythm: Rhythm,
    zone: TimeZone,
    start_at: Option<Timestamp>,
    end_at: Option<Timestamp>,
    jitter: u64,
    input: Option<Template>,
    pub(crate) workflow: WorkflowId,
    pub(super) overlap: OverlapPolicy,
    pub(super) max_queued: usize,
    pub(super) missed: MissedPolicy,
    pub(super) max_missed: usize,
    pub(super) missed_after: SignedDuration,
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, code: &'static str, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.0.push(Problem { code, path: path.into(), message: message.into(), help: help.into() });
    }

    fn number(&mut self, path: &str, number: i64, least: i64, most: i64) {
        if !(least..=most).contains(&number) {
            self.add("out_of_range", path, format!("{number} is out of range"), format!("use {least} to {most}"));
        }
    }
}

impl ScheduleSpec {
    /// Reads a schedule from a JSON value; `source_name` is used in messages.
    ///
    /// # Errors
    /// [`DefinitionError`] when a field is unknown or of another type.
    pub fn from_value(source_name: &str, value: Value) -> Result<Self, DefinitionError> {
        shape::read("", value).map_err(|slips| {
            let problems = slips.into_iter().map(|slip| Problem { code: "schedule_invalid", ..slip }).collect();
            DefinitionError { source_name: source_name.to_owned(), problems }
        })
    }

    /// Checks and compiles it.
    ///
    /// # Errors
    /// [`DefinitionError`] with every problem found.
    pub fn compile(&self) -> Result<Timetable, DefinitionError> {
        let mut problems = Problems(Vec::new());
        let workflow = WorkflowId::parse(&self.workflow_id);
        if let Err(error) = &workflow {
            let (path, help) = ("workflow_id".into(), "name a stored workflow".into());
            problems.0.push(Problem { code: error.code(), path, message: error.to_string(), help });
        }
        if let Err(message) = check_id(&self.id) {
            problems.add("id_invalid", "id", message, "choose another name");
        }
        let zone = calendar::zone(&self.time_zone);
        if zone.is_none() {
            let message = format!("there is no time zone `{}`", self.time_zone);
            problems.add(
                "time_zone_unknown",
                "time_zone",
                message,
                "use an IANA name such as `Europe/Berlin`, or `UTC`",
            );
        }
        let rhythm = self.rhythm(&mut problems);
        problems.number("jitter_sec", self.jitter_sec, 0, MAX_SECONDS);
        problems.number("missed_after_sec", self.missed_after_sec.unwrap_or(60), 1, MAX_SECONDS);
        for (path, count) in [("max_queued", self.max_queued), ("max_missed", self.max_missed)] {
            problems.number(path, i64::from(count.unwrap_or(1)), 1, i64::from(MAX_COUNT));
        }
        let input = self.input.as_ref().map(|input| {
            Template::compile(input, &CompileOptions::new().with_roots(["schedule"])).map_err(|error| {
                let path = format!("input.{}", error.path());
                problems.add(error.code(), path.trim_end_matches('.'), error.to_string(), "correct the template");
            })
        });
        if let (Some(start), Some(end)) = (self.start_at, self.end_at)
            && start > end
        {
            problems.add("schedule_never_fires", "end_at", "it is before `start_at`", "set it to a later time");
        }
        if let (Some(rhythm), Some(zone), Ok(workflow), true) = (rhythm, zone, workflow, problems.0.is_empty()) {
            let timetable = Timetable {
                id: self.id.as_str().into(),
                rhythm,
                zone,
                start_at: self.start_at,
                end_at: self.end_at,
                jitter: u64::try_from(self.jitter_sec).unwrap_or(0),
                input: input.and_then(Result::ok),
                workflow,
                overlap: self.overlap,
                max_queued: usize::try_from(self.max_queued.unwrap_or(100)).unwrap_or(100),
                missed: self.missed,
                max_missed: usize::try_from(self.max_missed.unwrap_or(100)).unwrap_or(100),
                missed_after: SignedDuration::from_secs(self.missed_after_sec.unwrap_or(60)),
            };
            if timetable.next(Timestamp::UNIX_EPOCH).is_some() {
                return Ok(timetable);
            }
            problems.add("schedule_never_fires", "$", "no time of it ever comes", "correct `cron`, or move `end_at`");
        }
        Err(DefinitionError { source_name: "schedule".into(), problems: problems.0 })
    }

    fn rhythm(&self, problems: &mut Problems) -> Option<Rhythm> {
        match (&self.interval, self.cron.as_str()) {
            (None, "") => {
                problems.add("schedule_invalid", "$", "it has neither `cron` nor `interval`", "add one of them");
                None
            }
            (Some(_), cron) if !cron.is_empty() => {
                problems.add("schedule_invalid", "$", "it has both `cron` and `interval`", "remove one of them");
                None
            }
            (Some(interval), _) => {
                problems.number("interval.every_sec", interval.every_sec, 1, MAX_SECONDS);
                problems.number("interval.offset_sec", interval.offset_sec, 0, MAX_SECONDS);
                let anchor = interval.anchor.unwrap_or(Timestamp::UNIX_EPOCH).as_second();
                Some(Rhythm::Interval { every: interval.every_sec.max(1), anchor: anchor + interval.offset_sec })
            }
            (None, cron) => match Cron::parse(cron) {
                Ok(cron) => Some(Rhythm::Cron(Box::new(cron))),
                Err(error) => {
                    let help = "give minute, hour, day of the month, month and day of the week";
                    problems.add("cron_invalid", "cron", error.to_string(), help);
                    None
                }
            },
        }
    }
}

fn check_id(id: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.len() > 96 || !id.chars().all(legal) {
        return Err(format!("`{id}` is not 1 to 96 letters, digits, `-`, `_` and `.`"));
    }
    Ok(())
}

impl Timetable {
    /// The first time after `after`; `None` when there is none.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let before_start = self.start_at.and_then(|start| start.checked_sub(SignedDuration::from_nanos(1)).ok());
        let after = before_start.map_or(after, |start| after.max(start));
        let next = match &self.rhythm {
            Rhythm::Cron(cron) => cron.next(after, &self.zone)?,
            Rhythm::Interval { every, anchor } => {
                let passed = after.as_second().checked_sub(*anchor)?.div_euclid(*every);
                Timestamp::from_second(anchor.checked_add(passed.checked_add(1)?.checked_mul(*every)?)?).ok()?
            }
        };
        self.end_at.is_none_or(|end| next <= end).then_some(next)
    }

    /// The first `count` times after `after`.
    #[must_use]
    pub fn preview(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next(after), |time| self.next(*time)).take(count).collect()
    }

    /// When the run of `time` is started: its share of the jitter later.
    #[must_use]
    pub fn due(&self, time: Timestamp) -> Timestamp {
        if self.jitter == 0 {
            return time;
        }
        let share = spread(&[self.id.as_bytes(), &time.as_second().to_be_bytes()]).0 % (self.jitter * 1_000 + 1);
        time.checked_add(SignedDuration::from_millis(i64::try_from(share).unwrap_or(0))).unwrap_or(time)
    }

    /// The input of the run of `time`.
    ///
    /// # Errors
    /// What the template's expressions answer.
    pub fn input(&self, time: Timestamp) -> Result<Value, crate::value::EvalError> {
        let empty = || Value::Object(serde_json::Map::new());
        let Some(template) = &self.input else { return Ok(empty()) };
        let scope = serde_json::json!({
            "id": &*self.id, "time": time.to_string(), "date": self.zone.to_datetime(time).date().to_string(),
        });
        Ok(template.render(&TimeScope(scope))?.unwrap_or_else(empty))
    }
}

/// What the input's template sees.
struct TimeScope(Value);

impl Scope for TimeScope {
    fn variable(&self, name: &str) -> Option<Node<'_>> {
        (name == "schedule").then_some(Node::Json(&self.0))
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

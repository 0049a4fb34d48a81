use std::collections::BTreeSet;

use jiff::{
    SignedDuration, Timestamp,
    civil::{Weekday, date, time},
    tz::{AmbiguousOffset, TimeZone},
};
use serde_json::json;

use super::{calendar::Cron, *};
use crate::{job::RunId, testing::Rng};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> TimeZone {
    calendar::zone(name).unwrap()
}

/// The next `count` times, as the clock of the zone shows them, with its offset.
fn times(pattern: &str, zone_name: &str, after: &str, count: usize) -> Vec<String> {
    let (cron, zone) = (Cron::parse(pattern).unwrap(), zone(zone_name));
    let show = |time: Timestamp| time.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string();
    std::iter::successors(cron.next(at(after), &zone), |time| cron.next(*time, &zone)).take(count).map(show).collect()
}

#[test]
fn patterns_mean_what_cron_always_meant() {
    let after = "2030-01-01T00:00:00Z";
    for (pattern, expected) in [
        ("*/15 * * * *", ["Tue 2030-01-01 00:15:00", "Tue 2030-01-01 00:30:00", "Tue 2030-01-01 00:45:00"]),
        ("*/20 * * * * *", ["Tue 2030-01-01 00:00:20", "Tue 2030-01-01 00:00:40", "Tue 2030-01-01 00:01:00"]),
        ("30 9 * * mon-fri", ["Tue 2030-01-01 09:30:00", "Wed 2030-01-02 09:30:00", "Thu 2030-01-03 09:30:00"]),
        ("0 12 * * 5-7", ["Fri 2030-01-04 12:00:00", "Sat 2030-01-05 12:00:00", "Sun 2030-01-06 12:00:00"]),
        ("0 12 * * fri-sun", ["Fri 2030-01-04 12:00:00", "Sat 2030-01-05 12:00:00", "Sun 2030-01-06 12:00:00"]),
        ("0 0 L * *", ["Thu 2030-01-31 00:00:00", "Thu 2030-02-28 00:00:00", "Sun 2030-03-31 00:00:00"]),
        ("0 0 31 * *", ["Thu 2030-01-31 00:00:00", "Sun 2030-03-31 00:00:00", "Fri 2030-05-31 00:00:00"]),
        ("0 8 * * tue#2", ["Tue 2030-01-08 08:00:00", "Tue 2030-02-12 08:00:00", "Tue 2030-03-12 08:00:00"]),
        ("0 8 ? * 5L", ["Fri 2030-01-25 08:00:00", "Fri 2030-02-22 08:00:00", "Fri 2030-03-29 08:00:00"]),
        // Either kind of day, where both are given.
        ("0 0 3 * thu", ["Thu 2030-01-03 00:00:00", "Thu 2030-01-10 00:00:00", "Thu 2030-01-17 00:00:00"]),
        // Both, where one begins with a star.
        ("0 0 */2 * thu", ["Thu 2030-01-03 00:00:00", "Thu 2030-01-17 00:00:00", "Thu 2030-01-31 00:00:00"]),
        ("0 0 29 2 *", ["Sun 2032-02-29 00:00:00", "Fri 2036-02-29 00:00:00", "Wed 2040-02-29 00:00:00"]),
        (
            "5/20 1-3,22 1,15 jan,JUL *",
            ["Tue 2030-01-01 01:05:00", "Tue 2030-01-01 01:25:00", "Tue 2030-01-01 01:45:00"],
        ),
        ("@weekly", ["Sun 2030-01-06 00:00:00", "Sun 2030-01-13 00:00:00", "Sun 2030-01-20 00:00:00"]),
        ("59 59 23 31 12 *", ["Tue 2030-12-31 23:59:59", "Wed 2031-12-31 23:59:59", "Fri 2032-12-31 23:59:59"]),
    ] {
        let expected = expected.map(|time| format!("{time} +00:00"));
        assert_eq!(times(pattern, "UTC", after, 3), expected, "{pattern}");
    }
}

#[test]
fn what_is_no_pattern_is_refused_with_its_field() {
    for (pattern, expected) in [
        ("", "`` is not a cron pattern: it has 0 fields; give 5, or 6 with seconds in front"),
        ("* * * *", "`* * * *` is not a cron pattern: it has 4 fields; give 5, or 6 with seconds in front"),
        ("60 * * * *", "`60` is not a minute: give a number from 0 to 59"),
        ("* 5-3 * * *", "`5-3` is not a hour: the range runs backwards; write it as two"),
        ("* * 0 * *", "`0` is not a day of the month: give a number from 1 to 31"),
        ("* * * foo *", "`foo` is not a month: give a number from 1 to 12"),
        ("* * * * 8", "`8` is not a day of the week: give a number from 0 to 7"),
        ("* * * * 1#6", "`1#6` is not a day of the week: give the week behind `#` as 1 to 5"),
        ("*/0 * * * *", "`*/0` is not a minute: a step is a number from 1 to 59"),
        ("+1 * * * *", "`+1` is not a minute: give a number from 0 to 59"),
        ("1,, * * * *", "`` is not a minute: give a number from 0 to 59"),
    ] {
        assert_eq!(Cron::parse(pattern).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_time_in_a_skipped_hour_comes_once_and_later() {
    for (zone, after, pattern, expected) in [
        // Berlin: 02:00 becomes 03:00 on 2030-03-31.
        (
            "Europe/Berlin",
            "2030-03-30T12:00:00Z",
            "30 2 * * *",
            vec!["Sun 2030-03-31 03:30:00 +02:00", "Mon 2030-04-01 02:30:00 +02:00"],
        ),
        // Another time of the pattern is the same instant: once.
        (
            "Europe/Berlin",
            "2030-03-30T12:00:00Z",
            "0 2,3 * * *",
            vec!["Sun 2030-03-31 03:00:00 +02:00", "Mon 2030-04-01 02:00:00 +02:00", "Mon 2030-04-01 03:00:00 +02:00"],
        ),
        (
            "Europe/Berlin",
            "2030-03-31T00:20:00Z",
            "*/30 * * * *",
            vec!["Sun 2030-03-31 01:30:00 +01:00", "Sun 2030-03-31 03:00:00 +02:00", "Sun 2030-03-31 03:30:00 +02:00"],
        ),
        // The shifted one and the real ones in their order.
        (
            "Europe/Berlin",
            "2030-03-31T00:40:00Z",
            "15,45 2,3 * * *",
            vec!["Sun 2030-03-31 03:15:00 +02:00", "Sun 2030-03-31 03:45:00 +02:00", "Mon 2030-04-01 02:15:00 +02:00"],
        ),
        // New York: 02:00 becomes 03:00 on 2030-03-10.
        (
            "America/New_York",
            "2030-03-09T12:00:00Z",
            "0 2 * * *",
            vec!["Sun 2030-03-10 03:00:00 -04:00", "Mon 2030-03-11 02:00:00 -04:00"],
        ),
        // Lord Howe: half an hour, 02:00 becomes 02:30 on 2030-10-06.
        (
            "Australia/Lord_Howe",
            "2030-10-05T03:00:00Z",
            "15 2 * * *",
            vec!["Sun 2030-10-06 02:45:00 +11:00", "Mon 2030-10-07 02:15:00 +11:00"],
        ),
        (
            "Australia/Lord_Howe",
            "2030-10-05T15:00:00Z",
            "0 * * * *",
            vec!["Sun 2030-10-06 02:30:00 +11:00", "Sun 2030-10-06 03:00:00 +11:00"],
        ),
    ] {
        assert_eq!(times(pattern, zone, after, expected.len()), expected, "{zone} {pattern}");
    }
}

#[test]
fn a_time_in_a_doubled_hour_comes_once_unless_the_pattern_is_sub_hourly() {
    for (zone, after, pattern, expected) in [
        // Berlin: 03:00 becomes 02:00 on 2030-10-27.
        (
            "Europe/Berlin",
            "2030-10-26T12:00:00Z",
            "30 2 * * *",
            vec!["Sun 2030-10-27 02:30:00 +02:00", "Mon 2030-10-28 02:30:00 +01:00"],
        ),
        (
            "Europe/Berlin",
            "2030-10-26T23:50:00Z",
            "0 * * * *",
            vec!["Sun 2030-10-27 02:00:00 +02:00", "Sun 2030-10-27 03:00:00 +01:00", "Sun 2030-10-27 04:00:00 +01:00"],
        ),
        (
            "Europe/Berlin",
            "2030-10-27T00:10:00Z",
            "*/30 * * * *",
            vec![
                "Sun 2030-10-27 02:30:00 +02:00",
                "Sun 2030-10-27 02:00:00 +01:00",
                "Sun 2030-10-27 02:30:00 +01:00",
                "Sun 2030-10-27 03:00:00 +01:00",
            ],
        ),
        // From within the second coming.
        ("Europe/Berlin", "2030-10-27T01:10:00Z", "30 2 * * *", vec!["Mon 2030-10-28 02:30:00 +01:00"]),
        // New York: 02:00 becomes 01:00 on 2030-11-03.
        (
            "America/New_York",
            "2030-11-02T12:00:00Z",
            "30 1 * * *",
            vec!["Sun 2030-11-03 01:30:00 -04:00", "Mon 2030-11-04 01:30:00 -05:00"],
        ),
        // Lord Howe: 02:00 becomes 01:30 on 2030-04-07.
        (
            "Australia/Lord_Howe",
            "2030-04-06T12:00:00Z",
            "45 1 * * *",
            vec!["Sun 2030-04-07 01:45:00 +11:00", "Mon 2030-04-08 01:45:00 +10:30"],
        ),
        (
            "Australia/Lord_Howe",
            "2030-04-06T14:40:00Z",
            "*/15 * * * *",
            vec![
                "Sun 2030-04-07 01:45:00 +11:00",
                "Sun 2030-04-07 01:30:00 +10:30",
                "Sun 2030-04-07 01:45:00 +10:30",
                "Sun 2030-04-07 02:00:00 +10:30",
            ],
        ),
    ] {
        assert_eq!(times(pattern, zone, after, expected.len()), expected, "{zone} {pattern}");
    }
}

/// Around every change of the clock: the same as resolving each local time by itself.
#[test]
fn local_times_resolved_one_by_one_give_the_same_instants() {
    let zones =
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "UTC"];
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let name = *rng.pick(&zones).unwrap();
        let zone = zone(name);
        let minute = rng.pick(&["0", "30", "*/15", "7,37", "*", "5/20", "45"]).unwrap();
        let hour = rng.pick(&["*", "2", "1-3", "*/2", "0", "2,3", "0-2"]).unwrap();
        let day = rng.pick(&["*", "*", "*/2", "L", "27,31", "1-7"]).unwrap();
        let pattern = format!("{minute} {hour} {day} * *");
        let cron = Cron::parse(&pattern).unwrap();
        let begin = Timestamp::from_second(1_262_304_000 + i64::try_from(rng.below(700_000_000)).unwrap()).unwrap();
        let change = zone.following(begin).next().map_or(begin, |change| change.timestamp());
        let (from, until) = (change - SignedDuration::from_hours(30), change + SignedDuration::from_hours(30));
        let sub_hourly = minute.contains([',', '*', '/']);
        let mut expected = BTreeSet::new();
        // Local times of the pattern, as instants of a clock that is never set.
        let mut local = TimeZone::UTC.to_timestamp(zone.to_datetime(from - SignedDuration::from_hours(30))).unwrap();
        let last = TimeZone::UTC.to_timestamp(zone.to_datetime(until + SignedDuration::from_hours(30))).unwrap();
        while let Some(next) = cron.next(local, &TimeZone::UTC).filter(|next| *next < last) {
            local = next;
            let wall = TimeZone::UTC.to_datetime(next);
            let ambiguous = zone.to_ambiguous_timestamp(wall);
            if let (AmbiguousOffset::Fold { after, .. }, true) = (ambiguous.offset(), sub_hourly) {
                expected.insert(after.to_timestamp(wall).unwrap());
            }
            expected.insert(calendar::instant(&zone, wall).unwrap());
        }
        expected.retain(|time| *time > from && *time <= until);
        let found: BTreeSet<Timestamp> = std::iter::successors(cron.next(from, &zone), |time| cron.next(*time, &zone))
            .take_while(|time| *time <= until)
            .collect();
        assert_eq!(found, expected, "seed {seed}: `{pattern}` in {name} around {change}");
    }
}

#[test]
fn the_next_working_hour_leaves_out_holidays_and_heeds_the_clock() {
    let workdays = [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];
    let berlin = zone("Europe/Berlin");
    let next = |from: &str, hour, days: &[Weekday], except: &[jiff::civil::Date]| {
        calendar::next_at(at(from), time(hour, 0, 0, 0), days, &berlin, except).map(|time| time.to_string())
    };
    assert_eq!(
        next("2030-01-04T08:00:00Z", 9, &workdays, &[]).as_deref(),
        Some("2030-01-04T08:00:00Z"),
        "at, not after"
    );
    assert_eq!(next("2030-01-04T08:00:01Z", 9, &workdays, &[]).as_deref(), Some("2030-01-07T08:00:00Z"));
    assert_eq!(
        next("2030-01-04T08:00:01Z", 9, &workdays, &[date(2030, 1, 7)]).as_deref(),
        Some("2030-01-08T08:00:00Z")
    );
    assert_eq!(next("2030-03-31T00:00:00Z", 2, &[Weekday::Sunday], &[]).as_deref(), Some("2030-03-31T01:00:00Z"));
    assert_eq!(next("2030-10-27T00:30:00Z", 2, &[Weekday::Sunday], &[]).as_deref(), Some("2030-11-03T01:00:00Z"));
    assert_eq!(next("2030-01-04T08:00:00Z", 9, &[], &[]), None);
}

fn spec(fields: serde_json::Value) -> ScheduleSpec {
    let mut all = json!({"id": "s", "workflow_id": "w", "interval": {"every_sec": 60}});
    if fields.get("cron").is_some() {
        all.as_object_mut().unwrap().remove("interval");
    }
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    ScheduleSpec::from_value("test", all).unwrap()
}

#[test]
fn every_slip_of_a_schedule_is_named() {
    let problems = |fields| {
        let error = spec(fields).compile().unwrap_err();
        error.problems.into_iter().map(|problem| (problem.code, problem.path)).collect::<Vec<_>>()
    };
    assert_eq!(
        problems(
            json!({"id": "a/b", "workflow_id": "", "cron": "x", "time_zone": "Mars", "jitter_sec": -1, "max_queued": 0})
        ),
        [
            ("id_invalid", "workflow_id".to_owned()),
            ("id_invalid", "id".to_owned()),
            ("time_zone_unknown", "time_zone".to_owned()),
            ("cron_invalid", "cron".to_owned()),
            ("out_of_range", "jitter_sec".to_owned()),
            ("out_of_range", "max_queued".to_owned()),
        ]
    );
    assert_eq!(problems(json!({"cron": "0 0 30 2 *"})), [("schedule_never_fires", "$".to_owned())]);
    assert_eq!(problems(json!({"cron": ""})), [("schedule_invalid", "$".to_owned())]);
    assert_eq!(problems(json!({"input": {"a": "${run.id}"}})), [("expression_invalid", "input.a".to_owned())]);
    assert_eq!(problems(json!({"interval": {"every_sec": 0}})), [("out_of_range", "interval.every_sec".to_owned())]);
    let both = json!({"id": "s", "workflow_id": "w", "cron": "* * * * *", "interval": {"every_sec": 1}});
    assert!(ScheduleSpec::from_value("test", both).unwrap().compile().is_err());
    assert!(ScheduleSpec::from_value("test", json!({"id": "s", "corn": "* * * * *"})).is_err());
}

#[test]
fn an_interval_is_counted_from_its_anchor() {
    let fields = json!({"interval": {"every_sec": 3600, "anchor": "2030-01-01T00:10:00Z", "offset_sec": 300},
        "start_at": "2030-01-01T02:15:00Z", "end_at": "2030-01-01T04:15:00Z"});
    let table = spec(fields).compile().unwrap();
    let times: Vec<String> = table.preview(at("2029-01-01T00:00:00Z"), 10).iter().map(ToString::to_string).collect();
    assert_eq!(times, ["2030-01-01T02:15:00Z", "2030-01-01T03:15:00Z", "2030-01-01T04:15:00Z"]);
}

#[test]
fn jitter_is_bounded_and_always_the_same() {
    let table = spec(json!({"jitter_sec": 30})).compile().unwrap();
    let mut shares = BTreeSet::new();
    for time in table.preview(at("2030-01-01T00:00:00Z"), 200) {
        let late = table.due(time).duration_since(time);
        assert!(late >= SignedDuration::ZERO && late <= SignedDuration::from_secs(30));
        assert_eq!(table.due(time), table.due(time));
        shares.insert(late);
    }
    assert!(shares.len() > 150, "{} different shares", shares.len());
}

#[test]
fn the_input_knows_the_time() {
    let fields = json!({"time_zone": "Asia/Tokyo", "cron": "0 8 * * *",
        "input": {"day": "${schedule.date}", "at": "${schedule.time}", "of": "${schedule.id}"}});
    let input = spec(fields).compile().unwrap().input(at("2030-01-01T23:00:00Z")).unwrap();
    assert_eq!(input, json!({"day": "2030-01-02", "at": "2030-01-01T23:00:00Z", "of": "s"}));
}

/// A schedule with its timetable, whose runs are started and ended by hand.
struct Bench {
    table: Timetable,
    schedule: Schedule,
    now: Timestamp,
}

impl Bench {
    fn new(fields: serde_json::Value) -> Self {
        let (spec, now) = (spec(fields), at("2030-01-01T00:00:30Z"));
        let table = spec.compile().unwrap();
        let schedule = Schedule::new(spec, &table, crate::job::TenantId::default(), "me".into(), "1".into(), now);
        Self { table, schedule, now }
    }

    fn take(&mut self, input: ScheduleInput) {
        let outcome = decide(&self.schedule, &self.table, input.clone(), self.now).unwrap();
        assert_eq!(outcome, decide(&self.schedule, &self.table, input, self.now).unwrap());
        self.schedule = outcome.schedule;
    }

    /// Lets `seconds` pass, and tells the times whose runs are to be started.
    fn pass(&mut self, seconds: i64, ended: &[RunId]) -> Vec<String> {
        self.now += SignedDuration::from_secs(seconds);
        self.take(ScheduleInput::Tick { ended: ended.to_vec() });
        self.firing()
    }

    fn firing(&self) -> Vec<String> {
        let firing = self.schedule.firing.iter();
        firing.map(|fire| fire.time.strftime("%H:%M:%S").to_string()).collect()
    }

    /// Confirms every start.
    fn start(&mut self) -> Vec<RunId> {
        let mut runs = Vec::new();
        for fire in self.schedule.firing.clone() {
            let run_id = fire.run_id(&self.schedule.name()).unwrap();
            runs.push(run_id.clone());
            let settled = ScheduleInput::Settled { fire, outcome: FireOutcome::Started { run_id } };
            self.take(settled.clone());
            let before = self.schedule.clone();
            self.take(settled);
            assert_eq!(self.schedule, before, "a repeat changes nothing");
        }
        runs
    }
}

#[test]
fn what_overlaps_is_treated_by_its_policy() {
    // Times at :01, :02, … of a minute each; the run of the first is under way all the time.
    for (overlap, firing, waiting) in
        [("skip", vec![], 0), ("queue", vec![], 1), ("queue_all", vec![], 2), ("allow", vec!["00:04:00"], 0)]
    {
        let mut bench = Bench::new(json!({"overlap": overlap, "max_queued": 2}));
        assert_eq!(bench.pass(30, &[]), ["00:01:00"], "{overlap}");
        let first = bench.start();
        for _ in 0..3 {
            bench.start();
            bench.pass(60, &[]);
        }
        assert_eq!(bench.firing(), firing, "{overlap}");
        assert_eq!(bench.schedule.waiting.len(), waiting, "{overlap}");
        if waiting > 0 {
            assert_eq!(bench.pass(1, &first), ["00:02:00"], "{overlap}: whoever waited longest goes on");
        }
    }
    let mut bench = Bench::new(json!({"overlap": "cancel_running"}));
    bench.pass(30, &[]);
    let first = bench.start();
    assert_eq!(bench.pass(60, &[]), ["00:02:00"]);
    assert_eq!(bench.schedule.cancelling, first);
    // Overtaken before its start was confirmed: it is cancelled when it is.
    assert_eq!(bench.pass(60, &[]), ["00:02:00", "00:03:00"]);
    bench.take(ScheduleInput::Cancelled { run: first[0].clone() });
    let both = bench.start();
    assert_eq!((&bench.schedule.cancelling[..], &bench.schedule.running[..]), (&both[..1], &both[1..]));
}

#[test]
fn what_was_missed_is_treated_by_its_policy() {
    // Ten minutes without anybody, then a look ten seconds after a time.
    for (missed, firing) in [
        ("skip", vec!["00:11:00"]),
        ("latest", vec!["00:11:00"]),
        ("all", vec!["00:08:00", "00:09:00", "00:10:00", "00:11:00"]),
    ] {
        let mut bench =
            Bench::new(json!({"missed": missed, "max_missed": 3, "overlap": "allow", "missed_after_sec": 20}));
        assert_eq!(bench.pass(640, &[]), firing, "{missed}");
        assert_eq!(bench.schedule.counts.missed, 11 - firing.len() as u64, "{missed}");
    }
    // And forty seconds after one: that one is missed too.
    for (missed, firing) in
        [("skip", vec![]), ("latest", vec!["00:11:00"]), ("all", vec!["00:09:00", "00:10:00", "00:11:00"])]
    {
        let mut bench =
            Bench::new(json!({"missed": missed, "max_missed": 3, "overlap": "allow", "missed_after_sec": 20}));
        assert_eq!(bench.pass(670, &[]), firing, "{missed}");
    }
}

#[test]
fn years_without_anybody_are_bounded_work() {
    for (missed, count) in [("skip", 0), ("latest", 1), ("all", 100)] {
        let mut bench = Bench::new(
            json!({"interval": {"every_sec": 1}, "missed": missed, "overlap": "allow", "missed_after_sec": 1}),
        );
        let firing = bench.pass(5 * 365 * 24 * 3600, &[]);
        assert!((count..=count + 2).contains(&firing.len()), "{missed}: {}", firing.len());
        assert!(bench.schedule.next.unwrap() > bench.now);
    }
    // A rare time is not lost on the way.
    let mut bench = Bench::new(json!({"cron": "0 * * * *", "missed": "latest"}));
    assert_eq!(bench.pass(5 * 365 * 24 * 3600, &[]).len(), 1);
}

#[test]
fn a_pause_lets_no_time_come_and_misses_none() {
    let mut bench = Bench::new(json!({"missed": "all"}));
    bench.take(ScheduleInput::Pause { by: "me".into(), note: "holidays".into() });
    assert_eq!(bench.pass(600, &[]), Vec::<String>::new());
    assert_eq!(bench.schedule.wake(&bench.table), None);
    bench.take(ScheduleInput::Trigger { overlap: None });
    assert_eq!(bench.firing(), ["00:10:30"], "a trigger goes on");
    bench.start();
    bench.take(ScheduleInput::Resume);
    assert_eq!(bench.schedule.next, Some(at("2030-01-01T00:11:00Z")));
    assert_eq!(bench.schedule.counts.missed, 0);
}

#[test]
fn a_backfill_keeps_its_pace_and_starts_nothing_twice() {
    let mut bench = Bench::new(json!({"overlap": "allow"}));
    bench.pass(30, &[]);
    let own = bench.start();
    bench.take(ScheduleInput::Backfill {
        from: at("2029-12-31T23:59:00Z"),
        until: at("2030-01-01T01:00:00Z"),
        pace: SignedDuration::from_secs(10),
        overlap: None,
    });
    let mut runs = Vec::new();
    for _ in 0..4 {
        assert!(bench.pass(0, &[]).len() <= 1);
        runs.extend(bench.start());
        assert_eq!(bench.pass(0, &[]), Vec::<String>::new(), "not before its pace");
        bench.pass(10, &[]);
        runs.extend(bench.start());
    }
    assert_eq!(runs.len(), 3, "23:59, 00:00 and 00:01; later ones come by themselves");
    assert_eq!(runs[2], own[0], "the same time has the same run");
    assert!(bench.schedule.backfills.is_empty());
    let refuse = |from: &str, until: &str| {
        let input =
            ScheduleInput::Backfill { from: at(from), until: at(until), pace: SignedDuration::ZERO, overlap: None };
        decide(&bench.schedule, &bench.table, input, bench.now).unwrap_err()
    };
    assert_eq!(refuse("2029-01-01T00:00:00Z", "2030-01-01T00:00:00Z"), Rejected::TooMany);
    assert_eq!(refuse("2029-01-01T00:00:01Z", "2029-01-01T00:00:02Z"), Rejected::Empty);
}

#[test]
fn a_new_spec_counts_from_now_and_the_same_one_changes_nothing() {
    let mut bench = Bench::new(json!({}));
    bench.now += SignedDuration::from_secs(30);
    let same = ScheduleInput::Put { spec: Box::new(bench.schedule.spec.clone()), by: "me".into() };
    bench.take(same);
    assert_eq!(bench.pass(0, &[]), ["00:01:00"], "the time that has just come is not lost");
    bench.start();
    let spec = spec(json!({"interval": {"every_sec": 3600}}));
    bench.table = spec.compile().unwrap();
    bench.take(ScheduleInput::Put { spec: Box::new(spec), by: "you".into() });
    assert_eq!((bench.schedule.next, &*bench.schedule.principal), (Some(at("2030-01-01T01:00:00Z")), "you"));
}

/// Whatever happens in whatever order: no time starts two runs, none is lost that is to run, the state stays small.
#[test]
fn no_time_fires_twice_or_goes_missing() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let overlap = ["skip", "queue", "queue_all", "cancel_running", "allow"][usize::try_from(seed % 5).unwrap()];
        let missed = ["skip", "latest", "all"][usize::try_from(seed % 3).unwrap()];
        let mut bench = Bench::new(json!({"overlap": overlap, "missed": missed, "max_queued": 3, "jitter_sec": 20}));
        let (mut started, mut under_way) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..200 {
            match rng.below(8) {
                0..3 => drop(bench.pass(i64::try_from(rng.below(150)).unwrap(), &[])),
                3 => {
                    if let Some(run) = rng.pick(&bench.schedule.running).cloned() {
                        under_way.remove(&run);
                        bench.pass(0, &[run]);
                    }
                }
                4 => bench.take(ScheduleInput::Trigger { overlap: None }),
                5 => {
                    for run in bench.schedule.cancelling.clone() {
                        under_way.remove(&run);
                        bench.take(ScheduleInput::Cancelled { run });
                    }
                }
                _ => {
                    for run in bench.start() {
                        assert!(started.insert(run.clone()), "seed {seed}: {run} started twice");
                        under_way.insert(run);
                    }
                }
            }
            let schedule = &bench.schedule;
            let parallel = schedule.running.len() + schedule.firing.iter().filter(|fire| !fire.overtaken).count();
            assert!(overlap == "allow" || parallel <= 1, "seed {seed}: {parallel} at once under {overlap}");
            assert!(schedule.history.len() <= 50 && schedule.waiting.len() <= 3, "seed {seed}");
            assert!(
                schedule.next.is_some_and(|next| bench.table.due(next) > bench.now - SignedDuration::from_secs(151))
            );
        }
        let open = bench.schedule.running.iter().chain(&bench.schedule.cancelling).cloned().collect::<BTreeSet<_>>();
        assert!(overlap == "allow" || open == under_way, "seed {seed}: runs that nobody looks after");
        assert_eq!(bench.schedule.counts.started as usize, started.len(), "seed {seed}");
    }
}

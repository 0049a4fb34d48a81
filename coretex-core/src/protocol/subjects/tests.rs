use proptest::prelude::*;

use super::*;

/// The rule read aloud: split, then compare token by token.
fn naive(filter: &[&str], subject: &[&str]) -> bool {
    match (filter, subject) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", filter @ ..], [_, subject @ ..]) => naive(filter, subject),
        ([f, filter @ ..], [s, subject @ ..]) if f == s => naive(filter, subject),
        _ => false,
    }
}

fn token(wild: bool) -> impl Strategy<Value = String> {
    if wild {
        prop_oneof![
            Just("a".to_owned()),
            Just("b".to_owned()),
            Just("ab".to_owned()),
            Just("*".to_owned())
        ]
        .boxed()
    } else {
        prop_oneof![
            Just("a".to_owned()),
            Just("b".to_owned()),
            Just("ab".to_owned())
        ]
        .boxed()
    }
}

proptest! {
    #[test]
    fn the_fast_matcher_agrees_with_the_naive_one(
        mut filter in prop::collection::vec(token(true), 1..5),
        rest in any::<bool>(),
        subject in prop::collection::vec(token(false), 1..6),
    ) {
        if rest {
            filter.push(">".to_owned());
        }
        let (f, s) = (filter.join("."), subject.join("."));
        let f_tokens: Vec<&str> = filter.iter().map(String::as_str).collect();
        let s_tokens: Vec<&str> = subject.iter().map(String::as_str).collect();
        prop_assert_eq!(matches(&f, &s), naive(&f_tokens, &s_tokens), "{} {}", f, s);
        prop_assert_eq!(SubjectFilter::new(&f).unwrap().matches(&s), naive(&f_tokens, &s_tokens));
    }

    #[test]
    fn the_matcher_takes_any_text(filter in ".{0,20}", subject in ".{0,20}") {
        let _ = matches(&filter, &subject);
        let _ = check_filter(&filter);
        let _ = check_topic(&subject);
    }
}

#[test]
fn wildcards_cover_what_the_broker_says() {
    for (filter, subject, covered) in [
        ("job.>", "job.a", true),
        ("job.>", "job.a.b", true),
        ("job.>", "job", false),
        (">", "a", true),
        ("worker.*.jobs", "worker.w-1.jobs", true),
        ("worker.*.jobs", "worker.a.b.jobs", false),
        ("a.*", "a", false),
        ("a", "a.b", false),
        ("a.b", "a.b", true),
        ("a.b", "A.b", false),
        ("a.>.b", "a.x.b", false),
        ("*", "", false),
    ] {
        assert_eq!(matches(filter, subject), covered, "{filter} {subject}");
    }
}

#[test]
fn topics_are_judged() {
    for (topic, code) in [
        ("", "subject_empty"),
        ("job..a", "subject_empty_token"),
        (".job", "subject_empty_token"),
        ("job.", "subject_empty_token"),
        ("job.a b", "subject_illegal_character"),
        ("job.a\n", "subject_illegal_character"),
        ("job.*", "subject_wildcard"),
        ("job.>", "subject_wildcard"),
        ("job.a*b", "subject_wildcard"),
        ("sys.job.submit", "subject_reserved"),
        ("worker.a.jobs", "subject_reserved"),
        ("$JS.API", "subject_reserved"),
        ("_INBOX.x", "subject_reserved"),
    ] {
        assert_eq!(check_topic(topic).unwrap_err().code(), code, "{topic:?}");
    }
    assert!(check_topic(&"a".repeat(513)).is_err());
    for topic in ["job.a", "job.Über", "tasks.mail", "sysadmin.a"] {
        check_topic(topic).unwrap();
    }
    assert!(is_job_topic("job.a") && !is_job_topic("job.") && !is_job_topic("jobs.a"));
}

#[test]
fn filters_are_judged() {
    for filter in ["a.*.b", ">", "*", "a.>", "a.b"] {
        check_filter(filter).unwrap();
    }
    for filter in ["a.>.b", "a*", "a..b", "a b", ""] {
        assert!(check_filter(filter).is_err(), "{filter}");
    }
}

#[test]
fn worker_addresses_round_trip() {
    assert_eq!(worker_jobs("w-1").unwrap(), "worker.w-1.jobs");
    assert_eq!(worker_of("worker.a.b.jobs"), Some("a.b"));
    assert_eq!(worker_of("worker..jobs"), None);
    assert_eq!(worker_of("worker.jobs"), None);
    for id in ["", "a b", "*", "a..b", ">"] {
        assert!(worker_jobs(id).is_err(), "{id:?}");
    }
}

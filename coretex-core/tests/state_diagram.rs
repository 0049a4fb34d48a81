//! The job states in `docs/reference/workflows.md` are those of the machine: every pair of state and input is walked.

#![expect(clippy::expect_used, clippy::panic, reason = "the helpers of a test fail by panicking, as the test does")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use coretex_core::{
    job::{
        Answer, ApprovalGrant, Asking, Facts, Failure, Job, JobId, JobInput, JobResult, JobSpec, JobState,
        JobStatusReport, Moves, Output, Priority, TenantId, Topic, decide, open,
    },
    policy::{Decision, JobMeta, Outcome, PolicyRequest},
    ports::{PolicySnapshot, Verdict},
    scheduler::Routes,
    value::Value,
};
use jiff::Timestamp;

const PAGE: &str = include_str!("../../docs/reference/workflows.md");
const STATES: [JobState; 10] = [
    JobState::Pending,
    JobState::ApprovalRequired,
    JobState::Scheduled,
    JobState::Dispatched,
    JobState::Running,
    JobState::Succeeded,
    JobState::Failed,
    JobState::Cancelled,
    JobState::Timeout,
    JobState::Denied,
];
/// Inputs by the names that the page gives them; `early` is a tick before anything is due, which the page does not name.
const INPUTS: [&str; 13] = [
    "started",
    "approved",
    "rejected",
    "judged",
    "due",
    "overdue",
    "early",
    "cancel",
    "stop",
    "undeliverable",
    "result_succeeded",
    "result_failed",
    "result_cancelled",
];
const VERDICTS: [&str; 7] =
    ["allow", "allow_with_constraints", "no_pool", "deny", "require_approval", "throttle", "ask"];

/// What a pair of state and input leads to.
#[derive(Debug, PartialEq, Eq)]
enum Outcomes {
    Becomes(String),
    Absorbed,
    Refused,
}

/// What the page says: `(from, input) -> to`, and `state -> refused inputs`.
struct Page {
    edges: BTreeMap<(String, String), String>,
    refusals: BTreeMap<String, BTreeSet<String>>,
}

fn block(marker: &str) -> impl Iterator<Item = &'static str> {
    let (_, rest) = PAGE.split_once(marker).unwrap_or_else(|| panic!("the page has no `{marker}`"));
    rest.lines().skip(1)
}

fn words(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|word| word.trim().to_owned())
}

impl Page {
    fn read() -> Self {
        let mut edges = BTreeMap::new();
        for line in block("<!-- job-states:").skip(1).take_while(|line| !line.starts_with("```")) {
            let Some((from, rest)) = line.split_once("-->") else { continue };
            let (to, inputs) = rest.split_once(':').expect("an edge names its inputs");
            for input in words(inputs) {
                let repeated = edges.insert((from.trim().to_owned(), input), to.trim().to_owned());
                assert_eq!(repeated, None, "two edges for one input: {line}");
            }
        }
        let mut refusals = BTreeMap::new();
        for line in block("<!-- job-refusals:").skip(2).take_while(|line| line.starts_with('|')) {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let (state, inputs) = (cells.next().expect("a state"), cells.next().expect("its refusals"));
            refusals.insert(state.to_owned(), words(inputs).collect());
        }
        assert!(!edges.is_empty() && !refusals.is_empty(), "the page has both blocks");
        Self { edges, refusals }
    }

    fn says(&self, from: &str, input: &str, verdict: &str) -> Outcomes {
        let key = |from: &str, input: &str| (from.to_owned(), input.to_owned());
        match self.edges.get(&key(from, input)).map(String::as_str) {
            Some("gate") => {
                let to = self.edges.get(&key("gate", verdict));
                Outcomes::Becomes(to.unwrap_or_else(|| panic!("the gate has no `{verdict}`")).clone())
            }
            Some(to) => Outcomes::Becomes(to.to_owned()),
            None if self.refusals.get(from).is_some_and(|inputs| inputs.contains(input)) => Outcomes::Refused,
            None => Outcomes::Absorbed,
        }
    }
}

/// Gives every job the same verdict.
#[derive(Debug)]
struct Says(Option<Decision>, Arc<str>);

impl PolicySnapshot for Says {
    fn id(&self) -> &Arc<str> {
        &self.1
    }
    fn governed(&self) -> bool {
        true
    }
    fn evaluate(&self, _: &PolicyRequest<'_>) -> Verdict {
        self.0.clone().map_or(Verdict::Ask, Verdict::Decided)
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_900_000_000).expect("a time")
}

fn spec() -> Arc<JobSpec> {
    Arc::new(JobSpec {
        id: JobId::parse("run:step@1").expect("an id"),
        attempt: 1,
        topic: Topic::parse_job("job.a").expect("a topic"),
        tenant: TenantId::default(),
        team: "".into(),
        principal: "".into(),
        meta: Arc::new(JobMeta::default()),
        labels: Default::default(),
        priority: Priority::default(),
        memory_id: "".into(),
        adapter_id: None,
        trace_id: "run".into(),
        workflow: None,
        run: None,
        step: None,
        item: None,
        index: None,
        timeout: None,
        input: Arc::new(Value::Null),
    })
}

fn decision(verdict: &str) -> Option<Decision> {
    let outcome = match verdict {
        "allow" | "no_pool" => Outcome::Allow,
        "allow_with_constraints" => Outcome::AllowWithConstraints,
        "deny" => Outcome::Deny,
        "require_approval" => Outcome::RequireApproval,
        "throttle" => Outcome::Throttle,
        "ask" => return None,
        other => panic!("no verdict is called `{other}`"),
    };
    Some(Decision::new(outcome, "rule", "because", "v1".into()))
}

fn answer(approved: bool) -> Answer {
    Answer { approved, by: "ada".into(), role: "".into(), reason: "".into(), note: "".into() }
}

fn input(name: &str, verdict: &str) -> JobInput {
    let finished = |status| JobInput::Finished {
        result: JobResult { job: spec().id.clone(), worker: "w".into(), status, execution_ms: 1 },
        fenced: true,
    };
    match name {
        "started" => JobInput::Started { worker: "w".into() },
        "approved" => JobInput::Answered(answer(true)),
        "rejected" => JobInput::Answered(answer(false)),
        "judged" => JobInput::Judged(decision(verdict).expect("an answer is a decision")),
        "due" | "overdue" | "early" => JobInput::Tick,
        "cancel" => JobInput::Cancel { by: "ada".into(), reason: "".into() },
        "stop" => {
            JobInput::Stop { by: "ada".into(), reason: "".into(), until: now() + jiff::SignedDuration::from_secs(10) }
        }
        "undeliverable" => JobInput::Undeliverable(Failure::fatal("dispatch_failed", "no bus")),
        "result_succeeded" => finished(JobStatusReport::Succeeded(Output::default())),
        "result_failed" => finished(JobStatusReport::Failed(Failure::retryable("x", "x"))),
        "result_cancelled" => finished(JobStatusReport::Cancelled),
        other => panic!("no input is called `{other}`"),
    }
}

/// Calls `ask` with the world in which policy gives `verdict`.
fn world<T>(verdict: &str, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
    let pools = if verdict == "no_pool" { "topics: {job.other: p}" } else { "topics: {job.a: p}" };
    let routes = Routes::parse("pools.yaml", pools).expect("a pools document");
    let policy = Says(decision(verdict), "v1".into());
    let default_job_timeout = Duration::from_secs(60);
    ask(&Facts {
        now: now(),
        seed: 1,
        policy: &policy,
        routes: &routes,
        default_job_timeout,
        stop_grace: Duration::from_secs(10),
        payload_limits: coretex_core::value::Limits::default(),
        gate: Default::default(),
        bounds: Default::default(),
        outputs: None,
    })
}

fn fold(mut job: Job, moves: &Moves) -> Outcomes {
    if moves.events.is_empty() {
        assert_eq!(moves, &Moves::default(), "what changes nothing has no effects");
        return Outcomes::Absorbed;
    }
    for event in &moves.events {
        job.apply(now(), event);
    }
    Outcomes::Becomes(job.state.as_str().to_owned())
}

/// A job in `state`; `granted` when a human has agreed to it.
fn job_in(state: JobState, input: &str, granted: bool) -> Job {
    let spec = spec();
    let hash: Arc<str> = spec.hash().into();
    let mut job = Job::new(spec.id.clone(), 1, now());
    job.state = state;
    job.hash = Some(hash.clone());
    job.due_at = match input {
        "early" => Some(now() + jiff::SignedDuration::from_secs(1)),
        _ => Some(now()),
    };
    // Asked a moment ago, or so long ago that the job's time is over.
    job.asking = match input {
        "judged" => Some(Asking { since: now(), times: 1 }),
        "overdue" => Some(Asking { since: now() - jiff::SignedDuration::from_secs(60), times: 2 }),
        _ => None,
    };
    job.grant = granted.then(|| {
        Arc::new(ApprovalGrant {
            answer: answer(true),
            at: now(),
            attempt: 1,
            hash,
            terms: decision("require_approval").expect("a decision").terms().into(),
            snapshot: "v1".into(),
            expires_at: now() + jiff::SignedDuration::from_secs(1),
        })
    });
    if state == JobState::ApprovalRequired {
        job.decision = decision("require_approval").map(Arc::new);
    }
    job
}

#[test]
fn the_machine_does_what_the_page_says_for_every_state_and_input() {
    let (page, spec) = (Page::read(), spec());
    let mut used = BTreeSet::new();
    for verdict in VERDICTS {
        let moves = world(verdict, |facts| open(&spec, None, facts));
        let job = Job::new(spec.id.clone(), 1, now());
        assert_eq!(fold(job, &moves), page.says("[*]", "opened", verdict), "opened with {verdict}");
    }
    used.insert(("[*]".to_owned(), "opened".to_owned()));
    for (state, name, verdict, granted) in pairs() {
        let job = job_in(state, name, granted);
        let found = match world(verdict, |facts| decide(&job, &spec, input(name, verdict), facts)) {
            Ok(moves) => fold(job, &moves),
            Err(_) => Outcomes::Refused,
        };
        let agreed = granted || name == "approved";
        let shown = match verdict {
            "require_approval" if agreed => "granted",
            "ask" if name == "overdue" => "unanswered",
            verdict => verdict,
        };
        let from = state.as_str();
        assert_eq!(found, page.says(from, name, shown), "{from} takes {name}, policy says {shown}");
        used.insert((from.to_owned(), name.to_owned()));
        used.insert(("gate".to_owned(), shown.to_owned()));
    }
    let unknown: Vec<_> = page.edges.keys().filter(|edge| !used.contains(*edge)).collect();
    assert!(unknown.is_empty(), "the page has edges that no input walks: {unknown:?}");
}

#[test]
fn every_refusal_on_the_page_is_of_a_known_state_and_input() {
    let page = Page::read();
    for (state, inputs) in &page.refusals {
        assert!(STATES.iter().any(|known| known.as_str() == state), "no state is called {state}");
        for input in inputs {
            assert!(INPUTS.contains(&input.as_str()), "no input is called {input}");
        }
    }
}

fn pairs() -> impl Iterator<Item = (JobState, &'static str, &'static str, bool)> {
    STATES.into_iter().flat_map(|state| {
        INPUTS.into_iter().flat_map(move |input| {
            VERDICTS
                .into_iter()
                .filter(move |verdict| input != "judged" || *verdict != "ask")
                .flat_map(move |verdict| [false, true].map(|granted| (state, input, verdict, granted)))
        })
    })
}

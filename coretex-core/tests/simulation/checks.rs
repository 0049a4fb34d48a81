//! The invariants, read from nothing but the store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, atomic::Ordering},
};

use coretex_core::{
    job::{Job, JobEvent, JobState, StepRunId},
    plane::{JobRecord, State, StoredJobEvent},
    ports::{Entry, Key, Scan, Store},
    testing::TestPlane,
    workflow::{
        Resolution, Role, Run, RunEvent, RunStatus, RunSummary, StepKind, StepRun, StepStatus, StoredEvent, WaitCause,
        WaitsFor, Wake, Workflow, WorkflowSpec,
    },
};
use jiff::Timestamp;
use serde_json::Value;

use super::world::{MOVES, Seen, store};

/// Everything in the store, decoded.
struct Contents {
    values: BTreeMap<String, Entry>,
    runs: BTreeMap<String, Vec<StoredEvent>>,
    /// By digest.
    definitions: BTreeMap<String, Arc<Workflow>>,
    jobs: BTreeMap<String, Vec<StoredJobEvent>>,
    raw: Vec<String>,
}

async fn read(plane: &TestPlane, seen: &Seen) -> Contents {
    let store = store(plane);
    let mut values = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.scan(Scan::prefix("").after(after).limit(10_000)).await.unwrap();
        values.extend(page.entries.into_iter().map(|entry| (entry.key.to_string(), entry)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut raw: Vec<String> =
        values.values().map(|entry| format!("{} = {}", entry.key, String::from_utf8_lossy(&entry.value))).collect();
    let mut runs = BTreeMap::new();
    let listed = values.keys().filter_map(|key| key.strip_prefix("runs/")).map(str::to_owned);
    let known: BTreeSet<String> = listed.chain(seen.runs.iter().map(ToString::to_string)).collect();
    for id in known {
        let events: Vec<StoredEvent> = stream(&*store, &format!("run/{id}"), &mut raw).await;
        assert!(!events.is_empty(), "run `{id}` was acknowledged and is gone");
        runs.insert(id, events);
    }
    let definitions = values.iter().filter_map(|(key, entry)| {
        let spec: WorkflowSpec =
            serde_json::from_slice(&entry.value).ok().filter(|_| key.starts_with("definitions/"))?;
        Some((key["definitions/".len()..].to_owned(), Arc::new(Workflow::compile("store", spec).unwrap())))
    });
    let definitions = definitions.collect();
    let mut jobs = BTreeMap::new();
    for id in &seen.jobs {
        let events: Vec<StoredJobEvent> = stream(&*store, &format!("job/{id}"), &mut raw).await;
        assert!(!events.is_empty(), "job `{id}` was acknowledged and is gone");
        jobs.insert(id.to_string(), events);
    }
    Contents { values, runs, definitions, jobs, raw }
}

impl Contents {
    /// The run that `events` begin, before them.
    fn begun(&self, id: &str, events: &[StoredEvent]) -> Run {
        let RunEvent::RunStarted { digest, .. } = &events[0].event else { panic!("run `{id}` does not start") };
        Run::new(self.definitions[&**digest].clone())
    }

    /// Folds an event in, under the definition that held.
    fn fold(&self, run: &mut Run, stored: &StoredEvent) {
        match stored.event.migrates_to() {
            None => run.apply(stored),
            Some(digest) => assert!(run.apply_under(stored, self.definitions[&**digest].clone()), "{stored:?}"),
        }
    }
}

async fn stream<T: serde::de::DeserializeOwned>(store: &dyn Store, name: &str, raw: &mut Vec<String>) -> Vec<T> {
    let page = store.read(&Key::from(name), 1, 10_000).await.unwrap();
    assert!(page.events.is_empty() || page.first == 1, "`{name}` has a gap");
    assert_eq!(page.head, page.events.len() as u64, "`{name}` has a gap");
    raw.extend(page.events.iter().map(|event| format!("{name}: {}", String::from_utf8_lossy(event))));
    page.events.iter().map(|event| serde_json::from_slice(event).unwrap()).collect()
}

/// What holds between any two commits.
pub(super) async fn while_under_way(plane: &TestPlane, seen: &Seen) {
    let contents = read(plane, seen).await;
    check(&contents);
}

/// What holds then, and what must hold when everything has ended. Gives the whole store as text.
pub(super) async fn at_the_end(plane: &TestPlane, seen: &Seen) -> Vec<String> {
    let contents = read(plane, seen).await;
    let states = check(&contents);
    for state in &states {
        assert_eq!(state.wake(), Wake::Never, "not ended: {state:?}");
    }
    for prefix in ["outbox/", "hot/", "timers/", "approvals/"] {
        let left: Vec<&String> = contents.values.keys().filter(|key| key.starts_with(prefix)).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
    for reader in &seen.states {
        let id = reader.id().unwrap().as_str();
        let events = &contents.runs[id];
        let mut run = contents.begun(id, events);
        events[..usize::try_from(reader.head()).unwrap()].iter().for_each(|event| contents.fold(&mut run, event));
        assert!(&run == reader, "a reader saw what is not in the log:\n{reader:?}\n{run:?}");
    }
    nothing_left_that_was_not_decided(plane, &contents);
    let moves = contents.runs.values().flatten().filter(|event| event.event.migrates_to().is_some()).count();
    MOVES.fetch_add(moves as u64, Ordering::Relaxed);
    contents.raw
}

fn check(contents: &Contents) -> Vec<State> {
    let mut states = Vec::new();
    let (mut letters, mut settled) = (BTreeSet::new(), BTreeSet::new());
    for (id, events) in &contents.runs {
        let run = walk(id, contents, events, &mut letters, &mut settled);
        let summary: RunSummary = serde_json::from_slice(&contents.values[&format!("runs/{id}")].value).unwrap();
        assert_eq!(summary.status, run.status(), "the list shows run `{id}` in another state");
        assert_eq!(summary.error_code.as_deref(), run.failure().map(|failure| &*failure.code));
        states.push(State::Run(Box::new(run)));
    }
    for (id, events) in &contents.jobs {
        let record = walk_job(id, events);
        if matches!(record.job.state, JobState::Failed | JobState::Denied | JobState::Timeout) {
            letters.insert(id.clone());
        }
        states.push(State::Job(Box::new(record)));
    }
    let found: BTreeSet<String> =
        contents.values.keys().filter_map(|key| key.strip_prefix("dlq/")).map(str::to_owned).collect();
    // The letter of a step that an operator settled goes after the answer is durable: a crash in between leaves it.
    let found: BTreeSet<String> = found.difference(&settled).cloned().collect();
    assert_eq!(found, letters, "dead letters are not those of the jobs given up");
    wake_sources(contents, &states);
    indexes(contents, &states);
    questions(contents, &states);
    reasons(&states);
    states
}

/// Replays a run event by event and looks at every state on the way.
fn walk(
    id: &str,
    contents: &Contents,
    events: &[StoredEvent],
    letters: &mut BTreeSet<String>,
    settled: &mut BTreeSet<String>,
) -> Run {
    let mut run = contents.begun(id, events);
    let mut ends: HashMap<String, u32> = HashMap::new();
    let mut time = events[0].at;
    for (n, stored) in events.iter().enumerate() {
        assert!(!run.status().is_terminal(), "run `{id}`: event {} follows the end: {stored:?}", n + 1);
        assert!(stored.at >= time, "run `{id}`: time runs backwards at event {}", n + 1);
        time = stored.at;
        if std::env::var_os("CORETEX_SEED").is_some() {
            eprintln!("{id} {:>3} {} {}", n + 1, stored.at, serde_json::to_string(&stored.event).unwrap());
        }
        let before = run.clone();
        contents.fold(&mut run, stored);
        begins_in_order(id, &before, stored);
        if stored.event.migrates_to().is_some() {
            moved(id, &before, &run);
        }
        let same = before.steps().zip(run.steps()).filter(|_| stored.event.migrates_to().is_none());
        for ((step, old), (_, new)) in same {
            if old.status.is_terminal() {
                assert_eq!(old.status, new.status, "run `{id}`: step `{step}` changed after its end");
            }
            if let Some((old, new)) = old.job.as_ref().zip(new.job.as_ref()) {
                monotone(old, new);
            }
        }
        if let RunEvent::StepCompleted { step, .. } = &stored.event {
            let job = run.step(step.as_str()).unwrap().job.as_ref().unwrap().id.to_string();
            *ends.entry(job).or_default() += 1;
        }
        if let RunEvent::StepJob { step, event, .. } = &stored.event {
            let job = run.step(step.as_str()).unwrap().job.as_ref().unwrap().id.to_string();
            if ends_job(event) {
                *ends.entry(job.clone()).or_default() += 1;
            }
            // A job that was stopped on request was not given up.
            let stopped = run.step(step.as_str()).unwrap().job.as_ref().unwrap().stop.is_some();
            if matches!(event, JobEvent::Failed { .. } | JobEvent::Denied { .. } | JobEvent::TimedOut { .. })
                && !stopped
            {
                letters.insert(job);
            }
        }
        // Another try takes it back, and so does an operator, unless the step is to fail.
        if let RunEvent::StepRetryScheduled { step, .. } | RunEvent::StepSnoozed { step, .. } = &stored.event
            && let Some(job) = &run.step(step.as_str()).unwrap().job
        {
            letters.remove(job.id.as_str());
        }
        if let RunEvent::StepResolved { step, resolution, .. } = &stored.event
            && !matches!(resolution, Resolution::Fail { .. })
            && let Some(job) = &before.step(step.as_str()).unwrap().job
        {
            letters.remove(job.id.as_str());
            settled.insert(job.id.to_string());
        }
        counters(&run);
        let snapshot = Run::from_snapshot(run.workflow().clone(), &run.to_snapshot().unwrap()).unwrap();
        assert!(snapshot == run, "run `{id}`: a snapshot gives another state");
    }
    for (job, times) in ends {
        assert_eq!(times, 1, "job `{job}` ended more than once");
    }
    run
}

/// A move takes along everything that the run has reached, as it is.
fn moved(id: &str, before: &Run, after: &Run) {
    for (step, old) in before.steps() {
        let is_reached = old.started_at.is_some() || old.status != StepStatus::Pending || old.attempts > 0;
        let new = after.step(step.as_str());
        assert!(new.is_some() || !is_reached, "run `{id}`: step `{step}` is lost by a move");
        if let Some(new) = new.filter(|_| is_reached) {
            assert_eq!((old.status, old.attempts), (new.status, new.attempts), "run `{id}`: step `{step}`");
            assert_eq!((&old.output, &old.job), (&new.output, &new.job), "run `{id}`: step `{step}`");
        }
    }
}

fn begins_in_order(id: &str, before: &Run, stored: &StoredEvent) {
    let begins = matches!(
        stored.event,
        RunEvent::StepAttempted { .. }
            | RunEvent::StepDispatched { .. }
            | RunEvent::StepCompleted { .. }
            | RunEvent::StepWaiting { .. }
            | RunEvent::StepDelayed { .. }
            | RunEvent::StepNotified { .. }
            | RunEvent::StepSkipped { .. }
            | RunEvent::StepSucceeded { .. }
    );
    let Some(run_id) = stored.event.step().filter(|_| begins) else { return };
    let workflow = before.workflow();
    let indices = run_id.indices().unwrap();
    let step = &workflow.steps()[workflow.position(run_id.step()).unwrap()];
    // An item waits for nothing but what holds the items.
    let deps = if matches!(step.kind(), StepKind::ForEach { .. })
        && before.step(run_id.as_str()).is_some_and(|run| run.group.is_none())
        && before.step(run_id.step()).is_some_and(|run| run.group.is_some())
    {
        &[]
    } else {
        step.depends_on()
    };
    for dep in deps {
        let dep = workflow.steps()[*dep].id();
        let Some(state) = before.step(StepRunId::indexed(dep, &indices).as_str()) else { continue };
        assert!(
            state.status.is_terminal(),
            "run `{id}`: step `{run_id}` began while `{dep}` was {}: {stored:?}",
            state.status.as_str()
        );
    }
}

fn ends_job(event: &JobEvent) -> bool {
    matches!(
        event,
        JobEvent::Succeeded { .. }
            | JobEvent::Failed { .. }
            | JobEvent::Denied { .. }
            | JobEvent::TimedOut { .. }
            | JobEvent::Cancelled { .. }
    )
}

fn monotone(old: &Job, new: &Job) {
    let rank = |state| match state {
        JobState::Pending | JobState::ApprovalRequired => 0,
        JobState::Scheduled => 1,
        JobState::Dispatched => 2,
        JobState::Running => 3,
        _ => 4,
    };
    if old.id == new.id {
        assert!(rank(old.state) <= rank(new.state), "job `{}` went back", old.id);
        assert!(!old.state.is_terminal() || old.state == new.state, "job `{}` changed after its end", old.id);
    }
}

/// The counters in the snapshot equal a walk over the step runs, and those of blocks and groups one over theirs.
fn counters(run: &Run) {
    let snapshot: Value = serde_json::from_slice(&run.to_snapshot().unwrap()).unwrap();
    let steps: Vec<&StepRun> = run.steps().map(|(_, step)| step).collect();
    let open = |step: &&&StepRun| !step.status.is_terminal();
    let state = |step: &StepRun| step.job.as_ref().filter(|_| step.status != StepStatus::Pending).map(|job| job.state);
    let count = |wanted: &dyn Fn(&StepRun) -> bool| steps.iter().filter(open).filter(|step| wanted(step)).count();
    let core = &snapshot["core"];
    assert_eq!(core["waiting"], count(&|step| step.status == StepStatus::Waiting), "{core}");
    assert_eq!(core["in_flight"], count(&|step| state(step).is_some_and(JobState::is_in_flight)), "{core}");
    let children =
        count(&|step| matches!(step.waits_for, Some(WaitsFor::Child { .. })) && step.status == StepStatus::Running);
    assert_eq!(core["children"], children, "{core}");
    let asking = count(&|step| {
        let job = step.job.as_ref().is_some_and(|job| job.due_at.is_none() || job.asking.is_some());
        (matches!(step.waits_for, Some(WaitsFor::Alert | WaitsFor::Artifact { .. }))
            && step.status == StepStatus::Running)
            || (job && state(step) == Some(JobState::Pending))
    });
    assert_eq!(core["asking"], asking, "{core}");
    if run.status().is_terminal() {
        return;
    }
    let (lines, blocks) = (snapshot["steps"].as_array().unwrap(), snapshot["blocks"].as_array().unwrap());
    let mut open_in: Vec<u64> = vec![0; blocks.len()];
    for (step, line) in steps.iter().zip(lines) {
        let position = usize::try_from(line["position"].as_u64().unwrap()).unwrap();
        if !step.status.is_terminal() && run.workflow().steps()[position].role() != Role::Compensation {
            open_in[usize::try_from(line["block"].as_u64().unwrap()).unwrap()] += 1;
        }
    }
    for (n, block) in blocks.iter().enumerate().filter(|(_, block)| !block["base"].is_null()) {
        assert_eq!(block["open"], open_in[n], "block {n}: {block}");
    }
    for (slot, step) in steps.iter().enumerate() {
        let Some(group) = &step.group else { continue };
        let held = blocks.iter().filter(|block| block["holder"] == slot && !block["base"].is_null());
        let active = held.clone().filter(|block| block["open"] != 0).count();
        assert_eq!(group.active as usize, active, "group {slot}: {group:?}");
        assert_eq!(group.begun as usize, held.count(), "group {slot}: {group:?}");
        assert_eq!(group.begun, group.active + group.succeeded + group.failed, "group {slot}: {group:?}");
    }
}

fn walk_job(id: &str, events: &[StoredJobEvent]) -> JobRecord {
    let mut before: Option<JobRecord> = None;
    for n in 1..=events.len() {
        let record = JobRecord::replay(&events[..n]).unwrap();
        if let Some(before) = &before {
            assert!(!before.job.state.is_terminal(), "job `{id}`: event {n} follows the end");
            monotone(&before.job, &record.job);
        }
        before = Some(record);
    }
    before.unwrap()
}

fn id_of(state: &State) -> String {
    match state {
        State::Run(run) => format!("run/{}", run.id().unwrap()),
        State::Job(record) => format!("job/{}", record.spec.id),
    }
}

/// Exactly one durable wake source, of the right kind, or none when it has ended.
fn wake_sources(contents: &Contents, states: &[State]) {
    let mut expected = BTreeSet::new();
    for state in states {
        let id = id_of(state);
        match state.wake() {
            Wake::Hot => expected.insert(format!("hot/{id}")),
            Wake::At(due) => expected.insert(format!("timers/{:020}/{id}", due.as_microsecond())),
            Wake::Never | Wake::Human | Wake::Slot => false,
        };
    }
    let found: BTreeSet<String> =
        contents.values.keys().filter(|key| key.starts_with("hot/") || key.starts_with("timers/")).cloned().collect();
    assert_eq!(found, expected, "wake sources");
}

/// Every index holds exactly what a walk over all runs puts there, and definitions are pinned exactly as often.
fn indexes(contents: &Contents, states: &[State]) {
    let mut expected = Vec::new();
    let mut pins: BTreeMap<String, i64> = BTreeMap::new();
    for state in states {
        let State::Run(run) = state else { continue };
        let (id, tenant, workflow) = (run.id().unwrap(), run.tenant(), run.workflow());
        let place = format!("{:020}/{id}", run.created_at().as_microsecond());
        expected.push(format!("runs-at/{tenant}/{place}"));
        expected.push(format!("runs-of/{}/{place}", workflow.id()));
        expected.extend(run.labels().iter().map(|_| format!("by-label/{tenant}/{place}")));
        let status = run.status();
        if status.is_terminal() {
            expected.push(format!("by-status/{tenant}/{}/{place}", status.as_str()));
        } else {
            expected.push(format!("by-status/{tenant}/live/{place}"));
            expected.push(format!("live-of/{}/{}/{id}", workflow.id(), workflow.digest()));
        }
        if status == RunStatus::Waiting {
            expected.push(format!("by-status/{tenant}/waiting/{place}"));
        }
        for digest in run.past_definitions().iter().filter(|past| *past != workflow.digest()).chain([workflow.digest()])
        {
            *pins.entry(format!("pins/{digest}")).or_default() += 1;
        }
    }
    let indexes = ["runs-at/", "runs-of/", "by-label/", "by-status/", "live-of/"];
    let without_hash = |key: &str| match key.split('/').collect::<Vec<_>>()[..] {
        ["by-label", tenant, _, time, id] => format!("by-label/{tenant}/{time}/{id}"),
        _ => key.to_owned(),
    };
    let found = contents.values.keys().filter(|key| indexes.iter().any(|index| key.starts_with(index)));
    let mut found: Vec<String> = found.map(|key| without_hash(key)).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "indexes");
    let counted = contents.values.iter().filter(|(key, _)| key.starts_with("pins/"));
    let counted: BTreeMap<String, i64> = counted
        .map(|(key, entry)| (key.clone(), std::str::from_utf8(&entry.value).unwrap().parse().unwrap()))
        .collect();
    assert_eq!(counted, pins, "pins");
}

/// What a run says it waits for is what would wake it.
fn reasons(states: &[State]) {
    for state in states {
        let State::Run(run) = state else { continue };
        let waits = run.waits();
        let own: Vec<&WaitCause> = waits.iter().filter(|wait| wait.step_id.is_none()).map(|wait| &wait.cause).collect();
        assert!(own.len() <= 1, "one answer for the run: {own:?}");
        // The run waits for what the steps that it names wait for.
        let of_run: Vec<&WaitCause> = match own.as_slice() {
            [WaitCause::Steps { steps }] => waits
                .iter()
                .filter(|wait| wait.step_id.as_ref().is_some_and(|id| steps.contains(id)))
                .map(|wait| &wait.cause)
                .collect(),
            own => own.to_vec(),
        };
        let due = |until: &Timestamp| run.next_due() == Some(*until);
        let named = match run.wake() {
            Wake::Never => of_run.is_empty(),
            Wake::Hot => of_run.iter().any(|cause| {
                use WaitCause::{Artifact, Bus, Kernel, Pool, Stopping, Worker};
                matches!(cause, Pool { .. } | Worker { .. } | Stopping { .. } | Kernel { .. } | Bus | Artifact { .. })
            }),
            // The run's own deadline, or a group's, may come first: then something else is waited for all the same.
            Wake::At(at) => {
                !of_run.is_empty()
                    && (run.deadline_at() == Some(at)
                        || run.steps().any(|(_, step)| step.group.is_some() && step.next_due() == Some(at))
                        || of_run.iter().any(|cause| match cause {
                            WaitCause::Timer { until, .. }
                            | WaitCause::Backoff { until, .. }
                            | WaitCause::Throttled { until, .. } => due(until),
                            WaitCause::Approval { until, .. }
                            | WaitCause::Data { until }
                            | WaitCause::Signal { until, .. } => until.as_ref().is_some_and(due),
                            _ => false,
                        }))
            }
            Wake::Human => of_run.iter().all(|cause| {
                use WaitCause::{Approval, Child, Data, Operator, Signal};
                matches!(cause, Approval { .. } | Data { .. } | Signal { .. } | Operator { .. } | Child { .. })
            }),
            Wake::Slot => matches!(of_run.as_slice(), [WaitCause::Place { .. }]),
        };
        assert!(named, "run `{}` wakes by {:?} and says {waits:?}", run.id().unwrap(), run.wake());
        // Every step that is not further says why.
        let silent = run
            .steps()
            .find(|(id, step)| step.is_active() && !waits.iter().any(|wait| wait.step_id.as_ref() == Some(id)));
        assert!(silent.is_none(), "{silent:?} says nothing");
    }
}

/// Questions are on record exactly while they wait, and whoever waits for a human has one.
fn questions(contents: &Contents, states: &[State]) {
    let mut expected = BTreeSet::new();
    for state in states {
        let before = expected.len();
        let mut waits_otherwise = false;
        match state {
            State::Run(run) if !run.status().is_terminal() => {
                for (step, state) in run.steps().filter(|(_, step)| !step.status.is_terminal()) {
                    let id = match (&state.job, &state.waits_for) {
                        (Some(job), None) if state.status == StepStatus::Waiting => job.id.to_string(),
                        (_, Some(WaitsFor::Answer)) => format!("{}:{step}", run.id().unwrap()),
                        // Somebody else than a human who was asked.
                        (
                            _,
                            Some(
                                WaitsFor::Data | WaitsFor::Signal { .. } | WaitsFor::Operator | WaitsFor::Child { .. },
                            ),
                        ) => {
                            waits_otherwise = true;
                            continue;
                        }
                        _ => continue,
                    };
                    expected.insert(format!("approvals/{}/{id}", run.tenant()));
                }
            }
            State::Job(record) if record.job.state == JobState::ApprovalRequired => {
                expected.insert(format!("approvals/{}/{}", record.spec.tenant, record.spec.id));
            }
            _ => {}
        }
        assert!(
            state.wake() != Wake::Human || expected.len() > before || waits_otherwise,
            "nobody is asked: {}",
            id_of(state)
        );
    }
    let found: BTreeSet<String> = contents.values.keys().filter(|key| key.starts_with("approvals/")).cloned().collect();
    assert_eq!(found, expected, "questions");
}

/// No worker was sent, and nobody was told, what no durable batch says.
fn nothing_left_that_was_not_decided(plane: &TestPlane, contents: &Contents) {
    let mut dispatched = BTreeSet::new();
    let mut alerted = BTreeSet::new();
    for (id, events) in &contents.runs {
        let mut run = contents.begun(id, events);
        for stored in events {
            contents.fold(&mut run, stored);
            match &stored.event {
                RunEvent::StepDispatched { step, .. }
                | RunEvent::StepJob { step, event: JobEvent::Dispatched { .. }, .. } => {
                    dispatched.insert(run.step(step.as_str()).unwrap().job.as_ref().unwrap().id.to_string());
                }
                RunEvent::StepNotified { step, .. } => {
                    alerted.insert((run.id().unwrap().to_string(), step.to_string()));
                }
                _ => {}
            }
        }
    }
    for events in contents.jobs.values() {
        let record = JobRecord::replay(events).unwrap();
        if record.job.dispatched_at.is_some() {
            dispatched.insert(record.spec.id.to_string());
        }
    }
    for request in plane.dispatched() {
        assert!(dispatched.contains(&request.job_id), "`{}` was sent and never decided", request.job_id);
    }
    for message in plane.published("sys.workflow.event") {
        let details = &message.packet.alert().unwrap().details;
        let about = (details["run_id"].clone(), details["step_id"].clone());
        assert!(alerted.contains(&about), "{about:?} was told and never decided");
    }
}

/// The streams and keys, for people.
pub(super) async fn story(plane: &TestPlane, seen: &Seen) -> String {
    let contents = read(plane, seen).await;
    let keys: Vec<&str> = contents.values.keys().map(String::as_str).collect();
    let streams: Vec<&str> = contents.raw.iter().map(String::as_str).filter(|line| !line.contains(" = ")).collect();
    format!("{}\nkeys: {keys:#?}", streams.join("\n"))
}

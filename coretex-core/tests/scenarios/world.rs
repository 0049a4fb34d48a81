//! Plays a scenario.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use coretex_core::{
    job::{ApprovalRequest, JobId, RunId, StepRunId, Subject, WorkflowId},
    policy::{BudgetLimits, Constraints, Decision, Outcome, PolicyRequest},
    ports::{Clock, Key, PolicyEngine, PolicySnapshot, Verdict},
    runtime::{MigrationRequest, PlaneError, RerunRequest, RunQuery, StartRequest},
    scheduler::Routes,
    testing::{FaultPlan, Reply, Say as Answer, ScriptedJob, TestPlane, VirtualClock},
    workflow::{Run, StoredEvent, Workflow},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    scenario::Scenario,
    story,
    words::{self, Again, Say},
};

/// What goes wrong besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// The process dies after every commit, as long as there are few of them.
    Crashes,
    /// Every message is delivered twice.
    Doubles,
}

/// Crashes of one play: enough for every commit of a scenario.
const CRASHES: usize = 400;

/// What came of it.
pub(crate) struct Played {
    pub(crate) end: End,
    pub(crate) story: String,
    /// All runs with what happened to them.
    pub(crate) runs: Vec<(Run, Vec<StoredEvent>)>,
}

/// How a run ended, without how it got there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) status: &'static str,
    pub(crate) code: Option<String>,
    pub(crate) failed_step: Option<String>,
    pub(crate) output: Option<Value>,
    pub(crate) steps: Vec<StepEnd>,
    /// Other runs: workflow and state.
    pub(crate) others: Vec<String>,
    /// Runs that went on from it, or from one of them.
    pub(crate) again: Vec<End>,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StepEnd {
    pub(crate) id: String,
    pub(crate) status: &'static str,
    pub(crate) attempts: u32,
    pub(crate) output: Option<Value>,
}

/// Plays `scenario` to its end, or until nothing is left that could end it.
pub(crate) fn play(scenario: &Scenario, trouble: Trouble) -> Played {
    let clock = VirtualClock::new(Timestamp::from_second(1_893_456_000).unwrap());
    let plan = match trouble {
        Trouble::None => FaultPlan::new(1),
        Trouble::Crashes => (0..CRASHES).fold(FaultPlan::new(1), |plan, _| plan.crash_after(1)),
        Trouble::Doubles => FaultPlan::new(1).duplicate_messages(1_000),
    };
    let routes = if scenario.pools.is_empty() {
        Routes::open()
    } else {
        Routes::from_value("pools", json!({"topics": scenario.pools})).unwrap()
    };
    let mut builder = TestPlane::builder()
        .clock(clock.clone())
        .faults(&plan.arm())
        .routes(routes)
        .worker("job.>", worker(scenario, clock.clone()))
        .approver("ann", person(scenario, clock.clone()))
        .policy(Policy::of(scenario, clock))
        .job_timeout(Duration::from_secs(600))
        .workflow(scenario.workflow.to_string());
    for workflow in &scenario.workflows {
        builder = builder.workflow(workflow.to_string());
    }
    let played = builder.run(async |plane| tell(plane, scenario).await);
    match played {
        Ok(Ok(played)) => played,
        Ok(Err(error)) | Err(error) => panic!("`{}` with {trouble:?}: {error}", scenario.name),
    }
}

async fn tell(plane: &TestPlane, scenario: &Scenario) -> Result<Played, PlaneError> {
    let id = RunId::parse("r")?;
    let mut request = StartRequest::new(WorkflowId::parse(scenario.id())?, scenario.input.clone()).run_id(id.clone());
    if scenario.dry_run {
        request = request.dry_run();
    }
    let began = plane.clock().now();
    plane.start_with(request).await?;
    plane.live_through(Duration::ZERO).await?;
    let mut extra = Vec::new();
    let mut told = vec![id];
    for (n, line) in scenario.say.iter().enumerate() {
        let (at, say) = Say::read(line);
        let passed = plane.clock().now().duration_since(began).unsigned_abs();
        plane.live_through(at.saturating_sub(passed)).await?;
        if let Err(error) = speak(plane, scenario, &mut told, n, &say).await {
            extra.push(format!("`{line}` is refused: {}", error.code()));
        }
        plane.live_through(Duration::ZERO).await?;
    }
    for run in &told {
        match plane.run_to_end(run).await {
            Ok(_) => {}
            Err(error) if error.code() == "run_stuck" => {}
            Err(error) => return Err(error),
        }
    }
    plane.live_through(Duration::ZERO).await?;
    let mut others = Vec::new();
    let mut runs = Vec::new();
    for run in &told {
        runs.push((plane.run_state(run).await?, events(plane, run).await));
    }
    let query = || RunQuery { limit: 1_000, ..RunQuery::default() };
    for other in plane.ask(async |p| p.runs(plane.principal(), query()).await).await?.items {
        if !told.iter().any(|run| *run.as_str() == other.id) {
            let id = RunId::parse(&other.id)?;
            // A run that its parent stopped ends by itself.
            let state = match plane.run_to_end(&id).await {
                Ok(state) => state,
                Err(_) => plane.run_state(&id).await?,
            };
            others.push(format!("run of {}: {}", state.workflow().id(), state.status().as_str()));
            runs.push((state, events(plane, &id).await));
        }
    }
    others.sort();
    let alerts: Vec<String> = plane
        .published("sys.workflow.event")
        .iter()
        .filter_map(|message| message.packet.alert())
        .map(|alert| format!("alert {} {}", alert.level, alert.message))
        .collect();
    let again = runs.iter().take(told.len()).skip(1).map(|(run, _)| End::of(run, Vec::new(), Vec::new())).collect();
    let end = End::of(&runs[0].0, others, again);
    let letters = plane.ask(async |p| p.dead_letters(plane.principal(), None, 0).await).await?;
    let given_up: Vec<String> =
        letters.items.iter().map(|letter| format!("given up: {} {}", letter.spec.id, letter.failure.code)).collect();
    extra.extend(end.others.iter().cloned());
    extra.extend(alerts);
    extra.extend(given_up);
    let mut story = story::tell(&runs[0].0, &end, &extra, &plane.timeline(&told[0]).await?, began);
    for ((id, (run, _)), end) in told.iter().zip(&runs).skip(1).zip(&end.again) {
        story.push_str(&format!("-- {id}\n"));
        story.push_str(&story::tell(run, end, &[], &plane.timeline(id).await?, began));
    }
    Ok(Played { end, story, runs })
}

async fn speak(
    plane: &TestPlane,
    scenario: &Scenario,
    told: &mut Vec<RunId>,
    n: usize,
    say: &Say,
) -> Result<(), PlaneError> {
    let me = plane.principal();
    let run = &told[told.len() - 1].clone();
    match say {
        Say::Signal(name, payload) => {
            let identity = format!("say-{n}");
            plane.ask(async |p| p.signal(me, run, name, Some(&identity), payload.clone()).await).await
        }
        Say::Input(step, value) => {
            let step = StepRunId::parse(step)?;
            plane.ask(async |p| p.provide_input(me, run, &step, value.clone()).await).await
        }
        Say::Resolve(step, resolution) => {
            let step = StepRunId::parse(step)?;
            plane.ask(async |p| p.resolve_step(me, run, &step, resolution.clone()).await).await
        }
        Say::Answer(step, approved) => plane.answer(run, step, "eve", *approved).await,
        Say::Cancel => plane.ask(async |p| p.cancel_run(me, run, "changed my mind").await).await,
        Say::Migrate => {
            let next = scenario.next.clone().expect("`migrate` needs `next`");
            let next = || Workflow::from_value("next", next.clone()).unwrap();
            plane.ask(async |p| p.store_workflow(me, next(), None).await).await?;
            plane.ask(async |p| p.migrate_run(me, run, &MigrationRequest::new()).await).await.map(drop)
        }
        Say::Crash => plane.crash_and_restart().await,
        Say::Restart => plane.restart().await,
        Say::Rerun(again) => {
            let of = again.of.as_deref().map(RunId::parse).transpose()?.unwrap_or_else(|| run.clone());
            let request = request(plane, &of, again).await?.run_id(RunId::parse(&format!("r{}", told.len()))?);
            told.push(plane.ask(async |p| p.rerun(me, &of, request.clone()).await).await?);
            Ok(())
        }
    }
}

async fn request(plane: &TestPlane, of: &RunId, again: &Again) -> Result<RerunRequest, PlaneError> {
    let mut request = if again.fresh { RerunRequest::from_the_beginning() } else { RerunRequest::new() };
    if let Some(step) = &again.from {
        request = request.from_step(StepRunId::parse(step)?);
    }
    if let Some(event) = &again.at {
        let (kind, step) = event.split_once(':').map_or((event.as_str(), None), |(kind, step)| (kind, Some(step)));
        let timeline = plane.timeline(of).await?;
        let found = timeline.iter().find(|line| line.kind == kind && line.step_id.as_deref() == step);
        request = request.at_event(found.unwrap_or_else(|| panic!("no `{event}` in {timeline:#?}")).seq);
    }
    if let Some(input) = &again.input {
        request = request.input(input.clone());
    }
    Ok(if again.dry { request.dry_run() } else { request })
}

async fn events(plane: &TestPlane, run: &RunId) -> Vec<StoredEvent> {
    let page = plane.store().read(&Key::from(format!("run/{run}").as_str()), 1, 10_000).await.unwrap();
    assert_eq!(page.head, page.events.len() as u64, "the stream of `{run}` has a gap");
    page.events.iter().map(|event| serde_json::from_slice(event).unwrap()).collect()
}

impl End {
    fn of(run: &Run, others: Vec<String>, again: Vec<Self>) -> Self {
        let mut steps: Vec<StepEnd> = run
            .steps()
            .map(|(id, step)| StepEnd {
                id: id.to_string(),
                status: step.status.as_str(),
                attempts: step.attempts,
                output: step
                    .output
                    .as_ref()
                    .and_then(|output| output.value.as_deref())
                    // What a worker makes unless told.
                    .filter(|value| value.as_str() != Some(id.as_str()))
                    .cloned(),
            })
            .collect();
        // In which order items began is a matter of time.
        steps.sort_by(|a, b| a.id.cmp(&b.id));
        Self {
            status: run.status().as_str(),
            code: run.failure().map(|failure| failure.code.to_string()),
            failed_step: run.failed_step().map(str::to_owned),
            output: run.output().map(|output| Value::clone(output)),
            steps,
            others,
            again,
        }
    }
}

/// The words for a step: by its run, by its name, by its topic; in its own run first.
fn find<'a, T>(words: &'a BTreeMap<String, T>, job: &str, topic: &str) -> Option<(&'a T, String)> {
    let id = JobId::parse(job).ok();
    let parts = id.as_ref().and_then(|id| id.step_parts());
    let (of, run) = parts.map(|(of, step, _)| (of.to_owned(), step.to_owned())).unwrap_or_default();
    let step = run.split('[').next().unwrap_or_default();
    let names = [run.as_str(), step, topic];
    let own = names.iter().find_map(|name| words.get(&format!("{of}/{name}")));
    let found = own.or_else(|| names.iter().find_map(|name| words.get(*name)));
    found.map(|found| (found, run.clone()))
}

/// Workers that live on when the control plane dies: how long they take counts from when they first got the job.
fn worker(scenario: &Scenario, clock: VirtualClock) -> impl FnMut(&ScriptedJob) -> Reply + Send + 'static {
    let workers = scenario.workers.clone();
    let mut since: HashMap<String, Timestamp> = HashMap::new();
    move |job| {
        let request = &job.request;
        let id = JobId::parse(&request.job_id).unwrap();
        let own = json!(id.step_parts().map_or("", |(_, step, _)| step));
        let Some((said, _)) = find(&workers, &request.job_id, &request.topic) else { return Reply::Succeed(own) };
        let now = clock.now();
        let first = *since.entry(request.job_id.clone()).or_insert(now);
        let gone = now.duration_since(first).unsigned_abs();
        sooner(words::reply(said.at(job.attempt), &own, &job.input), gone)
    }
}

/// The same reply of somebody who has worked for `gone` already.
fn sooner(reply: Reply, gone: Duration) -> Reply {
    match reply {
        Reply::After(wait, reply) if wait > gone => Reply::After(wait - gone, reply),
        Reply::After(_, reply) => *reply,
        Reply::Twice(reply) => sooner(*reply, gone).twice(),
        Reply::Progress(reply) => sooner(*reply, gone).with_progress(),
        reply => reply,
    }
}

/// Somebody who answers in so many seconds after the question was asked.
fn person(scenario: &Scenario, clock: VirtualClock) -> impl FnMut(&ApprovalRequest) -> Answer + Send + 'static {
    let people = scenario.people.clone();
    move |request| {
        let id = match &request.subject {
            Subject::Step { run_id, step_id } => format!("{run_id}:{step_id}@1"),
            Subject::Job { job_id } => job_id.to_string(),
        };
        let Some((said, _)) = find(&people, &id, "") else { return Answer::Nothing };
        let (wait, yes) = words::answer(said);
        let gone = clock.now().duration_since(request.requested_at).unsigned_abs();
        let say = if yes { Answer::Yes } else { Answer::no("no") };
        if wait > gone { say.after(wait - gone) } else { say }
    }
}

/// Policy by step and topic.
#[derive(Clone)]
struct Policy {
    id: Arc<str>,
    words: BTreeMap<String, String>,
    clock: VirtualClock,
    asked: Arc<Mutex<HashMap<String, Timestamp>>>,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("words", &self.words).finish_non_exhaustive()
    }
}

impl Policy {
    fn of(scenario: &Scenario, clock: VirtualClock) -> Self {
        Self { id: "scenario".into(), words: scenario.policy.clone(), clock, asked: Arc::default() }
    }
}

impl PolicyEngine for Policy {
    fn snapshot(&self) -> Arc<dyn PolicySnapshot> {
        Arc::new(self.clone())
    }
}

impl PolicySnapshot for Policy {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn governed(&self) -> bool {
        true
    }

    fn evaluate(&self, request: &PolicyRequest<'_>) -> Verdict {
        let said = find(&self.words, request.job_id, request.topic).map_or("allow", |(said, _)| said);
        let decision = |outcome| Decision::new(outcome, "rule", "the scenario says so", self.id.clone());
        Verdict::Decided(match words::split(said) {
            ("allow", _) => decision(Outcome::Allow),
            ("deny", _) => decision(Outcome::Deny),
            ("approve", _) => decision(Outcome::RequireApproval),
            ("throttle", wait) => {
                let now = self.clock.now();
                let first = *self.asked.lock().unwrap().entry(request.job_id.to_owned()).or_insert(now);
                let left = words::seconds(wait).saturating_sub(now.duration_since(first).unsigned_abs());
                if left.is_zero() {
                    decision(Outcome::Allow)
                } else {
                    Decision { retry_after: Some(left), ..decision(Outcome::Throttle) }
                }
            }
            ("retries", most) => {
                let budgets = BudgetLimits { max_retries: most.parse().unwrap(), ..BudgetLimits::default() };
                let constraints = Constraints { budgets: Some(budgets), ..Constraints::default() };
                Decision { constraints: Some(Arc::new(constraints)), ..decision(Outcome::AllowWithConstraints) }
            }
            _ => panic!("`{said}` is no decision"),
        })
    }
}

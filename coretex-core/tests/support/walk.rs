//! Runs driven by hand at the pure level, by the dice: what may happen next follows from the state alone.

use std::{sync::Arc, time::Duration};

use coretex_core::{
    job::{Answer, Facts, Failure, JobId, JobInput, JobResult, JobState, JobStatusReport, Output, RunId, StepRunId},
    policy::{Decision, Outcome, PolicyRequest},
    ports::{PolicySnapshot, Verdict},
    scheduler::Routes,
    testing::Rng,
    workflow::{
        ChildEnd, Resolution, Run, RunInput, RunStatus, StartRun, StepRun, StepStatus, StoredEvent, Transition,
        WaitsFor, Workflow, decide, start,
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Whether things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Everybody does what is wanted, at once.
    Calm,
    /// Workers fail, people refuse, policy holds back, somebody cancels.
    Wild,
}

/// What a decision is given besides the state and the input.
#[derive(Debug)]
pub(crate) struct World {
    policy: Dice,
    routes: Routes,
}

/// Judges by the id of the job: the same job gets the same verdict.
#[derive(Debug)]
struct Dice(Mood, Arc<str>);

impl PolicySnapshot for Dice {
    fn id(&self) -> &Arc<str> {
        &self.1
    }

    fn governed(&self) -> bool {
        true
    }

    fn evaluate(&self, request: &PolicyRequest<'_>) -> Verdict {
        let decided = |outcome| Verdict::Decided(decision(outcome));
        match (self.0, hash(request.job_id) % 100) {
            (Mood::Wild, 0..3) => decided(Outcome::Deny),
            (Mood::Wild, 3..8) => decided(Outcome::RequireApproval),
            (Mood::Wild, 8..12) => Verdict::Ask,
            _ => decided(Outcome::Allow),
        }
    }
}

fn decision(outcome: Outcome) -> Decision {
    Decision::new(outcome, "rule", "the dice say so", "dice".into())
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl World {
    pub(crate) fn new(mood: Mood) -> Self {
        Self { policy: Dice(mood, "dice".into()), routes: Routes::open() }
    }

    pub(crate) fn facts(&self, now: Timestamp) -> Facts<'_> {
        Facts {
            now,
            seed: 7,
            policy: &self.policy,
            routes: &self.routes,
            default_job_timeout: Duration::from_secs(9_000),
            stop_grace: Duration::from_secs(10),
            payload_limits: coretex_core::value::Limits::default(),
            gate: Default::default(),
            bounds: Default::default(),
            outputs: None,
        }
    }
}

/// A run under way, with everything that happened to it.
pub(crate) struct Walk<'a> {
    world: &'a World,
    mood: Mood,
    pub(crate) run: Run,
    pub(crate) now: Timestamp,
    pub(crate) log: Vec<StoredEvent>,
    signals: u32,
}

impl<'a> Walk<'a> {
    /// Starts a run of `workflow`; what that led to comes with it.
    pub(crate) fn start(
        workflow: &Arc<Workflow>,
        world: &'a World,
        mood: Mood,
        n: u64,
        dry_run: bool,
    ) -> (Self, Transition) {
        let input = Arc::new(json!({"n": n}));
        let begin = StartRun { dry_run, ..StartRun::new(RunId::parse("r").unwrap(), input, "test".into()) };
        Self::begin(workflow, world, mood, begin)
    }

    /// As [`Walk::start`], of any run.
    pub(crate) fn begin(workflow: &Arc<Workflow>, world: &'a World, mood: Mood, begin: StartRun) -> (Self, Transition) {
        let now = Timestamp::from_second(1_893_456_000).unwrap();
        let transition = start(workflow, begin, &world.facts(now)).unwrap();
        let mut walk = Self { world, mood, run: Run::new(workflow.clone()), now, log: Vec::new(), signals: 0 };
        walk.fold(&transition);
        (walk, transition)
    }

    /// The same run at the same point, to try something.
    pub(crate) fn fork(&self) -> Self {
        Self { run: self.run.clone(), log: self.log.clone(), ..*self }
    }

    pub(crate) fn fold(&mut self, transition: &Transition) {
        self.run.replay(&transition.events);
        self.log.extend(transition.events.iter().cloned());
    }

    /// Moves the run onto `to`; `false` when something is in the way.
    #[allow(dead_code, reason = "not every suite moves runs")]
    pub(crate) fn migrate(&mut self, to: &Arc<Workflow>) -> bool {
        let (by, reason) = ("ann".into(), "better".into());
        let wish = RunInput::Migrate { to: to.clone(), from: None, at: Some(self.run.head()), by, reason };
        let Some(transition) = self.decide(wish) else { return false };
        for event in &transition.events {
            assert!(self.run.apply_under(event, to.clone()), "{event:?}");
        }
        self.log.extend(transition.events);
        true
    }

    /// Feeds `input`; `None` when it is refused.
    pub(crate) fn feed(&mut self, input: RunInput) -> Option<Transition> {
        let transition = self.decide(input)?;
        self.fold(&transition);
        Some(transition)
    }

    /// What `input` would lead to.
    pub(crate) fn decide(&self, input: RunInput) -> Option<Transition> {
        decide(&self.run, input, &self.world.facts(self.now)).ok()
    }

    /// Something that may happen next, by the dice; time moves on with a tick. `None` when nothing can happen.
    pub(crate) fn next(&mut self, rng: &mut Rng) -> Option<RunInput> {
        if self.mood == Mood::Wild && rng.chance(10) {
            return Some(RunInput::Cancel { by: "ann".into(), reason: "enough".into() });
        }
        let mut choices: Vec<RunInput> = Vec::new();
        let mut sleeps = false;
        for (id, step) in self.run.steps().filter(|(_, step)| !step.status.is_terminal()) {
            choices.extend(expects(id, step, self.mood, self.signals, rng));
            sleeps |= step.status == StepStatus::Running && step.job.is_none() && step.due_at.is_some();
        }
        let due = self.run.next_due();
        if due.is_some() && (sleeps || self.mood == Mood::Wild) {
            choices.push(RunInput::Tick);
        }
        let input = rng.pick(&choices)?.clone();
        match (&input, due) {
            (RunInput::Tick, Some(due)) => self.now = self.now.max(due),
            (RunInput::Signal { .. }, _) => self.signals += 1,
            _ => {}
        }
        Some(input)
    }

    /// Feeds whatever may happen until the run has ended; `visit` sees each input with what it led to.
    ///
    /// # Panics
    /// When it does not end.
    pub(crate) fn finish(&mut self, rng: &mut Rng, mut visit: impl FnMut(&mut Self, &RunInput, &Transition)) {
        for _ in 0..20_000 {
            if self.run.status().is_terminal() {
                return;
            }
            let Some(input) = self.next(rng) else { break };
            if let Some(transition) = self.feed(input.clone()) {
                visit(self, &input, &transition);
            }
        }
        panic!(
            "the run does not end: {:#?}",
            self.run.steps().filter(|(_, step)| step.is_active()).collect::<Vec<_>>()
        );
    }
}

/// What may happen to a step that waits for something outside.
fn expects(id: StepRunId, step: &StepRun, mood: Mood, signals: u32, rng: &mut Rng) -> Option<RunInput> {
    let wild = mood == Mood::Wild;
    let answer = |rng: &mut Rng| Answer {
        approved: !wild || rng.chance(700),
        by: "ann".into(),
        role: "".into(),
        reason: "".into(),
        note: "".into(),
    };
    if let Some(job) = step.job.as_deref().filter(|_| step.status != StepStatus::Pending && step.waits_for.is_none()) {
        return match job.state {
            JobState::ApprovalRequired => Some(RunInput::Answer { step: id, answer: answer(rng) }),
            JobState::Pending if job.due_at.is_none() => {
                let outcome = match rng.below(10) {
                    0 => Outcome::Deny,
                    1 => Outcome::Throttle,
                    2 => Outcome::RequireApproval,
                    _ => Outcome::Allow,
                };
                Some(RunInput::Job { job: job.id.clone(), input: JobInput::Judged(decision(outcome)) })
            }
            JobState::Dispatched if wild && rng.chance(150) => {
                Some(RunInput::Job { job: job.id.clone(), input: JobInput::Started { worker: "w".into() } })
            }
            JobState::Dispatched if wild && rng.chance(20) => Some(RunInput::Job {
                job: job.id.clone(),
                input: JobInput::Undeliverable(Failure::fatal("dispatch_failed", "the bus refused it")),
            }),
            JobState::Dispatched | JobState::Running => Some(finished(&job.id, mood, rng)),
            _ => None,
        };
    }
    match step.waits_for.as_ref()? {
        WaitsFor::Answer => Some(RunInput::Answer { step: id, answer: answer(rng) }),
        WaitsFor::Data if wild && rng.chance(100) => Some(resolve(id, Resolution::Skip)),
        WaitsFor::Data => Some(RunInput::Provide { step: id, by: "ann".into(), value: Arc::new(json!({"n": 2})) }),
        WaitsFor::Signal { .. } if wild && rng.chance(100) => {
            Some(resolve(id, Resolution::Fail { reason: "no".into() }))
        }
        WaitsFor::Signal { name } => Some(RunInput::Signal {
            name: name.clone(),
            id: format!("signal-{signals}").into(),
            by: "ann".into(),
            payload: Arc::new(if wild && rng.chance(200) { json!("odd") } else { json!({"n": 1}) }),
        }),
        WaitsFor::Operator => Some(resolve(
            id,
            match rng.below(4) {
                0 => Resolution::Retry { input: None },
                1 => Resolution::Complete { output: Arc::new(json!({"n": 5})) },
                2 => Resolution::Skip,
                _ => Resolution::Fail { reason: "no".into() },
            },
        )),
        WaitsFor::Alert => Some(RunInput::Notified { step: id }),
        WaitsFor::Artifact { .. } => {
            let result = match rng.below(10) {
                0 | 1 if wild => Err(Failure::retryable("unavailable", "later")),
                2 if wild => Err(Failure::fatal("artifact_not_found", "not there")),
                _ => Ok(Output { value: Some(Arc::new(json!({"size": 1}))), ..Output::default() }),
            };
            Some(RunInput::Stored { step: id, attempt: step.attempts, result })
        }
        WaitsFor::Child { run } => {
            let failed = |code: &str| Some(Failure::fatal(code.to_owned(), "it failed"));
            let (status, output, failure) = match rng.below(10) {
                0 if wild => (RunStatus::Failed, None, failed("boom")),
                1 if wild => (RunStatus::TimedOut, None, failed("timeout")),
                2 if wild => (RunStatus::Cancelled, None, failed("cancelled")),
                _ => (RunStatus::Succeeded, Some(Arc::new(json!({"n": 3}))), None),
            };
            let end = ChildEnd { run: run.clone(), status, output, failure };
            Some(RunInput::Child { step: id, attempt: step.attempts, end })
        }
    }
}

fn resolve(step: StepRunId, resolution: Resolution) -> RunInput {
    RunInput::Resolve { step, by: "ann".into(), resolution }
}

fn finished(job: &JobId, mood: Mood, rng: &mut Rng) -> RunInput {
    let value: Value = json!({"n": hash(job.as_str()) % 8, "of": job.as_str()});
    let done = || JobStatusReport::Succeeded(Output { value: Some(Arc::new(value)), ..Output::default() });
    let status = match rng.below(20) {
        0..4 if mood == Mood::Wild => JobStatusReport::Failed(Failure::retryable("busy", "later")),
        4..6 if mood == Mood::Wild => JobStatusReport::Failed(Failure::fatal("boom", "it broke")),
        6 if mood == Mood::Wild => JobStatusReport::Cancelled,
        _ => done(),
    };
    let result = JobResult { job: job.clone(), worker: "w".into(), status, execution_ms: 1 };
    RunInput::Job { job: job.clone(), input: JobInput::Finished { result, fenced: true } }
}

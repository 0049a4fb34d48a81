//! What one seed means: workflows, workers, people, policy, faults and the order of events.

use std::{collections::HashMap, time::Duration};

use coretex_core::{
    job::{ApprovalRequest, Subject},
    policy::Outcome,
    testing::{FaultPlan, Presence, Reply, Rng, Say, ScriptedJob, plane::FnPolicy, policy_fn},
};
use serde_json::{Value, json};

use super::flows::workflow;

/// Everything that a seed decides beforehand.
pub(super) struct Case {
    pub(super) workflows: Vec<Value>,
    pub(super) plan: FaultPlan,
    pub(super) worker: Rng,
    pub(super) people: Rng,
    pub(super) policy: Rng,
    pub(super) story: Rng,
    /// `pools.yaml`, where there is one.
    pub(super) pools: Option<String>,
    /// Workers, where there are pools.
    pub(super) crew: Vec<Presence>,
    /// What becomes of them.
    pub(super) fate: Rng,
}

impl Case {
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let workflows = (0..1 + rng.below(2)).map(|n| workflow(n, &mut rng.fork())).collect();
        let plan = plan(&mut rng.fork());
        let (worker, people, policy, story) = (rng.fork(), rng.fork(), rng.fork(), rng.fork());
        let (pools, crew) = slots(&mut rng.fork());
        Self { workflows, plan, worker, people, policy, story, pools, crew, fate: rng.fork() }
    }
}

fn plan(rng: &mut Rng) -> FaultPlan {
    let mut plan = FaultPlan::new(rng.draw()).at_most(rng.below(40));
    let mut some = |likely: u32, most: u64| if rng.chance(likely) { rng.below(most) as u32 } else { 0 };
    plan = plan
        .unavailable_before(some(300, 150))
        .unavailable_after(some(300, 150))
        .conflict(some(300, 200))
        .unreadable(some(200, 100))
        .slow(some(500, 600), 24)
        .drop_messages(some(200, 80))
        .duplicate_messages(some(300, 200))
        .delay_messages(some(300, 200), Duration::from_secs(20))
        .reorder_messages(some(400, 400))
        .full(some(200, 150));
    if rng.chance(400) {
        for _ in 0..1 + rng.below(4) {
            plan = plan.crash_after(1 + rng.below(14));
        }
    }
    plan
}

/// Pools with limits, and their workers; or none.
fn slots(rng: &mut Rng) -> (Option<String>, Vec<Presence>) {
    if rng.chance(500) {
        return (None, Vec::new());
    }
    let wait = 20 + rng.below(200);
    let strategy = rng.pick(&["least_loaded", "two_choices", "predicted", "sticky"]).unwrap();
    let topics = match rng.below(3) {
        0 => "{'job.>': p}",
        1 => "{job.a: p, job.b: [q, p], 'job.c.>': q}",
        _ => "{'job.*': [{pool: p, weight: 2}, {pool: q, weight: 1}], job.c.d: q}",
    };
    let mut pools = format!(
        "topics: {topics}\npools:\n  p: {{max_wait_seconds: {wait}, strategy: {strategy}, max_queue: 40}}\n  q: {{max_wait_seconds: {wait}, max_queue_per_tenant: 5}}"
    );
    if topics == "{'job.>': p}" {
        pools = format!("topics: {topics}\npools: {{p: {{max_wait_seconds: {wait}, strategy: {strategy}}}}}");
    }
    if rng.chance(400) {
        let key = rng.pick(&["tenant", "topic", "'string(input.n)'"]).unwrap();
        pools += &format!("\nlimits: [{{name: l, key: {key}, max_concurrent: {}", 1 + rng.below(3));
        if rng.chance(500) {
            pools += &format!(", rate: {{count: {}, per_seconds: {}}}", 1 + rng.below(5), 1 + rng.below(20));
        }
        pools += "}]";
    }
    let crew = (0..1 + rng.below(4)).map(|n| {
        let presence = Presence::new(format!("w{n}")).slots(1 + rng.below(3) as u32);
        let presence = if rng.chance(300) { presence.by_topic() } else { presence };
        if rng.chance(300) { presence.pool(if rng.chance(500) { "p" } else { "q" }) } else { presence }
    });
    (Some(pools), crew.collect())
}

/// What the workers do.
pub(super) fn worker(mut rng: Rng) -> impl FnMut(&ScriptedJob) -> Reply + Send + 'static {
    move |job| {
        let output = json!({"n": rng.below(8), "of": job.request.job_id});
        let mut reply = match rng.below(100) {
            0..=64 => Reply::succeed(output),
            65..=78 => Reply::retryable("busy"),
            79..=82 => Reply::fatal("broken"),
            83..=86 => Reply::Never,
            87..=89 => Reply::Garbage,
            90..=91 => Reply::Cancelled,
            92..=94 => Reply::UntilCancelled,
            _ => return Reply::succeed(output).late(Duration::from_millis(rng.below(5_000))),
        };
        if rng.chance(150) {
            reply = reply.twice();
        }
        if rng.chance(350) {
            reply = reply.after(Duration::from_millis(rng.below(30_000)));
        }
        if rng.chance(200) {
            reply = reply.with_progress();
        }
        reply
    }
}

/// What people do: they may be silent where a timeout speaks for them.
pub(super) fn person(mut rng: Rng) -> impl FnMut(&ApprovalRequest) -> Say + Send + 'static {
    move |request| {
        let wait = Duration::from_millis(rng.below(2_000_000));
        let say = match (rng.below(10), &request.subject) {
            (0, Subject::Step { .. }) => return Say::Nothing,
            (1..=2, _) => Say::no("the dice say so"),
            _ => Say::Yes,
        };
        if rng.chance(500) { say } else { say.after(wait) }
    }
}

/// What policy says: it may put a job off, but not for ever.
pub(super) fn policy(rng: Rng) -> FnPolicy {
    let state = std::sync::Mutex::new((rng, HashMap::<String, u32>::new()));
    policy_fn("sim", move |request| {
        let (rng, seen) = &mut *state.lock().unwrap();
        let times = seen.entry(request.job_id.to_owned()).or_default();
        *times += 1;
        match rng.below(100) {
            0..=2 => Outcome::Deny,
            3..=7 if *times < 4 => Outcome::Throttle,
            8..=12 => Outcome::RequireApproval,
            13..=20 => Outcome::AllowWithConstraints,
            _ => Outcome::Allow,
        }
    })
}

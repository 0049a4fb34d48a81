//! One test for each weakness of the established scheduler that this room ends.

use super::*;

#[test]
fn w1_free_labels_are_not_placement_constraints() {
    let mut world = World::new("topics: {'job.>': p}");
    world.worker("w", "p", 100);
    let labels = [
        "dry_run",
        "approval_reason",
        "approval_note",
        "retry",
        "dlq_entry",
        "retry_of_job",
        "remediation_of",
        "remediation_id",
        "mcp.server",
        "mcp.tool",
        "region",
        "zone",
        "anything",
    ];
    for (n, label) in labels.iter().enumerate() {
        assert_eq!(world.submit(job(&format!("j{n}")).label(label, "x").ask()), "w", "{label}");
    }
    let all = labels.iter().fold(job("all"), |job, label| job.label(label, "x"));
    assert_eq!(Placement::from_labels(&all.spec.labels), Placement::default());
}

#[test]
fn w2_a_worker_is_addressed_directly_only_when_it_says_that_it_listens() {
    let mut world = World::new("topics: {'job.>': p}");
    world.worker("w", "p", 9);
    let subject = |world: &mut World, id: &str| {
        let (now, seed) = world.step();
        match world.scheduler.submit(job(id).ask(), now, seed).0 {
            Submitted::Placed(placed) => placed.subject().to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(subject(&mut world, "j1"), "job.a");
    let handshake = crate::protocol::Handshake {
        component_id: "w".into(),
        capabilities: [("direct_dispatch".to_owned(), true)].into(),
        ..Default::default()
    };
    let (now, seed) = world.step();
    world.scheduler.handshake(&handshake, now, seed);
    world.worker("w", "p", 9);
    assert_eq!(subject(&mut world, "j2"), "worker.w.jobs");
}

#[test]
fn w3_a_bad_overlay_is_refused_with_its_place_and_never_silently_dropped() {
    let mut routing = Routing::new(Routes::parse("pools.yaml", "topics: {job.a: p}").expect("legal"));
    let capitals = r#"{"Topics": {"job.a": "p"}, "Pools": {"p": {"Requires": []}}}"#;
    let documents = Documents { pools: Some(Source { name: "pools.json", text: capitals }), timeouts: None };
    let error = routing.replace(&documents).expect_err("capital keys");
    let places: Vec<&str> = error.problems().iter().map(|problem| problem.place.as_str()).collect();
    assert_eq!(places, ["", "Pools", "Topics"], "what is missing, and what is not known");
    assert!(routing.refused().is_some() && routing.current().route(&topic("job.a"), &[]).is_ok());
}

#[test]
fn w4_timeouts_and_retries_of_topics_and_workflows_are_read() {
    let timeouts = Timeouts::parse(
        "timeouts.yaml",
        "topics: {job.a: {timeout_seconds: 7, max_retries: 2}}\nworkflows: {w: {child_timeout_seconds: 9, max_retries: 4}}",
    );
    let routes = Routes::open().with_timeouts(timeouts.expect("legal"));
    let mut job = job("j");
    assert_eq!(routes.attempt_timeout(&job.spec), Some(Duration::from_secs(7)));
    job.spec.topic = topic("job.b");
    job.spec.workflow = Some(crate::job::WorkflowId::parse("w").expect("legal"));
    assert_eq!(routes.attempt_timeout(&job.spec), Some(Duration::from_secs(9)));
    job.spec.timeout = Some(Duration::from_secs(1));
    assert_eq!(routes.attempt_timeout(&job.spec), Some(Duration::from_secs(1)), "the step's own counts first");
    assert_eq!(routes.timeouts().attempt("job.a", Some("w")).max_retries, Some(2));
    assert_eq!(routes.timeouts().attempt("job.b", Some("w")).max_retries, Some(4));
}

#[test]
fn w5_topics_are_mapped_by_patterns() {
    let routes = Routes::parse("pools.yaml", "topics: {'job.mcp-bridge.*': mcp}").expect("legal");
    assert_eq!(routes.route(&topic("job.mcp-bridge.read"), &[]).as_deref(), Ok("mcp"));
}

#[test]
fn w6_the_leases_of_a_silent_worker_are_known_and_their_slots_come_back_once() {
    let mut world = World::new("topics: {'job.>': p}");
    world.worker("dead", "p", 2);
    assert_eq!(world.submit(job("j1").ask()), "dead");
    world.worker("spare", "p", 1);
    world.workers.remove("dead");
    world.pass(31);
    assert_eq!(world.scheduler.missing(world.at()), ["dead".into()]);
    let lost = world.scheduler.held_by("dead");
    assert_eq!(lost.len(), 1);
    world.end("j1", Ending::Fault, None);
    assert_eq!(world.submit(job("j1-again").ask()), "spare");
    assert_eq!(world.end("j1", Ending::Fault, None), Vec::<String>::new(), "a repeat frees nothing");
    assert!(world.scheduler.missing(world.at()).is_empty());
}

#[test]
fn w9_a_waiting_job_reaches_its_wait_bound_however_often_it_is_submitted() {
    let mut world = World::new("topics: {'job.>': p}\npools: {p: {max_wait_seconds: 10}}");
    for _ in 0..5 {
        assert_eq!(world.submit(job("j").ask()), "waiting in p");
        assert_eq!(refused(&world.pass(2)).len(), usize::from(world.scheduler.backlog() == 0));
    }
    assert_eq!(world.scheduler.backlog(), 0, "after ten seconds, not after ten since the last delivery");
}

#[test]
fn w10_a_tenant_limit_of_one_lets_one_run_and_leaks_nothing() {
    let mut world = World::new("topics: {'job.>': p}");
    world.worker("w", "p", 9);
    let bound = |id: &str| job(id).ask().with_tenant_max(1);
    assert_eq!(world.submit(bound("j1")), "w", "the job itself is not counted");
    assert_eq!(world.submit(bound("j2")), "waiting in p");
    let (now, seed) = world.step();
    world.scheduler.withdraw(&JobId::parse("j2").expect("legal"), now, seed);
    for n in 3..200 {
        assert_eq!(world.submit(bound(&format!("j{n}"))), "waiting in p");
        let running = if n == 3 { "j1".to_owned() } else { format!("j{}", n - 1) };
        let ending = if n % 2 == 0 { Ending::Unknown } else { Ending::Served };
        assert_eq!(world.end(&running, ending, None), [format!("j{n} on w")], "cancelled or done, its place is free");
    }
    assert_eq!(world.scheduler.running_of("default"), 1);
}

#[test]
fn w15_a_burst_spreads_before_the_next_heartbeat() {
    let mut world = World::new("topics: {'job.>': p}");
    (0..4).for_each(|n| drop(world.worker(&format!("w{n}"), "p", 3)));
    let mut on: BTreeMap<String, u32> = BTreeMap::new();
    for n in 0..12 {
        *on.entry(world.submit(job(&format!("j{n}")).ask())).or_default() += 1;
    }
    assert_eq!(on.into_values().collect::<Vec<_>>(), [3, 3, 3, 3]);
    assert_eq!(world.submit(job("one-more").ask()), "waiting in p", "it waits here, not on a worker");
}

fn topic(text: &str) -> Topic {
    Topic::parse_job(text).expect("a legal topic")
}

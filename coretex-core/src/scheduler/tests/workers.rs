use super::*;

const SECOND: i64 = 1_000_000;

#[test]
fn a_worker_is_missing_after_three_beats_and_forgotten_later() {
    let mut world = World::new("topics: {'job.>': p}");
    world.worker("w", "p", 1);
    let state = |world: &World| {
        world.scheduler.fleet().worker("w").map(|worker| worker.state(world.now, world.scheduler.fleet().rules()))
    };
    world.now += 30 * SECOND;
    assert_eq!(state(&world), Some(WorkerState::Live));
    world.now += 1;
    assert_eq!(state(&world), Some(WorkerState::Missing));
    assert_eq!(world.submit(job("j").ask()), "waiting in p");
    assert_eq!(world.worker("w", "p", 1), ["j on w"], "it is back");
    world.now += 700 * SECOND;
    world.tick();
    assert_eq!(state(&world), Some(WorkerState::Missing), "it holds a lease");
    assert_eq!(world.scheduler.missing(world.at()), ["w".into()]);
    assert_eq!(world.scheduler.held_by("w").iter().map(ToString::to_string).collect::<Vec<_>>(), ["j"]);
    world.end("j", Ending::Fault, None);
    world.tick();
    assert_eq!(state(&world), None);
}

#[test]
fn a_heartbeat_that_crosses_a_result_takes_no_slot_away() {
    let mut world = World::new("topics: {'job.>': p}");
    world.worker("w", "p", 1);
    let mut late = beat("w", "p", 1);
    late.active_jobs = 1;
    assert_eq!(world.submit(job("j1").ask()), "w");
    world.finish("j1");
    world.beat(late.clone());
    assert_eq!(world.submit(job("j2").ask()), "w", "it still counted j1");
    world.finish("j2");
    world.beat(late.clone());
    assert_eq!(world.submit(job("j3").ask()), "waiting in p", "two in a row: it works for somebody else");
}

#[test]
fn a_worker_that_drains_or_left_gets_nothing_more() {
    let mut world = World::new("topics: {'job.>': p}");
    world.worker("w", "p", 2);
    assert_eq!(world.submit(job("j1").ask()), "w");
    let (now, seed) = world.step();
    assert!(world.scheduler.drain_worker("w", true, now, seed).is_some());
    assert_eq!(world.submit(job("j2").ask()), "waiting in p");
    assert_eq!(world.worker("w", "p", 2), Vec::<String>::new(), "a heartbeat does not end it");
    assert_eq!(world.finish("j1"), Vec::<String>::new());
    let outcome = world.scheduler.drain_worker("w", false, now, seed).expect("known");
    assert_eq!(placed(&outcome), ["j2 on w"]);
    world.scheduler.worker_left("w");
    assert_eq!(world.submit(job("j3").ask()), "waiting in p");
    assert!(world.scheduler.drain_worker("nobody", true, now, seed).is_none());
}

#[test]
fn pools_drain_and_pause_while_they_run() {
    let mut world = World::new("topics: {job.a: [p, q]}");
    world.worker("w", "p", 1);
    world.worker("v", "q", 1);
    let set = |world: &mut World, pool: &str, state| {
        let (now, seed) = world.step();
        placed(&world.scheduler.set_pool_state(pool, state, now, seed))
    };
    set(&mut world, "p", PoolState::Paused);
    assert_eq!(world.submit(job("j1").ask()), "v", "another pool takes it");
    assert_eq!(world.submit(job("j2").ask()), "waiting in p");
    let waits = world.scheduler.waiting(&JobId::parse("j2").expect("legal"), world.at()).expect("it waits");
    assert_eq!(waits.reason, Reason::Paused);
    assert_eq!(set(&mut world, "p", PoolState::Active), ["j2 on w"]);
    assert_eq!(world.submit(job("j3").ask()), "waiting in p");
    set(&mut world, "p", PoolState::Draining);
    assert_eq!(world.submit(job("j4").ask()), "waiting in q", "it takes no more");
    assert_eq!(world.finish("j2"), ["j3 on w"], "and finishes what it has");
    set(&mut world, "q", PoolState::Draining);
    assert_eq!(world.submit(job("j5").ask()), "no_workers");
}

#[test]
fn a_worker_serves_the_pool_that_it_names_or_those_of_its_topics_or_the_default() {
    let mut world = World::new("topics: {job.a: p, job.b: q, job.c: r, job.d: default}");
    world.worker("named", "p", 9);
    let handshake = crate::protocol::Handshake {
        component_id: "topical".into(),
        ready_topics: vec!["job.b".into(), "job.c".into()],
        ..Default::default()
    };
    let (now, seed) = world.step();
    world.scheduler.handshake(&handshake, now, seed);
    world.worker("topical", "", 9);
    world.worker("silent", "", 9);
    for (n, (topic, expected)) in
        [("job.a", "named"), ("job.b", "topical"), ("job.c", "topical"), ("job.d", "silent")].into_iter().enumerate()
    {
        assert_eq!(world.submit(job(&format!("j{n}")).topic(topic).ask()), expected, "{topic}");
    }
    let routes = Routes::parse("pools.yaml", "topics: {job.a: p, job.b: z}").expect("legal");
    let (now, seed) = world.step();
    world.scheduler.set_routes(Arc::new(routes), now, seed);
    assert_eq!(world.submit(job("later").topic("job.b").ask()), "topical", "new routes sort the workers again");
}

#[test]
fn a_shared_worker_has_one_set_of_slots() {
    let mut world = World::new("topics: {job.b: q, job.c: r}");
    let handshake = crate::protocol::Handshake {
        component_id: "w".into(),
        ready_topics: vec!["job.b".into(), "job.c".into()],
        ..Default::default()
    };
    let (now, seed) = world.step();
    world.scheduler.handshake(&handshake, now, seed);
    world.worker("w", "", 1);
    assert_eq!(world.submit(job("j1").topic("job.b").ask()), "w");
    assert_eq!(world.submit(job("j2").topic("job.c").ask()), "waiting in r");
    assert_eq!(world.finish("j1"), ["j2 on w"], "a slot that one pool gives back goes to the other");
}

#[test]
fn the_breaker_walks_its_diagram() {
    use BreakerState::{Closed, HalfOpen, Open};
    let rules = BreakerRules::default();
    let mut breaker = Breaker::default();
    for _ in 0..4 {
        breaker.ended(Ending::Fault, 0, &rules);
    }
    breaker.ended(Ending::Served, 0, &rules);
    assert_eq!(breaker.state(0), Closed, "four in a row are not five");
    for _ in 0..5 {
        breaker.ended(Ending::Fault, 0, &rules);
    }
    assert_eq!(breaker.state(0), Open { until: 30 * SECOND });
    breaker.ended(Ending::Served, SECOND, &rules);
    assert_eq!(breaker.state(SECOND), Open { until: 30 * SECOND }, "what was out before says nothing new");
    assert!(!breaker.admits(30 * SECOND - 1, &rules));
    assert!(breaker.admits(30 * SECOND, &rules));
    breaker.sent(30 * SECOND);
    assert!(!breaker.admits(30 * SECOND, &rules), "one probe at a time");
    breaker.ended(Ending::Fault, 40 * SECOND, &rules);
    assert_eq!(breaker.state(40 * SECOND), Open { until: 100 * SECOND }, "twice as long");
    for expected in [HalfOpen { out: 0, succeeded: 1 }, Closed] {
        breaker.sent(100 * SECOND);
        breaker.ended(Ending::Served, 101 * SECOND, &rules);
        assert_eq!(breaker.state(101 * SECOND), expected);
    }
    assert_eq!(breaker, Breaker::default(), "a worker that is well starts anew");

    for n in 0..19 {
        breaker.ended(if n % 2 == 0 { Ending::Fault } else { Ending::Served }, 0, &rules);
    }
    assert_eq!(breaker.state(0), Open { until: 30 * SECOND }, "half of the last twenty");
    let mut breaker = Breaker::default();
    for _ in 0..100 {
        breaker.ended(Ending::Unknown, 0, &rules);
        breaker.ended(Ending::Served, 0, &rules);
    }
    assert_eq!(breaker.state(0), Closed);
    for _ in 0..40 {
        breaker.ended(Ending::Fault, 0, &rules);
        if let Open { until } = breaker.state(0) {
            assert!(until <= 600 * SECOND, "at most ten minutes");
            breaker = Breaker::default();
        }
    }
}

#[test]
fn a_quarantined_worker_comes_back_by_probes() {
    let mut world = World::new("topics: {'job.>': p}");
    world.worker("w", "p", 5);
    for n in 0..5 {
        assert_eq!(world.submit(job(&format!("j{n}")).ask()), "w");
    }
    for n in 0..5 {
        world.end(&format!("j{n}"), Ending::Fault, None);
    }
    for id in ["p1", "p2", "p3"] {
        assert_eq!(world.submit(job(id).ask()), "waiting in p", "five faults in a row");
    }
    assert_eq!(world.scheduler.fleet().census("p", world.now), [0, 0, 1, 0]);
    assert_eq!(placed(&world.pass(29)), Vec::<String>::new());
    assert_eq!(placed(&world.pass(1)), ["p1 on w"], "a probe, although it has five slots");
    assert_eq!(world.finish("p1"), ["p2 on w"]);
    assert_eq!(world.finish("p2"), ["p3 on w"]);
    assert_eq!(world.submit(job("p4").ask()), "w", "closed: as before");
}

use super::*;

fn limited(limits: &str) -> World {
    let mut world =
        World::new(&format!("topics: {{'job.>': p}}\npools: {{p: {{max_wait_seconds: 60}}}}\nlimits: {limits}"));
    world.worker("w", "p", 100);
    world
}

#[test]
fn a_key_bounds_its_jobs_and_holds_up_nobody_else() {
    let mut world = limited("[{name: per-tenant, key: tenant, max_concurrent: 2}]");
    for n in 0..4 {
        let expected = if n < 2 { "w" } else { "waiting in p" };
        assert_eq!(world.submit(job(&format!("a{n}")).tenant("a").ask()), expected);
    }
    assert_eq!(world.submit(job("b0").tenant("b").ask()), "w", "behind two that wait");
    let waits = world.scheduler.waiting(&JobId::parse("a2").expect("legal"), world.at()).expect("it waits");
    let Reason::Limit(limit) = waits.reason else { panic!("{waits:?}") };
    assert_eq!((&*limit.rule, &*limit.key, limit.by_tenant), ("per-tenant", "a", true));
    assert_eq!(world.finish("b0"), Vec::<String>::new());
    assert_eq!(world.finish("a0"), ["a2 on w"]);
    assert_eq!(world.scheduler.counted("per-tenant", "a"), 2);
    assert_eq!(refused(&world.pass(60)), ["a3 tenant_limit"]);
}

#[test]
fn a_limit_can_count_by_topic_capability_label_or_any_expression() {
    for (key, same, other) in [
        ("topic", job("x").topic("job.x"), job("y").topic("job.y")),
        ("labels.model", job("x").label("model", "m1"), job("y").label("model", "m2")),
        ("tenant + '/' + priority", job("x").tenant("a"), job("y").tenant("a").priority(Priority::Critical)),
        ("labels.model == 'big' ? tenant : null", job("x").label("model", "big"), job("y").label("model", "small")),
        ("capability", capable("x", "email"), capable("y", "sms")),
    ] {
        let mut world = limited(&format!("[{{name: l, key: \"{key}\", max_concurrent: 1}}]"));
        let again = |job: &Job, id: &str| {
            let mut job = job.clone();
            job.spec.id = JobId::parse(id).expect("legal");
            job.ask()
        };
        assert_eq!(world.submit(again(&same, "x1")), "w", "{key}");
        assert_eq!(world.submit(again(&same, "x2")), "waiting in p", "{key}");
        assert_eq!(world.submit(again(&other, "y1")), "w", "{key}");
        assert_eq!(
            refused(&world.pass(60)),
            [if key == "tenant" { "x2 tenant_limit" } else { "x2 key_limit" }],
            "{key}"
        );
    }
}

fn capable(id: &str, capability: &str) -> Job {
    let mut job = job(id);
    job.spec.meta = Arc::new(JobMeta { capability: Some(capability.into()), ..JobMeta::default() });
    job
}

#[test]
fn jobs_whose_key_fails_are_limited_together_rather_than_not_at_all() {
    let mut world = limited("[{name: l, key: 'int(labels.n)', max_concurrent: 1}]");
    assert_eq!(world.submit(job("a").label("n", "x").ask()), "w");
    assert_eq!(world.submit(job("b").label("n", "y").ask()), "waiting in p");
    assert_eq!(world.submit(job("c").label("n", "1").ask()), "w");
}

#[test]
fn a_rate_lets_a_burst_through_and_then_its_pace() {
    let mut world = limited("[{name: r, key: tenant, rate: {count: 2, per_seconds: 10, burst: 3}}]");
    let outcomes: Vec<String> = (0..6).map(|n| world.submit(job(&format!("j{n}")).ask())).collect();
    assert_eq!(outcomes, ["w", "w", "w", "waiting in p", "waiting in p", "waiting in p"]);
    assert_eq!(world.finish("j0"), Vec::<String>::new(), "an ending gives no rate back");
    assert_eq!(placed(&world.pass(4)), Vec::<String>::new());
    assert_eq!(placed(&world.pass(1)), ["j3 on w"]);
    assert_eq!(placed(&world.pass(10)), ["j4 on w", "j5 on w"], "two in ten seconds");
    world.pass(3_600);
    let outcomes: Vec<String> = (0..4).map(|n| world.submit(job(&format!("k{n}")).ask())).collect();
    assert_eq!(outcomes, ["w", "w", "w", "waiting in p"], "a long pause saves up no more than the burst");
}

#[test]
fn a_job_under_two_limits_waits_for_both_and_lets_others_past_each() {
    let mut world =
        limited("[{name: by-tenant, key: tenant, max_concurrent: 2}, {name: by-topic, key: topic, max_concurrent: 1}]");
    let ask = |id: &str, tenant: &str, topic: &str| job(id).tenant(tenant).topic(topic).ask();
    assert_eq!(world.submit(ask("a1", "a", "job.x")), "w");
    assert_eq!(world.submit(ask("a2", "a", "job.y")), "w");
    assert_eq!(world.submit(ask("a3", "a", "job.x")), "waiting in p", "both are reached");
    assert_eq!(world.submit(ask("b1", "b", "job.x")), "waiting in p", "the topic is");
    assert_eq!(world.submit(ask("b2", "b", "job.z")), "w");
    // The topic opens for a3, which came first; its tenant is still full, so the place goes on to b1.
    assert_eq!(world.submit(ask("a4", "a", "job.z2")), "waiting in p");
    assert_eq!(world.finish("a1").len(), 1);
    let running = world.scheduler.running();
    assert_eq!(running, 3, "a2, b2 and whoever got the place");
    assert!(world.scheduler.counted("by-topic", "job.x") <= 1 && world.scheduler.counted("by-tenant", "a") <= 2);
}

#[test]
fn an_open_place_is_passed_on_by_one_that_another_limit_holds() {
    let mut world = limited(
        "[{name: by-topic, key: topic, topics: [job.x], max_concurrent: 1}, {name: by-tenant, key: tenant, max_concurrent: 1}]",
    );
    let ask = |id: &str, tenant: &str, topic: &str| job(id).tenant(tenant).topic(topic).ask();
    assert_eq!(world.submit(ask("z", "z", "job.x")), "w");
    for tenant in ["a", "b", "c"] {
        assert_eq!(world.submit(ask(&format!("{tenant}-x"), tenant, "job.x")), "waiting in p");
        assert_eq!(world.submit(ask(&format!("{tenant}-y"), tenant, "job.y")), "w", "its tenant's only place");
    }
    assert_eq!(world.submit(ask("d-x", "d", "job.x")), "waiting in p");
    assert_eq!(world.finish("z"), ["d-x on w"], "a, b and c are let back, held by their tenants, and pass it on");
    assert_eq!(world.finish("d-x"), Vec::<String>::new());
    assert_eq!(world.finish("b-y"), ["b-x on w"]);
}

#[test]
fn policy_bounds_a_tenant_over_all_pools() {
    let mut world = World::new("topics: {job.a: p, job.b: q}");
    world.worker("w", "p", 9);
    world.worker("v", "q", 9);
    let bound = |id: &str, topic: &str| job(id).topic(topic).ask().with_tenant_max(2);
    assert_eq!(world.submit(bound("j1", "job.a")), "w");
    assert_eq!(world.submit(job("free").ask()), "w", "a job without a bound counts, and is not bound");
    assert_eq!(world.submit(bound("j2", "job.b")), "waiting in q");
    assert_eq!(world.scheduler.running_of("default"), 2);
    assert_eq!(world.finish("j1"), ["j2 on v"], "a place that is free in one pool is one in every pool");
}

#[test]
fn keys_that_nobody_uses_are_forgotten() {
    let mut world =
        limited("[{name: l, key: labels.k, max_concurrent: 1}, {name: r, key: labels.k, rate: {count: 1}}]");
    for n in 0..500 {
        let id = format!("j{n}");
        assert_eq!(world.submit(job(&id).tenant(&format!("t{n}")).label("k", &format!("k{n}")).ask()), "w");
        world.finish(&id);
    }
    world.pass(2);
    assert_eq!(world.scheduler.kept_keys(), (0, 0));
}

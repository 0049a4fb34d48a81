use super::*;

fn labelled(mut beat: Heartbeat, labels: &[(&str, &str)]) -> Heartbeat {
    beat.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    beat
}

fn pool(strategy: &str) -> World {
    World::new(&format!("topics: {{'job.>': p}}\npools: {{p: {{strategy: {strategy}}}}}"))
}

#[test]
fn a_worker_that_breaks_a_hard_constraint_is_out_whatever_the_strategy() {
    type Change = fn(&mut Heartbeat);
    let cases: [(&str, Change, &str); 8] = [
        ("selector", |beat| beat.labels.clear(), "it has no label `zone`; `eu` is wanted"),
        (
            "selector",
            |beat| {
                beat.labels.insert("zone".into(), "us".into());
            },
            "its label `zone` is `us`, not `eu`",
        ),
        ("capability", |beat| beat.capabilities.clear(), "it does not advertise `Sandbox`"),
        ("region", |beat| beat.region = "r2".into(), "it runs in `r2`"),
        ("overloaded", |beat| beat.cpu_load = 90.0, "its machine is at 90 %"),
        ("overloaded", |beat| beat.gpu_utilization = 99.0, "its machine is at 99 %"),
        ("overloaded", |beat| beat.memory_load = 95.0, "its machine is at 95 %"),
        ("full", |beat| beat.active_jobs = 2, "it works on 2 of 2"),
    ];
    let fits = || {
        let mut beat = labelled(beat("w", "p", 2), &[("zone", "eu")]);
        beat.capabilities = vec!["SANDBOX".into()];
        beat.region = "r1".into();
        beat
    };
    let wanting = |id: &str| {
        job(id).placed(|placement| {
            placement.selector.insert("zone".into(), "eu".into());
            placement.capabilities.push("Sandbox".into());
            placement.region = Some("r1".into());
        })
    };
    for kind in StrategyKind::ALL {
        for (word, change, reason) in &cases {
            let mut world = pool(kind.name());
            let mut broken = fits();
            change(&mut broken);
            world.beat(broken.clone());
            world.beat(broken);
            assert_eq!(world.submit(wanting("j").ask()), "waiting in p", "{word} under {}", kind.name());
            let (now, seed) = world.step();
            let explained = &world.scheduler.explain(&wanting("x").ask(), now, seed).expect("mapped")[0];
            assert_eq!(explained.strategy, kind.name());
            let Verdict::Unfit { word: told, reason: why } = &explained.workers[0].verdict else {
                panic!("{explained:?}")
            };
            assert_eq!((told, why.as_str()), (word, *reason));
            assert_eq!(world.beat(fits()), ["j on w"], "mended: {word} under {}", kind.name());
        }
    }
}

#[test]
fn a_burst_spreads_at_once_over_the_least_loaded() {
    let mut world = pool("least_loaded");
    for id in ["a", "b", "c"] {
        world.worker(id, "p", 4);
    }
    let mut on: BTreeMap<String, u32> = BTreeMap::new();
    for n in 0..9 {
        *on.entry(world.submit(job(&format!("j{n}")).ask())).or_default() += 1;
    }
    assert_eq!(on.into_values().collect::<Vec<_>>(), [3, 3, 3], "no heartbeat came in between");
}

#[test]
fn slots_count_before_machines_and_machines_before_nothing() {
    let mut world = pool("least_loaded");
    let mut busy = beat("busy", "p", 4);
    busy.cpu_load = 80.0;
    world.beat(busy);
    world.worker("idle", "p", 4);
    assert_eq!(world.submit(job("j1").ask()), "idle");
    assert_eq!(world.submit(job("j2").ask()), "idle", "half of 80 % weighs more than one slot of four");
    assert_eq!(world.submit(job("j3").ask()), "busy");
}

#[test]
fn two_choices_takes_the_better_of_what_it_drew_and_finds_the_only_one_that_fits() {
    let mut world = pool("two_choices");
    for n in 0..50 {
        world.worker(&format!("w{n}"), "p", 1);
    }
    let (now, seed) = world.step();
    let explained = &world.scheduler.explain(&job("x").ask(), now, seed).expect("mapped")[0];
    let drawn = explained.workers.iter().filter(|passed| passed.verdict != Verdict::NotDrawn).count();
    assert!(explained.chosen.is_ok() && drawn == 2, "{drawn} were looked at");
    world.beat(labelled(beat("w7", "p", 1), &[("gpu", "a100")]));
    let rare = job("j").placed(|placement| {
        placement.selector.insert("gpu".into(), "a100".into());
    });
    assert_eq!(world.submit(rare.ask()), "w7");
    let preferred = job("k").label("preferred_worker_id", "w33");
    assert_eq!(world.submit(preferred.ask()), "w33", "a preferred worker needs no luck");
}

#[test]
fn predicted_learns_who_is_fast_and_tries_the_unknown() {
    let mut world = pool("predicted");
    world.worker("fast", "p", 1);
    world.worker("slow", "p", 1);
    for n in 0..20 {
        let (a, b) = (format!("a{n}"), format!("b{n}"));
        for id in [&a, &b] {
            let on = world.submit(job(id).ask());
            let took = Duration::from_millis(if on == "fast" { 100 } else { 2_000 });
            world.now += 1_000_000;
            world.scheduler.heartbeat(&beat("fast", "p", 1), world.at(), 0);
            world.scheduler.heartbeat(&beat("slow", "p", 1), world.at(), 0);
            if id == &b {
                world.end(&a, Ending::Served, Some(Duration::from_millis(if on == "fast" { 2_000 } else { 100 })));
                world.end(&b, Ending::Served, Some(took));
            }
        }
    }
    assert_eq!(world.submit(job("j1").ask()), "fast");
    world.worker("new", "p", 1);
    assert_eq!(
        world.submit(job("j2").ask()),
        "new",
        "taken to be as fast as its topic, which is faster than the slow one"
    );
    let estimate = world.scheduler.latencies().expected("job.a", world.now);
    assert!((300_000.0..2_000_000.0).contains(&estimate.mean), "{estimate:?}");
}

#[test]
fn an_estimate_fades_and_blends_as_its_page_says() {
    let mut estimate = Estimate::default();
    assert_eq!((estimate.mean(), estimate.deviation()), (None, 0.0));
    estimate.observe(Duration::from_secs(1), 0);
    estimate.observe(Duration::from_secs(3), 0);
    assert_eq!((estimate.mean(), estimate.deviation()), (Some(2e6), 1e6));
    assert!((estimate.count(600_000_000) - 2.0 * (-1.0_f64).exp()).abs() < 1e-9, "tau is ten minutes");
    estimate.observe(Duration::from_secs(10), 3_600_000_000);
    let mean = estimate.mean().expect("observed");
    assert!((9.9e6..1e7).contains(&mean), "an hour later the new one counts: {mean}");
}

#[test]
fn cheapest_takes_the_cheapest_that_meets_the_deadline() {
    let mut world = pool("cheapest");
    world.beat(labelled(beat("cheap", "p", 9), &[("cost_per_second", "1")]));
    world.beat(labelled(beat("fast", "p", 9), &[("cost_per_second", "30")]));
    for (worker, took) in [("cheap", 4_000), ("fast", 200)] {
        for n in 0..30 {
            let id = format!("{worker}{n}");
            assert_eq!(world.submit(job(&id).label("preferred_worker_id", worker).ask()), worker);
            world.end(&id, Ending::Served, Some(Duration::from_millis(took)));
        }
    }
    let by = |world: &World, millis: i64| world.now + millis * 1_000;
    let ask = job("j0").ask();
    assert_eq!(world.submit(ask), "cheap", "no deadline: 4 s at 1 are less than 0.2 s at 30");
    let ask = job("j1").ask().with_deadline(by(&world, 60_000));
    assert_eq!(world.submit(ask), "cheap");
    let ask = job("j2").ask().with_deadline(by(&world, 3_000));
    assert_eq!(world.submit(ask), "fast", "the cheap one would be late");
    let ask = job("j3").ask().with_deadline(by(&world, 1));
    assert_eq!(world.submit(ask), "fast", "both are late: the one that is late by less");
}

#[test]
fn adapter_takes_a_worker_that_has_it_loaded_and_remembers_what_it_sent() {
    let mut world = pool("adapter");
    world.beat(labelled(beat("warm", "p", 9), &[("adapters", "lora-1, lora-2")]));
    world.worker("cold", "p", 9);
    let with = |id: &str, adapter: &str| {
        let mut job = job(id);
        job.spec.adapter_id = Some(adapter.into());
        job.ask()
    };
    for n in 0..4 {
        assert_eq!(world.submit(with(&format!("a{n}"), "lora-2")), "warm");
    }
    assert_eq!(world.submit(with("b", "lora-9")), "cold", "nobody has it: the least loaded");
    assert_eq!(world.submit(with("c", "lora-9")), "cold", "it has it now");
    assert_eq!(world.submit(job("d").ask()), "cold", "no adapter: the least loaded");
}

#[test]
fn sticky_keeps_a_key_on_its_worker_and_moves_only_the_keys_of_one_that_goes() {
    let mut world = pool("sticky");
    let ids: Vec<String> = (0..10).map(|n| format!("w{n}")).collect();
    ids.iter().for_each(|id| drop(world.worker(id, "p", 100)));
    let homes = |world: &mut World, round: &str| {
        (0..60)
            .map(|key| {
                let id = format!("{round}-{key}");
                let ask = job(&id).placed(|placement| placement.sticky_key = Some(format!("key-{key}"))).ask();
                world.submit(ask)
            })
            .collect::<Vec<_>>()
    };
    let first = homes(&mut world, "a");
    assert_eq!(first, homes(&mut world, "b"), "the same worker for the same key");
    assert!(first.iter().collect::<std::collections::BTreeSet<_>>().len() > 5, "keys spread");
    world.scheduler.worker_left("w3");
    for (before, after) in first.iter().zip(homes(&mut world, "c")) {
        assert!(*before == after || before == "w3", "{before} -> {after}");
    }
}

#[test]
fn affinity_draws_together_and_anti_affinity_keeps_apart() {
    let mut world = pool("least_loaded");
    ["a", "b"].iter().for_each(|id| drop(world.worker(id, "p", 3)));
    let near = |id: &str| job(id).placed(|placement| placement.affinity = vec!["doc-1".into()]).ask();
    let home = world.submit(near("n1"));
    assert_eq!(world.submit(near("n2")), home, "although the other is less loaded");
    assert_eq!(world.submit(near("n3")), home);
    assert_ne!(world.submit(near("n4")), home, "it is a wish: a full worker is no reason to wait");

    let apart = |id: &str| job(id).placed(|placement| placement.anti_affinity = vec!["replica".into()]).ask();
    let mut world = pool("least_loaded");
    ["a", "b"].iter().for_each(|id| drop(world.worker(id, "p", 3)));
    let (first, second) = (world.submit(apart("r1")), world.submit(apart("r2")));
    assert_ne!(first, second);
    assert_eq!(world.submit(apart("r3")), "waiting in p", "it is a must");
    assert_eq!(world.submit(job("other").ask()).len(), 1, "and holds nobody up");
    assert_eq!(world.finish("r2"), [format!("r3 on {second}")]);
}

#[test]
fn a_preferred_worker_is_a_wish_and_a_preferred_pool_is_not() {
    let mut world = World::new("topics: {job.a: [p, q], job.b: p}");
    ["a", "b"].iter().for_each(|id| drop(world.worker(id, "p", 1)));
    world.worker("c", "q", 1);
    let wish = |id: &str| job(id).label("preferred_worker_id", "b").ask();
    assert_eq!(world.submit(wish("j1")), "b");
    assert_eq!(world.submit(wish("j2")), "a", "the preferred one is full");
    assert_eq!(world.submit(job("j3").label("preferred_pool", "p").ask()), "waiting in p", "although q has room");
    assert_eq!(world.submit(job("j4").topic("job.b").label("preferred_pool", "q").ask()), "no_pool_mapping");
    assert_eq!(world.submit(job("j5").ask()), "c", "without a wish it spills over");
}

#[test]
fn what_a_job_requires_is_asked_of_the_pool() {
    let mut world = World::new("topics: {job.a: [plain, gpu]}\npools: {gpu: {requires: [GPU]}}");
    world.worker("w", "plain", 9);
    world.worker("v", "gpu", 9);
    assert_eq!(world.submit(job("j1").ask()), "w");
    assert_eq!(world.submit(job("j2").requires(" gpu ").ask()), "v");
    assert_eq!(world.submit(job("j3").requires("tpu").ask()), "no_pool_mapping");
}

#[test]
fn the_explanation_is_the_decision() {
    for kind in StrategyKind::ALL {
        let mut world = pool(kind.name());
        for n in 0..7 {
            let mut told = labelled(beat(&format!("w{n}"), "p", 1 + n % 3), &[("cost_per_job", "2")]);
            told.cpu_load = f32::from(u8::try_from(n).expect("small")) * 16.0;
            world.beat(told);
        }
        for n in 0..12 {
            let ask = job(&format!("j{n}")).ask();
            let (now, seed) = (world.at(), world.seed + 1);
            let explained = &world.scheduler.explain(&ask, now, seed).expect("mapped")[0];
            assert_eq!(explained.workers.len(), 7, "a verdict on everyone");
            let told = explained.chosen.clone().map(|id| id.to_string());
            let chosen = explained.workers.iter().filter(|passed| matches!(passed.verdict, Verdict::Chosen(_))).count();
            assert_eq!(chosen, usize::from(told.is_ok()));
            match told {
                Ok(worker) => assert_eq!(world.submit(ask), worker, "{} job {n}", kind.name()),
                Err(_) => assert_eq!(world.submit(ask), "waiting in p"),
            }
        }
    }
}

use super::*;

/// Jobs in the order in which one slot serves them.
fn drain(world: &mut World, first: &str) -> Vec<String> {
    let mut order = Vec::new();
    let mut running = first.to_owned();
    loop {
        let next = world.finish(&running);
        let Some(next) = next.first().and_then(|text| text.split(' ').next()) else { return order };
        order.push(next.to_owned());
        running = next.to_owned();
    }
}

/// A pool with one slot, taken by `hold`.
fn held(pool: &str) -> World {
    let mut world = World::new(&format!("topics: {{'job.>': p}}\npools: {{p: {pool}}}"));
    world.worker("w", "p", 1);
    assert_eq!(world.submit(job("hold").ask()), "w");
    world
}

#[test]
fn higher_priorities_go_first_and_each_in_order() {
    use Priority::{Batch, Critical, Interactive};
    let mut world = held("{}");
    for (id, priority) in
        [("b1", Batch), ("i1", Interactive), ("c1", Critical), ("b2", Batch), ("c2", Critical), ("i2", Interactive)]
    {
        assert_eq!(world.submit(job(id).priority(priority).ask()), "waiting in p");
        world.now += 1;
    }
    assert_eq!(drain(&mut world, "hold"), ["c1", "c2", "i1", "i2", "b1", "b2"]);
}

#[test]
fn a_waiting_job_rises_one_level_each_ageing_seconds() {
    let mut world = held("{ageing_seconds: 10}");
    world.submit(job("batch").priority(Priority::Batch).ask());
    world.pass(11);
    world.submit(job("interactive").priority(Priority::Interactive).ask());
    world.submit(job("critical").priority(Priority::Critical).ask());
    let mut first = world.scheduler.clone();
    let seen = |scheduler: &mut Scheduler, world: &World| {
        let hold = JobId::parse("hold").expect("legal");
        placed(&scheduler.finish(&hold, Ending::Served, None, world.at(), 1))
    };
    assert_eq!(seen(&mut first, &world), ["critical on w"], "it rose to interactive, no further");
    world.pass(10);
    world.submit(job("fresh").priority(Priority::Critical).tenant("z").ask());
    assert_eq!(drain(&mut world, "hold"), ["batch", "fresh", "interactive", "critical"].map(str::to_owned).to_vec());
}

#[test]
fn tenants_share_a_pool_by_weight_however_much_one_sends() {
    let mut world = held("{tenant_weights: {gold: 3}}");
    for n in 0..60 {
        for tenant in ["flood", "gold", "small"] {
            let many = if tenant == "flood" { 3 } else { 1 };
            for m in 0..many {
                world.submit(job(&format!("{tenant}-{n}-{m}")).tenant(tenant).ask());
            }
        }
    }
    let order = drain(&mut world, "hold");
    let of = |tenant: &str, first: usize| order.iter().take(first).filter(|id| id.starts_with(tenant)).count();
    assert_eq!(["flood", "gold", "small"].map(|tenant| of(tenant, 50)), [10, 30, 10]);
    assert_eq!(order.len(), 300, "and everybody is served");
}

#[test]
fn a_costly_job_uses_up_its_tenants_turns() {
    let mut world = held("{}");
    for n in 0..40 {
        world.submit(job(&format!("heavy-{n}")).tenant("heavy").ask().with_cost(4));
        world.submit(job(&format!("light-{n}")).tenant("light").ask());
    }
    let order = drain(&mut world, "hold");
    let heavy = order.iter().take(50).filter(|id| id.starts_with("heavy")).count();
    assert_eq!(heavy, 10, "one in five jobs, half of the cost");
}

#[test]
fn no_job_starves_under_an_endless_flood_of_critical_ones() {
    let mut world = held("{ageing_seconds: 10}");
    world.submit(job("old").priority(Priority::Batch).tenant("quiet").ask());
    let mut running = "hold".to_owned();
    for n in 0..60 {
        for tenant in ["a", "b", "quiet"] {
            world.submit(job(&format!("{tenant}-{n}")).priority(Priority::Critical).tenant(tenant).ask());
        }
        world.pass(1);
        let next = world.finish(&running);
        running = next[0].split(' ').next().expect("a job").to_owned();
        if running == "old" {
            assert!((20..25).contains(&n), "two ageings, and a round of three tenants: {n}");
            return;
        }
    }
    panic!("it starves");
}

#[test]
fn admission_refuses_at_the_bounds_and_gives_up_after_the_wait_bound() {
    let mut world = World::new(
        "topics: {job.a: p, job.b: empty}\npools:\n  p: {max_queue: 4, max_queue_per_tenant: 2, max_wait_seconds: 60}\n  empty: {max_wait_seconds: 30}",
    );
    world.worker("w", "p", 1);
    assert_eq!(world.submit(job("hold").ask()), "w");
    assert_eq!(world.submit(job("a1").tenant("a").ask()), "waiting in p");
    assert_eq!(world.submit(job("a2").tenant("a").ask()), "waiting in p");
    assert_eq!(world.submit(job("a3").tenant("a").ask()), "tenant_limit");
    assert_eq!(world.submit(job("a2").tenant("a").ask()), "waiting in p", "a repeat is no other job");
    assert_eq!(world.submit(job("b1").tenant("b").ask()), "waiting in p");
    assert_eq!(world.submit(job("c1").tenant("c").ask()), "waiting in p");
    assert_eq!(world.submit(job("d1").tenant("d").ask()), "pool_overloaded");
    assert_eq!(world.submit(job("e1").topic("job.b").ask()), "waiting in empty");
    assert_eq!(world.submit(job("f1").topic("job.nowhere").ask()), "no_pool_mapping");
    assert_eq!(refused(&world.pass(29)), Vec::<String>::new());
    assert_eq!(refused(&world.pass(1)), ["e1 no_workers"]);
    assert_eq!(refused(&world.pass(29)), Vec::<String>::new());
    assert_eq!(refused(&world.pass(1)), ["a1", "a2", "b1", "c1"].map(|id| format!("{id} pool_overloaded")));
    assert_eq!((world.scheduler.backlog(), world.scheduler.running()), (0, 1));
    let soon = world.now + 5_000_000;
    assert_eq!(world.submit(job("late").ask().with_deadline(soon)), "waiting in p");
    assert_eq!(refused(&world.pass(5)), ["late pool_overloaded"], "a deadline bounds the wait too");
}

#[test]
fn a_job_that_fits_no_free_worker_holds_nobody_up() {
    let mut world = World::new("topics: {'job.>': p}");
    world.worker("cpu", "p", 1);
    let mut gpu = beat("gpu", "p", 1);
    gpu.labels.insert("gpu".into(), "yes".into());
    world.beat(gpu);
    let needs_gpu = |id: &str| {
        job(id).placed(|placement| {
            placement.selector.insert("gpu".into(), "yes".into());
        })
    };
    assert_eq!(world.submit(needs_gpu("g0").ask()), "gpu");
    assert_eq!(world.submit(job("c0").ask()), "cpu");
    for n in 1..=3 {
        assert_eq!(world.submit(needs_gpu(&format!("g{n}")).ask()), "waiting in p");
    }
    for n in 1..=3 {
        assert_eq!(world.submit(job(&format!("c{n}")).ask()), "waiting in p");
    }
    assert_eq!(world.finish("c0"), ["c1 on cpu"], "three older ones do not fit");
    assert_eq!(world.finish("g0"), ["g1 on gpu"], "who had their turn come first when their worker is free");
    assert_eq!(world.finish("g1"), ["g2 on gpu"]);
    assert_eq!(world.finish("c1"), ["c2 on cpu"]);
}

#[test]
fn a_rare_worker_is_not_kept_busy_by_jobs_that_fit_anywhere() {
    let mut world = World::new("topics: {'job.>': p}");
    let mut gpu = beat("gpu", "p", 1);
    gpu.labels.insert("gpu".into(), "yes".into());
    world.beat(gpu);
    (0..9).for_each(|n| drop(world.worker(&format!("cpu{n}"), "p", 1)));
    (0..200).for_each(|n| drop(world.submit(job(&format!("any-{n}")).tenant(&format!("t{}", n % 40)).ask())));
    let rare = job("rare").tenant("rare").placed(|placement| {
        placement.selector.insert("gpu".into(), "yes".into());
    });
    assert_eq!(world.submit(rare.ask()), "waiting in p");
    let mut running: Vec<String> = (0..10).map(|n| format!("any-{n}")).collect();
    for round in 0..200 {
        let id = running.remove(0);
        let next = world.finish(&id);
        if next.iter().any(|text| text.starts_with("rare ")) {
            assert!(round < 80, "within two rounds of the tenants: {round}");
            return;
        }
        running.extend(next.iter().filter_map(|text| text.split(' ').next()).map(str::to_owned));
    }
    panic!("it starves");
}

#[test]
fn a_job_that_is_withdrawn_is_gone_and_twice_is_once() {
    let mut world = held("{}");
    world.submit(job("a").ask());
    world.submit(job("b").ask());
    let id = JobId::parse("a").expect("legal");
    for _ in 0..2 {
        let (now, seed) = world.step();
        assert!(world.scheduler.withdraw(&id, now, seed).placed.is_empty());
    }
    assert_eq!(world.finish("a"), Vec::<String>::new(), "no lease, nothing to finish");
    assert_eq!(drain(&mut world, "hold"), ["b"]);
    assert_eq!(world.finish("b"), Vec::<String>::new(), "a repeat frees no second slot");
    assert_eq!(world.submit(job("c").ask()), "w");
    assert_eq!(world.submit(job("d").ask()), "waiting in p");
}

#[test]
fn w7_after_a_restart_leases_count_and_waiting_jobs_keep_their_place() {
    let mut world = World::new("topics: {'job.>': p}\npools: {p: {ageing_seconds: 10, max_wait_seconds: 100}}");
    let now = world.at();
    let before = |seconds: i64| Timestamp::from_microsecond(world.now - seconds * 1_000_000).expect("in range");
    let mut scheduler = world.scheduler.clone();
    assert!(scheduler.restore_lease(job("l").ask(), "p", "w", before(5), now));
    assert!(scheduler.restore_waiting(job("young").priority(Priority::Critical).ask(), "p", before(1), now));
    assert!(scheduler.restore_waiting(job("old").ask(), "p", before(25), now));
    assert!(scheduler.restore_waiting(job("expired").ask(), "p", before(101), now));
    assert!(!scheduler.restore_waiting(job("l").ask(), "p", before(1), now), "it has a lease");
    world.scheduler = scheduler;
    assert_eq!(world.submit(job("l").ask()), "w", "submitted again by a step that did not know");
    assert_eq!(refused(&world.tick()), ["expired no_workers"]);
    assert_eq!(world.worker("w", "p", 1), Vec::<String>::new(), "its only slot is under a lease");
    assert_eq!(drain(&mut world, "l"), ["old", "young"], "it has risen to critical, and is older");
}

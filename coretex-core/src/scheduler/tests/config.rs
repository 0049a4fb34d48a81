use super::*;

fn route(routes: &Routes, topic: &str, requires: &[&str]) -> Result<String, String> {
    let requires: Vec<String> = requires.iter().map(|need| (*need).to_owned()).collect();
    routes
        .route(&Topic::parse_job(topic).expect("a legal topic"), &requires)
        .map(|pool| pool.to_string())
        .map_err(|error| error.to_string())
}

fn routes(text: &str) -> Routes {
    Routes::parse("pools.yaml", text).expect("a legal document")
}

#[test]
fn topics_are_routed_to_the_first_pool_that_offers_what_the_job_requires() {
    let routes = routes(
        "topics:\n  job.a: small\n  job.b: [small, big]\n  job.b.*: small\n  job.b.>: big\npools:\n  big: {requires: [GPU, net]}\n",
    );
    assert_eq!(route(&routes, "job.a", &[]), Ok("small".into()));
    assert_eq!(route(&routes, "job.b", &[]), Ok("small".into()));
    assert_eq!(route(&routes, "job.b", &["gpu "]), Ok("big".into()), "capabilities ignore case and blanks");
    assert_eq!(route(&routes, "job.b.x", &[]), Ok("small".into()), "one word matches `*` before `>`");
    assert_eq!(route(&routes, "job.b.x.y", &[]), Ok("big".into()));
}

#[test]
fn the_most_specific_pattern_wins_word_by_word_from_the_left() {
    let routes = routes(
        "topics: {'job.>': all, 'job.*.x': star, 'job.a.>': deep, 'job.a.*': a, 'job.a.x': exact, 'job.*.*.z': tail}",
    );
    for (topic, pool) in [
        ("job.a.x", "exact"),
        ("job.a.y", "a"),
        ("job.a.y.w", "deep"),
        ("job.a.y.z", "deep"),
        ("job.b.x", "star"),
        ("job.b.y", "all"),
        ("job.b.y.z", "tail"),
        ("job.b", "all"),
    ] {
        assert_eq!(route(&routes, topic, &[]), Ok(pool.into()), "{topic}");
    }
}

#[test]
fn a_topic_without_a_pool_says_what_to_change() {
    let routes = routes("topics: {job.a: small}");
    assert_eq!(
        route(&routes, "job.c", &[]),
        Err("topic `job.c` has no pool; map it under `topics:` in pools.yaml".into())
    );
    assert_eq!(
        route(&routes, "job.a", &["gpu"]),
        Err("topic `job.a` is mapped to `small`, none of which offers `gpu`; add it to the pool's `requires:`".into())
    );
    let error = routes.pools_of("job.a", &[], Some("big"), "j").expect_err("not mapped").to_string();
    assert_eq!(error, "topic `job.a` is not mapped to the preferred pool `big`; map it, or prefer one of `small`");
}

#[test]
fn a_pools_document_of_another_shape_is_refused_with_every_place() {
    for (text, expected) in [
        ("pools: {}", "`topics` is missing"),
        ("topics: {}", "`topics` is empty"),
        ("topics: {other.a: p}", "`topics.other.a`: a topic starts with `job.`"),
        ("topics: {'job.a*': p}", "`topics.job.a*`: subject"),
        ("topics: {job.a: []}", "`topics.job.a`: name at least one pool"),
        ("topics: {job.a: 3}", "`topics.job.a`: a number where a text belongs"),
        ("topics: {job.a: [p, ' ']}", "`topics.job.a[1]`: an empty text"),
        ("topics: {job.a: [p, p]}", "`topics.job.a[1]`: the pool `p` is named twice"),
        ("topics: {job.a: [{pool: p, weight: 2}, q]}", "`topics.job.a`: give every pool a weight or none"),
        ("topics: {job.a: [{pool: p, weight: 0}]}", "`topics.job.a`: every weight is 0"),
        ("topics: {job.a: [{weight: 1}]}", "`topics.job.a[0]`: name the `pool`"),
        ("topics: {job.a: [{pool: p, wieght: 1}]}", "`topics.job.a[0].wieght`: unknown key"),
        ("topics: {job.a: p}\nextra: 1", "`extra`: unknown key; known here: `topics`, `pools`, `limits`"),
        ("topics: {job.a: p}\npools: {p: {reqires: []}}", "`pools.p.reqires`: unknown key"),
        ("topics: {job.a: p}\npools: {p: {requires: gpu}}", "`pools.p.requires`: a text where a list of texts belongs"),
        ("topics: {job.a: p}\npools: {p: {requires: ['']}}", "`pools.p.requires[0]`: an empty text"),
        (
            "topics: {job.a: p}\npools: {p: {strategy: best}}",
            "`pools.p.strategy`: `best` is no strategy; one of `least_loaded`",
        ),
        (
            "topics: {job.a: p}\npools: {p: {max_wait_seconds: 0}}",
            "`pools.p.max_wait_seconds`: 0 where a whole number of 1 to",
        ),
        ("topics: {job.a: p}\npools: {p: {max_queue: -1}}", "`pools.p.max_queue`: -1 where"),
        ("topics: {job.a: p}\npools: {p: {tenant_weights: {t: 0}}}", "`pools.p.tenant_weights.t`: 0 where"),
        (
            "topics: {job.a: p}\npools: {p: {autoscale: {min_workers: 3, max_workers: 2}}}",
            "`pools.p.autoscale`: `min_workers` is 3",
        ),
        ("topics: {job.a: p}\npools: {p: {autoscale: {target: 1}}}", "`pools.p.autoscale.target`: unknown key"),
        ("topics: {job.a: p}\npools: {p: {pointer_store: redis}}", "`pools.p.pointer_store`: reserved"),
        ("topics: {job.a: p}\nlimits: {}", "`limits`: write a list of limits"),
        ("topics: {job.a: p}\nlimits: [{key: tenant, max_concurrent: 1}]", "`limits[0]`: give the limit a `name`"),
        ("topics: {job.a: p}\nlimits: [{name: l, max_concurrent: 1}]", "`limits[0]`: say by what it counts"),
        ("topics: {job.a: p}\nlimits: [{name: l, key: tenant}]", "`limits[0]`: it limits nothing"),
        ("topics: {job.a: p}\nlimits: [{name: l, key: nobody, max_concurrent: 1}]", "`limits[0].key`:"),
        (
            "topics: {job.a: p}\nlimits: [{name: l, key: tenant, rate: {per_seconds: 1}}]",
            "`limits[0].rate`: give `count`",
        ),
        (
            "topics: {job.a: p}\nlimits: [{name: l, key: tenant, topics: [a], max_concurrent: 1}]",
            "`limits[0].topics[0]`: a topic starts",
        ),
        ("topics: [", "pools.yaml: "),
    ] {
        let error = Routes::parse("pools.yaml", text).expect_err(text);
        assert_eq!(error.code(), "pools_invalid", "{text}");
        let told = error.to_string();
        assert!(told.contains(expected) && told.contains("pools.yaml"), "{text}: {told}");
    }
    let many = "topics: {other: p}\npools: {p: {max_queue: x, nothing: 1}}\nlimits: 3";
    let error = Routes::parse("pools.yaml", many).expect_err("four problems");
    let places: Vec<&str> = error.problems().iter().map(|problem| problem.place.as_str()).collect();
    assert_eq!(places, ["topics.other", "pools.p.max_queue", "pools.p.nothing", "limits"], "all at once");
}

#[test]
fn every_key_of_pools_yaml_is_read_in_yaml_and_in_json() {
    let yaml = "
topics: {job.a: [{pool: p, weight: 3}, {pool: q, weight: 1}]}
pools:
  p:
    requires: [ GPU ]
    strategy: predicted
    max_queue: 5
    max_queue_per_tenant: 2
    max_wait_seconds: 9
    ageing_seconds: 4
    tenant_weights: {big: 7}
    autoscale: {min_workers: 1, max_workers: 8, target_utilisation: 0.5, slots_per_worker: 4, drain_seconds: 30, horizon_seconds: 20, scale_down_seconds: 100}
limits:
  - {name: l, key: labels.model, topics: ['job.>'], max_concurrent: 3, rate: {count: 2, per_seconds: 60, burst: 5}}
";
    let value = crate::value::document::parse("pools.yaml", yaml).expect("yaml");
    for (name, text) in [("pools.yaml", yaml.to_owned()), ("pools.json", value.to_string())] {
        let routes = Routes::parse(name, &text).expect("legal");
        let expected = PoolConfig {
            offers: ["gpu".to_owned()].into(),
            strategy: StrategyKind::Predicted,
            max_queue: 5,
            max_queue_per_tenant: 2,
            max_wait: Duration::from_secs(9),
            ageing: Duration::from_secs(4),
            tenant_weights: [("big".to_owned(), 7)].into(),
            autoscale: ScaleRule {
                min_workers: 1,
                max_workers: 8,
                target: 0.5,
                slots: 4,
                drain: Duration::from_secs(30),
                horizon: Duration::from_secs(20),
                down_after: Duration::from_secs(100),
            },
        };
        assert_eq!(routes.pool("p"), &expected, "{name}");
        assert_eq!(routes.pool("q"), &PoolConfig::default(), "a pool that is only named offers nothing special");
        let limit = &routes.limits()[0];
        assert_eq!((limit.max_concurrent, limit.topics.len()), (Some(3), 1));
        assert_eq!(limit.rate, Some(Rate { count: 2, per: Duration::from_secs(60), burst: 5 }));
    }
}

#[test]
fn weights_share_a_topic_and_move_no_job_that_need_not_move() {
    let shared = |weights: (u32, u32)| {
        let (p, q) = weights;
        let routes = routes(&format!("topics: {{job.a: [{{pool: p, weight: {p}}}, {{pool: q, weight: {q}}}]}}"));
        (0..4_000)
            .map(|n| routes.pools_of("job.a", &[], None, &format!("job-{n}")).expect("mapped")[0].to_string())
            .collect::<Vec<_>>()
    };
    let three_to_one = shared((3, 1));
    let on_p = three_to_one.iter().filter(|pool| *pool == "p").count();
    assert!((2_880..3_120).contains(&on_p), "{on_p} of 4000 are three quarters");
    let two_to_one = shared((2, 1));
    let moved = three_to_one.iter().zip(&two_to_one).filter(|(a, b)| *a == "q" && *b == "p").count();
    assert_eq!(moved, 0, "a pool that weighs less gains nothing");
    assert!(shared((1, 0)).iter().all(|pool| pool == "p"), "weight 0 takes none");
}

#[test]
fn timeouts_are_read_by_the_most_specific_topic_then_by_the_workflow() {
    let timeouts = Timeouts::parse(
        "timeouts.yaml",
        "
workflows: {etl: {child_timeout_seconds: 50, total_timeout_seconds: 500, max_retries: 5}}
topics: {'job.mail.>': {timeout_seconds: 20}, job.mail.send: {timeout_seconds: 10, max_retries: 1}, job.slow: {timeout_seconds: 0}}
reconciler: {dispatch_timeout_seconds: 300, running_timeout_seconds: 9000, scan_interval_seconds: 30}
",
    )
    .expect("legal");
    let seconds = |topic, workflow| {
        let found = timeouts.attempt(topic, workflow);
        (found.timeout.map(|time| time.as_secs()), found.max_retries)
    };
    assert_eq!(seconds("job.mail.send", Some("etl")), (Some(10), Some(1)));
    assert_eq!(seconds("job.mail.list", Some("etl")), (Some(20), Some(5)));
    assert_eq!(seconds("job.other", Some("etl")), (Some(50), Some(5)));
    assert_eq!(seconds("job.slow", None), (Some(9000), None), "zero says nothing");
    assert_eq!(timeouts.workflow("etl").total_timeout, Some(Duration::from_secs(500)));
    assert_eq!(timeouts.reconciler().dispatch, Some(Duration::from_secs(300)));
    assert_eq!(timeouts.reconciler().scan_interval, Some(Duration::from_secs(30)));
    for (text, expected) in [
        ("topic: {}", "`topic`: unknown key"),
        ("topics: {mail: {timeout_seconds: 1}}", "`topics.mail`: a topic starts"),
        ("topics: {job.a: {timeout: 1}}", "`topics.job.a.timeout`: unknown key"),
        ("topics: {job.a: {max_retries: -1}}", "`topics.job.a.max_retries`: -1 where"),
        ("workflows: {w: {timeout_seconds: 1}}", "`workflows.w.timeout_seconds`: unknown key"),
        ("reconciler: {scan_interval_seconds: 1.5}", "`reconciler.scan_interval_seconds`: 1.5 where"),
        ("reconciler: 3", "`reconciler`: a number where a mapping belongs"),
    ] {
        let error = Timeouts::parse("timeouts.yaml", text).expect_err(text);
        assert_eq!(error.code(), "timeouts_invalid");
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_bad_document_leaves_the_last_good_one_in_force() {
    let source = |text| Some(Source { name: "pools.yaml", text });
    let timeouts = |text| Some(Source { name: "timeouts.yaml", text });
    let mut routing = Routing::new(Routes::open());
    let first = Documents {
        pools: source("topics: {job.a: p, job.b: q}\nlimits: [{name: l, key: tenant, max_concurrent: 1}]"),
        timeouts: timeouts("topics: {job.a: {timeout_seconds: 1}}"),
    };
    let diff = routing.replace(&first).expect("legal");
    assert_eq!(
        (diff.topics.added, diff.pools.added),
        (vec!["job.a".into(), "job.b".into()], vec!["p".into(), "q".into()])
    );
    assert_eq!((diff.limits.added, diff.timeouts.added), (vec!["l".into()], vec!["topics.job.a".into()]));
    assert_eq!(routing.version(), 2);

    let in_force = routing.current().clone();
    let bad = Documents { pools: source("topics: {job.a: r}"), timeouts: timeouts("nothing: 1") };
    let error = routing.replace(&bad).expect_err("one of two is bad");
    assert_eq!((error.code(), routing.refused()), ("timeouts_invalid", Some(&error)));
    assert!(Arc::ptr_eq(&in_force, routing.current()), "a good pools.yaml does not slip in beside a bad timeouts.yaml");
    assert_eq!(routing.version(), 2);

    assert!(routing.replace(&first).expect("legal").is_empty());
    assert_eq!((routing.version(), routing.refused()), (2, None), "equal documents change nothing");
    let second = Documents {
        pools: source("topics: {job.a: p, job.c: q}\npools: {p: {max_queue: 1}}"),
        timeouts: timeouts("topics: {job.a: {timeout_seconds: 2}}"),
    };
    let diff = routing.replace(&second).expect("legal");
    assert_eq!((diff.topics.added, diff.topics.removed), (vec!["job.c".into()], vec!["job.b".into()]));
    assert_eq!((diff.pools.changed, diff.limits.removed), (vec!["p".into()], vec!["l".into()]));
    assert_eq!(diff.timeouts.changed, ["topics.job.a"]);
}

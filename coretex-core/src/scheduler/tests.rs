use super::*;
use crate::job::Topic;

fn routes(text: &str) -> Routes {
    Routes::parse("pools.yaml", text).expect("a legal document")
}

fn route(routes: &Routes, topic: &str, requires: &[&str]) -> Result<String, String> {
    let requires: Vec<String> = requires.iter().map(|need| (*need).to_owned()).collect();
    routes
        .route(&Topic::parse_job(topic).expect("a legal topic"), &requires)
        .map(|pool| pool.to_string())
        .map_err(|error| error.to_string())
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
}

#[test]
fn a_pools_document_of_another_shape_is_refused() {
    for (text, expected) in [
        ("pools: {}", "`topics` is empty"),
        ("topics: {other.a: p}", "starts with `job.`"),
        ("topics: {job.a: []}", "name at least one pool"),
        ("topics: {job.a: p}\nextra: 1", "unknown field `extra`"),
    ] {
        let error = Routes::parse("pools.yaml", text).expect_err(text).to_string();
        assert!(error.contains(expected) && error.contains("pools.yaml"), "{text}: {error}");
    }
}

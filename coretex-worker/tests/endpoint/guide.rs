//! The examples of `docs/guides/endpoints.md` do what the page says.

use coretex_core::protocol::JobStatus;
use coretex_worker::endpoint::{Endpoints, Host};
use serde_json::json;

use crate::{
    rig::{Rig, TOPIC},
    server::{Server, json as answer},
};

/// The documents on the page, in order.
fn documents() -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guides/endpoints.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.filter(|block| block.starts_with("# endpoints.yaml\n")).map(str::to_owned).collect()
}

/// The document, with the topic of the rig.
fn on_topic(document: &str, topic: &str) -> String {
    assert!(document.contains(topic), "{document}");
    document.replace(topic, TOPIC)
}

#[test]
fn every_example_is_a_document() {
    let documents = documents();
    assert_eq!(documents.len(), 5);
    for document in documents {
        let endpoints = Endpoints::parse("endpoints.yaml", &document, &Host::default());
        assert_eq!(endpoints.map(|endpoints| endpoints.names().count()), Ok(1), "{document}");
    }
}

#[tokio::test]
async fn the_scripts_run() {
    let documents = documents();
    let mut rig = Rig::start(&on_topic(&documents[0], "job.text.count")).await;
    assert_eq!(rig.run(json!({"text": "three small words"})).await.output(), json!(3));
    let mut rig = Rig::start(&on_topic(&documents[1], "job.invoice.read")).await;
    let input = json!({"amount": 21, "currency": "EUR; exit 75"});
    assert_eq!(rig.run(input).await.output(), json!({"total": 42, "of": "acme"}));
    let missing = rig.run(json!({"amount": 21})).await;
    missing.failed(JobStatus::FailedFatal, "endpoint_request_invalid");
}

#[tokio::test]
async fn the_service_is_asked() {
    let server =
        Server::start(|seen| answer(&json!({ "summary": format!("{} {}", seen.line, seen.json()["text"]) }))).await;
    let document = on_topic(&documents()[2], "job.llm.summarise")
        .replace("https://llm.example.org", &server.url(""))
        .replace("secret://env/SUMMARY_KEY", "secret://env/PATH")
        .replace("      retry_on", "      allow_addresses: [127.0.0.1]\n      retry_on");
    let mut rig = Rig::start(&document).await;
    let expected = json!("POST /v1/tenants/acme/summaries?lang=de HTTP/1.1 \"long\"");
    assert_eq!(rig.run(json!({"text": "long", "lang": "de"})).await.output(), expected);
    let bearer = format!("Bearer {}", std::env::var("PATH").unwrap());
    assert_eq!(server.seen()[0].header("authorization"), Some(&*bearer));
}

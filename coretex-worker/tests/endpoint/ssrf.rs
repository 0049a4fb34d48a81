//! Where an HTTP endpoint does not go, however it is asked.
//!
//! A real server listens on this machine; none of these requests may reach it.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use coretex_core::protocol::JobStatus;
use coretex_worker::endpoint::{Host, Resolver};
use futures::future::BoxFuture;
use serde_json::json;

use crate::{
    rig::{Rig, TOPIC},
    server::{Server, reply},
};

/// An endpoint whose URL the job chooses: the widest door that a document can open.
fn open_door(more: &str) -> String {
    format!("endpoints: {{e: {{topics: [{TOPIC}], http: {{method: GET, url: '${{input}}'{more}}}}}}}")
}

#[tokio::test]
async fn attempts_to_reach_inside_are_refused() {
    let server = Server::start(|_| reply(200, &[], "reached")).await;
    let port = server.address.port();
    let mut rig = Rig::start(&open_door("")).await;
    let refused = "http_address_refused";
    let odd = "endpoint_request_invalid";
    let cases = [
        // This machine.
        ("http://127.0.0.1:PORT/", refused),
        ("http://127.8.9.10:PORT/", refused),
        ("http://0.0.0.0:PORT/", refused),
        ("http://localhost:PORT/", refused),
        ("http://LOCALHOST.:PORT/", refused),
        ("http://[::1]:PORT/", refused),
        ("http://[::]:PORT/", refused),
        // The same in IPv6 clothes.
        ("http://[::ffff:127.0.0.1]:PORT/", refused),
        ("http://[::ffff:7f00:1]:PORT/", refused),
        ("http://[0:0:0:0:0:ffff:127.0.0.1]:PORT/", refused),
        ("http://[::127.0.0.1]:PORT/", refused),
        ("http://[64:ff9b::7f00:1]:PORT/", refused),
        ("http://[64:ff9b::169.254.169.254]/", refused),
        ("http://[2002:7f00:1::]:PORT/", refused),
        ("http://[2001:0:7f00:1::]:PORT/", refused),
        // Odd spellings of it.
        ("http://2130706433:PORT/", odd),
        ("http://0x7f000001:PORT/", odd),
        ("http://0x7f.0x0.0x0.0x1:PORT/", odd),
        ("http://0177.0.0.1:PORT/", odd),
        ("http://017700000001:PORT/", odd),
        ("http://127.1:PORT/", odd),
        ("http://127.0.1:PORT/", odd),
        ("http://127.0.0.01:PORT/", odd),
        ("http://127。0。0。1:PORT/", odd),
        ("http://①②⑦.0.0.1:PORT/", odd),
        // User information and parser tricks.
        ("http://example.org@127.0.0.1:PORT/", odd),
        ("http://example.org:80@127.0.0.1:PORT/", odd),
        ("http://127.0.0.1:PORT\\@example.org/", odd),
        ("http://example.org\\.127.0.0.1:PORT/", odd),
        ("http:\\\\127.0.0.1:PORT/", odd),
        ("http://127.0.0.1:PORT#@example.org/", refused),
        ("http://127.0.0.1%00.example.org:PORT/", odd),
        ("http://127.0.0.1\t.example.org:PORT/", odd),
        ("http://[::1%25lo]:PORT/", odd),
        ("http://%31%32%37.0.0.1:PORT/", odd),
        // Other schemes.
        ("file:///etc/passwd", odd),
        ("gopher://127.0.0.1:PORT/_x", odd),
        ("unix:///var/run/docker.sock", odd),
        ("//127.0.0.1:PORT/", odd),
        // Metadata services and private networks.
        ("http://169.254.169.254/latest/meta-data/", refused),
        ("http://[fd00:ec2::254]/latest/meta-data/", refused),
        ("http://100.100.100.200/latest/meta-data/", refused),
        ("http://192.0.0.192/opc/v2/", refused),
        ("http://168.63.129.16/machine/", refused),
        ("http://10.0.0.1/", refused),
        ("http://172.31.0.1/", refused),
        ("http://192.168.1.1/", refused),
        ("http://100.64.0.1/", refused),
        ("http://224.0.0.1/", refused),
        ("http://255.255.255.255/", refused),
        ("http://[fe80::1]/", refused),
        ("http://[fc00::1]/", refused),
        ("http://[ff02::1]/", refused),
    ];
    assert!(cases.len() >= 30);
    for (url, code) in cases {
        let url = url.replace("PORT", &port.to_string());
        let ended = rig.run(json!(url)).await;
        assert_eq!((ended.status(), ended.code()), (JobStatus::FailedFatal, code), "{url}: {}", ended.text());
    }
    assert!(server.seen().is_empty(), "{:?}", server.seen());

    // The server is there: who may reach it does.
    let mut rig = Rig::start(&open_door(", allow_addresses: [127.0.0.1/32]")).await;
    for way in ["127.0.0.1", "[::ffff:127.0.0.1]"] {
        assert_eq!(rig.run(json!(format!("http://{way}:{port}/"))).await.output(), json!("reached"));
    }
    rig.run(json!(format!("http://127.0.0.2:{port}/"))).await.failed(JobStatus::FailedFatal, refused);
}

/// A name server that answers each question with the next of its answers, as an attacker's does.
#[derive(Clone, Debug)]
struct Rebinding {
    answers: Arc<Vec<Vec<IpAddr>>>,
    asked: Arc<AtomicUsize>,
}

impl Rebinding {
    fn new(answers: &[&[&str]]) -> Self {
        let parse = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Self { answers: Arc::new(answers.iter().map(parse).collect()), asked: Arc::default() }
    }
}

impl Resolver for Rebinding {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let nth = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.get(nth).or(self.answers.last()).unwrap().clone();
        Box::pin(std::future::ready(Ok(answer)))
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_asked_once_and_the_answer_is_used() {
    // Two servers on two addresses of this machine; only the first one may be reached. A client that resolved again to
    // connect would end at the second one.
    let outside = Server::start_on([127, 0, 0, 5].into(), |_| reply(200, &[], "outside")).await;
    let resolver = Rebinding::new(&[&["127.0.0.5"], &["127.0.0.1"]]);
    let document = open_door(", allow_addresses: [127.0.0.5]");
    let mut rig = Rig::on(&document, &Host::default().resolver(resolver.clone())).await;
    let url = json!(format!("http://rebind.example:{}/", outside.address.port()));
    assert_eq!(rig.run(url.clone()).await.output(), json!("outside"));
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
    assert_eq!(outside.seen()[0].header("host"), Some(&*format!("rebind.example:{}", outside.address.port())));
    // The second answer is judged as the first was.
    rig.run(url).await.failed(JobStatus::FailedFatal, "http_address_refused");
    assert_eq!(outside.seen().len(), 1);
}

#[tokio::test]
async fn one_inner_address_among_several_refuses_the_name() {
    let server = Server::start_on([127, 0, 0, 5].into(), |_| reply(200, &[], "reached")).await;
    let url = json!(format!("http://mixed.example:{}/", server.address.port()));
    for answers in [["127.0.0.5", "10.0.0.1"], ["::1", "127.0.0.5"], ["127.0.0.5", "::ffff:169.254.169.254"]] {
        let host = Host::default().resolver(Rebinding::new(&[&answers]));
        let mut rig = Rig::on(&open_door(", allow_addresses: [127.0.0.5]"), &host).await;
        rig.run(url.clone()).await.failed(JobStatus::FailedFatal, "http_address_refused");
    }
    let host = Host::default().resolver(Rebinding::new(&[&[]]));
    let mut rig = Rig::on(&open_door(""), &host).await;
    rig.run(url).await.failed(JobStatus::FailedRetryable, "http_unreachable");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_is_resolved_and_judged_as_a_new_request() {
    let inside = Server::start(|_| reply(200, &[], "inside")).await;
    let port = inside.address.port();
    let outside = Server::start_on([127, 0, 0, 5].into(), move |_| {
        reply(302, &[("location", &format!("http://rebind.example:{port}/"))], "")
    })
    .await;
    let resolver = Rebinding::new(&[&["127.0.0.5"], &["127.0.0.1"]]);
    let document = open_door(", allow_addresses: [127.0.0.5]");
    let mut rig = Rig::on(&document, &Host::default().resolver(resolver)).await;
    let ended = rig.run(json!(format!("http://rebind.example:{}/", outside.address.port()))).await;
    ended.failed(JobStatus::FailedFatal, "http_address_refused");
    assert_eq!((outside.seen().len(), inside.seen().len()), (1, 0));
}

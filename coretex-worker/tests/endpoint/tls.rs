//! HTTPS against a server of this machine, with certificates made for the test.

use std::{io, net::IpAddr, path::Path, process::Command, sync::Arc};

use coretex_core::protocol::JobStatus;
use coretex_worker::endpoint::{Host, Resolver};
use futures::future::BoxFuture;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    rig::{Rig, Scratch, TOPIC},
    server::reply,
};

fn openssl(directory: &Path, arguments: &str) {
    let made = Command::new("openssl").current_dir(directory).args(arguments.split(' ')).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// An authority, and a server's certificate for `tls.example` and 127.0.0.1 that it signed.
fn certificates(scratch: &Scratch) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(scratch.path(), &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=test-authority"));
    openssl(scratch.path(), &format!("req {key} -keyout server.key -out server.csr -subj /CN=test-server"));
    scratch.file("names", "subjectAltName=DNS:tls.example,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n");
    let sign =
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names";
    openssl(scratch.path(), sign);
}

async fn serve(scratch: &Scratch) -> u16 {
    let chain = CertificateDer::pem_file_iter(scratch.path().join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(scratch.path().join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = if head.starts_with(b"GET /down ") {
                reply(302, &[("location", "http://tls.example/")], "")
            } else {
                reply(200, &[], "secure")
            };
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    }));
    port
}

/// Every name leads to this machine.
#[derive(Clone, Copy, Debug)]
struct Here;

impl Resolver for Here {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::ready(Ok(vec![[127, 0, 0, 1].into()])))
    }
}

#[tokio::test]
async fn a_connection_is_secure_or_is_not_made() {
    let scratch = Scratch::new();
    certificates(&scratch);
    let port = serve(&scratch).await;
    let document = |more: &str| {
        format!(
            "endpoints: {{e: {{topics: [{TOPIC}], http: {{method: GET, url: '${{input}}', allow_addresses: [127.0.0.1]{more}}}}}}}"
        )
    };
    let trusting = document(&format!(", ca_file: '{}'", scratch.path().join("ca.pem").display()));
    let host = Host::default().resolver(Here);
    let mut rig = Rig::on(&trusting, &host).await;
    for name in ["tls.example", "127.0.0.1"] {
        assert_eq!(rig.run(json!(format!("https://{name}:{port}/"))).await.output(), json!("secure"), "{name}");
    }
    // A certificate for another name, one that nobody trusts, and a redirect to where everybody reads along.
    let other = rig.run(json!(format!("https://other.example:{port}/"))).await;
    other.failed(JobStatus::FailedRetryable, "http_unreachable");
    let down = rig.run(json!(format!("https://tls.example:{port}/down"))).await;
    down.failed(JobStatus::FailedFatal, "http_redirect_refused");
    let mut rig = Rig::on(&document(""), &host).await;
    let unknown = rig.run(json!(format!("https://tls.example:{port}/"))).await;
    unknown.failed(JobStatus::FailedRetryable, "http_unreachable");
}

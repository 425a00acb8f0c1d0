//! Whom the client trusts: a real TLS server with a certificate for each case.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use ps_core::error::Class;
use ps_core::ports::{Connection, Vault};
use ps_testbed::{Certificates, RunDir, ServerName};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{Bench, assert_fault, kv2};

/// One body serves for the login's look-up and for the secret.
const BODY: &str = r#"{"data":{"ttl":0,"data":{"a":"1"},"metadata":{"version":1,"created_time":"t"}}}"#;

struct TlsServer {
    port: u16,
    ca_pem: String,
    heads: Arc<Mutex<Vec<String>>>,
}

/// Serves connections until the process ends.
fn serve(name: ServerName) -> TlsServer {
    let folder = RunDir::new("vault-tls").unwrap();
    let certificates = Certificates::new(folder.path(), name).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificates.cert_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificates.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let log = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (config, log) = (Arc::clone(&config), Arc::clone(&log));
            std::thread::spawn(move || {
                let connection = rustls::ServerConnection::new(config).unwrap();
                let mut tls = rustls::StreamOwned::new(connection, stream.unwrap());
                let mut head = Vec::new();
                let mut byte = [0];
                // A client that does not trust us ends the connection.
                while tls.read(&mut byte).is_ok_and(|n| n == 1) {
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n") {
                        log.lock().unwrap().push(String::from_utf8(std::mem::take(&mut head)).unwrap());
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
                        tls.write_all(answer.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
    TlsServer { port, ca_pem: certificates.ca_pem, heads }
}

fn at(bench: &Bench, server: &TlsServer) -> Connection {
    let mut at = bench.by_token(&format!("https://127.0.0.1:{}", server.port), "t");
    at.ca_pem = Some(server.ca_pem.clone());
    at
}

#[tokio::test]
async fn only_the_given_authority_is_trusted() {
    let (server, other) = (serve(ServerName::Right), serve(ServerName::Right));
    let (bench, source) = (Bench::new(), kv2("kv", "x", &[]));
    let mut at = at(&bench, &server);
    bench.vault.read(&at, &source).await.unwrap();
    at.ca_pem = Some(other.ca_pem);
    let fault = assert_fault(bench.vault.read(&at, &source).await, "vault-tls", Class::Transient, &["caBundle"]);
    assert!(fault.message.contains("invalid peer certificate"), "{fault}");
    at.ca_pem = None;
    assert_fault(bench.vault.read(&at, &source).await, "vault-tls", Class::Transient, &["UnknownIssuer"]);
    at.ca_pem = Some("-----BEGIN JUNK-----".into());
    let fault = assert_fault(bench.vault.read(&at, &source).await, "vault-ca-invalid", Class::Misconfigured, &[]);
    assert_eq!(fault.field.as_deref(), Some("spec.caBundle"));
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let (bench, server) = (Bench::new(), serve(ServerName::Expired));
    let outcome = bench.vault.read(&at(&bench, &server), &kv2("kv", "x", &[])).await;
    assert_fault(outcome, "vault-tls", Class::Transient, &["expired"]);
}

#[tokio::test]
async fn another_name_is_refused_unless_it_is_asked_for() {
    let (bench, server, source) = (Bench::new(), serve(ServerName::Wrong), kv2("kv", "x", &[]));
    let mut at = at(&bench, &server);
    assert_fault(bench.vault.read(&at, &source).await, "vault-tls", Class::Transient, &["name"]);
    at.tls_server_name = Some("elsewhere.example".into());
    bench.vault.read(&at, &source).await.unwrap();
    let host = format!("host: 127.0.0.1:{}", server.port);
    let heads = server.heads.lock().unwrap().clone();
    assert!(heads.iter().all(|head| head.to_ascii_lowercase().contains(&host)), "{heads:?}");
    at.tls_server_name = Some("third.example".into());
    assert_fault(bench.vault.read(&at, &source).await, "vault-tls", Class::Transient, &[]);
    for bad in ["", "a b", "1.2.3.4", "a/b", "a:1"] {
        at.tls_server_name = Some(bad.into());
        assert_fault(bench.vault.read(&at, &source).await, "vault-tls-name-invalid", Class::Misconfigured, &[]);
    }
}

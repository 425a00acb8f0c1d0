//! A gateway behind TLS, with a certificate authority of its own.

use std::sync::Arc;

use ps_core::link::State;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::{Wanted, World};

/// A proxy that ends TLS in front of the world's gateway; its port, and the authority's certificate.
fn proxy(world: &World) -> (u16, String) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server.der().clone()], key)
        .unwrap();
    let (acceptor, behind) = (TlsAcceptor::from(Arc::new(config)), world.address);
    let listener = world.runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    world.runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = TcpStream::connect(behind).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut outside, &mut inside).await);
            });
        }
    });
    (port, ca_pem)
}

#[test]
fn only_the_named_authority_is_trusted() {
    let world = World::new();
    let sent = world.put(&Wanted::default());
    let (port, ca) = proxy(&world);
    let url = sent.url.replace("http://", "https://").replace(&world.address.port().to_string(), &port.to_string());
    std::fs::write(world.path("link"), url).unwrap();
    let (ca_file, other) = (world.path("ca.pem"), world.path("other.pem"));
    std::fs::write(&ca_file, ca).unwrap();
    std::fs::write(&other, proxy(&world).1).unwrap();
    world.run(&["open", "--ca-file", other.to_str().unwrap()]).exits(1).says("not secure");
    world.run(&["open", "--ca-file", world.path("code").to_str().unwrap()]).exits(2).says("certificate");
    world.run(&["open"]).exits(1);
    assert_eq!(world.state(&sent), State::Open);
    world.run(&["open", "--ca-file", ca_file.to_str().unwrap()]).exits(0);
}

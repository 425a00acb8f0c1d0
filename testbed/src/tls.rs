//! Certificates for servers under test: a CA of their own, and one certificate below it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// What the server's certificate says; a client must accept only the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerName {
    /// `localhost`, 127.0.0.1, and in its time.
    #[default]
    Right,
    /// Another host's.
    Wrong,
    /// The right name, but it ended in 2021.
    Expired,
}

/// The PEM files of one server.
#[derive(Debug)]
pub struct Certificates {
    /// The CA's certificate, as PEM: what a client is to trust.
    pub ca_pem: String,
    /// The same in a file.
    pub ca_path: PathBuf,
    /// The server's certificate, as PEM.
    pub cert_pem: String,
    /// The server's private key, as PEM.
    pub key_pem: String,
}

impl Certificates {
    /// Makes a new CA and a server certificate, and writes `ca.pem` into `folder`.
    ///
    /// # Errors
    /// If a key can't be made or the file not written.
    pub fn new(folder: &Path, server: ServerName) -> Result<Self> {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "Testbed CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate()?;
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);

        let names = match server {
            ServerName::Right | ServerName::Expired => {
                vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
            }
            ServerName::Wrong => vec!["elsewhere.example".to_owned()],
        };
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "testbed server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        if server == ServerName::Expired {
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate()?;
        let cert_pem = params.signed_by(&key, &issuer)?.pem();

        let ca_path = folder.join("ca.pem");
        fs::write(&ca_path, &ca_pem)?;
        Ok(Self { ca_pem, ca_path, cert_pem, key_pem: key.serialize_pem() })
    }
}

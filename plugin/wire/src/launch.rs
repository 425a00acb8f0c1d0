//! How a server starts a plugin: what the environment must hold, and the line that answers it.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Says that a server started this program, not a person; the same value in Vault and OpenBao. It is no secret.
const COOKIE: (&str, &str) = ("VAULT_BACKEND_PLUGIN", "6669da05-b1c8-4f49-97d9-c8e5bed98e20");
/// The protocol that we speak. Answering an older one would hang the server's unmount and its shutdown.
const PROTOCOL: &str = "5";
/// A Unix socket's path has at most this many bytes.
const LONGEST_SOCKET_PATH: usize = 107;

/// Why this program does not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A person started it.
    #[error("Vault or OpenBao starts this program, people don't")]
    ByHand,
    /// The server speaks other versions of the protocol.
    #[error(
        "the server does not speak version {PROTOCOL} of the plugin protocol: Vault 1.6 or OpenBao 2.0 is the oldest that does"
    )]
    Protocol,
    /// There is no certificate to pin: a server that is too old, or set to do without.
    #[error("the server offers no certificate (PLUGIN_CLIENT_CERT), and without one nobody is served")]
    NoCertificate,
    /// The folder for sockets has a path that is too long.
    #[error("the path of the folder for sockets is too long: set TMPDIR to a shorter one")]
    SocketPath,
}

/// What a server said when it started us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The only certificate that may talk to us, and that we talk to.
    pub host_certificate: CertificateDer<'static>,
    /// Whether the line must have a seventh field, which says that we do not share one connection for all.
    pub asked_to_multiplex: bool,
    /// Where our socket goes.
    pub socket_folder: PathBuf,
}

impl Launch {
    /// Reads the environment through `variable`.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Refused> {
        if variable(COOKIE.0).as_deref() != Some(COOKIE.1) {
            return Err(Refused::ByHand);
        }
        let versions = variable("PLUGIN_PROTOCOL_VERSIONS").unwrap_or_default();
        if !versions.split(',').any(|version| version.trim() == PROTOCOL) {
            return Err(Refused::Protocol);
        }
        let pem = variable("PLUGIN_CLIENT_CERT").unwrap_or_default();
        let host_certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| Refused::NoCertificate)?;
        let folder = variable("PLUGIN_UNIX_SOCKET_DIR").filter(|folder| !folder.is_empty());
        let socket_folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
        let asked_to_multiplex = variable("PLUGIN_MULTIPLEX_GRPC").is_some_and(|value| !value.is_empty());
        Ok(Self { host_certificate, asked_to_multiplex, socket_folder })
    }

    /// The line that the server waits for, with its line end.
    #[must_use]
    pub fn handshake(&self, socket: &Path, certificate: &CertificateDer<'_>) -> String {
        let certificate = STANDARD_NO_PAD.encode(certificate);
        let multiplex = if self.asked_to_multiplex { "|false" } else { "" };
        format!("1|{PROTOCOL}|unix|{}|grpc|{certificate}{multiplex}\n", socket.display())
    }
}

/// Whether a socket may have this path.
pub(crate) fn fits(socket: &Path) -> Result<(), Refused> {
    if socket.as_os_str().len() > LONGEST_SOCKET_PATH { Err(Refused::SocketPath) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(changes: &[(&str, Option<&str>)]) -> Result<Launch, Refused> {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        Launch::read(|name| {
            if let Some((_, value)) = changes.iter().find(|(changed, _)| *changed == name) {
                return value.map(str::to_owned);
            }
            match name {
                "VAULT_BACKEND_PLUGIN" => Some(COOKIE.1.to_owned()),
                "PLUGIN_PROTOCOL_VERSIONS" => Some("5".to_owned()),
                "PLUGIN_CLIENT_CERT" => Some(certificate.clone()),
                _ => None,
            }
        })
    }

    #[test]
    fn only_a_server_that_speaks_our_protocol_is_served() {
        assert!(launch(&[]).is_ok());
        assert!(launch(&[("PLUGIN_PROTOCOL_VERSIONS", Some("4,5"))]).is_ok());
        for (name, value, why) in [
            ("VAULT_BACKEND_PLUGIN", None, Refused::ByHand),
            ("VAULT_BACKEND_PLUGIN", Some("another"), Refused::ByHand),
            ("PLUGIN_PROTOCOL_VERSIONS", None, Refused::Protocol),
            ("PLUGIN_PROTOCOL_VERSIONS", Some("3,4"), Refused::Protocol),
            ("PLUGIN_PROTOCOL_VERSIONS", Some("55"), Refused::Protocol),
            ("PLUGIN_CLIENT_CERT", None, Refused::NoCertificate),
            ("PLUGIN_CLIENT_CERT", Some("-----BEGIN"), Refused::NoCertificate),
        ] {
            assert_eq!(launch(&[(name, value)]), Err(why), "{name} {value:?}");
        }
    }

    #[test]
    fn the_line_has_six_fields_and_a_seventh_if_asked_for() {
        let plain = launch(&[]).unwrap();
        let line = plain.handshake(Path::new("/t/s"), &plain.host_certificate);
        let fields: Vec<&str> = line.trim_end().split('|').collect();
        assert_eq!(fields[..5], ["1", "5", "unix", "/t/s", "grpc"]);
        assert!(fields.len() == 6 && !fields[5].contains('='), "{line}");
        let asked = launch(&[("PLUGIN_MULTIPLEX_GRPC", Some("true"))]).unwrap();
        assert!(asked.handshake(Path::new("/t/s"), &asked.host_certificate).ends_with("|false\n"));
    }

    #[test]
    fn a_socket_path_has_a_limit() {
        assert_eq!(fits(Path::new("/tmp/x")), Ok(()));
        assert_eq!(fits(Path::new(&"x".repeat(108))), Err(Refused::SocketPath));
    }
}

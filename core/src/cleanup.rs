//! Who acts for an attempt once the tenant's own identity is gone (invariants 6 and 11).
//!
//! A rotation is owed for as long as it takes, but the objects that gave the right to perform it can go first: the
//! connection, its secret, the service account, the whole namespace. Then, in this order:
//!
//! 1. the connection as it is now, if its object is still there;
//! 2. the connection as it was when the credential was delivered, which the entry remembers: a login that is still
//!    renewed goes on, and a service account that is still there can log in again;
//! 3. the clean-up connection that the tenant's connection named, which may rotate and revoke but not read.
//!
//! The third acts on what the tenant's connection has told, so both must lead to the same server: not by its address alone,
//! which a name and an authority of the tenant's choice can bend to a server of its own, but by whom they trust there.

use crate::entry::Attempt;
use crate::error::{Class, Fault};
use crate::ports::Connection;

/// Faults that say: the object of the connection is gone.
const NO_CONNECTION: [&str; 2] = ["no-such-connection", "connection-not-allowed"];

/// Faults that say: nobody can log in as this tenant any more, or its rights were taken away.
const NO_IDENTITY: [&str; 9] = [
    "no-such-service-account",
    // The Role went with the namespace, or was taken away.
    "token-forbidden",
    "kubernetes-terminating",
    "secret-unavailable",
    "secret-forbidden",
    "secret-not-usable",
    "vault-login-denied",
    "vault-login-secret-empty",
    "vault-denied",
];

/// The remembered connection, where `fault` says that its object is gone.
#[must_use]
pub fn remembered<'a>(attempt: &'a Attempt, fault: &Fault) -> Option<&'a Connection> {
    NO_CONNECTION.contains(&fault.code.as_str()).then_some(attempt.resolved.as_deref()).flatten()
}

/// The name of the clean-up connection, where `fault` says that the tenant's own identity can't act any more. `own` is
/// the connection that failed: its clean-up identity counts, else the one that was remembered. None where the credential
/// was delivered through a connection that trusted somebody else: what it told may have been made up.
#[must_use]
pub fn cleaner<'a>(attempt: &'a Attempt, own: &'a Connection, fault: &Fault) -> Option<&'a str> {
    if !NO_IDENTITY.contains(&fault.code.as_str()) {
        return None;
    }
    if attempt.resolved.as_deref().is_some_and(|then| trust(then) != trust(own)) {
        return None;
    }
    own.cleanup.as_deref().or_else(|| attempt.resolved.as_deref()?.cleanup.as_deref())
}

/// Whom a connection takes for its server.
fn trust(at: &Connection) -> (Option<&str>, Option<&str>) {
    (at.tls_server_name.as_deref(), at.ca_pem.as_deref().map(str::trim))
}

/// Checks that a clean-up connection leads to where the connection that names it leads: the same address and Vault
/// namespace, and the same trust, that is `tlsServerName` and `caBundle`.
///
/// # Errors
/// Misconfigured, `cleanup-elsewhere`, field `spec.cleanupConnectionRef.name`, with what differs.
pub fn same_place(own: &Connection, cleaner: &Connection) -> Result<(), Fault> {
    let differs = [
        ("address", own.address != cleaner.address),
        ("namespace", own.vault_namespace != cleaner.vault_namespace),
        ("tlsServerName", trust(own).0 != trust(cleaner).0),
        ("caBundle", trust(own).1 != trust(cleaner).1),
    ];
    let Some((field, _)) = differs.into_iter().find(|(_, differs)| *differs) else { return Ok(()) };
    let message = format!(
        "ClusterVaultConnection {} has another {field}: it may lead to another server or Vault namespace",
        cleaner.name.name
    );
    Err(Fault::new(Class::Misconfigured, "cleanup-elsewhere", message)
        .field("spec.cleanupConnectionRef.name")
        .remedy("Give both the same address, namespace, tlsServerName and caBundle: what is owed lies at one server"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{attempt, fault};
    use crate::delivery::{ConnectionRef, SecretKeyRef};
    use crate::entry::MailState;
    use crate::ports::Auth;
    use crate::time::{Span, Timestamp};

    fn connection(cleanup: Option<&str>) -> Connection {
        Connection {
            name: ConnectionRef::namespaced("team", "vault"),
            address: "https://vault:8200".into(),
            vault_namespace: String::new(),
            ca_pem: None,
            tls_server_name: None,
            timeout: Span::from_secs(10),
            auth: Auth::Token { secret: SecretKeyRef { name: "t".into(), key: "t".into() } },
            secrets_in: "team".into(),
            cleanup: cleanup.map(str::to_owned),
        }
    }

    fn delivered(resolved: Option<Connection>) -> Attempt {
        let at = Timestamp::from_secs(1000);
        Attempt { resolved: resolved.map(Box::new), ..attempt(MailState::Accepted { at }) }
    }

    #[test]
    fn a_connection_that_is_gone_is_remembered() {
        let attempt = delivered(Some(connection(None)));
        let gone = fault(Class::Misconfigured, "no-such-connection");
        assert_eq!(remembered(&attempt, &gone), Some(&connection(None)));
        assert_eq!(remembered(&delivered(None), &gone), None);
        // Changed is not gone: it may lead to another server, and a typing error is for a person.
        assert_eq!(remembered(&attempt, &fault(Class::Misconfigured, "invalid-spec")), None);
        assert_eq!(remembered(&attempt, &fault(Class::Transient, "kubernetes-unreachable")), None);
    }

    #[test]
    fn the_cleaner_comes_in_only_when_the_tenant_cannot_act() {
        let attempt = delivered(Some(connection(Some("remembered"))));
        let gone = fault(Class::Misconfigured, "no-such-service-account");
        assert_eq!(cleaner(&attempt, &connection(Some("now")), &gone), Some("now"));
        assert_eq!(cleaner(&attempt, &connection(None), &gone), Some("remembered"));
        assert_eq!(cleaner(&delivered(None), &connection(None), &gone), None);
        for other in ["vault-unreachable", "vault-sealed", "vault-cas-mismatch", "kubernetes-unreachable"] {
            assert_eq!(cleaner(&attempt, &connection(Some("now")), &fault(Class::Transient, other)), None, "{other}");
        }
    }

    #[test]
    fn nobody_cleans_up_by_the_word_of_a_server_that_was_trusted_in_another_way() {
        let gone = fault(Class::Denied, "vault-denied");
        let named = |name: &str| Connection { tls_server_name: Some(name.into()), ..connection(None) };
        let by = |pem: &str| Connection { ca_pem: Some(pem.into()), ..connection(None) };
        for then in [named("mine"), by("mine")] {
            // Delivered through a server of its own, then pointed at the real one.
            assert_eq!(cleaner(&delivered(Some(then)), &connection(Some("now")), &gone), None);
        }
        let same = Connection { cleanup: Some("now".into()), ..by("ours\n") };
        assert_eq!(cleaner(&delivered(Some(by("ours"))), &same, &gone), Some("now"));
    }

    #[test]
    fn the_same_place_is_the_same_address_namespace_and_trust() {
        let own = connection(Some("cleanup"));
        assert_eq!(same_place(&own, &connection(None)), Ok(()));
        let text = |s: &str| Some(s.to_owned());
        for (other, field) in [
            (Connection { address: "https://other:8200".into(), ..own.clone() }, "address"),
            (Connection { vault_namespace: "team".into(), ..own.clone() }, "namespace"),
            (Connection { tls_server_name: text("mine"), ..own.clone() }, "tlsServerName"),
            (Connection { ca_pem: text("mine"), ..own.clone() }, "caBundle"),
        ] {
            for (a, b) in [(&own, &other), (&other, &own)] {
                let fault = same_place(a, b).unwrap_err();
                assert_eq!((fault.class, fault.code.as_str()), (Class::Misconfigured, "cleanup-elsewhere"));
                assert!(
                    fault.message.contains(&format!("another {field}:")) && fault.remedy.contains(field),
                    "{fault}"
                );
            }
        }
    }
}

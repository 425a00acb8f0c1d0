//! Who acts for an attempt once the tenant's own identity is gone (invariants 6 and 11).
//!
//! A rotation is owed for as long as it takes, but the objects that gave the right to perform it can go first: the
//! connection, its secret, the service account, the whole namespace. Then, in this order:
//!
//! 1. the connection as it is now, if its object is still there;
//! 2. the connection as it was when the credential was delivered, which the entry remembers: a login that is still
//!    renewed goes on, and a service account that is still there can log in again;
//! 3. the clean-up connection that the tenant's connection named, which may rotate and revoke but not read.

use crate::entry::Attempt;
use crate::error::Fault;
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
/// the connection that failed: its clean-up identity counts, else the one that was remembered.
#[must_use]
pub fn cleaner<'a>(attempt: &'a Attempt, own: &'a Connection, fault: &Fault) -> Option<&'a str> {
    if !NO_IDENTITY.contains(&fault.code.as_str()) {
        return None;
    }
    own.cleanup.as_deref().or_else(|| attempt.resolved.as_deref()?.cleanup.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{attempt, fault};
    use crate::delivery::{ConnectionRef, SecretKeyRef};
    use crate::entry::MailState;
    use crate::error::Class;
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
}

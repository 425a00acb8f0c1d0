//! What Vault's answers mean, as faults. Each says which connection, path and operation it was.

use ps_core::delivery::ConnectionRef;
use ps_core::error::{Class, Fault};
use ps_core::ports::Connection;

use crate::answer;
use crate::request::Request;
use crate::transport::{Answer, NoAnswer};

const DENIED: &str = "vault-denied";
/// Longest part of Vault's own words that is shown, in characters.
const MAX_QUOTE: usize = 200;

/// `namespace/name` of a connection; a cluster-wide one is said to be, with the namespace that uses it.
pub(crate) fn name(at: &Connection) -> String {
    let ConnectionRef { namespace, name, kind } = &at.name;
    match (kind.is_namespaced(), namespace.is_empty()) {
        (true, _) => format!("{namespace}/{name}"),
        (false, false) => format!("{name} (cluster-wide, as {namespace})"),
        (false, true) => format!("{name} (cluster-wide)"),
    }
}

/// There is no answer.
pub(crate) fn no_answer(at: &Connection, request: &Request, error: &NoAnswer) -> Fault {
    let connection = name(at);
    let what = request.operation.as_str();
    let (code, class, remedy) = match error {
        NoAnswer::Connect(_) | NoAnswer::Broken => ("vault-unreachable", Class::Transient, ""),
        NoAnswer::Timeout => ("vault-timeout", Class::Transient, ""),
        NoAnswer::Tls(_) => (
            "vault-tls",
            Class::Transient,
            "Check caBundle and tlsServerName of the connection against the server's certificate",
        ),
        NoAnswer::TooLarge => ("vault-answer-too-large", Class::Misconfigured, "Deliver a smaller secret"),
        NoAnswer::Unbuilt => ("vault-request-invalid", Class::Misconfigured, "Check path, namespace and token"),
    };
    Fault::new(class, code, format!("{what} over connection {connection}: {error}")).remedy(remedy)
}

/// The client could not be set up.
pub(crate) fn unbuilt(at: &Connection) -> Fault {
    let message = format!("connection {}: the address is not usable", name(at));
    Fault::new(Class::Misconfigured, "vault-address-invalid", message).field("spec.address")
}

/// An answer that is not what Vault documents.
pub(crate) fn unreadable(at: &Connection, request: &Request) -> Fault {
    let message = format!("connection {} answered {} with something else than Vault does", name(at), doing(request));
    Fault::new(Class::Transient, "vault-unreadable-answer", message)
        .remedy("Check that the connection's address is Vault's")
}

/// The general meaning of a status that is no success. Engines look for their own meanings first.
pub(crate) fn of_status(at: &Connection, request: &Request, answer: &Answer) -> Fault {
    let said = answer::errors(&answer.body);
    let head = format!("connection {}: Vault answers {} to {}", name(at), answer.status, doing(request));
    let message = quoted(&head, request, &said);
    let fault = |class, code: &str| Fault::new(class, code, message.clone());
    match answer.status {
        403 => denied(at, request),
        404 if is_no_route(&said) => fault(Class::Misconfigured, "vault-mount-not-found").remedy(MOUNT_REMEDY),
        404 => fault(Class::Misconfigured, "vault-not-found"),
        405 => fault(Class::Misconfigured, "vault-unsupported").remedy("Check which engine is mounted there"),
        412 => fault(Class::Transient, "vault-behind"),
        429 => {
            let wait = answer.retry_after.map(|secs| format!(", and asks to wait {secs} s")).unwrap_or_default();
            Fault::new(Class::Transient, "vault-rate-limited", format!("{head} (rate limit){wait}"))
        }
        300..=399 | 472 | 473 => {
            let remedy = "Address the active node, or let standbys forward requests: redirects are not followed";
            fault(Class::Transient, "vault-standby").remedy(remedy)
        }
        501 => fault(Class::Transient, "vault-not-initialized"),
        503 if said.iter().any(|text| text.to_ascii_lowercase().contains("sealed")) => {
            let message = format!("connection {}: Vault is sealed", name(at));
            Fault::new(Class::Transient, "vault-sealed", message)
        }
        500.. => fault(Class::Transient, "vault-error-5xx"),
        _ => fault(Class::Misconfigured, "vault-bad-request"),
    }
}

const MOUNT_REMEDY: &str = "Check the mount with `bao secrets list` or `vault secrets list`";

/// A refusal for lack of rights, with the line that a policy needs.
pub(crate) fn denied(at: &Connection, request: &Request) -> Fault {
    let message = format!("connection {}: Vault denies {}", name(at), doing(request));
    Fault::new(Class::Denied, DENIED, message)
        .remedy(format!("Add to its policy: {}", policy_line(&request.path, &[request.method.capability()])))
}

/// Whether a fault is Vault's refusal of one request to an identity that is logged in.
pub(crate) fn is_denial(fault: &Fault) -> bool {
    fault.code == DENIED
}

/// Names the manifest's field that a refused request was for, unless whoever made it has done so. An outage is no field's.
pub(crate) fn for_field(fault: Fault, field: &'static str) -> Fault {
    if is_denial(&fault) && fault.field.is_none() { fault.field(field) } else { fault }
}

/// What is there now can't be told from what was delivered without reading it, which the identity may not.
pub(crate) fn values_unseen(message: String) -> Fault {
    Fault::new(Class::Misconfigured, "vault-values-unseen", message)
        .remedy("Let the tenant's own identity finish this, or rotate by hand and destroy what was delivered")
}

/// A line of a policy, as Vault reads it.
pub(crate) fn policy_line(path: &str, capabilities: &[&str]) -> String {
    let path = path.replace('\\', "\\\\").replace('"', "\\\"");
    let list: Vec<String> = capabilities.iter().map(|word| format!("\"{word}\"")).collect();
    format!("path \"{path}\" {{ capabilities = [{}] }}", list.join(", "))
}

/// There is nothing mounted where the request goes, or nothing of the kind.
pub(crate) fn mount_not_found(at: &Connection, mount: &str, field: &str) -> Fault {
    let message = format!("connection {}: there is no mount {mount}", name(at));
    Fault::new(Class::Misconfigured, "vault-mount-not-found", message).field(field).remedy(MOUNT_REMEDY)
}

/// Whether Vault says that no engine is mounted there.
pub(crate) fn is_no_route(said: &[String]) -> bool {
    said.iter().any(|text| text.contains("no handler for route"))
}

fn doing(request: &Request) -> String {
    format!("{} of {}", request.operation.as_str(), request.path)
}

/// Adds Vault's own words where they cannot hold a secret.
fn quoted(head: &str, request: &Request, said: &[String]) -> String {
    if !request.operation.may_quote() || said.is_empty() {
        return head.to_owned();
    }
    let said = said.join("; ");
    let words: Vec<&str> =
        said.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let words: String = words.join(" ").chars().take(MAX_QUOTE).collect();
    format!("{head}: {words}")
}

/// A login that Vault refuses.
pub(crate) fn login_denied(at: &Connection, message: &str, field: &str, remedy: &str) -> Fault {
    let message = format!("connection {}: {message}", name(at));
    Fault::new(Class::Denied, "vault-login-denied", message).field(field).remedy(remedy)
}

/// Outcome of a request, for the counters.
pub(crate) fn outcome(status: u16) -> &'static str {
    match status {
        200..300 => "ok",
        403 => Class::Denied.as_str(),
        300..400 | 412 | 429 | 472 | 473 | 500.. => Class::Transient.as_str(),
        _ => Class::Misconfigured.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use ps_core::delivery::SecretKeyRef;
    use ps_core::ports::Auth;
    use ps_core::secret::SecretBytes;
    use ps_core::time::Span;

    use super::*;
    use crate::request::Operation;

    fn at() -> Connection {
        Connection {
            name: ConnectionRef::namespaced("team-a", "prod"),
            address: "http://127.0.0.1:1".into(),
            vault_namespace: String::new(),
            ca_pem: None,
            tls_server_name: None,
            timeout: Span::from_secs(1),
            auth: Auth::Token { secret: SecretKeyRef { name: "t".into(), key: "k".into() } },
            secrets_in: "team-a".into(),
            cleanup: None,
        }
    }

    fn meaning(operation: Operation, status: u16, body: &str) -> Fault {
        let answer = Answer { status, retry_after: Some(7), body: SecretBytes::new(body.as_bytes().to_vec()) };
        of_status(&at(), &Request::get(operation, "kv/data/x".into()), &answer)
    }

    #[test]
    fn each_status_has_one_code_and_one_class() {
        for (status, body, code, class) in [
            (307, "", "vault-standby", Class::Transient),
            (400, r#"{"errors":["x"]}"#, "vault-bad-request", Class::Misconfigured),
            (403, "", "vault-denied", Class::Denied),
            (
                404,
                r#"{"errors":["no handler for route \"kv/data/x\"."]}"#,
                "vault-mount-not-found",
                Class::Misconfigured,
            ),
            (404, "", "vault-not-found", Class::Misconfigured),
            (405, "", "vault-unsupported", Class::Misconfigured),
            (412, "", "vault-behind", Class::Transient),
            (429, "", "vault-rate-limited", Class::Transient),
            (473, "", "vault-standby", Class::Transient),
            (500, "<html>", "vault-error-5xx", Class::Transient),
            (503, r#"{"errors":["Vault is sealed"]}"#, "vault-sealed", Class::Transient),
            (503, "", "vault-error-5xx", Class::Transient),
        ] {
            let fault = meaning(Operation::Read, status, body);
            assert_eq!((fault.code.as_str(), fault.class), (code, class), "{status}");
            assert!(fault.message.contains("team-a/prod"), "{fault}");
        }
        assert!(meaning(Operation::Read, 429, "").message.contains("wait 7 s"));
    }

    #[test]
    fn vaults_words_are_short_plain_and_never_those_about_a_secret() {
        let body = format!(r#"{{"errors":["1 error:\n\t* {}"]}}"#, "word ".repeat(100));
        let fault = meaning(Operation::Read, 400, &body);
        assert!(fault.message.contains(": 1 error: * word word"), "{fault}");
        assert!(fault.message.chars().count() < 300, "{fault}");
        for operation in [Operation::Login, Operation::Write, Operation::Rotate] {
            assert!(!meaning(operation, 500, &body).message.contains("word"));
        }
    }

    #[test]
    fn connections_of_two_kinds_are_told_apart() {
        let named = |name| super::name(&Connection { name, ..at() });
        assert_eq!(named(ConnectionRef::namespaced("shop", "prod")), "shop/prod");
        assert_eq!(named(ConnectionRef::cluster("shop", "prod")), "prod (cluster-wide, as shop)");
        assert_eq!(named(ConnectionRef::cluster("", "prod")), "prod (cluster-wide)");
    }

    #[test]
    fn a_policy_line_escapes_its_path() {
        assert_eq!(policy_line("a\"b", &["read", "patch"]), r#"path "a\"b" { capabilities = ["read", "patch"] }"#);
    }
}

//! Getting a token: from a secret, by AppRole, or as a service account of Kubernetes; and renewing it.

use ps_core::delivery::SecretKeyRef;
use ps_core::error::{Class, Fault};
use ps_core::ports::Auth;
use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};
use serde::Deserialize;

use crate::answer::{Auth as Issued, Object, data, envelope, errors};
use crate::fault;
use crate::path::{self, field};
use crate::peer::Peer;
use crate::request::{Operation, Request};
use crate::session::{Lease, Session};
use crate::transport::{Answer, is_header};

/// What `auth/token/lookup-self` says of a token.
#[derive(Deserialize)]
struct Looked {
    /// Seconds left; 0 for ever.
    #[serde(default)]
    ttl: u64,
    #[serde(default)]
    creation_ttl: u64,
    #[serde(default)]
    renewable: Option<bool>,
    #[serde(default)]
    num_uses: u64,
}

/// Logs in. Makes one request to Vault; as a service account, one to the Kubernetes API before it.
///
/// # Errors
/// Denied `vault-login-denied`; Misconfigured for what is missing; else as any request.
pub(crate) async fn login(peer: &Peer) -> Result<Session, Fault> {
    match &peer.at().auth {
        Auth::Token { secret } => by_token(peer, secret).await,
        Auth::AppRole { mount, role_id, secret_id } => by_app_role(peer, mount, role_id, secret_id).await,
        Auth::Kubernetes { mount, role, service_account, audience } => {
            by_service_account(peer, mount, role, service_account, audience).await
        }
    }
}

async fn by_token(peer: &Peer, at: &SecretKeyRef) -> Result<Session, Fault> {
    let token = secret(peer, at, field::TOKEN).await?;
    if !is_header(token.expose()) {
        let message = format!("connection {}: the token is not plain ASCII", fault::name(peer.at()));
        return Err(Fault::new(Class::Misconfigured, "vault-token-invalid", message).field(field::TOKEN));
    }
    let now = peer.now();
    let request = Request::get(Operation::Lookup, "auth/token/lookup-self".to_owned());
    let answer = peer.send(Some(&token), &request).await?;
    if answer.status == 403 && !is_dead(&errors(&answer.body)) {
        // Its policies lack the default one: it may be good for all else, but nobody tells when it ends.
        tracing::debug!(connection = %fault::name(peer.at()), "the token may not look itself up, so it is not renewed");
        return Ok(Session::new(token, now, None));
    }
    if answer.status == 403 {
        let remedy = format!("Put a new token into key {} of secret {}", at.key, at.name);
        let message = "Vault does not know the token, or it has ended";
        return Err(fault::login_denied(peer.at(), message, field::TOKEN, &remedy));
    }
    if !answer.is_success() {
        return Err(fault::of_status(peer.at(), &request, &answer));
    }
    let looked: Looked = data(&answer.body).ok_or_else(|| fault::unreadable(peer.at(), &request))?;
    if looked.num_uses > 0 {
        tracing::warn!(connection = %fault::name(peer.at()), left = looked.num_uses, "the token is good for a few requests only");
    }
    let lease = (looked.ttl > 0).then(|| {
        let full = looked.creation_ttl.max(looked.ttl);
        Lease::new(now, secs(looked.ttl), secs(full), looked.renewable.unwrap_or_default(), peer.jitter())
    });
    Ok(Session::new(token, now, lease))
}

async fn by_app_role(peer: &Peer, mount: &str, role_id: &str, secret_id: &SecretKeyRef) -> Result<Session, Fault> {
    let path = path::join(&[("auth", None), (mount, Some(field::APPROLE_MOUNT)), ("login", None)])?;
    let secret = secret(peer, secret_id, field::APPROLE_SECRET).await?;
    let mut body = Object::new(role_id.len() + secret.len());
    body.text("role_id", &SecretString::new(role_id.to_owned()));
    body.text("secret_id", &secret);
    let now = peer.now();
    let request = Request::post(Operation::Login, path, Some(body.finish()));
    let answer = peer.send(None, &request).await?;
    match answer.status {
        // Vault tells nobody without a token whether it is the mount, the role or the secret id.
        400 | 403 | 404 => {
            let remedy = format!(
                "Check roleId, that key {} of secret {} holds a secret id that is still good, and that AppRole is mounted at auth/{mount}",
                secret_id.key, secret_id.name
            );
            Err(fault::login_denied(peer.at(), "Vault refuses the AppRole login", field::APPROLE, &remedy))
        }
        200 => logged_in(peer, &request, &answer, now),
        _ => Err(fault::of_status(peer.at(), &request, &answer)),
    }
}

/// The token of a service account of the namespace that uses the connection is asked for, shown to Vault, and forgotten.
async fn by_service_account(
    peer: &Peer,
    mount: &str,
    role: &str,
    account: &str,
    audience: &str,
) -> Result<Session, Fault> {
    let path = path::join(&[("auth", None), (mount, Some(field::KUBERNETES_MOUNT)), ("login", None)])?;
    if audience.trim().is_empty() {
        // An empty audience is the API server's own: such a token must not even be asked for.
        let message = format!("connection {}: the audience is empty", fault::name(peer.at()));
        return Err(Fault::new(Class::Misconfigured, "vault-login-audience", message)
            .field(field::KUBERNETES_AUDIENCE)
            .remedy("Write the audience of Vault's role"));
    }
    let namespace = &peer.at().name.namespace;
    let jwt = peer.connections().service_account_token(namespace, account, audience).await?;
    let mut body = Object::new(role.len() + jwt.len());
    body.text("role", &SecretString::new(role.to_owned()));
    body.text("jwt", &jwt);
    let now = peer.now();
    let request = Request::post(Operation::Login, path, Some(body.finish()));
    let answer = peer.send(None, &request).await?;
    match answer.status {
        // Which of these it is, Vault's answer tells in words that may quote the token's claims.
        400 | 403 | 404 => {
            let message = format!("Vault refuses the Kubernetes login of service account {namespace}/{account}");
            let remedy = format!(
                "Check that auth/{mount} has a role {role}, and that it is bound to service account {account}, namespace {namespace} and audience {audience}; and that auth/{mount} may review tokens of this cluster"
            );
            Err(fault::login_denied(peer.at(), &message, field::KUBERNETES, &remedy))
        }
        200 => logged_in(peer, &request, &answer, now),
        _ => Err(fault::of_status(peer.at(), &request, &answer)),
    }
}

/// The session of a token that was issued just now.
fn logged_in(peer: &Peer, request: &Request, answer: &Answer, now: Timestamp) -> Result<Session, Fault> {
    let issued = issued(peer, request, &answer.body)?;
    let lease = (issued.lease_duration > 0).then(|| {
        let ttl = secs(issued.lease_duration);
        Lease::new(now, ttl, ttl, issued.renewable, peer.jitter())
    });
    Ok(Session::new(issued.client_token, now, lease))
}

/// Renews a token for as long as it was issued for.
///
/// # Errors
/// Denied if Vault does not renew it (any more); else as any request.
pub(crate) async fn renew(peer: &Peer, session: &Session, lease: &Lease) -> Result<Lease, Fault> {
    let now = peer.now();
    let request = Request::post(Operation::Renew, "auth/token/renew-self".to_owned(), None);
    let answer = peer.send(Some(&session.token), &request).await?;
    if !answer.is_success() {
        return Err(fault::of_status(peer.at(), &request, &answer));
    }
    let issued = issued(peer, &request, &answer.body)?;
    let renewable = issued.renewable && issued.lease_duration > 0;
    Ok(lease.renewed(now, secs(issued.lease_duration), renewable, peer.jitter()))
}

/// Whether a refusal is one of the token itself. OpenBao wraps a lack of rights in "1 error occurred", and says nothing
/// but "permission denied" to a token that it does not know; Vault from 1.16 on adds "invalid token".
pub(crate) fn is_dead(said: &[String]) -> bool {
    said.iter()
        .any(|text| text.trim() == "permission denied" || text.contains("invalid token") || text.contains("bad token"))
}

fn issued(peer: &Peer, request: &Request, body: &ps_core::secret::SecretBytes) -> Result<Issued, Fault> {
    let auth = envelope(body).and_then(|envelope| envelope.auth);
    auth.filter(|auth| !auth.client_token.is_empty() && is_header(auth.client_token.expose()))
        .ok_or_else(|| fault::unreadable(peer.at(), request))
}

/// Reads a secret of the connection's namespace, without the white space that editors leave around it.
/// `field` is the connection's that names it.
async fn secret(peer: &Peer, at: &SecretKeyRef, field: &'static str) -> Result<SecretString, Fault> {
    let found = peer.connections().secret(&peer.at().secrets_in, at).await;
    let named = |fault: Fault| if fault.is_transient() || fault.field.is_some() { fault } else { fault.field(field) };
    let found = found.map_err(named)?;
    let trimmed = found.expose().trim();
    if trimmed.is_empty() {
        let message = format!("key {} of secret {} is empty", at.key, at.name);
        return Err(Fault::new(Class::Misconfigured, "vault-login-secret-empty", message)
            .field(field)
            .remedy("Put it there"));
    }
    Ok(SecretString::new(trimmed.to_owned()))
}

fn secs(secs: u64) -> Span {
    Span::from_secs(i64::try_from(secs).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_token_is_told_from_a_lack_of_rights() {
        let dead = |text: &str| is_dead(&[text.to_owned()]);
        assert!(dead("permission denied"), "OpenBao 2.7");
        assert!(dead("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"), "Vault 1.21");
        assert!(!dead("1 error occurred:\n\t* permission denied\n\n"));
        assert!(!is_dead(&[]));
    }
}

//! Static roles of the database engine: Vault changes the password at the database itself, so the proof reaches it.

use ps_core::delivery::{DeliveredVersion, Identity, SourceSight, Tags};
use ps_core::error::{Class, Fault};
use ps_core::ports::Reading;
use ps_core::secret::SecretBytes;
use ps_core::time::{Span, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::{Fields, Secret, envelope, errors, tags};
use crate::fault;
use crate::path::{self, field};
use crate::peer::Peer;
use crate::request::{Operation, Request};
use crate::transport::Answer;

/// `static-creds` as OpenBao and Vault answer it. Vault gives a schedule instead of a period where one is set.
#[derive(Deserialize)]
struct Creds<'a> {
    #[serde(default)]
    username: Option<Secret>,
    #[serde(default)]
    password: Option<Secret>,
    #[serde(default)]
    last_vault_rotation: String,
    #[serde(borrow, default)]
    ttl: Option<&'a RawValue>,
    #[serde(borrow, default)]
    rotation_period: Option<&'a RawValue>,
}

struct Found {
    fields: Fields,
    rotated: Timestamp,
    rotates_in: Option<Span>,
    period: Option<Span>,
}

fn at(mount: &str, kind: &'static str, role: &str) -> Result<String, Fault> {
    path::join(&[(mount, Some(field::DATABASE_MOUNT)), (kind, None), (role, Some(field::DATABASE_ROLE))])
}

/// A number of seconds, or a duration as text.
fn span(raw: &RawValue) -> Option<Span> {
    let text = raw.get().trim_matches('"');
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().ok().map(Span::from_secs).or_else(|| Span::parse(text))
}

/// The role's credential, or `None` if there is no such role.
async fn find(peer: &Peer, mount: &str, role: &str) -> Result<Option<Found>, Fault> {
    let request = Request::get(Operation::Read, at(mount, "static-creds", role)?);
    let answer = peer.call(&request).await?;
    if is_unknown_role(&answer) {
        return Ok(None);
    }
    if !answer.is_success() {
        return Err(refusal(peer, mount, role, &request, &answer));
    }
    let creds =
        envelope(&answer.body).and_then(|envelope| serde_json::from_str::<Creds<'_>>(envelope.data?.get()).ok());
    let Some(creds) = creds else { return Err(fault::unreadable(peer.at(), &request)) };
    let Some(password) = creds.password.map(|Secret(password)| password).filter(|password| !password.is_empty()) else {
        let message = format!("connection {}: the role {role} has no password", fault::name(peer.at()));
        return Err(Fault::new(Class::Misconfigured, "vault-credential-type", message)
            .field(field::DATABASE_ROLE)
            .remedy("Use a role with credential_type=password"));
    };
    let Some(rotated) = Timestamp::parse_rfc3339(&creds.last_vault_rotation) else {
        return Err(fault::unreadable(peer.at(), &request));
    };
    let mut fields = Fields::from([("password".to_owned(), password)]);
    fields.extend(creds.username.map(|Secret(username)| ("username".to_owned(), username)));
    let period = creds.rotation_period.and_then(span).filter(|period| *period > Span::ZERO);
    Ok(Some(Found { fields, rotated, rotates_in: creds.ttl.and_then(span), period }))
}

fn is_unknown_role(answer: &Answer) -> bool {
    let unknown = |text: &String| text.contains("unknown role") || text.contains("no static role found");
    matches!(answer.status, 400 | 404) && errors(&answer.body).iter().any(unknown)
}

fn not_found(peer: &Peer, mount: &str, role: &str) -> Fault {
    let message = format!("connection {}: there is no static role {role} at {mount}", fault::name(peer.at()));
    Fault::new(Class::Misconfigured, "vault-role-not-found", message)
        .field(field::DATABASE_ROLE)
        .remedy(format!("Create it at {mount}/static-roles/{role}, or correct the name"))
}

fn refusal(peer: &Peer, mount: &str, role: &str, request: &Request, answer: &Answer) -> Fault {
    let said = errors(&answer.body);
    if fault::is_no_route(&said) {
        return fault::mount_not_found(peer.at(), mount, field::DATABASE_MOUNT);
    }
    if said.iter().any(|text| text.contains("is not an allowed role")) {
        let message = format!("connection {}: the role {role} is not allowed on its database", fault::name(peer.at()));
        return Fault::new(Class::Misconfigured, "vault-role-not-allowed", message)
            .field(field::DATABASE_ROLE)
            .remedy(format!("Add it to allowed_roles of its configuration at {mount}/config"));
    }
    let fault = fault::of_status(peer.at(), request, answer);
    if answer.status == 404 { fault.field(field::DATABASE_MOUNT) } else { fault }
}

/// Reads user name and password.
///
/// # Errors
/// Misconfigured `vault-role-not-found`, `vault-role-not-allowed`, `vault-credential-type`; else as any request.
pub(crate) async fn read(peer: &Peer, mount: &str, role: &str) -> Result<Reading, Fault> {
    let found = find(peer, mount, role).await?.ok_or_else(|| not_found(peer, mount, role))?;
    let Found { fields, rotated, rotates_in, period } = found;
    if let Some(ahead) = ahead(peer, role, rotated) {
        return Err(ahead);
    }
    Ok(Reading { fields, identity: Identity::Static { rotated }, rotates_in, period, others: Vec::new() })
}

/// How far Vault's clock may be ahead of ours.
const SKEW: Span = Span::from_secs(60);

/// Why a rotation that is yet to come is refused: nothing that Vault does later could be seen to be younger, so the role
/// would be rotated again and again and never proven dead.
fn ahead(peer: &Peer, role: &str, rotated: Timestamp) -> Option<Fault> {
    let now = peer.now();
    (rotated > now + SKEW).then(|| {
        let message = format!(
            "connection {}: {role} was rotated last at {rotated}, which is later than now ({now})",
            fault::name(peer.at())
        );
        Fault::new(Class::Misconfigured, "vault-time-ahead", message)
            .field(field::DATABASE_ROLE)
            .remedy("Set the clocks of Vault and of the operator right, then rotate the role once")
    })
}

/// Looks again.
///
/// # Errors
/// As [`read`]; a role that is gone is a sight without `current`, which proves nothing. Where the password can't be read,
/// the sight has its time and user alone; Misconfigured `vault-values-unseen` where these prove nothing.
pub(crate) async fn observe(
    peer: &Peer,
    mount: &str,
    role: &str,
    tag_key: &SecretBytes,
    now: Timestamp,
) -> Result<SourceSight, Fault> {
    let path = at(mount, "static-creds", role)?;
    let mut unseen = true;
    let (current, tags) = if peer.session().await?.is_unreadable(&path) {
        about(peer, mount, role, tag_key, None).await?
    } else {
        match find(peer, mount, role).await {
            Ok(Some(found)) => {
                unseen = false;
                (Some(Identity::Static { rotated: found.rotated }), tags(&found.fields, tag_key))
            }
            Ok(None) => (None, Tags::new()),
            Err(denied) if fault::is_denial(&denied) => {
                let seen = about(peer, mount, role, tag_key, Some(denied)).await?;
                peer.session().await?.remember_unreadable(&path);
                seen
            }
            Err(fault) => return Err(fault),
        }
    };
    Ok(SourceSight { at: now, current, tags, delivered: DeliveredVersion::NotLooked, unseen, written: Vec::new() })
}

/// What the role itself says: when Vault rotated it last, and for whom, but not the password. Enough for an identity that
/// cleans up and may not read. `denied` is the refusal that made us look here.
async fn about(
    peer: &Peer,
    mount: &str,
    role: &str,
    tag_key: &SecretBytes,
    denied: Option<Fault>,
) -> Result<(Option<Identity>, Tags), Fault> {
    #[derive(Deserialize)]
    struct Role {
        #[serde(default)]
        username: Option<Secret>,
        #[serde(default)]
        last_vault_rotation: String,
        /// Vault takes the role's creation for its last rotation then, though the password stayed.
        #[serde(default)]
        skip_import_rotation: bool,
    }
    let request = Request::get(Operation::Metadata, at(mount, "static-roles", role)?);
    let answer = peer.call(&request).await?;
    match answer.status {
        200 => {}
        403 => return Err(denied.unwrap_or_else(|| fault::denied(peer.at(), &request))),
        404 if fault::is_no_route(&errors(&answer.body)) => {
            return Err(fault::mount_not_found(peer.at(), mount, field::DATABASE_MOUNT));
        }
        404 => return Ok((None, Tags::new())),
        _ => return Err(fault::of_status(peer.at(), &request, &answer)),
    }
    let said = envelope(&answer.body).and_then(|envelope| serde_json::from_str::<Role>(envelope.data?.get()).ok());
    let Some(said) = said else { return Err(fault::unreadable(peer.at(), &request)) };
    if said.skip_import_rotation {
        let message = format!(
            "connection {}: {role} skips the rotation at its creation, so only who may read its password can see that it changed",
            fault::name(peer.at())
        );
        return Err(fault::values_unseen(message));
    }
    let Some(rotated) = Timestamp::parse_rfc3339(&said.last_vault_rotation) else {
        return Err(fault::unreadable(peer.at(), &request));
    };
    let known = said.username.map(|Secret(username)| ("username".to_owned(), username));
    Ok((Some(Identity::Static { rotated }), tags(&known.into_iter().collect(), tag_key)))
}

/// Has Vault change the password at the database.
///
/// # Errors
/// As any request. A 5xx may have had effect, now or seconds later: Vault goes on trying by itself.
pub(crate) async fn rotate(peer: &Peer, mount: &str, role: &str) -> Result<(), Fault> {
    let request = Request::post(Operation::Rotate, at(mount, "rotate-role", role)?, None);
    let answer = peer.call(&request).await?;
    if answer.is_success() {
        return Ok(());
    }
    if is_unknown_role(&answer) {
        return Err(not_found(peer, mount, role));
    }
    if answer.status == 500 && errors(&answer.body).iter().any(|text| text.contains("unable to finish rotating")) {
        let message = format!(
            "connection {}: Vault could not yet change the password of {role}, and goes on trying",
            fault::name(peer.at())
        );
        return Err(Fault::new(Class::Transient, "vault-rotation-unfinished", message)
            .remedy("Check that Vault reaches the database, and that its own login there works"));
    }
    Err(refusal(peer, mount, role, &request, &answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_come_as_numbers_or_durations() {
        let of = |json: &str| span(&RawValue::from_string(json.to_owned()).unwrap());
        assert_eq!(of("86400"), Some(Span::from_secs(86_400)));
        assert_eq!(of("12.7"), Some(Span::from_secs(12)));
        assert_eq!(of("\"24h0m0s\""), Some(Span::from_secs(86_400)));
        assert_eq!(of("-3"), Some(Span::ZERO));
        assert_eq!(of("null"), None);
    }
}

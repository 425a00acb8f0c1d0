//! KV version 2: versions make the proof. Replaced in Vault; whether the target system knows is not said here.

use std::collections::BTreeMap;

use ps_core::delivery::{DeliveredVersion, Identity, SourceSight, Tags};
use ps_core::error::{Class, Fault};
use ps_core::ports::Reading;
use ps_core::secret::SecretBytes;
use ps_core::time::Timestamp;
use serde::Deserialize;

use crate::answer::{Fields, Object, RawFields, data, envelope, errors, fields, tags};
use crate::fault;
use crate::generate;
use crate::mounts::{self, Mounted};
use crate::path::{self, field};
use crate::peer::Peer;
use crate::request::{Operation, Request};
use crate::written::Written;

/// What Vault says of one version. Times are kept as they are written: data and metadata write them alike.
#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    created_time: String,
    #[serde(default)]
    destroyed: bool,
    /// When it was, or will be, deleted; empty for never.
    #[serde(default)]
    deletion_time: String,
}

impl Version {
    /// Whether it can't be read any more. A time that is none counts as past: less is claimed to be there then.
    fn is_gone(&self, now: Timestamp) -> bool {
        let deleted =
            !self.deletion_time.is_empty() && Timestamp::parse_rfc3339(&self.deletion_time).is_none_or(|at| at <= now);
        self.destroyed || deleted
    }
}

#[derive(Deserialize)]
struct Current {
    version: u64,
    #[serde(flatten)]
    about: Version,
}

/// The `data` of a read.
#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow, default)]
    data: Option<RawFields<'a>>,
    metadata: Current,
}

/// What is at the path now.
enum Found {
    Live {
        fields: Fields,
        identity: Identity,
    },
    /// Its newest version is deleted or destroyed.
    Deleted,
    Absent,
}

fn at(mount: &str, kind: &'static str, path: &str) -> Result<String, Fault> {
    path::join(&[(mount, Some(field::KV_MOUNT)), (kind, None), (path, Some(field::KV_PATH))])
}

async fn find(peer: &Peer, mount: &str, path: &str, keys: &[String]) -> Result<Found, Fault> {
    let request = Request::get(Operation::Read, at(mount, "data", path)?);
    let answer = peer.call(&request).await?;
    let unreadable = || fault::unreadable(peer.at(), &request);
    match answer.status {
        200 => {
            let outer = envelope(&answer.body).and_then(|envelope| envelope.data).ok_or_else(unreadable)?;
            let Ok(Read { data: Some(raw), metadata }) = serde_json::from_str::<Read<'_>>(outer.get()) else {
                // A version 1 mount that holds a secret at data/…: its fields lie where the envelope would be.
                return match mounts::look(peer, mount).await? {
                    Mounted::Kv1 => Err(mounts::absent(peer, mount, path, Mounted::Kv2, Mounted::Kv1)),
                    _ => Err(unreadable()),
                };
            };
            let fields = fields(&raw, keys).ok_or_else(unreadable)?;
            let identity = Identity::Kv2 { version: metadata.version, created: metadata.about.created_time };
            Ok(Found::Live { fields, identity })
        }
        404 if data::<Metadata>(&answer.body).is_some() => Ok(Found::Deleted),
        404 if fault::is_no_route(&errors(&answer.body)) => {
            Err(fault::mount_not_found(peer.at(), mount, field::KV_MOUNT))
        }
        404 => Ok(Found::Absent),
        _ => Err(fault::of_status(peer.at(), &request, &answer)),
    }
}

/// A deleted version's answer has metadata and no data.
#[derive(Deserialize)]
struct Metadata {
    #[expect(dead_code, reason = "only its presence counts")]
    metadata: Current,
}

/// Reads the named keys, or all.
///
/// # Errors
/// Misconfigured `vault-secret-not-found`, `vault-secret-deleted`, `vault-key-missing`, `vault-mount-version` …
pub(crate) async fn read(peer: &Peer, mount: &str, path: &str, keys: &[String]) -> Result<Reading, Fault> {
    match find(peer, mount, path, keys).await? {
        Found::Live { fields, identity } => {
            require(peer, mount, path, keys, &fields)?;
            Ok(Reading { fields, identity, rotates_in: None, period: None, others: Vec::new() })
        }
        Found::Deleted => {
            let message =
                format!("connection {}: the newest version of {mount}/{path} is deleted", fault::name(peer.at()));
            let remedy = "Undelete it, or write a new version";
            Err(Fault::new(Class::Misconfigured, "vault-secret-deleted", message).field(field::KV_PATH).remedy(remedy))
        }
        Found::Absent => Err(mounts::absent(peer, mount, path, Mounted::Kv2, mounts::look(peer, mount).await?)),
    }
}

/// Every named key must be there, and at least one field.
pub(crate) fn require(peer: &Peer, mount: &str, path: &str, keys: &[String], fields: &Fields) -> Result<(), Fault> {
    let name = fault::name(peer.at());
    let missing: Vec<&str> = keys.iter().map(String::as_str).filter(|key| !fields.contains_key(*key)).collect();
    if !missing.is_empty() {
        let message = format!("connection {name}: the secret {mount}/{path} has no key {}", missing.join(", "));
        return Err(Fault::new(Class::Misconfigured, "vault-key-missing", message)
            .field(field::KV_KEYS)
            .remedy("Name keys that the secret has, or add them to it"));
    }
    if fields.is_empty() {
        let message = format!("connection {name}: the secret {mount}/{path} is empty");
        return Err(Fault::new(Class::Misconfigured, "vault-secret-empty", message).field(field::KV_PATH));
    }
    Ok(())
}

/// Looks again, and at the delivered version if another is current.
///
/// # Errors
/// As [`read`]; a secret that is gone or deleted is a sight without `current`. Where the values can't be read, the sight
/// has no tags; Misconfigured `vault-values-unseen` where that would prove nothing.
pub(crate) async fn observe(
    peer: &Peer,
    (mount, path): (&str, &str),
    keys: &[String],
    delivered: &Identity,
    tag_key: &SecretBytes,
    now: Timestamp,
    written: &Written,
) -> Result<SourceSight, Fault> {
    let data = at(mount, "data", path)?;
    let unseen = async |denied| {
        let mut sight = unseen(peer, mount, path, delivered, now, denied).await?;
        if let (Some(Identity::Kv2 { version, created }), Identity::Kv2 { version: then, .. }) =
            (&sight.current, delivered)
        {
            sight.written = written.since(peer.at(), (mount, path), (*version, created), *then);
        }
        Ok(sight)
    };
    if peer.session().await?.is_unreadable(&data) {
        return unseen(None).await;
    }
    // Our own random values are the newest, as far as we know: the metadata tell whether that is so, and the values need not
    // be read once more.
    if let Identity::Kv2 { version, .. } = delivered
        && written.is_random_since(peer.at(), (mount, path), *version)
        && let Ok(sight) = unseen(None).await
        && sight.delivered == DeliveredVersion::Destroyed
        && !sight.written.is_empty()
    {
        return Ok(sight);
    }
    let (current, tags) = match find(peer, mount, path, keys).await {
        Ok(Found::Live { fields, identity }) => (Some(identity), tags(&fields, tag_key)),
        Ok(Found::Deleted) => (None, Tags::new()),
        Ok(Found::Absent) => {
            mounts::confirm_gone(peer, mount, path, Mounted::Kv2).await?;
            (None, Tags::new())
        }
        Err(denied) if fault::is_denial(&denied) => {
            let sight = unseen(Some(denied)).await?;
            peer.session().await?.remember_unreadable(&data);
            return Ok(sight);
        }
        Err(fault) => return Err(fault),
    };
    let delivered = if current.as_ref() == Some(delivered) {
        DeliveredVersion::NotLooked
    } else {
        fate(peer, mount, path, delivered).await?
    };
    Ok(SourceSight { at: now, current, tags, delivered, unseen: false, written: Vec::new() })
}

/// What the metadata say, for an identity that cleans up and may not read. `denied` is the refusal that made us look here.
///
/// Versions prove what values would only together with [`Written`]: the delivered one was destroyed by name, and the
/// current one is our own. A newer version of somebody else may hold the same value again.
async fn unseen(
    peer: &Peer,
    mount: &str,
    path: &str,
    delivered: &Identity,
    now: Timestamp,
    denied: Option<Fault>,
) -> Result<SourceSight, Fault> {
    #[derive(Deserialize)]
    struct History {
        #[serde(default)]
        current_version: u64,
        #[serde(default)]
        versions: BTreeMap<String, Version>,
    }
    let sight = |current, delivered| {
        Ok(SourceSight { at: now, current, tags: Tags::new(), delivered, unseen: true, written: Vec::new() })
    };
    let request = Request::get(Operation::Metadata, at(mount, "metadata", path)?);
    let answer = peer.call(&request).await?;
    let mut history: History = match answer.status {
        200 => data(&answer.body).ok_or_else(|| fault::unreadable(peer.at(), &request))?,
        403 => return Err(denied.unwrap_or_else(|| fault::denied(peer.at(), &request))),
        404 => {
            mounts::confirm_gone(peer, mount, path, Mounted::Kv2).await?;
            return sight(None, DeliveredVersion::Destroyed);
        }
        _ => return Err(fault::of_status(peer.at(), &request, &answer)),
    };
    let Identity::Kv2 { version: then, created } = delivered else { return sight(None, DeliveredVersion::NotLooked) };
    let current = history
        .versions
        .get(&history.current_version.to_string())
        .filter(|version| !version.is_gone(now))
        .map(|version| Identity::Kv2 { version: history.current_version, created: version.created_time.clone() });
    if current.as_ref() == Some(delivered) {
        return sight(current, DeliveredVersion::NotLooked);
    }
    let found = history.versions.remove(&then.to_string());
    let destroyed_by_name = found.as_ref().is_some_and(|v| v.created_time == *created && v.destroyed);
    if current.is_some() && found.as_ref().is_some_and(|v| v.created_time == *created) && !destroyed_by_name {
        // Newer, and the delivered one is still there: it is written over once more, and the delivered one destroyed.
        return sight(current, DeliveredVersion::Present);
    }
    if current.is_some() && !destroyed_by_name {
        let message = format!(
            "connection {}: version {} of {mount}/{path} is newer than the delivered one, and only who may read it can see whether its values are others",
            fault::name(peer.at()),
            history.current_version
        );
        return Err(fault::values_unseen(message).field(field::KV_PATH));
    }
    sight(current, judge(found.as_ref(), created))
}

/// What became of a version: asked of the metadata, which hold no values; where these are denied, of the version itself.
async fn fate(peer: &Peer, mount: &str, path: &str, delivered: &Identity) -> Result<DeliveredVersion, Fault> {
    #[derive(Deserialize)]
    struct History {
        versions: BTreeMap<String, Version>,
    }
    let Identity::Kv2 { version, created } = delivered else { return Ok(DeliveredVersion::NotLooked) };
    let request = Request::get(Operation::Metadata, at(mount, "metadata", path)?);
    let answer = peer.call(&request).await?;
    let found = match answer.status {
        200 => {
            let history: Option<History> = data(&answer.body);
            let mut history = history.ok_or_else(|| fault::unreadable(peer.at(), &request))?;
            history.versions.remove(&version.to_string())
        }
        403 => return fate_by_version(peer, mount, path, *version, created).await,
        404 => {
            mounts::confirm_gone(peer, mount, path, Mounted::Kv2).await?;
            None
        }
        _ => return Err(fault::of_status(peer.at(), &request, &answer)),
    };
    Ok(judge(found.as_ref(), created))
}

async fn fate_by_version(
    peer: &Peer,
    mount: &str,
    path: &str,
    version: u64,
    created: &str,
) -> Result<DeliveredVersion, Fault> {
    #[derive(Deserialize)]
    struct About {
        metadata: Version,
    }
    let request = Request::get(Operation::Metadata, at(mount, "data", path)?).query(format!("version={version}"));
    let answer = peer.call(&request).await?;
    match (answer.status, data::<About>(&answer.body)) {
        (200 | 404, Some(about)) => Ok(judge(Some(&about.metadata), created)),
        (404, None) => {
            mounts::confirm_gone(peer, mount, path, Mounted::Kv2).await?;
            Ok(judge(None, created))
        }
        (200, None) => Err(fault::unreadable(peer.at(), &request)),
        _ => Err(fault::of_status(peer.at(), &request, &answer)),
    }
}

/// A version of another birth is another secret's: the delivered one went with its path. One that the metadata do not
/// list any more was dropped for good by `max_versions`.
fn judge(found: Option<&Version>, created: &str) -> DeliveredVersion {
    match found {
        Some(version) if version.created_time == created && !version.destroyed => DeliveredVersion::Present,
        _ => DeliveredVersion::Destroyed,
    }
}

/// Writes new values for `keys` over version `cas`; the other keys stay, unread.
///
/// # Errors
/// Transient `vault-cas-mismatch` or `vault-source-changed`: look again. Misconfigured `vault-patch-unsupported`.
pub(crate) async fn write(
    peer: &Peer,
    mount: &str,
    path: &str,
    cas: u64,
    keys: &[String],
    policy: Option<&str>,
    written: &Written,
) -> Result<(), Fault> {
    let values = generate::values(peer, keys, policy).await?;
    let size = values.iter().map(|(key, value)| key.len() + value.len()).sum();
    let mut fresh = Object::new(size);
    for (key, value) in &values {
        fresh.text(key, value);
    }
    let mut body = Object::new(size);
    body.raw("options", &format!("{{\"cas\":{cas}}}"));
    body.object("data", &fresh);
    let request = Request::patch(Operation::Write, at(mount, "data", path)?, body.finish());
    let answer = peer.call(&request).await?;
    let name = fault::name(peer.at());
    let transient = |code, message: String| Err(Fault::new(Class::Transient, code, message));
    match answer.status {
        200 | 204 => {
            // An answer that can't be read is one that proves nothing: the next look asks for one more write.
            if let Some(Current { version, about }) = data::<Current>(&answer.body) {
                written.note(peer.at(), (mount, path), cas, keys, (version, about.created_time), policy.is_none());
            }
            Ok(())
        }
        400 if errors(&answer.body).iter().any(|text| text.contains("check-and-set")) => {
            let message = format!("connection {name}: version {cas} of {mount}/{path} is not the newest any more");
            transient("vault-cas-mismatch", message)
        }
        404 if fault::is_no_route(&errors(&answer.body)) => {
            Err(fault::mount_not_found(peer.at(), mount, field::KV_MOUNT))
        }
        404 => transient("vault-source-changed", format!("connection {name}: {mount}/{path} was deleted meanwhile")),
        405 => {
            let message = format!("connection {name}: Vault does not know PATCH on {}", request.path);
            Err(Fault::new(Class::Misconfigured, "vault-patch-unsupported", message)
                .remedy("Use Vault 1.9 or newer, or OpenBao, and KV version 2"))
        }
        _ => Err(fault::of_status(peer.at(), &request, &answer)),
    }
}

/// Destroys one version for good. That it, or its path, is gone already is success.
///
/// # Errors
/// As any request.
pub(crate) async fn destroy(peer: &Peer, mount: &str, path: &str, version: u64) -> Result<(), Fault> {
    let body = format!("{{\"versions\":[{version}]}}").into_bytes();
    let request = Request::post(Operation::Destroy, at(mount, "destroy", path)?, Some(SecretBytes::new(body)));
    let answer = peer.call(&request).await?;
    match answer.status {
        404 if fault::is_no_route(&errors(&answer.body)) => {
            Err(fault::mount_not_found(peer.at(), mount, field::KV_MOUNT))
        }
        200 | 204 | 404 => Ok(()),
        _ => Err(fault::of_status(peer.at(), &request, &answer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_version_of_the_same_birth_that_is_not_destroyed_is_present() {
        let version = |created: &str, destroyed| Version {
            created_time: created.into(),
            destroyed,
            deletion_time: String::new(),
        };
        assert_eq!(judge(Some(&version("t", false)), "t"), DeliveredVersion::Present);
        assert_eq!(judge(Some(&version("t", true)), "t"), DeliveredVersion::Destroyed);
        assert_eq!(judge(Some(&version("u", false)), "t"), DeliveredVersion::Destroyed);
        assert_eq!(judge(None, "t"), DeliveredVersion::Destroyed);
    }

    #[test]
    fn a_version_is_gone_once_its_deletion_is_past() {
        let now = Timestamp::parse_rfc3339("2026-12-01T00:00:00Z").unwrap();
        let version = |at: &str| Version { created_time: "t".into(), destroyed: false, deletion_time: at.into() };
        assert!(!version("").is_gone(now) && !version("2026-12-01T00:00:01Z").is_gone(now));
        assert!(version("2026-12-01T00:00:00.000000001Z").is_gone(now) && version("junk").is_gone(now));
    }
}

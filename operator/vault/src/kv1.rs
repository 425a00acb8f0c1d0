//! KV version 1: no versions and no compare-and-set, so a write replaces the whole secret, and only tags prove change.
//!
//! Between reading the unchanged keys and writing, another writer's change would be lost: nothing here can prevent it.

use ps_core::delivery::{DeliveredVersion, Identity, SourceSight, Strategy, Tags};
use ps_core::error::{Class, Fault};
use ps_core::ports::Reading;
use ps_core::rotation::writable;
use ps_core::secret::SecretBytes;
use ps_core::time::Timestamp;

use crate::answer::{Object, RawFields, errors, fields, raw_data, tags};
use crate::fault;
use crate::generate;
use crate::kv2::require;
use crate::mounts::{self, Mounted};
use crate::path::{self, field};
use crate::peer::Peer;
use crate::request::{Operation, Request};

fn at(mount: &str, path: &str) -> Result<String, Fault> {
    path::join(&[(mount, Some(field::KV_MOUNT)), (path, Some(field::KV_PATH))])
}

/// The answer to a read, or `None` if nothing is there.
async fn find(peer: &Peer, mount: &str, path: &str) -> Result<Option<SecretBytes>, Fault> {
    let request = Request::get(Operation::Read, at(mount, path)?);
    let answer = peer.call(&request).await?;
    match answer.status {
        200 if raw_data(&answer.body).is_some() => Ok(Some(answer.body)),
        200 => Err(fault::unreadable(peer.at(), &request)),
        404 if fault::is_no_route(&errors(&answer.body)) => {
            Err(fault::mount_not_found(peer.at(), mount, field::KV_MOUNT))
        }
        404 => Ok(None),
        _ => Err(fault::of_status(peer.at(), &request, &answer)),
    }
}

async fn find_or_fault(peer: &Peer, mount: &str, path: &str) -> Result<SecretBytes, Fault> {
    match find(peer, mount, path).await? {
        Some(body) => Ok(body),
        None => Err(mounts::absent(peer, mount, path, Mounted::Kv1, mounts::look(peer, mount).await?)),
    }
}

fn unreadable(peer: &Peer, mount: &str, path: &str) -> Fault {
    let message = format!("connection {}: the secret {mount}/{path} does not parse", fault::name(peer.at()));
    Fault::new(Class::Transient, "vault-unreadable-answer", message)
}

/// Reads the named keys, or all.
///
/// # Errors
/// As for version 2.
pub(crate) async fn read(peer: &Peer, mount: &str, path: &str, keys: &[String]) -> Result<Reading, Fault> {
    let body = find_or_fault(peer, mount, path).await?;
    let raw = raw_data(&body).ok_or_else(|| unreadable(peer, mount, path))?;
    let found = fields(&raw, keys).ok_or_else(|| unreadable(peer, mount, path))?;
    require(peer, mount, path, keys, &found)?;
    let others = others(&raw, keys);
    Ok(Reading { fields: found, identity: Identity::Kv1, rotates_in: None, period: None, others })
}

/// The keys that are not among the `named`; none of them named means all.
fn others(raw: &RawFields<'_>, named: &[String]) -> Vec<String> {
    raw.keys().filter(|key| !named.is_empty() && !named.contains(key)).cloned().collect()
}

/// Looks again.
///
/// # Errors
/// As [`read`]; a secret that is gone is a sight without `current`.
pub(crate) async fn observe(
    peer: &Peer,
    mount: &str,
    path: &str,
    keys: &[String],
    tag_key: &SecretBytes,
    now: Timestamp,
) -> Result<SourceSight, Fault> {
    let (current, tags) = match find(peer, mount, path).await? {
        Some(body) => {
            let found =
                raw_data(&body).and_then(|raw| fields(&raw, keys)).ok_or_else(|| unreadable(peer, mount, path))?;
            (Some(Identity::Kv1), tags(&found, tag_key))
        }
        None => {
            mounts::confirm_gone(peer, mount, path, Mounted::Kv1).await?;
            (None, Tags::new())
        }
    };
    Ok(SourceSight {
        at: now,
        current,
        tags,
        delivered: DeliveredVersion::NotLooked,
        unseen: false,
        written: Vec::new(),
    })
}

/// Overwrites the secret: new values for `keys`, the others as they are, types included.
///
/// # Errors
/// Misconfigured `kv1-unnamed-keys` if the secret has keys that the delivery does not name: they are not ours to write.
pub(crate) async fn write(
    peer: &Peer,
    mount: &str,
    path: &str,
    named: &[String],
    keys: &[String],
    policy: Option<&str>,
) -> Result<(), Fault> {
    let body = find_or_fault(peer, mount, path).await?;
    let raw = raw_data(&body).ok_or_else(|| unreadable(peer, mount, path))?;
    writable(&format!("{mount}/{path}"), Strategy::WriteNewVersion, &others(&raw, named))?;
    let values = generate::values(peer, keys, policy).await?;
    let mut fresh = Object::new(body.len());
    for (key, value) in &values {
        fresh.text(key, value);
    }
    for (key, value) in raw.iter().filter(|(key, _)| !keys.contains(key)) {
        fresh.raw(key, value.get());
    }
    let request = Request::post(Operation::Write, at(mount, path)?, Some(fresh.finish()));
    let answer = peer.call(&request).await?;
    if answer.is_success() { Ok(()) } else { Err(fault::of_status(peer.at(), &request, &answer)) }
}

//! One rotation: look, act, and look until what was there is dead.

use std::collections::BTreeMap;

use ps_core::delivery::{Source, Strategy};
use ps_core::error::{Class, Fault};
use ps_core::ports::{Connection, Vault as _};
use ps_core::rotation::{Delivered, Scope, Verdict, tag, verdict};
use ps_core::secret::SecretBytes;
use ps_vault::{VaultClient, Verb};
use serde_json::Value;

use super::jobs::How;
use crate::clock;

/// Steps of one rotation: writing and destroying are two, and each may have to be repeated.
const MOST_STEPS: usize = 6;

/// What was seen.
#[derive(Debug)]
pub(super) struct Proof {
    /// As the mount names it.
    pub(super) scope: &'static str,
    pub(super) seen: String,
}

/// Rotates what is there now, and proves it.
///
/// What was handed over is taken to be what is there: the mount does not know the values. Where somebody has replaced it since,
/// it is replaced once more.
pub(super) async fn perform(
    client: &VaultClient,
    at: &Connection,
    how: &How,
    tag_key: &SecretBytes,
) -> Result<Proof, Fault> {
    let (source, keys, strategy) = match how {
        How::Request { path, method, data } => {
            let body = (*method != Verb::Delete).then(|| Value::Object(data.clone()));
            let status = client.write_data(at, path, *method, body.as_ref()).await?;
            return Ok(Proof { scope: "request", seen: format!("{} {path} was answered {status}", method.as_str()) });
        }
        How::Database { mount, role } => (
            Source::DatabaseStatic { mount: mount.clone(), role: role.clone() },
            vec!["password".to_owned()],
            Strategy::RotateRole,
        ),
        How::Kv { mount, path, keys } => (
            Source::Kv2 { mount: mount.clone(), path: path.clone(), keys: keys.clone() },
            keys.clone(),
            Strategy::WriteNewVersion,
        ),
    };
    let reading = client.read(at, &source).await?;
    let tags: BTreeMap<String, u16> =
        reading.fields.iter().map(|(key, value)| (key.clone(), tag(tag_key, key, value.expose()))).collect();
    let identity = reading.identity;
    // The values are not needed any more.
    drop(reading.fields);
    let delivered = Delivered { identity: &identity, tags: &tags, keys: &keys, strategy, password_policy: None };
    for _ in 0..MOST_STEPS {
        let sight = client.observe(at, &source, &identity, tag_key, clock::now()).await?;
        match verdict(&delivered, &sight) {
            Verdict::Dead { scope, seen } => {
                let scope = match scope {
                    Scope::Target => "target",
                    Scope::Vault => "vault",
                };
                return Ok(Proof { scope, seen });
            }
            Verdict::Alive(Some(step)) => client.rotate(at, &source, &step).await?,
            Verdict::Alive(None) => break,
        }
    }
    Err(Fault::new(
        Class::Transient,
        "rotation-not-proven",
        "the rotation was asked for, and what was there is not seen to be dead",
    ))
}

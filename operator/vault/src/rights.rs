//! What an identity must be allowed, asked for in one request before anything is sent to anybody.

use std::collections::BTreeMap;

use ps_core::delivery::{Source, Strategy};
use ps_core::error::{Class, Fault};
use ps_core::secret::SecretBytes;
use serde::Deserialize;

use crate::answer::data;
use crate::fault;
use crate::path::{self, field};
use crate::peer::Peer;
use crate::request::{Operation, Request};

/// A path and the capability that is needed on it.
#[derive(Debug, PartialEq, Eq)]
struct Need {
    path: String,
    capability: &'static str,
}

/// Asks Vault once per token, source and strategy. Where the identity may not even ask, nothing is said: what it lacks
/// shows when it is needed.
///
/// # Errors
/// Denied `vault-capability-missing`, naming the source's field and every path and capability that is lacking, with the policy's lines as remedy.
pub(crate) async fn check(peer: &Peer, source: &Source, strategy: Strategy) -> Result<(), Fault> {
    let session = peer.session().await?;
    if session.knows_right(source, strategy) {
        return Ok(());
    }
    let needs = needs(source, strategy)?;
    let paths: Vec<&str> = needs.iter().map(|need| need.path.as_str()).collect();
    let body = serde_json::json!({ "paths": paths }).to_string().into_bytes();
    let path = "sys/capabilities-self".to_owned();
    let request = Request::post(Operation::Capabilities, path, Some(SecretBytes::new(body)));
    let answer = peer.call(&request).await?;
    if answer.status == 403 {
        tracing::debug!(connection = %fault::name(peer.at()), "the identity may not ask for its capabilities");
    } else if answer.is_success() {
        let granted = data(&answer.body).ok_or_else(|| fault::unreadable(peer.at(), &request))?;
        judge(peer, source, &needs, &granted)?;
    } else {
        return Err(fault::of_status(peer.at(), &request, &answer));
    }
    // The token that answered, which may be a newer one.
    peer.session().await?.remember_right(source, strategy);
    Ok(())
}

/// A list of capabilities per path, or whatever else Vault puts beside them.
type Granted = BTreeMap<String, Words>;

#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    List(Vec<String>),
    Other(serde::de::IgnoredAny),
}

fn judge(peer: &Peer, source: &Source, needs: &[Need], granted: &Granted) -> Result<(), Fault> {
    let may = |need: &Need| match granted.get(&need.path) {
        Some(Words::List(words)) => words.iter().any(|word| word == need.capability || word == "root"),
        _ => false,
    };
    let missing: Vec<&Need> = needs.iter().filter(|need| !may(need)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let join = |one: fn(&Need) -> String, by: &str| missing.iter().map(|need| one(need)).collect::<Vec<_>>().join(by);
    let list = join(|need| format!("{} on {}", need.capability, need.path), ", ");
    let lines = join(|need| fault::policy_line(&need.path, &[need.capability]), "; ");
    let message = format!("connection {}: the identity lacks {list}", fault::name(peer.at()));
    Err(Fault::new(Class::Denied, "vault-capability-missing", message)
        .field(field::of(source))
        .remedy(format!("Add to its policy: {lines}")))
}

/// All that reading and `strategy` need.
fn needs(source: &Source, strategy: Strategy) -> Result<Vec<Need>, Fault> {
    let mut needs = Vec::new();
    let mut need = |path: Result<String, Fault>, capability| {
        needs.push(Need { path: path?, capability });
        Ok::<(), Fault>(())
    };
    match source {
        Source::Kv2 { mount, path, .. } => {
            let at = |kind| path::join(&[(mount, Some(field::KV_MOUNT)), (kind, None), (path, Some(field::KV_PATH))]);
            need(at("data"), "read")?;
            if strategy == Strategy::WriteNewVersion {
                need(at("data"), "patch")?;
                need(at("metadata"), "read")?;
                need(at("destroy"), "update")?;
            }
        }
        Source::Kv1 { mount, path, .. } => {
            let at = || path::join(&[(mount, Some(field::KV_MOUNT)), (path, Some(field::KV_PATH))]);
            need(at(), "read")?;
            if strategy == Strategy::WriteNewVersion {
                need(at(), "update")?;
            }
        }
        Source::DatabaseStatic { mount, role } => {
            let (mount, role) =
                ((mount.as_str(), Some(field::DATABASE_MOUNT)), (role.as_str(), Some(field::DATABASE_ROLE)));
            need(path::join(&[mount, ("static-creds", None), role]), "read")?;
            if strategy == Strategy::RotateRole {
                need(path::join(&[mount, ("rotate-role", None), role]), "update")?;
            }
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_needs_what_its_calls_do() {
        let list = |source: &Source, strategy| -> Vec<String> {
            needs(source, strategy).unwrap().iter().map(|need| format!("{} {}", need.capability, need.path)).collect()
        };
        let kv2 = Source::Kv2 { mount: "kv".into(), path: "a/b".into(), keys: vec![] };
        assert_eq!(list(&kv2, Strategy::None), ["read kv/data/a/b"]);
        assert_eq!(
            list(&kv2, Strategy::WriteNewVersion),
            ["read kv/data/a/b", "patch kv/data/a/b", "read kv/metadata/a/b", "update kv/destroy/a/b"]
        );
        let kv1 = Source::Kv1 { mount: "kv".into(), path: "a".into(), keys: vec![] };
        assert_eq!(list(&kv1, Strategy::WriteNewVersion), ["read kv/a", "update kv/a"]);
        let role = Source::DatabaseStatic { mount: "db".into(), role: "r".into() };
        assert_eq!(list(&role, Strategy::RotateRole), ["read db/static-creds/r", "update db/rotate-role/r"]);
    }
}

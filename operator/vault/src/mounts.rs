//! Which engine is mounted where: asked only to explain a 404, or to be sure that one means "gone".

use ps_core::error::{Class, Fault};
use serde::Deserialize;

use crate::answer::data;
use crate::fault;
use crate::path::{self, field};
use crate::peer::Peer;
use crate::request::{Operation, Request};

/// What is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mounted {
    Kv1,
    Kv2,
    /// Another engine.
    Other,
    /// There is none, or the identity may not know.
    Unknown,
}

/// Looks at a mount. Any token with some right below the mount may ask this.
///
/// # Errors
/// Transient ones only: a refusal is [`Mounted::Unknown`].
pub(crate) async fn look(peer: &Peer, mount: &str) -> Result<Mounted, Fault> {
    #[derive(Deserialize)]
    struct Engine {
        #[serde(rename = "type", default)]
        kind: String,
        #[serde(default)]
        options: Option<Options>,
    }
    #[derive(Deserialize)]
    struct Options {
        #[serde(default)]
        version: Option<String>,
    }
    let path = path::join(&[("sys/internal/ui/mounts", None), (mount, Some(field::KV_MOUNT))])?;
    let request = Request::get(Operation::Mount, path);
    let answer = peer.call(&request).await?;
    if !answer.is_success() {
        let fault = fault::of_status(peer.at(), &request, &answer);
        return if fault.is_transient() { Err(fault) } else { Ok(Mounted::Unknown) };
    }
    let Some(engine) = data::<Engine>(&answer.body) else { return Ok(Mounted::Unknown) };
    Ok(match (engine.kind.as_str(), engine.options.and_then(|options| options.version).as_deref()) {
        ("kv", Some("2")) => Mounted::Kv2,
        ("kv" | "generic", _) => Mounted::Kv1,
        _ => Mounted::Other,
    })
}

/// The fault for a KV secret that is not there, by what is mounted instead of `expected`.
pub(crate) fn absent(peer: &Peer, mount: &str, path: &str, expected: Mounted, found: Mounted) -> Fault {
    let name = fault::name(peer.at());
    match found {
        Mounted::Kv1 | Mounted::Kv2 if found != expected => {
            let (is, remedy) = if found == Mounted::Kv1 { (1, "Set version: 1") } else { (2, "Set version: 2") };
            let message = format!("connection {name}: the mount {mount} is KV version {is}");
            Fault::new(Class::Misconfigured, "vault-mount-version", message).field(field::KV_VERSION).remedy(remedy)
        }
        Mounted::Other => {
            let message = format!("connection {name}: the mount {mount} is no KV engine");
            Fault::new(Class::Misconfigured, "vault-mount-type", message).field(field::KV_MOUNT)
        }
        _ => {
            let message = format!("connection {name}: there is no secret at {mount}/{path}");
            let remedy = "Write the secret, or correct the path";
            Fault::new(Class::Misconfigured, "vault-secret-not-found", message).field(field::KV_PATH).remedy(remedy)
        }
    }
}

/// Makes sure that a 404 means that the secret is gone, not that its mount moved or was replaced: a false "gone" would
/// be taken for a proof.
///
/// # Errors
/// The mount is not what it was, or cannot be looked at.
pub(crate) async fn confirm_gone(peer: &Peer, mount: &str, path: &str, expected: Mounted) -> Result<(), Fault> {
    match look(peer, mount).await? {
        found if found == expected => Ok(()),
        Mounted::Unknown => {
            let message = format!(
                "connection {}: nothing is at {mount}/{path}, and whether its mount is still there can't be seen",
                fault::name(peer.at())
            );
            Err(Fault::new(Class::Misconfigured, "vault-mount-not-found", message)
                .field(field::KV_MOUNT)
                .remedy("Check the mount, and that the identity has a right below it"))
        }
        found => Err(absent(peer, mount, path, expected, found)),
    }
}

//! From a manifest to what the rules understand: defaults filled in, `Auto` decided, durations read.
//!
//! These functions are total. An object that an older schema let through, or that was built in code, gets a fault here
//! and not a panic, so whatever the rules rely on is checked once more.

use ps_core::delivery::{
    ConnectionRef, Context, FieldSpec, NoticeKind, Notify, Recipient, RotationSpec, Source, Spec, Strategy as Resolved,
};
use ps_core::error::Fault;
use ps_core::time::{Span, Timestamp};

use crate::fault::invalid;
use crate::{
    ConnectionKind, DEFAULT_NAMESPACE, Defaults, Field, FieldKind, KvSource, OnLocked, Rotation, SecretDelivery,
    SecretDeliverySpec, Strategy, VaultSource,
};

/// The keys of a static role.
const STATIC_KEYS: [&str; 2] = ["username", "password"];

/// What a delivery asks for, with every default filled in.
///
/// # Errors
/// Misconfigured, `invalid-spec`, with the field and a remedy.
pub fn resolve(delivery: &SecretDelivery) -> Result<Spec, Fault> {
    let spec = &delivery.spec;
    let namespace = delivery.metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let vault = &spec.source.vault;
    let rotation = rotation(spec)?;
    let link = spec.link.clone().unwrap_or_default();
    let claim_window = match span("spec.link.claimWindow", link.claim_window.as_deref())? {
        Some(window) if rotation.strategy != Resolved::None && window > rotation.after_retrieval => {
            return Err(invalid(
                "spec.link.claimWindow",
                "link.claimWindow must not be longer than rotation.afterRetrieval",
                "shorten it or leave it out",
            ));
        }
        Some(window) => window,
        None if rotation.strategy == Resolved::None => Defaults::CLAIM_WINDOW,
        None => Defaults::CLAIM_WINDOW.min(rotation.after_retrieval),
    };
    Ok(Spec {
        recipient: Recipient {
            email: spec.recipient.email.clone(),
            name: spec.recipient.name.clone(),
            locale: spec.recipient.locale.clone(),
        },
        connection: match vault.connection_ref.kind.unwrap_or_default() {
            ConnectionKind::VaultConnection => ConnectionRef::namespaced(namespace, &vault.connection_ref.name),
            ConnectionKind::ClusterVaultConnection => ConnectionRef::cluster(namespace, &vault.connection_ref.name),
        },
        source: source(vault, spec.fields.as_deref())?,
        fields: fields(vault, spec.fields.as_deref()),
        context: context(spec),
        sender: spec.sender.clone().unwrap_or_default(),
        ttl: span("spec.link.ttl", link.ttl.as_deref())?.unwrap_or(Defaults::TTL),
        claim_window,
        deliver_before: spec
            .deliver_before
            .as_deref()
            .map(|text| {
                Timestamp::parse_rfc3339(text).ok_or_else(|| {
                    invalid(
                        "spec.deliverBefore",
                        "deliverBefore is not a date and time with a time zone",
                        "write it like 2026-12-01T00:00:00Z",
                    )
                })
            })
            .transpose()?,
        passphrase: spec.verification.as_ref().and_then(|v| v.passphrase.as_ref()).map(|p| (&p.secret_key_ref).into()),
        email_code: spec.verification.as_ref().is_some_and(|v| v.email_code.is_some()),
        oidc: spec.verification.as_ref().is_some_and(|v| v.oidc.is_some()),
        rotation,
        notify: spec.notify.as_ref().map(|notify| Notify {
            email: notify.email.clone(),
            on: match &notify.events {
                Some(events) => events.iter().map(|n| (*n).into()).collect(),
                None => vec![NoticeKind::Retrieved, NoticeKind::Expired, NoticeKind::Locked, NoticeKind::Declined],
            },
        }),
        completion: spec.completion.map(Into::into).unwrap_or_default(),
        redeliver: spec.redeliver.clone(),
        on_recreate: spec.on_recreate.map(Into::into).unwrap_or_default(),
        revoked: spec.revoked.unwrap_or(false),
    })
}

/// A duration, if there is one.
pub(crate) fn span(field: &str, text: Option<&str>) -> Result<Option<Span>, Fault> {
    match text {
        None => Ok(None),
        Some(text) => match Span::parse(text) {
            Some(span) if span > Span::ZERO => Ok(Some(span)),
            _ => Err(invalid(
                field,
                "this is not a duration",
                "write hours, minutes and seconds, such as 90s, 15m or 1h30m",
            )),
        },
    }
}

fn source(vault: &VaultSource, fields: Option<&[Field]>) -> Result<Source, Fault> {
    match (&vault.kv, &vault.database) {
        (Some(kv), None) => {
            let (mount, path) = (kv.mount.clone(), kv.path.clone());
            let keys = delivered_keys(kv, fields);
            match kv.version.unwrap_or(2) {
                1 => Ok(Source::Kv1 { mount, path, keys }),
                2 => Ok(Source::Kv2 { mount, path, keys }),
                _ => Err(invalid(
                    "spec.source.vault.kv.version",
                    "version must be 1 or 2",
                    "choose the version of the engine",
                )),
            }
        }
        (None, Some(database)) => {
            Ok(Source::DatabaseStatic { mount: database.mount.clone(), role: database.static_role.clone() })
        }
        _ => Err(invalid(
            "spec.source.vault",
            "source.vault must have exactly one of kv and database",
            "keep the one that holds the credential",
        )),
    }
}

/// The keys that leave the source: named ones, else those that are shown, else all (an empty list).
fn delivered_keys(kv: &KvSource, fields: Option<&[Field]>) -> Vec<String> {
    match (&kv.keys, fields) {
        (Some(keys), _) => keys.clone(),
        (None, Some(fields)) => fields.iter().map(|f| f.key.clone()).collect(),
        (None, None) => Vec::new(),
    }
}

fn fields(vault: &VaultSource, fields: Option<&[Field]>) -> Vec<FieldSpec> {
    let of_role = vault.database.is_some();
    let kind = |key: &str, kind: Option<FieldKind>| match kind {
        Some(kind) => kind,
        None if of_role && key == "password" => FieldKind::Password,
        None => FieldKind::Text,
    };
    let spec = |key: &str, label: &str, given: Option<FieldKind>| FieldSpec {
        label: label.to_owned(),
        key: key.to_owned(),
        kind: kind(key, given).as_str().to_owned(),
    };
    match fields {
        Some(fields) => fields.iter().map(|f| spec(&f.key, f.label.as_deref().unwrap_or_default(), f.kind)).collect(),
        None if of_role => STATIC_KEYS.iter().map(|key| spec(key, "", None)).collect(),
        None => vault.kv.iter().flat_map(|kv| kv.keys.iter().flatten()).map(|key| spec(key, "", None)).collect(),
    }
}

fn context(spec: &SecretDeliverySpec) -> Context {
    let context = spec.context.clone().unwrap_or_default();
    Context {
        title: context.title.unwrap_or_default(),
        purpose: context.purpose.unwrap_or_default(),
        environment: context.environment.unwrap_or_default(),
        url: context.url.unwrap_or_default(),
        note: context.note.unwrap_or_default(),
    }
}

fn rotation(spec: &SecretDeliverySpec) -> Result<RotationSpec, Fault> {
    let rotation = spec.rotation.clone().unwrap_or_default();
    let strategy = strategy(&spec.source.vault, rotation.strategy.unwrap_or(Strategy::Auto))?;
    let after_retrieval = span("spec.rotation.afterRetrieval", rotation.after_retrieval.as_deref())?;
    let after_retrieval = match (strategy, after_retrieval) {
        (Resolved::None, _) => Span::ZERO,
        (_, Some(span)) => span,
        (_, None) => {
            return Err(invalid(
                "spec.rotation.afterRetrieval",
                "rotation.afterRetrieval is required where the credential is rotated",
                "say how long the recipient may use it, such as 1h, or set rotation.strategy to None",
            ));
        }
    };
    Ok(RotationSpec {
        strategy,
        after_retrieval,
        on_expiry: rotation.on_expiry.unwrap_or(true),
        on_revocation: rotation.on_revocation.unwrap_or(true),
        on_locked: rotation.on_locked.is_none_or(|on| on == OnLocked::Rotate),
        on_source_rotated: rotation.on_source_rotated.map(Into::into).unwrap_or_default(),
        before_delivery: rotation.before_delivery.unwrap_or(false),
        keys: rotated_keys(spec, &rotation, strategy)?,
        password_policy: rotation.password_policy,
    })
}

fn strategy(vault: &VaultSource, asked: Strategy) -> Result<Resolved, Fault> {
    let fail = |message: &str, remedy: &str| Err(invalid("spec.rotation.strategy", message, remedy));
    match (asked, vault.kv.is_some()) {
        (Strategy::None, _) => Ok(Resolved::None),
        (Strategy::WriteNewVersion, true) => Ok(Resolved::WriteNewVersion),
        (Strategy::Auto | Strategy::RotateRole, false) => Ok(Resolved::RotateRole),
        (Strategy::Auto | Strategy::RotateRole, true) => fail(
            "rotation.strategy must be WriteNewVersion or None for a KV source; nothing is written to KV unless you name it",
            "choose WriteNewVersion to replace the values, or None to leave them",
        ),
        (Strategy::WriteNewVersion, false) => {
            fail("rotation.strategy WriteNewVersion is for KV only", "a static role is rotated with Auto or RotateRole")
        }
    }
}

/// The keys whose change is the proof.
fn rotated_keys(spec: &SecretDeliverySpec, rotation: &Rotation, strategy: Resolved) -> Result<Vec<String>, Fault> {
    let fail = |message: &str, remedy: &str| Err(invalid("spec.rotation.keys", message, remedy));
    let fields = spec.fields.as_deref();
    match strategy {
        Resolved::None => Ok(Vec::new()),
        Resolved::RotateRole => Ok(vec!["password".to_owned()]),
        Resolved::WriteNewVersion => {
            let keys = rotation.keys.clone().unwrap_or_else(|| {
                let secret = |f: &&Field| f.kind == Some(FieldKind::Password);
                fields.unwrap_or_default().iter().filter(secret).map(|f| f.key.clone()).collect()
            });
            let delivered = spec.source.vault.kv.as_ref().map(|kv| delivered_keys(kv, fields)).unwrap_or_default();
            if keys.is_empty() {
                fail(
                    "rotation.keys must name at least one key for WriteNewVersion",
                    "list the keys whose values are to be replaced, or give a field the kind password",
                )
            } else if !delivered.is_empty() && !keys.iter().all(|key| delivered.contains(key)) {
                fail(
                    "rotation.keys must be among the delivered keys",
                    "add the key to fields and source.vault.kv.keys, or remove it here",
                )
            } else {
                Ok(keys)
            }
        }
    }
}

//! `config` and `roles/`.

use ps_core::time::Span;
use ps_envelope::LinkSecret;
use serde::Serialize;
use serde_json::{Value, json};

use crate::engine::{CONFIG, Engine, ROLES, host, role_key};
use crate::fields::{Fields, invalid};
use crate::issue::MAX_CIPHERTEXT;
use crate::message::{Answer, Failure, Kind, Response};
use crate::payload::wrong;
use crate::rotation::{Cause, How, Terms};
use crate::sealed::MAX_PREVIEW;
use crate::settings::{Config, Role};
use crate::storage::Write;

/// No time in settings is longer.
const LONGEST: Span = Span::from_secs(366 * 86_400);
/// The longest window for repeating a claim.
const LONGEST_WINDOW: Span = Span::from_secs(86_400);
/// The longest URL, path, name or key, in bytes.
const LONGEST_TEXT: usize = 1024;
/// The most keys that a rotation may name.
const MOST_KEYS: usize = 64;
/// The largest body of a rotation's request, in bytes of JSON.
const LARGEST_DATA: usize = 32 * 1024;
/// The largest role, in bytes of JSON: its rotation is kept with each of its links, beside ciphertext and preview.
const LARGEST_ROLE: usize = 64 * 1024;
/// What else a link's row may hold: hashes, times, journal, evidence.
const REST_OF_ROW: usize = 64 * 1024;
/// Storage takes no larger value, in a default configuration.
const LARGEST_VALUE: usize = 1024 * 1024;
const _: () = assert!((MAX_CIPHERTEXT + MAX_PREVIEW) / 3 * 4 + LARGEST_ROLE + REST_OF_ROW < LARGEST_VALUE);
/// A fragment that stands for any other when a public URL is tried.
const SAMPLE: &str = "ps1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(crate) async fn read_config(engine: &Engine) -> Answer {
    let Config { public_url, default_ttl, max_ttl, claim_window, keep } = (*engine.config().await?).clone();
    Ok(Some(Response::data(json!({
        "public_url": public_url,
        "default_ttl": default_ttl.to_string(),
        "max_ttl": max_ttl.to_string(),
        "claim_window": claim_window.to_string(),
        "keep": keep.to_string(),
    }))))
}

pub(crate) async fn write_config(engine: &Engine, mut fields: Fields) -> Answer {
    let _one = engine.editing.lock().await;
    let before = (*engine.config().await?).clone();
    let config = Config {
        public_url: fields.short("public_url", LONGEST_TEXT)?.unwrap_or(before.public_url),
        default_ttl: bounded(&mut fields, "default_ttl", LONGEST)?.unwrap_or(before.default_ttl),
        max_ttl: bounded(&mut fields, "max_ttl", LONGEST)?.unwrap_or(before.max_ttl),
        claim_window: bounded(&mut fields, "claim_window", LONGEST_WINDOW)?.unwrap_or(before.claim_window),
        keep: bounded(&mut fields, "keep", LONGEST)?.unwrap_or(before.keep),
    };
    fields.end()?;
    if !config.public_url.is_empty() {
        LinkSecret::parse_fragment(SAMPLE).and_then(|secret| secret.to_url(&config.public_url)).map_err(wrong)?;
    }
    if config.default_ttl > config.max_ttl {
        return Err(invalid("default_ttl must not be longer than max_ttl"));
    }
    engine.store(CONFIG.to_owned(), &config).await?;
    engine.config().await?;
    Ok(None)
}

pub(crate) async fn list(engine: &Engine) -> Answer {
    let keys = engine.storage.list(ROLES).await.map_err(host)?;
    Ok(Some(Response::data(json!({ "keys": keys }))))
}

pub(crate) async fn read(engine: &Engine, name: &str) -> Answer {
    let Some(role) = engine.role(name).await? else { return Ok(None) };
    let Role { default_ttl, max_ttl, require_passphrase, require_lease, rotation } = (*role).clone();
    let span = |span: Option<Span>| span.map_or(Value::Null, |span| span.to_string().into());
    let mut shown = json!({
        "default_ttl": span(default_ttl),
        "max_ttl": span(max_ttl),
        "require_passphrase": require_passphrase,
        "require_lease": require_lease,
        "rotate_engine": "",
    });
    if let (Some(shown), Some(Terms { how, on, after })) = (shown.as_object_mut(), rotation) {
        let mut put = |name: &str, value: Value| shown.insert(format!("rotate_{name}"), value);
        match how {
            How::Database { mount, role } => {
                put("engine", "database".into());
                put("mount", mount.into());
                put("name", role.into());
            }
            How::Kv { mount, path, keys } => {
                put("engine", "kv".into());
                put("mount", mount.into());
                put("name", path.into());
                put("keys", keys.into());
            }
            How::Request { path, method, data } => {
                put("engine", "request".into());
                put("path", path.into());
                put("method", method.into());
                put("data", data.into());
            }
        }
        put("on", on.iter().map(|cause| cause.as_str()).collect::<Vec<_>>().into());
        put("after", after.to_string().into());
    }
    Ok(Some(Response::data(shown)))
}

pub(crate) async fn write(engine: &Engine, name: &str, mut fields: Fields) -> Answer {
    let _one = engine.editing.lock().await;
    let before = engine.role(name).await?.map(|role| (*role).clone()).unwrap_or_default();
    let role = Role {
        default_ttl: bounded(&mut fields, "default_ttl", LONGEST)?.or(before.default_ttl),
        max_ttl: bounded(&mut fields, "max_ttl", LONGEST)?.or(before.max_ttl),
        require_passphrase: fields.truth("require_passphrase")?.unwrap_or(before.require_passphrase),
        require_lease: fields.truth("require_lease")?.unwrap_or(before.require_lease),
        rotation: rotation(&mut fields, before.rotation)?,
    };
    fields.end()?;
    if role.default_ttl.zip(role.max_ttl).is_some_and(|(default, max)| default > max) {
        return Err(invalid("default_ttl must not be longer than max_ttl"));
    }
    if json_size(&role)? > LARGEST_ROLE {
        return Err(invalid(format!("a role must have at most {LARGEST_ROLE} bytes, as JSON")));
    }
    engine.store(role_key(name), &role).await?;
    Ok(None)
}

pub(crate) async fn delete(engine: &Engine, name: &str) -> Answer {
    engine.write(Write::Delete(role_key(name))).await?;
    Ok(None)
}

/// What it takes in storage.
fn json_size(value: &impl Serialize) -> Result<usize, Failure> {
    let json = serde_json::to_vec(value).map_err(|_| Failure::new(Kind::Internal, "settings can't be written"))?;
    Ok(json.len())
}

fn bounded(fields: &mut Fields, name: &str, most: Span) -> Result<Option<Span>, Failure> {
    let span = fields.span(name)?;
    if span.is_some_and(|span| span < Span::from_secs(1) || span > most) {
        return Err(invalid(format!("{name} must be at least 1s, and at most {most}")));
    }
    Ok(span)
}

/// The rotation that the fields describe, or the one before if they are silent about it.
fn rotation(fields: &mut Fields, before: Option<Terms>) -> Result<Option<Terms>, Failure> {
    let engine = fields.text("rotate_engine")?;
    let on = fields.list("rotate_on")?.map(|names| names.iter().map(|name| cause(name)).collect::<Result<Vec<_>, _>>());
    let after = fields.span("rotate_after")?;
    let how = match engine.as_deref() {
        Some("") => return Ok(None),
        None => before.as_ref().map(|terms| terms.how.clone()),
        Some("database") => {
            Some(How::Database { mount: path(fields, "rotate_mount")?, role: path(fields, "rotate_name")? })
        }
        Some("kv") => {
            let keys = fields.list("rotate_keys")?.filter(|keys| !keys.is_empty());
            let keys = keys.ok_or_else(|| invalid("rotate_keys must name the keys that get new values"))?;
            if keys.len() > MOST_KEYS || keys.iter().any(|key| key.len() > LONGEST_TEXT) {
                return Err(invalid(format!(
                    "rotate_keys must have at most {MOST_KEYS} keys, each of at most {LONGEST_TEXT} bytes"
                )));
            }
            Some(How::Kv { mount: path(fields, "rotate_mount")?, path: path(fields, "rotate_name")?, keys })
        }
        Some("request") => {
            let method = fields.text("rotate_method")?.unwrap_or_else(|| "POST".to_owned());
            if !["POST", "PUT", "DELETE"].contains(&method.as_str()) {
                return Err(invalid("rotate_method must be POST, PUT or DELETE"));
            }
            let data = fields.object("rotate_data")?.unwrap_or_default();
            if json_size(&data)? > LARGEST_DATA {
                return Err(invalid(format!("rotate_data must have at most {LARGEST_DATA} bytes, as JSON")));
            }
            Some(How::Request { path: path(fields, "rotate_path")?, method, data })
        }
        Some(_) => return Err(invalid("rotate_engine must be database, kv or request, or empty for none")),
    };
    let Some(how) = how else {
        return if on.is_some() || after.is_some() {
            Err(invalid("rotate_on and rotate_after need rotate_engine"))
        } else {
            Ok(None)
        };
    };
    let mut on = match (on.transpose()?, &before) {
        (Some(on), _) => on,
        (None, Some(before)) => before.on.clone(),
        (None, None) => Cause::ALL.to_vec(),
    };
    on.sort_unstable();
    on.dedup();
    let after = after.or(before.map(|before| before.after));
    if on.contains(&Cause::Claimed) && after.is_none_or(|after| after < Span::from_secs(1)) {
        return Err(invalid("rotate_after must say how long the credential may be used after the link was opened"));
    }
    if after.is_some_and(|after| after > LONGEST) {
        return Err(invalid("rotate_after is too long"));
    }
    Ok(Some(Terms { how, on, after: after.unwrap_or(Span::ZERO) }))
}

fn cause(name: &str) -> Result<Cause, Failure> {
    let known = Cause::ALL.into_iter().find(|cause| cause.as_str() == name);
    known.ok_or_else(|| invalid("rotate_on takes claimed, expired, declined, locked and revoked"))
}

/// A path in another mount: no empty parts, no way up, nothing that ends it.
fn path(fields: &mut Fields, name: &str) -> Result<String, Failure> {
    let path = fields.short(name, LONGEST_TEXT)?.unwrap_or_default();
    let path = path.trim_matches('/');
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let foreign = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#' | '%' | '\\');
    if !path.split('/').all(plain) || path.contains(foreign) {
        return Err(invalid(format!("{name} must be a path such as database or apps/shop")));
    }
    Ok(path.to_owned())
}

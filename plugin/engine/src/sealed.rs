//! `sealed/ROLE`: keeps a link that the client has sealed. Its key never came here, so the answer may be a lease.

use ps_core::encode::from_b64;
use ps_core::link::{Link, Sealed, Verification};
use ps_core::time::{Span, Timestamp};
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::fields::{Fields, invalid};
use crate::issue::{MAX_CIPHERTEXT, allowed, new_row, not_after, ttl, window};
use crate::leases;
use crate::message::{Answer, Failure, Response};

/// The largest sealed preview: its JSON has at most 4 KiB.
pub(crate) const MAX_PREVIEW: usize = 8 * 1024;
/// How far a client's clock may be ahead of ours.
const CLOCK: Span = Span::from_secs(60);

pub(crate) async fn put(engine: &Engine, role: &str, mut fields: Fields, now: Timestamp) -> Answer {
    let (config, settings) = allowed(engine, role).await?;
    if config.public_url.is_empty() {
        return Err(invalid("this mount has no public_url yet: write it to config"));
    }
    let longest_lease = leases::longest(engine).await?;
    let ttl = ttl(&mut fields, &config, &settings, Some(longest_lease))?;
    let sealed = fields.object("sealed")?.ok_or_else(|| invalid("sealed is missing"))?;
    let sealed: Sealed = serde_json::from_value(Value::Object(sealed))
        .map_err(|_| invalid("sealed is not the immutable part of a record"))?;
    let ciphertext = bytes(&mut fields, "ciphertext", MAX_CIPHERTEXT)?;
    let preview = bytes(&mut fields, "preview", MAX_PREVIEW)?;
    fields.end()?;
    let wrong = if sealed.kinds.iter().any(|kind| *kind != Verification::Passphrase) || sealed.kinds.len() > 1 {
        Some("a mount serves links with an opening code and a passphrase, and no other verification".to_owned())
    } else if settings.require_passphrase && sealed.kinds.is_empty() {
        Some("this role requires a passphrase".to_owned())
    } else if sealed.kdf.is_some() == sealed.kinds.is_empty() {
        Some("there are parameters of a passphrase's hash exactly if there is a passphrase".to_owned())
    } else if sealed.code.is_none() {
        Some("a link needs an opening code".to_owned())
    } else if sealed.claim_window < Span::from_secs(1) || sealed.claim_window > window(&config, &settings) {
        // From JSON it may be negative, and would end before it began.
        Some(format!("the claim window is at least 1s, and at most {} here", window(&config, &settings)))
    } else if sealed.not_after > not_after(&config, &settings, now) + CLOCK || sealed.not_after < now + ttl {
        Some("notAfter must lie between the expiry and the longest lifetime that is allowed here".to_owned())
    } else if !sealed.ciphertext_hash.matches(&ciphertext) || !sealed.preview_hash.matches(&preview) {
        Some("ciphertext or preview are not those that the record names".to_owned())
    } else {
        None
    };
    if let Some(wrong) = wrong {
        return Err(invalid(wrong));
    }
    let (id, not_after) = (sealed.id, sealed.not_after);
    let mut row = new_row(role, &settings, Link::new(sealed, now + ttl, ciphertext, preview), now);
    // What this answers is the lease.
    if let (Some(wanted), ps_core::link::Record::Link(link)) = (row.awaits_lease.take(), &mut row.record) {
        link.expires_at = wanted;
    }
    let lease = row.link().map(|link| leases::lease(link, now, now));
    engine.insert(row, now).await?;
    engine.counters.add("sealed", 1);
    let expires_at = now + ttl;
    let data = json!({
        "id": id.to_string(),
        "expires_at": expires_at.to_string(),
        "not_after": not_after.to_string(),
        // What the client's link begins with.
        "public_url": config.public_url,
    });
    Ok(Some(Response { data, lease, warnings: Vec::new() }))
}

fn bytes(fields: &mut Fields, name: &str, most: usize) -> Result<Vec<u8>, Failure> {
    let text = fields.text(name)?.ok_or_else(|| invalid(format!("{name} is missing")))?;
    let bytes = from_b64(&text).ok_or_else(|| invalid(format!("{name} must be base64url")))?;
    if bytes.len() > most {
        return Err(invalid(format!("{name} must have at most {most} bytes")));
    }
    Ok(bytes)
}

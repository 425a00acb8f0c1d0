//! `link/ROLE`: seals here and gives the link out, once. Nothing of `S` stays (invariant 2).

use std::sync::Arc;

use ps_core::error::Fault;
use ps_core::link::{Link, Record};
use ps_core::ports::Random;
use ps_core::time::{Span, Timestamp};
use ps_envelope::{CodedInput, OpeningCode, SealedLink};
use serde_json::json;

use crate::engine::Engine;
use crate::fields::{Fields, invalid};
use crate::message::{Answer, Failure, Kind, Response};
use crate::payload::{self, Content, wrong};
use crate::rotation::Cause;
use crate::row::Row;
use crate::settings::{Config, Limits, Role};

/// How long a link lives without the lease that its role demands.
const UNLEASED: Span = Span::from_secs(60);
/// The largest sealed payload: as base64 in a row, it fits into the 1 MiB that storage takes.
pub(crate) const MAX_CIPHERTEXT: usize = 512 * 1024;

pub(crate) async fn link(engine: &Engine, role: &str, mut fields: Fields, wrapped: bool, now: Timestamp) -> Answer {
    if wrapped {
        return Err(invalid("a link must not be wrapped: its key would be stored. Hand the answer on as it is"));
    }
    let (config, settings) = allowed(engine, role).await?;
    if config.public_url.is_empty() {
        return Err(invalid("this mount has no public_url yet: write it to config"));
    }
    let ttl = ttl(&mut fields, &config, &settings, None)?;
    let mut content = payload::read(fields)?;
    if settings.require_passphrase && content.passphrase.is_none() {
        return Err(invalid("this role requires a passphrase"));
    }
    content.payload.works_for =
        settings.rotation.as_ref().filter(|terms| terms.on.contains(&Cause::Claimed)).map(|terms| terms.after);
    content.preview.works_for = content.payload.works_for;
    let window = window(&config, &settings);
    let not_after = not_after(&config, &settings, now);
    let random = engine.random.clone();
    let hard = content.passphrase.is_some();
    let work = move || seal(content, &random, not_after, window);
    // Argon2id takes its time; without a passphrase there is none.
    let sealed = if hard {
        let interrupted = || Failure::new(Kind::Internal, "sealing was interrupted");
        let _place = engine.hashing.acquire().await.map_err(|_| interrupted())?;
        tokio::task::spawn_blocking(work).await.map_err(|_| interrupted())?
    } else {
        work()
    };
    let (SealedLink { secret, sealed, ciphertext, preview }, code) = sealed?;
    if ciphertext.len() > MAX_CIPHERTEXT {
        return Err(invalid("the content is too large: 512 KiB, sealed, is the most"));
    }
    let url = secret.to_url(&config.public_url).map_err(wrong)?;
    let code = code.shown().map_err(wrong)?;
    drop(secret);
    let id = sealed.id;
    let row = new_row(role, &settings, Link::new(sealed, now + ttl, ciphertext, preview), now);
    let expires_at = row.link().map_or(now, |link| link.expires_at);
    let mut warnings = vec!["The link and its opening code are shown this once, and are stored nowhere.".to_owned()];
    if settings.require_lease {
        warnings.push(format!("This link dies in {UNLEASED} unless a lease is put on it: read lease/{id}"));
    }
    engine.add(row, now).await?;
    engine.counters.add("issued", 1);
    let data = json!({
        "url": url.expose(),
        "opening_code": code.expose(),
        "id": id.to_string(),
        "expires_at": expires_at.to_string(),
    });
    Ok(Some(Response { data, lease: None, warnings }))
}

/// Settings of the mount and of a role that exists.
pub(crate) async fn allowed(engine: &Engine, role: &str) -> Result<(Arc<Config>, Arc<Role>), Failure> {
    let config = engine.config().await?;
    let settings = engine.role(role).await?.ok_or_else(|| invalid("there is no such role"))?;
    Ok((config, settings))
}

/// The time that is asked for, if it is allowed; `longest_lease` is the server's limit for what this answers as a lease.
pub(crate) fn ttl(
    fields: &mut Fields,
    config: &Config,
    role: &Role,
    longest_lease: Option<Span>,
) -> Result<Span, Failure> {
    let limits = Limits::of(config, role);
    let default = longest_lease.map_or(limits.default_ttl, |longest| longest.min(limits.default_ttl));
    let ttl = fields.span("ttl")?.unwrap_or(default);
    if ttl < Span::from_secs(1) || ttl > limits.max_ttl {
        return Err(invalid(format!("ttl must be at least 1s, and at most {} here", limits.max_ttl)));
    }
    if let Some(longest) = longest_lease.filter(|longest| ttl > *longest) {
        // The server would end the lease sooner than it was answered, and the link with it.
        return Err(invalid(format!(
            "ttl must be at most {longest} here: no lease is longer than the mount's max_lease_ttl. Ask for less, or tune the mount"
        )));
    }
    Ok(ttl)
}

/// The latest expiry that a link may ever have here.
pub(crate) fn not_after(config: &Config, role: &Role, now: Timestamp) -> Timestamp {
    now + Limits::of(config, role).max_ttl + window(config, role)
}

/// A claim may be repeated for as long as the mount says, but never past the credential's promised end.
pub(crate) fn window(config: &Config, role: &Role) -> Span {
    let promised = role.rotation.as_ref().filter(|terms| terms.on.contains(&Cause::Claimed)).map(|terms| terms.after);
    promised.map_or(config.claim_window, |promised| promised.min(config.claim_window))
}

/// A link's row, waiting for its lease if the role demands one.
pub(crate) fn new_row(role: &str, settings: &Role, mut link: Link, now: Timestamp) -> Row {
    let mut awaits_lease = None;
    if settings.require_lease {
        awaits_lease = Some(link.expires_at);
        link.expires_at = link.expires_at.min(now + UNLEASED);
    }
    Row {
        role: role.to_owned(),
        issued_at: now,
        awaits_lease,
        terms: settings.rotation.clone(),
        ..Row::new(Record::Link(Box::new(link)))
    }
}

fn seal(
    content: Content,
    random: &Arc<dyn Random>,
    not_after: Timestamp,
    claim_window: Span,
) -> Result<(SealedLink, OpeningCode), Failure> {
    let Content { payload, preview, passphrase } = content;
    let input =
        CodedInput { passphrase: passphrase.as_ref(), payload: &payload, preview: &preview, not_after, claim_window };
    ps_envelope::seal_coded(input, |out| random.fill(out).map_err(no_random))
}

fn no_random(_: Fault) -> Failure {
    Failure::new(Kind::Internal, "the system has no randomness to give: try again")
}

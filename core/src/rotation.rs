//! Is the delivered value dead? The predicate for each engine, and the next step if it is not.
//!
//! Source of the rules: the engines' documented behaviour, gathered in the project's Vault facts. A rotate call's answer
//! proves nothing (it may fail and still have happened): only what is seen afterwards does.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::delivery::{DeliveredVersion, Identity, RotationSpec, SourceSight, Strategy, Tags};
use crate::encode::lp;
use crate::error::{Class, Fault};
use crate::secret::SecretBytes;
use crate::time::{Span, Timestamp};

/// How far the evidence reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// The system itself refuses the old value.
    Target,
    /// Replaced in Vault; whether the target system knows is not ours to say.
    Vault,
}

/// Who made it dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// This operator.
    Us,
    /// Somebody else, or Vault's own schedule.
    Other,
}

/// For how long whoever began a rotation is left alone with it.
const LEFT_ALONE: Span = Span::from_secs(10);

/// A rotation that somebody has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begun {
    /// When.
    pub at: Timestamp,
    /// The operator that did: a name that no other process, and no earlier start, has.
    pub by: String,
}

impl Begun {
    /// From when on `me`, who has not begun it, may take its steps too. `None` if it is ours, or from a clock that is far ahead.
    ///
    /// A rotation that is made twice is no harm, but two of one role at the same moment are: OpenBao then keeps the
    /// password of one, and the database that of the other (`docs/facts.md`).
    #[must_use]
    pub fn free_for(&self, me: &str, now: Timestamp) -> Option<Timestamp> {
        (self.by != me && self.at <= now + LEFT_ALONE).then(|| self.at + LEFT_ALONE)
    }
}

/// Proof that a delivered value is dead (invariant 7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// How far it reaches.
    pub scope: Scope,
    /// Who did it.
    pub by: By,
    /// When it was seen.
    pub at: Timestamp,
    /// What was seen, for people: versions and times, never values.
    pub seen: String,
}

/// One step towards a dead credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Database static role: `POST :mount/rotate-role/:role`.
    RotateRole,
    /// KV v2: PATCH with `cas`; KV v1: overwrite. New values for `keys`, the others stay unread.
    WriteNewVersion {
        /// The version that must be current (KV v2); `None` for KV v1.
        cas: Option<u64>,
        /// Keys to replace.
        keys: Vec<String>,
        /// Vault password policy; `None` for our own generator.
        password_policy: Option<String>,
        /// KV v2: the version to destroy for good, in the same step, once the write was certainly accepted. Where the
        /// answer to the write is lost, [`Step::DestroyVersion`] follows when the next look shows that it happened.
        destroy: Option<u64>,
    },
    /// KV v2: destroy one version for good.
    DestroyVersion(u64),
}

impl Step {
    /// Stable name for logs and audit.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RotateRole => "rotate-role",
            Self::WriteNewVersion { .. } => "write-new-version",
            Self::DestroyVersion(_) => "destroy-version",
        }
    }
}

/// What a sight of the source means for one delivered value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Proven dead.
    Dead {
        /// How far the proof reaches.
        scope: Scope,
        /// What was seen.
        seen: String,
    },
    /// Still valid, or not provably dead: this step comes next. `None` where no strategy was asked for.
    Alive(Option<Step>),
}

/// What was delivered, as far as a verdict needs it.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// Which incarnation.
    pub identity: &'a Identity,
    /// Its tags.
    pub tags: &'a Tags,
    /// The keys whose change is the proof.
    pub keys: &'a [String],
    /// How it is to be rotated.
    pub strategy: Strategy,
    /// Password policy for new values.
    pub password_policy: Option<&'a str>,
}

/// The tag of one field's value: 16 bits of HMAC-SHA256 (RFC 2104) over name and value.
#[must_use]
pub fn tag(key: &SecretBytes, field: &str, value: &str) -> u16 {
    // HMAC takes keys of any length, so this cannot fail; 0 would only make a change look like none.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else { return 0 };
    let mut input = lp(&[field.as_bytes(), value.as_bytes()]);
    mac.update(&input);
    zeroize::Zeroize::zeroize(&mut input);
    mac.finalize().into_bytes().first_chunk().map_or(0, |two| u16::from_be_bytes(*two))
}

/// Whether the delivered value is certainly no longer the one in Vault: another incarnation, and every tag differs.
/// Weaker than a [`Verdict::Dead`]: the old version may still be readable.
#[must_use]
pub fn replaced(delivered: &Delivered<'_>, sight: &SourceSight) -> bool {
    let other = match (&sight.current, delivered.identity) {
        (Some(Identity::Kv1), Identity::Kv1) => true,
        (current, then) => current.as_ref() != Some(then),
    };
    other && changed(delivered, sight)
}

fn another_user(delivered: &Delivered<'_>, sight: &SourceSight) -> bool {
    matches!((delivered.tags.get("username"), sight.tags.get("username")), (Some(then), Some(now)) if then != now)
}

fn changed(delivered: &Delivered<'_>, sight: &SourceSight) -> bool {
    !delivered.keys.is_empty()
        && delivered.keys.iter().all(|key| match (delivered.tags.get(key), sight.tags.get(key)) {
            (Some(then), Some(now)) => then != now,
            (Some(_), None) => true,
            (None, _) => false,
        })
}

/// Judges a sight of the source.
///
/// A field proves change only by a tag that differs: equal tags may be a collision (1 in 65 536), and then the answer is
/// `Alive`, which costs one more rotation and never a false proof.
#[must_use]
pub fn verdict(delivered: &Delivered<'_>, sight: &SourceSight) -> Verdict {
    let changed = changed(delivered, sight);
    match (delivered.identity, &sight.current) {
        // A role of the same name for another user: the delivered user's password may live on.
        (Identity::Static { .. }, Some(_)) if another_user(delivered, sight) => Verdict::Alive(None),
        (Identity::Static { rotated: then }, Some(Identity::Static { rotated: now })) => {
            if changed && now > then {
                let what =
                    if sight.unseen { "; the password was not looked at" } else { " and the password is another" };
                let seen = format!("last_vault_rotation moved from {then} to {now}{what}");
                Verdict::Dead { scope: Scope::Target, seen }
            } else {
                Verdict::Alive((delivered.strategy == Strategy::RotateRole).then_some(Step::RotateRole))
            }
        }
        (Identity::Kv2 { version: then, .. }, current) => kv2(delivered, *then, current.as_ref(), changed, sight),
        (Identity::Kv1, current) => {
            if changed {
                let seen =
                    if current.is_some() { "every delivered secret value is another" } else { "the secret is gone" };
                Verdict::Dead { scope: Scope::Vault, seen: seen.to_owned() }
            } else {
                Verdict::Alive(write_step(delivered, None, None))
            }
        }
        // The role is gone or became something else: nothing here proves that its last password is dead.
        (Identity::Static { .. }, _) => Verdict::Alive(None),
    }
}

fn kv2(
    delivered: &Delivered<'_>,
    then: u64,
    current: Option<&Identity>,
    changed: bool,
    sight: &SourceSight,
) -> Verdict {
    if current == Some(delivered.identity) {
        return Verdict::Alive(write_step(delivered, Some(then), Some(then)));
    }
    let now = match current {
        Some(Identity::Kv2 { version, .. }) => Some(*version),
        _ => None,
    };
    if sight.unseen && sight.delivered == DeliveredVersion::Present {
        // A newer version of unknown values: its writer may have been cut off before the delivered one was destroyed.
        return Verdict::Alive(now.and_then(|v| write_step(delivered, Some(v), Some(then))));
    }
    if !changed {
        // A newer version that holds the same value: write over that one. The number of the delivered version may be
        // another secret's by now (deleted and made anew), so it is destroyed only if it was seen to be ours.
        let ours = (sight.delivered == DeliveredVersion::Present).then_some(then);
        return Verdict::Alive(now.and_then(|v| write_step(delivered, Some(v), ours)));
    }
    if sight.unseen && !now.is_none_or(|now| now > then && written(delivered, sight)) {
        // Somebody may have written the same value again and destroyed the delivered version: it is written over once more.
        return Verdict::Alive(now.and_then(|v| write_step(delivered, Some(v), None)));
    }
    match sight.delivered {
        DeliveredVersion::Destroyed => {
            let to = now.map_or("nothing".to_owned(), |v| format!("version {v}"));
            let values = match (sight.unseen, now) {
                (true, Some(_)) => "which this operator wrote and did not look at",
                _ => "with other values",
            };
            let seen =
                format!("version {then} is destroyed, {to} is current, {values}; other versions were not looked at");
            Verdict::Dead { scope: Scope::Vault, seen }
        }
        _ if delivered.strategy == Strategy::WriteNewVersion => Verdict::Alive(Some(Step::DestroyVersion(then))),
        _ => Verdict::Alive(None),
    }
}

/// Whether every key whose change is the proof was written by this operator.
fn written(delivered: &Delivered<'_>, sight: &SourceSight) -> bool {
    !delivered.keys.is_empty() && delivered.keys.iter().all(|key| sight.written.contains(key))
}

fn write_step(delivered: &Delivered<'_>, cas: Option<u64>, destroy: Option<u64>) -> Option<Step> {
    (delivered.strategy == Strategy::WriteNewVersion).then(|| Step::WriteNewVersion {
        cas,
        keys: delivered.keys.to_vec(),
        password_policy: delivered.password_policy.map(str::to_owned),
        destroy,
    })
}

/// Whether a credential that Vault rotates by itself lives as long as a delivery promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Long enough.
    Enough,
    /// It would end too early, but a fresh period is long enough: rotate it first.
    RotateFirst,
    /// Not even a fresh period is long enough.
    TooShort,
}

/// Compares what is promised (ttl + afterRetrieval) with Vault's own rotation. `rotates_in` and `period` are `None` where
/// the engine does not rotate by itself, or by a schedule of which only `rotates_in` is known.
#[must_use]
pub fn lifetime(promised: Span, rotates_in: Option<Span>, period: Option<Span>) -> Lifetime {
    match (rotates_in, period) {
        (None, _) => Lifetime::Enough,
        (Some(left), _) if left >= promised => Lifetime::Enough,
        (Some(_), Some(period)) if period > promised => Lifetime::RotateFirst,
        (Some(_), _) => Lifetime::TooShort,
    }
}

/// Whether new values can be written for a credential without touching what is not delivered: a write to KV version 1
/// replaces the whole secret. `others`: the names of the keys that the delivery does not name; none for other engines.
///
/// # Errors
/// Misconfigured `kv1-unnamed-keys`.
pub fn writable(place: &str, strategy: Strategy, others: &[String]) -> Result<(), Fault> {
    if strategy != Strategy::WriteNewVersion || others.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{place} is KV version 1 and holds more keys than the delivery names ({}); a rotation would write over them too",
        others.join(", ")
    );
    Err(Fault::new(Class::Misconfigured, "kv1-unnamed-keys", message)
        .field("spec.source.vault.kv.keys")
        .remedy("Name every key, or move the secret to KV version 2"))
}

/// What is to be done with a credential that was read for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeforeDelivery {
    /// It is delivered.
    Deliver,
    /// It must be rotated first, and that is not written down yet.
    WriteDown,
    /// It is rotated, as is written down.
    Rotate,
    /// It can't be delivered: see [`Lifetime::TooShort`].
    TooShort,
}

/// The lifetime beside what the manifest says of rotation, which may ask for a fresh credential always, or for none ever.
/// `begun`: the incarnation that is to be replaced for this attempt, as the ledger says; `read`: the one that was read. So an
/// attempt that is begun again after a rotation does not rotate again.
#[must_use]
pub fn before_delivery(
    lifetime: Lifetime,
    rotation: &RotationSpec,
    begun: Option<&Identity>,
    read: &Identity,
) -> BeforeDelivery {
    let always = rotation.before_delivery && rotation.strategy == Strategy::RotateRole;
    let fresh = begun.is_some_and(|begun| begun != read);
    match lifetime {
        Lifetime::TooShort => BeforeDelivery::TooShort,
        Lifetime::RotateFirst if rotation.strategy == Strategy::None => BeforeDelivery::TooShort,
        Lifetime::Enough if fresh || !always => BeforeDelivery::Deliver,
        Lifetime::Enough | Lifetime::RotateFirst if begun == Some(read) => BeforeDelivery::Rotate,
        Lifetime::Enough | Lifetime::RotateFirst => BeforeDelivery::WriteDown,
    }
}

#[cfg(test)]
mod tests;

//! Is the delivered value dead? The predicate for each engine, and the next step if it is not.
//!
//! Source of the rules: the engines' documented behaviour, gathered in the project's Vault facts. A rotate call's answer
//! proves nothing (it may fail and still have happened): only what is seen afterwards does.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::delivery::{DeliveredVersion, Identity, SourceSight, Strategy, Tags};
use crate::encode::lp;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(current: Option<Identity>, password: u16, version: DeliveredVersion) -> SourceSight {
        SourceSight {
            at: Timestamp::from_secs(100),
            current,
            tags: Tags::from([("password".into(), password), ("username".into(), 7)]),
            delivered: version,
            unseen: false,
            written: Vec::new(),
        }
    }

    fn judge(identity: &Identity, strategy: Strategy, sight: &SourceSight) -> Verdict {
        let tags = Tags::from([("password".into(), 1), ("username".into(), 7)]);
        let keys = ["password".to_owned()];
        verdict(&Delivered { identity, tags: &tags, keys: &keys, strategy, password_policy: None }, sight)
    }

    fn at(secs: i64) -> Identity {
        Identity::Static { rotated: Timestamp::from_secs(secs) }
    }

    fn version(version: u64) -> Identity {
        Identity::Kv2 { version, created: format!("t{version}") }
    }

    #[test]
    fn a_static_role_is_dead_only_with_a_newer_rotation_and_another_password() {
        let none = DeliveredVersion::NotLooked;
        let rotate = Verdict::Alive(Some(Step::RotateRole));
        let role = |s: &SourceSight| judge(&at(10), Strategy::RotateRole, s);
        assert!(matches!(role(&sight(Some(at(11)), 2, none)), Verdict::Dead { scope: Scope::Target, .. }));
        assert_eq!(role(&sight(Some(at(11)), 1, none)), rotate, "same tag proves nothing");
        assert_eq!(role(&sight(Some(at(10)), 2, none)), rotate, "time has not moved");
        assert_eq!(role(&sight(Some(at(9)), 2, none)), rotate, "a restored Vault may run backwards");
        assert_eq!(role(&sight(None, 2, none)), Verdict::Alive(None), "a missing role proves nothing");
    }

    #[test]
    fn who_may_not_read_writes_over_a_newer_version_until_the_delivered_one_is_destroyed() {
        let unseen = |current, version| SourceSight { tags: Tags::new(), unseen: true, ..sight(current, 0, version) };
        let kv = |s: &SourceSight| judge(&version(3), Strategy::WriteNewVersion, s);
        let step = |v| {
            let keys = vec!["password".into()];
            Verdict::Alive(Some(Step::WriteNewVersion { cas: Some(v), keys, password_policy: None, destroy: Some(3) }))
        };
        assert_eq!(kv(&unseen(Some(version(3)), DeliveredVersion::NotLooked)), step(3));
        assert_eq!(kv(&unseen(Some(version(4)), DeliveredVersion::Present)), step(4), "cut off before the destruction");
        let ours = |v| SourceSight {
            written: vec!["password".into()],
            ..unseen(Some(version(v)), DeliveredVersion::Destroyed)
        };
        let Verdict::Dead { scope, seen } = kv(&ours(5)) else { panic!("written by us, destroyed by name") };
        assert_eq!(scope, Scope::Vault);
        assert!(seen.contains("did not look at"), "{seen}");
        assert!(matches!(kv(&ours(2)), Verdict::Alive(Some(_))), "numbers that ran backwards prove nothing");
    }

    /// Somebody may write the delivered value again and destroy the delivered version by name: without a look at the
    /// values, only a version that this operator wrote itself is known to hold others.
    #[test]
    fn who_may_not_read_proves_nothing_by_a_version_of_somebody_else() {
        let tags = Tags::from([("password".into(), 1), ("key".into(), 2)]);
        let keys = ["password".to_owned(), "key".to_owned()];
        let fates = [DeliveredVersion::Destroyed, DeliveredVersion::Present, DeliveredVersion::NotLooked];
        let lists: [&[&str]; 5] = [&[], &["password"], &["key"], &["user"], &["key", "password", "user"]];
        for (now, fate, list) in (1..7)
            .flat_map(|now| fates.iter().map(move |fate| (now, *fate)))
            .flat_map(|(now, fate)| lists.iter().map(move |list| (now, fate, *list)))
        {
            let strategy = Strategy::WriteNewVersion;
            let written = list.iter().map(|key| (*key).to_owned()).collect();
            let seen = SourceSight { tags: Tags::new(), unseen: true, written, ..sight(Some(version(now)), 0, fate) };
            let identity = version(3);
            let delivered =
                Delivered { identity: &identity, tags: &tags, keys: &keys, strategy, password_policy: None };
            let proven = now > 3 && fate == DeliveredVersion::Destroyed && list.len() == 3;
            match verdict(&delivered, &seen) {
                Verdict::Dead { .. } => assert!(proven, "{now} {fate:?} {list:?}"),
                Verdict::Alive(step) => {
                    assert!(!proven, "{now} {list:?}");
                    // What is destroyed is the delivered version and no other.
                    if let Some(Step::WriteNewVersion { cas, destroy, .. }) = step {
                        assert!(cas == Some(now) && destroy.is_none_or(|v| v == 3), "{now} {fate:?} {list:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_role_that_was_made_anew_for_another_user_proves_nothing() {
        let mut other = sight(Some(at(11)), 2, DeliveredVersion::NotLooked);
        other.tags.insert("username".into(), 8);
        assert_eq!(judge(&at(10), Strategy::RotateRole, &other), Verdict::Alive(None));
    }

    #[test]
    fn kv2_is_written_then_destroyed_then_dead() {
        let kv = |s: &SourceSight| judge(&version(3), Strategy::WriteNewVersion, s);
        let write = |v| {
            let keys = vec!["password".into()];
            Verdict::Alive(Some(Step::WriteNewVersion { cas: Some(v), keys, password_policy: None, destroy: Some(3) }))
        };
        assert_eq!(kv(&sight(Some(version(3)), 1, DeliveredVersion::NotLooked)), write(3));
        assert_eq!(
            kv(&sight(Some(version(4)), 1, DeliveredVersion::Present)),
            write(4),
            "same value in a newer version"
        );
        assert_eq!(
            kv(&sight(Some(version(4)), 2, DeliveredVersion::Present)),
            Verdict::Alive(Some(Step::DestroyVersion(3)))
        );
        let dead = kv(&sight(Some(version(4)), 2, DeliveredVersion::Destroyed));
        assert!(matches!(dead, Verdict::Dead { scope: Scope::Vault, .. }));
        // Deleted and made anew: version 3 again, but of another birth.
        let anew = Identity::Kv2 { version: 3, created: "later".into() };
        assert!(matches!(kv(&sight(Some(anew), 2, DeliveredVersion::Destroyed)), Verdict::Dead { .. }));
    }

    #[test]
    fn without_a_strategy_nothing_is_done() {
        let s = sight(Some(version(3)), 1, DeliveredVersion::NotLooked);
        assert_eq!(judge(&version(3), Strategy::None, &s), Verdict::Alive(None));
    }

    #[test]
    fn tags_depend_on_key_field_and_value() {
        let key = SecretBytes::new(vec![1; 32]);
        let other = SecretBytes::new(vec![2; 32]);
        let tags = [tag(&key, "a", "v"), tag(&key, "b", "v"), tag(&key, "a", "w"), tag(&other, "a", "v")];
        for (i, a) in tags.iter().enumerate() {
            for b in tags.iter().skip(i + 1) {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn kv1_is_dead_when_every_delivered_secret_value_is_another() {
        let kv = |s: &SourceSight| judge(&Identity::Kv1, Strategy::WriteNewVersion, s);
        let none = DeliveredVersion::NotLooked;
        assert!(matches!(kv(&sight(Some(Identity::Kv1), 2, none)), Verdict::Dead { scope: Scope::Vault, .. }));
        let write = kv(&sight(Some(Identity::Kv1), 1, none));
        assert!(matches!(write, Verdict::Alive(Some(Step::WriteNewVersion { cas: None, destroy: None, .. }))));
    }

    #[test]
    fn the_number_of_the_delivered_version_is_destroyed_only_where_it_is_ours() {
        // Deleted and made anew with the same value: version 3 may be anybody's by now.
        let gone = sight(Some(version(4)), 1, DeliveredVersion::Destroyed);
        let step = judge(&version(3), Strategy::WriteNewVersion, &gone);
        assert!(matches!(step, Verdict::Alive(Some(Step::WriteNewVersion { cas: Some(4), destroy: None, .. }))));
    }

    #[test]
    fn a_field_that_was_not_delivered_proves_nothing() {
        let seen = sight(Some(at(11)), 2, DeliveredVersion::NotLooked);
        let (identity, keys) = (at(10), ["password".to_owned()]);
        let judge = |tags: &Tags, keys: &[String]| {
            let strategy = Strategy::RotateRole;
            verdict(&Delivered { identity: &identity, tags, keys, strategy, password_policy: None }, &seen)
        };
        assert!(matches!(judge(&Tags::new(), &keys), Verdict::Alive(_)), "no tag to compare with");
        assert!(matches!(judge(&Tags::from([("password".into(), 1)]), &[]), Verdict::Alive(_)), "no key to prove by");
    }

    #[test]
    fn a_role_lives_long_enough_or_is_rotated_first_or_never_will() {
        let s = Span::from_secs;
        assert_eq!(lifetime(s(100), None, Some(s(1))), Lifetime::Enough, "not rotated by Vault");
        assert_eq!(lifetime(s(100), Some(s(100)), None), Lifetime::Enough);
        assert_eq!(lifetime(s(100), Some(s(99)), Some(s(101))), Lifetime::RotateFirst);
        assert_eq!(lifetime(s(100), Some(s(99)), Some(s(100))), Lifetime::TooShort);
        assert_eq!(
            lifetime(s(100), Some(s(99)), None),
            Lifetime::TooShort,
            "a schedule of which only the next is known"
        );
    }
}

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
    let ours =
        |v| SourceSight { written: vec!["password".into()], ..unseen(Some(version(v)), DeliveredVersion::Destroyed) };
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
        let delivered = Delivered { identity: &identity, tags: &tags, keys: &keys, strategy, password_policy: None };
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
    assert_eq!(kv(&sight(Some(version(4)), 1, DeliveredVersion::Present)), write(4), "same value in a newer version");
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
    assert_eq!(lifetime(s(100), Some(s(99)), None), Lifetime::TooShort, "a schedule of which only the next is known");
}

#[test]
fn a_rotation_before_a_delivery_is_wanted_written_down_and_made_once() {
    use BeforeDelivery::{Deliver, Rotate, TooShort, WriteDown};
    let (old, new) = ([10, 20]).map(|at| Identity::Static { rotated: Timestamp::from_secs(at) }).into();
    let cases = [
        (Strategy::RotateRole, false, None, [Deliver, WriteDown, TooShort]),
        (Strategy::RotateRole, false, Some(&new), [Deliver, Rotate, TooShort]),
        (Strategy::RotateRole, false, Some(&old), [Deliver, WriteDown, TooShort]),
        (Strategy::RotateRole, true, None, [WriteDown, WriteDown, TooShort]),
        (Strategy::RotateRole, true, Some(&new), [Rotate, Rotate, TooShort]),
        (Strategy::RotateRole, true, Some(&old), [Deliver, WriteDown, TooShort]),
        (Strategy::None, true, None, [Deliver, TooShort, TooShort]),
        (Strategy::WriteNewVersion, true, None, [Deliver, WriteDown, TooShort]),
    ];
    for (strategy, before_delivery, begun, expected) in cases {
        let rotation = RotationSpec { strategy, before_delivery, ..crate::decide::tests::spec().rotation };
        let lifetimes = [Lifetime::Enough, Lifetime::RotateFirst, Lifetime::TooShort];
        let found = lifetimes.map(|lifetime| super::before_delivery(lifetime, &rotation, begun, &new));
        assert_eq!(found, expected, "{strategy:?}, always: {before_delivery}, begun: {begun:?}");
    }
}

#[test]
fn a_write_that_would_replace_what_nobody_named_is_refused_and_names_it() {
    let others = ["port".to_owned(), "other".to_owned()];
    let fault = writable("kv1:legacy/db", Strategy::WriteNewVersion, &others).unwrap_err();
    assert_eq!((fault.code.as_ref(), fault.class), ("kv1-unnamed-keys", Class::Misconfigured));
    assert!(fault.to_string().contains("port, other"), "{fault}");
    assert!(writable("kv1:legacy/db", Strategy::WriteNewVersion, &[]).is_ok());
    assert!(writable("kv1:legacy/db", Strategy::None, &others).is_ok(), "nothing is written then");
}

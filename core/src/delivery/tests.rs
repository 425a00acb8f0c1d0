//! What is shown of an address, and what two sources have in common.

use proptest::prelude::*;

use super::*;

#[test]
fn addresses_are_reduced_to_first_letter_and_domain() {
    for (email, shown) in [
        ("alice@vendor.example", "a…@vendor.example"),
        ("\"a@b\"@vendor.example", "\"…@vendor.example"),
        ("élise@vendor.example", "é…@vendor.example"),
        ("@vendor.example", "…@vendor.example"),
        ("nobody", "n…@"),
        ("", "…@"),
    ] {
        assert_eq!(mask(email), shown);
    }
    let recipient = Recipient { email: "alice@vendor.example".into(), name: Some("Alice".into()), locale: None };
    assert_eq!(format!("{recipient:?}"), "Recipient(a…@vendor.example)");
    let notify = Notify { email: "sender@example.com".into(), on: vec![] };
    assert!(!format!("{notify:?}").contains("sender"));
}

#[test]
fn sources_share_a_place_whichever_keys_they_name() {
    let kv = |keys: &[&str]| Source::Kv2 {
        mount: "secret".into(),
        path: "a".into(),
        keys: keys.iter().map(|k| (*k).to_owned()).collect(),
    };
    assert_eq!(kv(&["user"]).index_key("https://v", "ns"), kv(&["pass"]).index_key("https://v", "ns"));
    assert_ne!(kv(&[]).index_key("https://v", "ns"), kv(&[]).index_key("https://v", "other"));
    assert_ne!(kv(&[]).index_key("https://v", "ns"), kv(&[]).index_key("https://w", "ns"));
    let old = Source::Kv1 { mount: "secret".into(), path: "a".into(), keys: vec![] };
    assert_ne!(kv(&[]).index_key("https://v", "ns"), old.index_key("https://v", "ns"));
}

proptest! {
    #[test]
    fn masking_keeps_nothing_but_one_letter_of_the_local_part(local in "[a-z]{3,20}", domain in "[a-z]{2,9}\\.example") {
        let shown = mask(&format!("{local}@{domain}"));
        prop_assert_eq!(shown.chars().filter(|c| *c == '@').count(), 1);
        prop_assert!(shown.starts_with(&local[..1]) && shown.ends_with(&domain));
        prop_assert_eq!(shown.chars().count(), domain.len() + 3);
    }
}

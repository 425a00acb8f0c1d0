//! What leaves the machine of somebody who sends to a mount: ciphertext and hashes, and nothing that opens them.

use ps_core::encode::{b64, from_b64};
use ps_testbed::{HttpProxy, OpenBao};
use serde_json::{Value, json};

use crate::programs::{SENDER_POLICY, as_answered, send, token_file};
use crate::stand::{Holder, prepare};
use crate::storage::everything_kept;

/// More than the requests of these tests have.
const MOST_BYTES: usize = 4 << 20;
const PASSWORD: &str = "sealed-at-home-hunter2";
const USER: &str = "alice-of-the-shop";
const PHRASE: &str = "Tr0ub4dor-und-3-Baende";
const NOTE: &str = "VPN-access-of-the-shop";

/// The ways in which a secret might be written, each in small letters, for a text that is in small letters too.
fn written(secret: &[u8]) -> Vec<String> {
    let mut ways = vec![hex::encode(secret)];
    ways.extend(std::str::from_utf8(secret).map(str::to_owned));
    let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
    ways.extend([numbers.join(","), numbers.join(", "), numbers.join(" ")]);
    let percent: String = secret.iter().map(|byte| format!("%{byte:02x}")).collect();
    ways.push(percent);
    for shift in 0..3 {
        // As base64 of something longer that it is a part of: without the letters that others have a share in.
        let text = b64(&[&vec![0; shift], secret].concat());
        let (skipped, whole) = ((shift * 8).div_ceil(6), (shift + secret.len()) * 8 / 6);
        let inner = text[skipped..whole].to_owned();
        ways.extend([inner.replace('-', "+").replace('_', "/"), inner]);
    }
    ways.iter().map(|way| way.to_lowercase()).collect()
}

/// Whether the bytes hold the secret in one of these ways, or as it is.
fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    written(secret).iter().any(|way| text.contains(way)) || bytes.windows(secret.len()).any(|part| part == secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_ciphertext_leaves_the_sender_and_is_stored() {
    let bao = OpenBao::raft().await.unwrap();
    prepare(&bao).await;
    bao.call("POST", "send/roles/onboarding", Some(&json!({}))).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let token = token_file(&bao, folder.path(), SENDER_POLICY).await;
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (user, phrase) = (format!("username=@{}", file("user.txt", USER)), file("phrase.txt", PHRASE));
    let between = HttpProxy::start(bao.address()).unwrap();
    between.keep_requests(MOST_BYTES);

    let whole =
        ["--to", "vault:send", "--role", "onboarding", "-f", &user, "-f", "password=-", "--title", NOTE, "--json"];
    let phrased = [&whole[..], &["--passphrase-file", &phrase]].concat();
    let (mut secrets, mut links) = (Vec::new(), Vec::new());
    for (arguments, passphrase) in [(&whole[..], None), (&phrased, Some(PHRASE))] {
        let sent = send(&between.address(), &token, arguments, &format!("{PASSWORD}\n"));
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        let link = Holder::with_passphrase(&as_answered(&serde_json::from_slice(&sent.stdout).unwrap()), passphrase);
        let key = link.fragment.strip_prefix("ps1.").unwrap();
        secrets.extend([key.as_bytes().to_vec(), from_b64(key).unwrap(), link.code().as_bytes().to_vec()]);
        secrets.push(link.code().replace('-', "").into_bytes());
        links.push(link);
    }
    secrets.extend([PASSWORD, USER, PHRASE, NOTE].map(|text| text.as_bytes().to_vec()));
    let kept = between.kept_requests().unwrap();
    for link in &links {
        let posts = |one: &&Vec<u8>| one.starts_with(b"POST ") || one.starts_with(b"PUT ");
        let with_it = kept.iter().filter(posts).filter(|one| String::from_utf8_lossy(one).contains(&link.id));
        assert_eq!(with_it.count(), 1, "its request is among those that are searched");
    }
    for secret in &secrets {
        let held = kept.iter().find(|one| holds(one, secret));
        let request = held.map(|one| String::from_utf8_lossy(one).lines().next().unwrap_or_default().to_owned());
        assert_eq!(request, None, "secret {:?}", String::from_utf8_lossy(secret));
    }
    let rows = everything_kept(&bao).await;
    for link in &links {
        assert!(rows.iter().any(|row| row.path.starts_with("logical/") && row.value().contains(&link.id)));
    }
    for row in &rows {
        for secret in &secrets {
            let held = holds(row.value().as_bytes(), secret);
            assert!(!held, "{} holds {:?}", row.path, String::from_utf8_lossy(secret));
        }
    }

    // Planted, in each of these ways and as it is, each secret is found.
    let to = |body: &Value| {
        let (address, token, body) = (between.address(), bao.root_token().to_owned(), body.clone());
        async move { crate::claims::post(&address, &token, "send/sealed/onboarding", &body).await.unwrap().0 }
    };
    for secret in &secrets {
        let longer = [b"something longer with ", &secret[..], b" in it"].concat();
        let plain = std::str::from_utf8(secret).unwrap_or_default();
        let numbers: Vec<u8> = longer.clone();
        for planted in [json!(hex::encode(&longer)), json!(b64(&longer)), json!(numbers), json!(plain)] {
            if planted == "" {
                continue;
            }
            between.keep_requests(MOST_BYTES);
            assert_eq!(to(&json!({"sealed": {"planted": planted}})).await, 400);
            let kept = between.kept_requests().unwrap();
            assert!(kept.len() == 1 && holds(&kept[0], secret), "{planted} is not found");
        }
    }
    // And the search of storage sees what is stored.
    bao.mount_kv2("secret").await.unwrap();
    bao.kv_put("secret", "planted", json!({"password": b64(PASSWORD.as_bytes())})).await.unwrap();
    let rows = everything_kept(&bao).await;
    assert!(rows.iter().any(|row| holds(row.value().as_bytes(), PASSWORD.as_bytes())));

    for (link, typed) in links.iter().zip([None, Some(PHRASE)]) {
        let (status, claimed) = link.claim(&bao).await;
        assert_eq!(status, 200, "{typed:?}: {claimed}");
        assert_eq!((link.open(&claimed, "username"), link.open(&claimed, "password")), (USER.into(), PASSWORD.into()));
    }
}

#[tokio::test]
async fn every_place_in_base64_is_looked_at() {
    for before in 0..9 {
        for after in 0..9 {
            let text = [&vec![b'x'; before][..], USER.as_bytes(), &vec![b'y'; after]].concat();
            assert!(holds(b64(&text).as_bytes(), USER.as_bytes()), "{before} {after}");
        }
    }
    assert!(!holds(b64(b"alice-of-the-zhop").as_bytes(), USER.as_bytes()));
}

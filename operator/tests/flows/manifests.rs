//! Manifests that are wrong, in every way that a folder can be wrong: said with field and remedy, and nobody else is harmed.

use std::fs;
use std::os::unix::fs::symlink;

use ps_testbed::{OpenBao, Testbed, unique, wait_until};
use serde_json::{Value, json};

use crate::support::{KvSource, Recipient, RoleSource, SOON, Seen, Setup, Stand, kv_delivery, role_delivery};

async fn scene() -> (&'static OpenBao, Stand, KvSource, String) {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup::default()).await;
    stand.connect(bao, bao.address(), &source.policy()).await;
    (bao, stand, source, format!("{}@v.example", unique("wrong")))
}

/// An operator beside the one that is looked at, with deliveries of its own. When it believes that one of them was removed,
/// the other one has had as much time to believe what it saw before.
struct Clock {
    stand: Stand,
    left: Vec<(String, Recipient)>,
}

impl Clock {
    async fn new(bao: &OpenBao, source: &KvSource, ticks: usize) -> Self {
        let stand = Stand::start(Setup::default()).await;
        stand.connect(bao, bao.address(), &source.policy()).await;
        let mut left = Vec::new();
        // They share a source: its rotation would withdraw the others.
        let more = json!({"rotation": {"onRevocation": false}});
        for tick in 0..ticks {
            let (name, to) = (format!("tick-{tick}"), format!("{}@v.example", unique("tick")));
            stand.apply(&name, &kv_delivery(&name, &to, source, "1h", "1h", more.clone()));
            left.push((name, stand.recipient(&to).await));
        }
        Self { stand, left }
    }

    /// Waits for as long as an absence takes to be believed.
    async fn tick(&mut self) {
        let (name, recipient) = self.left.pop().unwrap();
        self.stand.remove(&name);
        wait_until("a removal to be believed", SOON, async || {
            (recipient.lookup().await.state() == "revoked").then_some(())
        })
        .await
        .unwrap();
    }
}

/// Stalled, with these words in the message.
async fn assert_stalled(stand: &Stand, name: &str, words: &[&str]) -> Seen {
    let seen = stand.wait_status(name, "a stall", SOON, |s| s.stalled().is_some()).await;
    let (_, _, message) = seen.condition("Stalled");
    for word in words {
        assert!(message.contains(word), "{name}: {word:?} is not in {message:?}");
    }
    assert_eq!(seen.condition("Ready").0, "False", "{name}");
    assert!(!seen.is("Delivered"), "{name}");
    seen
}

#[tokio::test]
async fn what_the_schema_forbids_names_field_and_remedy() {
    let (_, stand, source, to) = scene().await;
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("no-strategy", json!({"rotation": {"strategy": null}}), &["rotation.strategy", "WriteNewVersion"]),
        ("wrong-strategy", json!({"rotation": {"strategy": "RotateRole"}}), &["rotation.strategy"]),
        ("no-after", json!({"rotation": {"afterRetrieval": null}}), &["rotation.afterRetrieval", "1h"]),
        ("after-none", json!({"rotation": {"strategy": "None"}}), &["rotation.afterRetrieval"]),
        ("long-window", json!({"link": {"claimWindow": "2h"}}), &["link.claimWindow", "afterRetrieval"]),
        ("no-keys", json!({"fields": [{"key": "username"}]}), &["rotation.keys"]),
        ("foreign-key", json!({"rotation": {"keys": ["else"]}}), &["rotation.keys"]),
        ("key-twice", json!({"fields": [{"key": "a", "kind": "password"}, {"key": "a"}]}), &["fields", "twice"]),
        ("other-keys", json!({"source": {"vault": {"kv": {"keys": ["username"]}}}}), &["keys"]),
        ("short-ttl", json!({"link": {"ttl": "59s"}}), &["link.ttl", "1m"]),
        ("long-ttl", json!({"link": {"ttl": "721h"}}), &["link.ttl", "720h"]),
        ("junk-ttl", json!({"link": {"ttl": "soon"}}), &["link.ttl"]),
        ("no-address", json!({"recipient": {"email": "alice"}}), &["recipient.email"]),
        ("two-addresses", json!({"recipient": {"email": "a@v.example, b@v.example"}}), &["recipient.email"]),
        ("header", json!({"recipient": {"name": "A\r\nBcc: b@v.example"}}), &["recipient.name"]),
        (
            "two-engines",
            json!({"source": {"vault": {"database": {"mount": "d", "staticRole": "r"}}}}),
            &["source.vault"],
        ),
        ("no-engine", json!({"source": {"vault": {"kv": null}}}), &["exactly one"]),
        ("path-escape", json!({"source": {"vault": {"kv": {"path": "../sys/raw"}}}}), &["source.vault.kv.path"]),
        ("old-v1", json!({"source": {"vault": {"kv": {"version": 3}}}}), &["version"]),
        ("url", json!({"context": {"url": "javascript:alert(1)"}}), &["context.url", "http"]),
        ("unknown-field", json!({"recipiant": {"email": to}}), &["recipiant"]),
        ("wrong-type", json!({"revoked": "yes"}), &["revoked"]),
        ("deadline", json!({"deliverBefore": "tomorrow"}), &["deliverBefore"]),
    ];
    for (name, more, _) in &cases {
        stand.apply(name, &kv_delivery(name, &to, &source, "1h", "1h", more.clone()));
    }
    let good = format!("{}@v.example", unique("good"));
    stand.apply("good", &kv_delivery("good", &good, &source, "1h", "1h", Value::Null));
    assert_eq!(stand.recipient(&good).await.open().await["password"], source.password);
    for (name, _, words) in &cases {
        assert_stalled(&stand, name, words).await;
    }
    // And once it is mended, it is sent.
    stand.apply("short-ttl", &kv_delivery("short-ttl", &to, &source, "1m", "1h", Value::Null));
    assert_eq!(stand.recipient(&to).await.lookup().await.state(), "open");
    assert_eq!(stand.mails(&to, 1, SOON).await.len(), 1);
}

#[tokio::test]
async fn what_only_vault_knows_names_field_and_remedy_and_is_not_tried_hot() {
    let (bao, stand, source, to) = scene().await;
    let role = RoleSource::new(bao).await;
    let (elsewhere, stranger) = (KvSource::new(bao).await, RoleSource::new(bao).await);
    let rights = format!(
        "path \"{}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}\npath \"{}/*\" {{ capabilities = [\"read\", \"update\"] }}\n\
         path \"no-such-mount/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}",
        source.mount, role.mount
    );
    stand.connect(bao, bao.address(), &rights).await;
    let kv = |name: &str, more: Value| kv_delivery(name, &to, &source, "1h", "1h", more);
    let missing_role = RoleSource { role: "no-such-role".into(), ..role.clone() };
    // A connection whose token Vault does not know.
    stand.secret("stranger", "token", "s.nobody");
    stand.apply(
        "stranger",
        &format!(
            "apiVersion: passwordsender.io/v1alpha1\nkind: VaultConnection\nmetadata: {{name: stranger}}\n\
             spec: {{address: \"{}\", auth: {{token: {{secretKeyRef: {{name: stranger, key: token}}}}}}}}\n",
            bao.address()
        ),
    );
    let role_of = |name: &str, role: &RoleSource, ttl: &str| role_delivery(name, &to, role, ttl, "1h", Value::Null);
    let version_1 =
        json!({"source": {"vault": {"kv": {"version": 1}}}, "rotation": {"strategy": "None", "afterRetrieval": null}});
    let no_passphrase = json!({"verification": {"passphrase": {"secretKeyRef": {"name": "none", "key": "k"}}}});
    let (kv_line, role_line) = (
        format!("Add to its policy: path \"{}/data/{}\"", elsewhere.mount, elsewhere.path),
        format!("path \"{}/rotate-role/{}\" {{ capabilities = [\"update\"] }}", stranger.mount, stranger.role),
    );
    // The field to change comes first, then what is wrong, then what to do.
    let manifests: Vec<(&str, String, &str, Vec<&str>)> = vec![
        (
            "no-key",
            kv("no-key", json!({"fields": [{"key": "nothing", "kind": "password"}]})),
            "spec.source.vault.kv.keys",
            vec!["has no key nothing", "Name keys that the secret has, or add them to it"],
        ),
        (
            "no-source-key",
            kv(
                "no-source-key",
                json!({
                    "source": {"vault": {"kv": {"keys": ["nothing", "password"]}}},
                    "fields": [{"key": "nothing"}, {"key": "password", "kind": "password"}],
                }),
            ),
            "spec.source.vault.kv.keys",
            vec!["has no key nothing", "Name keys that the secret has, or add them to it"],
        ),
        (
            "no-path",
            kv("no-path", json!({"source": {"vault": {"kv": {"path": "no/such/path"}}}})),
            "spec.source.vault.kv.path",
            vec!["no/such/path", "Write the secret, or correct the path"],
        ),
        (
            "no-mount",
            kv("no-mount", json!({"source": {"vault": {"kv": {"mount": "no-such-mount"}}}})),
            "spec.source.vault.kv.mount",
            vec!["no-such-mount", "Check the mount"],
        ),
        (
            "no-right",
            kv_delivery("no-right", &to, &elsewhere, "1h", "1h", Value::Null),
            "spec.source.vault.kv.path",
            vec!["the identity lacks read on", &kv_line],
        ),
        (
            "no-right-to-role",
            role_of("no-right-to-role", &stranger, "1h"),
            "spec.source.vault.database.staticRole",
            vec!["the identity lacks read on", "Add to its policy: ", &role_line],
        ),
        (
            "no-connection",
            kv("no-connection", json!({"source": {"vault": {"connectionRef": {"name": "nowhere"}}}})),
            "spec.source.vault.connectionRef.name",
            vec!["nowhere", "Add it to the manifests folder"],
        ),
        (
            "no-login",
            kv("no-login", json!({"source": {"vault": {"connectionRef": {"name": "stranger"}}}})),
            "spec.auth.token.secretKeyRef",
            vec!["default/stranger", "Put a new token into key token of secret stranger"],
        ),
        (
            "no-role",
            role_of("no-role", &missing_role, "1h"),
            "spec.source.vault.database.staticRole",
            vec!["no static role no-such-role", "Create it at", "or correct the name"],
        ),
        (
            "short-period",
            role_of("short-period", &role, "720h"),
            "spec.link.ttl",
            vec!["rotates role", "lengthen the role's rotation_period"],
        ),
        (
            "no-passphrase",
            kv("no-passphrase", no_passphrase),
            "spec.verification.passphrase.secretKeyRef",
            vec!["the secret default/none/k", "Put it into the file"],
        ),
        (
            "wrong-version",
            kv("wrong-version", version_1),
            "spec.source.vault.kv.version",
            vec!["KV version 2", "Set version: 2"],
        ),
    ];
    for (name, text, ..) in &manifests {
        stand.apply(name, text);
    }
    for (name, _, field, words) in &manifests {
        let seen = assert_stalled(&stand, name, words).await;
        let said = seen.condition("Stalled").2;
        assert!(
            field.is_empty() || said.starts_with(&format!("{field}: ")),
            "{name}: {field} is not named by {said:?}"
        );
    }
    // Nothing is tried hot: half a minute at least lies between two tries of one of them.
    let log = stand.log_text();
    for (name, ..) in &manifests {
        let tries =
            log.lines().filter(|l| l.contains("action=\"issue\"") && l.contains(&format!("default/{name} "))).count();
        assert!(tries <= 2, "{name} was tried {tries} times");
    }
    assert_eq!(stand.mails(&to, 0, SOON).await.len(), 0);
}

#[tokio::test]
async fn junk_in_the_folder_harms_nothing_else() {
    let (bao, stand, source, to) = scene().await;
    let put = |name: &str, bytes: &[u8]| fs::write(stand.path("manifests").join(name), bytes).unwrap();
    put("binary.yaml", &[0, 159, 146, 150, 255]);
    put("empty.yaml", b"");
    put(
        "half.yaml",
        b"apiVersion: passwordsender.io/v1alpha1\nkind: SecretDelivery\nmetadata: {name: half}\nspec: {recipient: {em",
    );
    put(
        "bomb.yaml",
        format!(
            "a: &a [x,x]\n{}",
            (b'b'..=b'z')
                .map(|c| format!("{}: &{} [*{},*{}]\n", c as char, c as char, (c - 1) as char, (c - 1) as char))
                .collect::<String>()
        )
        .as_bytes(),
    );
    put("deep.yaml", "[".repeat(100_000).as_bytes());
    put("other.yaml", b"apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n");
    put("huge.yaml", &vec![b'#'; 32 * 1024 * 1024]);
    fs::create_dir(stand.path("manifests/folder.yaml")).unwrap();
    symlink("/etc/passwd", stand.path("manifests/link.yaml")).unwrap();
    nix::unistd::mkfifo(&stand.path("manifests/pipe.yaml"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();

    stand.apply("good", &kv_delivery("good", &to, &source, "1h", "1h", Value::Null));
    let recipient = stand.recipient(&to).await;
    stand.wait_status("good", "delivered", SOON, |s| s.is("Delivered")).await;

    // A second file with the same object: the one that had it first keeps it, and nothing is sent to the other's person.
    let thief = format!("{}@v.example", unique("thief"));
    stand.apply("a-duplicate", &kv_delivery("good", &thief, &source, "1h", "1h", json!({"redeliver": "x"})));
    // A file that is written over with a half of itself keeps its last good meaning.
    let good = kv_delivery("good", &to, &source, "1h", "1h", Value::Null);
    stand.apply("good", &good[..good.len() / 2]);
    Clock::new(bao, &source, 1).await.tick().await;
    assert_eq!(recipient.lookup().await.state(), "open");
    stand.restart().await;
    assert_eq!(recipient.lookup().await.state(), "open");
    assert_eq!((stand.mails(&to, 1, SOON).await.len(), stand.mails(&thief, 0, SOON).await.len()), (1, 0));
    let log = stand.log_text();
    for name in ["half.yaml", "huge.yaml", "a-duplicate.yaml", "binary.yaml"] {
        assert!(log.contains(name), "nothing was said about {name}");
    }
    assert_eq!(recipient.open().await["password"], source.password);
}

#[tokio::test]
async fn a_folder_that_is_not_mounted_deletes_nothing_and_neither_does_one_that_is_suddenly_empty() {
    let (bao, stand, source, to) = scene().await;
    let others = [KvSource::below(bao, &source.mount).await, KvSource::below(bao, &source.mount).await];
    let rights = format!("path \"{}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}", source.mount);
    stand.connect(bao, bao.address(), &rights).await;
    let mut recipients = Vec::new();
    for (name, source) in [("one", &source), ("two", &others[0]), ("three", &others[1])] {
        let to = format!("{name}-{to}");
        stand.apply(name, &kv_delivery(name, &to, source, "1h", "1h", Value::Null));
        recipients.push(stand.recipient(&to).await);
    }
    for name in ["one", "two", "three"] {
        stand.wait_status(name, "delivered", SOON, |s: &Seen| s.is("Delivered")).await;
    }
    let mut clock = Clock::new(bao, &KvSource::new(bao).await, 3).await;
    // What an unmount looks like: another, empty folder is there instead.
    fs::rename(stand.path("manifests"), stand.path("away")).unwrap();
    fs::create_dir(stand.path("manifests")).unwrap();
    clock.tick().await;
    for recipient in &recipients {
        assert_eq!(recipient.lookup().await.state(), "open");
    }
    stand.restart().await;
    clock.tick().await;
    for recipient in &recipients {
        assert_eq!(recipient.lookup().await.state(), "open");
    }
    fs::remove_dir_all(stand.path("manifests")).unwrap();
    fs::rename(stand.path("away"), stand.path("manifests")).unwrap();
    // All files at once are gone: that waits for a person, who says so.
    for name in ["one", "two", "three"] {
        stand.remove(name);
    }
    clock.tick().await;
    for recipient in &recipients {
        assert_eq!(recipient.lookup().await.state(), "open");
    }
    fs::write(stand.path("manifests/.confirm-deletions"), "").unwrap();
    for recipient in &recipients {
        let withdrawn =
            wait_until("the withdrawal", SOON, async || (recipient.lookup().await.state() == "revoked").then_some(()));
        withdrawn.await.unwrap();
    }
    for name in ["one", "two", "three"] {
        wait_until("its rotation", SOON, async || (stand.audited(name, "Rotated") == 1).then_some(())).await.unwrap();
    }
}

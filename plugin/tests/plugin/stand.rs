//! A server with the plugin mounted, and whoever holds one of its links.

use std::path::PathBuf;
use std::time::Duration;

use ps_core::ids::{Digest, LinkId};
use ps_core::link::Verification;
use ps_core::service::{ClaimRequest, Revealed, TypedCode};
use ps_envelope::{Facts, Opener, Passphrase};
use ps_testbed::{OpenBao, wait_until};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// Nothing in these tests may take longer, unless it says so.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// What it is registered as, the program's name in the plugin directory, and the path of the mount.
pub(crate) const NAME: &str = "password-sender";
pub(crate) const COMMAND: &str = "password-sender-plugin";
pub(crate) const MOUNT: &str = "send";
/// What links begin with.
pub(crate) const PUBLIC_URL: &str = "https://links.example.com";

pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_password-sender-plugin"))
}

/// The plugin whose clock is a file; an example, so built beside the others (`cargo build -p ps-plugin --examples`).
pub(crate) fn clocked() -> PathBuf {
    program().parent().unwrap().join("examples/clocked")
}

/// An in-memory server that the tests of this process share; each makes roles and links of its own.
pub(crate) async fn shared() -> &'static OpenBao {
    static SHARED: OnceCell<OpenBao> = OnceCell::const_new();
    SHARED
        .get_or_init(async || {
            let bao = OpenBao::dev().await.unwrap();
            prepare(&bao).await;
            bao
        })
        .await
}

/// Mounts the plugin with a role `any`.
pub(crate) async fn prepare(bao: &OpenBao) {
    let sha256 = bao.install_plugin(COMMAND, &program()).unwrap();
    bao.register_plugin(NAME, COMMAND, &sha256, &[]).await.unwrap();
    bao.mount(MOUNT, json!({ "type": NAME })).await.unwrap();
    set_up(bao).await;
}

/// Settings of the mount, and a role `any`.
pub(crate) async fn set_up(bao: &OpenBao) {
    bao.call("POST", "send/config", Some(&json!({ "public_url": PUBLIC_URL }))).await.unwrap();
    bao.call("POST", "send/roles/any", Some(&json!({}))).await.unwrap();
}

/// Whoever got a link.
#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) id: String,
    pub(crate) fragment: String,
    code: String,
    access: [u8; 32],
    decline: [u8; 32],
    proof: [u8; 32],
    pub(crate) token: [u8; 32],
    /// What they type; not what was typed when the link was made, if they are wrong.
    passphrase: Option<String>,
}

/// What a link says of itself at a lookup, as far as opening it needs that.
fn facts(not_after: ps_core::time::Timestamp, passphrase: Option<&str>) -> Facts {
    let kinds: &[Verification] = if passphrase.is_some() { &[Verification::Passphrase] } else { &[] };
    Facts::new(not_after, kinds).unwrap()
}

impl Holder {
    /// Issues a link with the password `value`.
    pub(crate) async fn issue(bao: &OpenBao, value: &str) -> Self {
        Self::of(bao, "any", &json!({"username": "alice", "password": value, "title": "A title"})).await
    }

    pub(crate) async fn of(bao: &OpenBao, role: &str, content: &Value) -> Self {
        let answer = bao.call("POST", &format!("send/link/{role}"), Some(content)).await.unwrap();
        Self::from_answer(&answer)
    }

    pub(crate) fn from_answer(answer: &Value) -> Self {
        Self::with_passphrase(answer, None)
    }

    /// The same, where a passphrase is typed as well.
    pub(crate) fn with_passphrase(answer: &Value, passphrase: Option<&str>) -> Self {
        assert_eq!(answer["lease_id"], "", "a link is never a lease");
        let data = &answer["data"];
        let url = data["url"].as_str().unwrap();
        let fragment = url.strip_prefix(&format!("{PUBLIC_URL}/#")).unwrap().to_owned();
        let opener = Opener::from_fragment(&fragment).unwrap();
        assert_eq!(data["id"], opener.id().to_string());
        let facts = facts(ps_core::time::Timestamp::EPOCH, passphrase);
        let typed = passphrase.map(|typed| Passphrase::new(typed).unwrap());
        let bytes = |secret: &ps_core::secret::SecretBytes| secret.expose().try_into().unwrap();
        let proof = bytes(opener.unlock(facts, typed.as_ref()).unwrap().proof());
        Self {
            id: opener.id().to_string(),
            code: data["opening_code"].as_str().unwrap().to_owned(),
            access: bytes(opener.access()),
            decline: bytes(opener.decline()),
            proof,
            token: [7; 32],
            passphrase: passphrase.map(str::to_owned),
            fragment,
        }
    }

    /// The same link in another browser.
    pub(crate) fn elsewhere(&self, browser: usize) -> Self {
        Self { token: Digest::of(format!("browser {browser}").as_bytes()).0, ..self.clone() }
    }

    /// The opening code, as it was shown.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    fn link_id(&self) -> LinkId {
        LinkId::parse(&self.id).unwrap()
    }

    pub(crate) fn claim_body(&self) -> Value {
        let request = ClaimRequest::First {
            id: self.link_id(),
            access: Revealed(self.access),
            opening_code: TypedCode::parse(&self.code),
            proof: Revealed(self.proof),
            token_hash: Digest::of(&self.token),
            exposed: false,
        };
        serde_json::to_value(request).unwrap()
    }

    pub(crate) async fn lookup(&self, bao: &OpenBao) -> (u16, Value) {
        let body = json!({"id": self.id, "access": Revealed(self.access)});
        bao.request("POST", "send/gateway/lookup", Some(&body)).await.unwrap()
    }

    pub(crate) async fn claim(&self, bao: &OpenBao) -> (u16, Value) {
        bao.request("POST", "send/gateway/claim", Some(&self.claim_body())).await.unwrap()
    }

    /// Claims as soon as nobody has to wait for an earlier mistake.
    pub(crate) async fn claim_when_it_may(&self, bao: &OpenBao) -> (u16, Value) {
        wait_until("a claim to be let in", SOON, async || {
            let answer = self.claim(bao).await;
            (answer.0 != 429).then_some(answer)
        })
        .await
        .unwrap()
    }

    pub(crate) async fn claim_again(&self, bao: &OpenBao) -> (u16, Value) {
        let (id, access, proof, token) =
            (self.link_id(), Revealed(self.access), Revealed(self.proof), Revealed(self.token));
        let body = serde_json::to_value(ClaimRequest::Again { id, access, proof, token, exposed: false }).unwrap();
        bao.request("POST", "send/gateway/claim", Some(&body)).await.unwrap()
    }

    /// A well-formed question about an e-mailed code.
    pub(crate) fn code_body(&self) -> Value {
        json!({"id": self.id, "access": Revealed(self.access), "tokenHash": Digest::of(&self.token), "step": "status"})
    }

    pub(crate) async fn acknowledge(&self, bao: &OpenBao) -> (u16, Value) {
        bao.request("POST", "send/gateway/acknowledge", Some(&self.acknowledge_body())).await.unwrap()
    }

    pub(crate) fn acknowledge_body(&self) -> Value {
        json!({"id": self.id, "access": Revealed(self.access), "token": Revealed(self.token)})
    }

    pub(crate) async fn not_mine(&self, bao: &OpenBao) -> (u16, Value) {
        bao.request("POST", "send/gateway/decline", Some(&self.decline_body())).await.unwrap()
    }

    pub(crate) fn decline_body(&self) -> Value {
        json!({"id": self.id, "access": Revealed(self.access), "decline": Revealed(self.decline),
            "openingCode": TypedCode::parse(&self.code)})
    }

    /// The value of a field in the content that a claim gave, decrypted as a client does it.
    pub(crate) fn open(&self, answer: &Value, key: &str) -> String {
        let opener = Opener::from_fragment(&self.fragment).unwrap();
        let not_after = ps_core::time::Timestamp::from_millis(answer["data"]["notAfter"].as_i64().unwrap());
        let typed = self.passphrase.as_deref().map(|typed| Passphrase::new(typed).unwrap());
        let unlocked = opener.unlock(facts(not_after, self.passphrase.as_deref()), typed.as_ref()).unwrap();
        let message = ps_core::encode::from_b64(answer["data"]["ciphertext"].as_str().unwrap()).unwrap();
        let payload = unlocked.open(None, &message).unwrap();
        let field = payload.fields.iter().find(|field| field.key == key).unwrap();
        field.value.expose().to_owned()
    }

    /// Where the link stands.
    pub(crate) async fn state(&self, bao: &OpenBao) -> String {
        let answer = bao.call("GET", &format!("send/links/{}", self.id), None).await.unwrap();
        answer["data"]["state"].as_str().unwrap().to_owned()
    }
}

/// The plugin processes of this server: its children that run the program `name`.
pub(crate) fn plugin_processes(bao: &OpenBao, name: &str) -> Vec<u32> {
    let parent = format!("PPid:\t{}", bao.pid().unwrap());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let zombie = status.contains("State:\tZ");
        let ours = std::fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line.contains(name));
        if ours && !zombie && status.lines().any(|line| line == parent) {
            found.push(pid);
        }
    }
    found
}

/// The sockets of plugin processes with this number.
pub(crate) fn sockets_of(pid: u32) -> usize {
    let prefix = format!("password-sender-{pid}-");
    let names = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    names.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
}

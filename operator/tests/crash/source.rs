//! What the stories deliver.

use std::sync::Arc;

use ps_core::rotation::Scope;
use ps_testbed::{OpenBao, Testbed, unique, wait_until};
use tokio::sync::OnceCell;

use crate::story::Story;
use crate::support::{KvSource, RoleSource, SOON};

/// The deliveries of a story, by name.
pub const NAMES: [&str; 2] = ["one", "two"];

/// What is delivered.
pub enum Source {
    Role(RoleSource),
    Kv(KvSource),
    Past(Arc<Past>),
}

impl Source {
    pub async fn new(story: Story, bao: &OpenBao) -> Self {
        match story {
            Story::Role | Story::Shared | Story::Fresh => Self::Role(role(bao).await),
            Story::Kv | Story::Removed | Story::Restored | Story::Checked => Self::Kv(KvSource::new(bao).await),
            Story::Forgotten => Self::Past(Arc::new(Past::new(bao).await)),
        }
    }

    pub fn policy(&self) -> String {
        match self {
            Self::Role(role) => role.policy(),
            Self::Kv(kv) => kv.policy(),
            Self::Past(past) => past.policy(),
        }
    }

    pub fn password(&self) -> &str {
        match self {
            Self::Role(role) => &role.password,
            Self::Kv(kv) => &kv.password,
            Self::Past(past) => &past.sources[0].password,
        }
    }

    /// How far a proof reaches.
    pub const fn scope(&self) -> Scope {
        match self {
            Self::Role(_) => Scope::Target,
            Self::Kv(_) | Self::Past(_) => Scope::Vault,
        }
    }

    /// Asks the target itself, or Vault where there is none, whether every delivered password is dead.
    pub async fn assert_dead(&self, bao: &OpenBao, passwords: &[String]) {
        match self {
            Self::Role(role) => {
                for password in passwords {
                    assert!(!role.logs_in(password).await, "a delivered password still logs in");
                }
                // A rotation that was cut off with the operator that had asked for it is mended by Vault itself.
                let mended = async || {
                    let fresh = role.current(bao).await;
                    (!passwords.contains(&fresh) && role.logs_in(&fresh).await).then_some(())
                };
                wait_until("Vault's own password to log in", SOON, mended).await.unwrap();
            }
            Self::Kv(kv) if passwords.is_empty() => assert!(kv.is_untouched(bao).await, "rotated for nothing"),
            Self::Kv(kv) => kv.assert_replaced(bao).await,
            Self::Past(past) => {
                for kv in &past.sources {
                    kv.assert_replaced(bao).await;
                }
            }
        }
    }
}

/// What was delivered long ago, and to whom.
pub struct Past {
    pub sources: [KvSource; 2],
    pub to: [String; 2],
}

impl Past {
    async fn new(bao: &OpenBao) -> Self {
        let first = KvSource::new(bao).await;
        let second = KvSource::below(bao, &first.mount).await;
        Self { sources: [first, second], to: NAMES.map(|name| format!("{}@v.example", unique(name))) }
    }

    fn policy(&self) -> String {
        self.sources.each_ref().map(KvSource::policy).concat()
    }
}

/// All roles in one mount: each mount would keep connections to PostgreSQL of its own.
async fn role(bao: &OpenBao) -> RoleSource {
    static MOUNT: OnceCell<String> = OnceCell::const_new();
    let postgres = Testbed::connect_or_start().unwrap().postgres().await.unwrap();
    let mount = MOUNT.get_or_init(async || {
        let mount = unique("db");
        bao.database_config(&mount, "main", postgres).await.unwrap();
        mount
    });
    let (mount, role, user) = (mount.await.clone(), unique("role"), unique("user"));
    postgres.create_user(&user, "first").await.unwrap();
    bao.static_role(&mount, &role, "main", &user, "24h").await.unwrap();
    let (_, password) = bao.static_creds(&mount, &role).await.unwrap();
    RoleSource { mount, role, user, password }
}

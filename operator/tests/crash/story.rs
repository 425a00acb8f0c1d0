//! The stories: what is applied, what the recipient and the sender do, and how it ends.

use std::collections::BTreeMap;

use ps_core::entry::{Entry, MailState};
use ps_core::ids::Key;
use ps_core::link::Verification;
use ps_testbed::{OpenBao, Testbed, unique, wait_until};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::link::Link;
use crate::past::{NAMES, Past, past};
use crate::support::{KvSource, RoleSource, SOON, Stand, kv_delivery, role_delivery};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// A static role; opened as soon as the mail is there, and acknowledged.
    Role,
    /// A KV secret; opened once the status says that it was delivered, and not acknowledged: its window ends.
    Kv,
    /// A KV secret whose manifest is removed before the link is opened.
    Removed,
    /// Two deliveries of one static role; one is opened, so the other one's link must end.
    Shared,
    /// Two KV secrets that were delivered and rotated long ago. Both records go, one of them in spite of junk in its
    /// place; one manifest is gone, so its entry goes as well.
    Forgotten,
    /// The ledger is older than the audit trail: a KV secret waits for `restore accept`, and is opened then.
    Restored,
    /// A KV secret whose link demands an e-mailed code and a sign-in; opened once both are passed, and acknowledged.
    Checked,
}

impl Story {
    pub const ALL: [Self; 7] =
        [Self::Role, Self::Kv, Self::Removed, Self::Shared, Self::Forgotten, Self::Restored, Self::Checked];

    /// Whether the recipient waits until the status says `Delivered`.
    pub const fn is_patient(self) -> bool {
        matches!(self, Self::Kv)
    }

    /// What its links demand beside the opening code.
    pub const fn kinds(self) -> &'static [Verification] {
        match self {
            Self::Checked => &[Verification::EmailCode, Verification::Oidc],
            _ => &[],
        }
    }

    /// The failpoints of a recorded run that are tried in this story, each as its name and which time it was passed. What
    /// is the same in several stories is tried in one of them: a start that begins with nothing, the way of a KV secret to
    /// its first mail, and what follows once a restore is accepted.
    pub fn points(self, recorded: &'static [String]) -> Vec<Point> {
        let begins = recorded.iter().position(|name| name == "ledger.insert.before").unwrap_or(recorded.len());
        let mailed = recorded.iter().position(|name| name == "mailer.send_link.before").unwrap_or_default();
        let begins_with_nothing = !matches!(self, Self::Forgotten | Self::Restored);
        let mut times = BTreeMap::new();
        let mut points = Vec::new();
        for (at, name) in recorded.iter().enumerate() {
            let nth = times.entry(name).or_insert(0);
            *nth += 1;
            let of_the_start = name.starts_with("lease.") || name.starts_with("ledger.common.");
            let tried = match self {
                Self::Restored => at < begins && !name.starts_with("notes."),
                Self::Role | Self::Forgotten => true,
                Self::Kv => !of_the_start,
                Self::Removed | Self::Shared | Self::Checked => !of_the_start && at >= mailed,
            };
            // Time alone renews the lease and moves the audit head on, again and again, also when all is over.
            let by_time = (name.starts_with("lease.renew.") && *nth > 2)
                || (name.starts_with("ledger.replace_common.") && (begins_with_nothing || *nth > 1));
            if tried && !by_time {
                points.push(Point { name, nth: *nth });
            }
        }
        points
    }
}

/// A failpoint of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub name: &'static str,
    /// Which time it is passed, from 1.
    pub nth: usize,
}

/// What is delivered.
pub enum Source {
    Role(RoleSource),
    Kv(KvSource),
    Past(&'static Past),
}

impl Source {
    pub async fn new(story: Story, bao: &OpenBao) -> Self {
        match story {
            Story::Role | Story::Shared => Self::Role(role(bao).await),
            Story::Kv | Story::Removed | Story::Restored | Story::Checked => Self::Kv(KvSource::new(bao).await),
            Story::Forgotten => Self::Past(past().await),
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

/// One delivery of a story.
pub struct Delivery {
    pub name: &'static str,
    pub to: String,
    pub sender: String,
    pub links: Vec<Link>,
    /// Whether somebody opens it. Who was sent a second link opens that one.
    pub opens: bool,
    /// Whether its manifest was removed by now.
    pub removed: bool,
}

impl Delivery {
    /// Puts the manifests of a story into the folder.
    pub fn apply(story: Story, stand: &Stand, source: &Source) -> Vec<Self> {
        let make = |name: &'static str, opens| {
            let (to, sender) = (format!("{}@v.example", unique(name)), format!("{}@s.example", unique("sender")));
            let mut more = json!({"notify": {"email": sender, "events": ["Retrieved"]}});
            if story == Story::Checked {
                more["verification"] = json!({"emailCode": {}, "oidc": {}});
            }
            let manifest = match source {
                Source::Role(role) => role_delivery(name, &to, role, "10m", "2s", more),
                Source::Kv(kv) => kv_delivery(name, &to, kv, "10m", "2s", more),
                Source::Past(_) => unreachable!("it was applied long ago"),
            };
            stand.apply(name, &manifest);
            Self { name, to, sender, links: Vec::new(), opens, removed: false }
        };
        match story {
            Story::Role | Story::Kv | Story::Restored | Story::Checked => vec![make("one", true)],
            Story::Removed => vec![make("one", false)],
            Story::Shared => vec![make("one", true), make("two", false)],
            Story::Forgotten => {
                let Source::Past(past) = source else { unreachable!() };
                past.unpack(stand);
                stand.remove("one");
                let known = |(name, to): (&'static str, &String)| Self {
                    name,
                    to: to.clone(),
                    sender: String::new(),
                    links: Vec::new(),
                    opens: false,
                    removed: name == "one",
                };
                NAMES.into_iter().zip(&past.to).map(known).collect()
            }
        }
    }

    pub fn key(&self) -> Key {
        Key::new("default", self.name)
    }

    pub fn is_opened(&self) -> bool {
        self.links.iter().any(|link| link.opened.is_some() || link.lost)
    }

    /// Whether the entry says that all is over: no link, nothing owed, nothing to tell; and what anybody could have opened
    /// is dead.
    pub fn is_over(&self, story: Story, entry: Option<&Entry>) -> bool {
        if story == Story::Forgotten && self.removed {
            return entry.is_none();
        }
        let Some(entry) = entry else { return false };
        if story == Story::Forgotten {
            return entry.attempts.iter().all(|a| a.forgotten);
        }
        let over = |a: &ps_core::entry::Attempt| match a.mail {
            MailState::Pending { .. } => false,
            // Its link was void before anybody opened it: nobody had the value.
            MailState::Superseded => true,
            _ => !a.link_is_live() && a.evidence.is_some(),
        };
        entry.removed == (story == Story::Removed)
            && self.opens == self.is_opened()
            && entry.attempt > 0
            && entry.attempts.iter().all(over)
            && entry.notices.is_empty()
    }
}

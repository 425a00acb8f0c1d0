//! One delivery of a story, with the links that were mailed for it.

use ps_core::entry::{Entry, MailState};
use ps_core::ids::Key;
use ps_testbed::{SmtpServer, unique};
use serde_json::{Value, json};

use crate::checks::carries_link;
use crate::link::Link;
use crate::source::{NAMES, Source};
use crate::story::Story;
use crate::support::{Invitation, kv_delivery, role_delivery};

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
    /// Those of a story, each with its manifest.
    pub fn of(story: Story, source: &Source) -> Vec<(Self, String)> {
        let number = if matches!(story, Story::Shared | Story::Forgotten) { 2 } else { 1 };
        let make = |(at, name): (usize, &'static str)| {
            let (mut to, mut sender) =
                (format!("{}@v.example", unique(name)), format!("{}@s.example", unique("sender")));
            let mut more = json!({"notify": {"email": sender, "events": ["Retrieved"]}});
            match story {
                Story::Checked => more["verification"] = json!({"emailCode": {}, "oidc": {}}),
                Story::Fresh => more["rotation"] = json!({"beforeDelivery": true}),
                _ => {}
            }
            let manifest = match source {
                Source::Role(role) => role_delivery(name, &to, role, "10m", "2s", more),
                Source::Kv(kv) => kv_delivery(name, &to, kv, "10m", "2s", more),
                Source::Past(past) => {
                    (to, sender) = (past.to[at].clone(), String::new());
                    kv_delivery(name, &to, &past.sources[at], "10m", "2s", Value::Null)
                }
            };
            let opens = at == 0 && !matches!(story, Story::Removed | Story::Forgotten);
            let removed = at == 0 && story == Story::Forgotten;
            (Self { name, to, sender, links: Vec::new(), opens, removed }, manifest)
        };
        NAMES.into_iter().enumerate().take(number).map(make).collect()
    }

    pub fn key(&self, namespace: &str) -> Key {
        Key::new(namespace, self.name)
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

    /// Takes in new mails. The states of all links that were ever mailed for it, of which at most one may be live.
    pub async fn look_at_mails(&mut self, story: Story, smtp: &SmtpServer, base: &str) -> Vec<String> {
        let mails = smtp.mails(&self.to).await.unwrap();
        let fresh = mails.iter().filter(|mail| carries_link(mail)).skip(self.links.len());
        self.links.extend(fresh.map(|mail| Link::new(&Invitation::of(mail), base).demanding(story.kinds())));
        let mut states = Vec::new();
        for link in &self.links {
            states.push(link.state().await.unwrap_or_else(|| "no gateway".into()));
        }
        states
    }

    /// Opens one of its links, if that can be done by now.
    pub async fn open(&mut self, story: Story, smtp: &SmtpServer) {
        for link in &mut self.links {
            if story == Story::Checked && !link.pass(smtp, &self.to).await {
                continue;
            }
            if link.claim().await {
                return;
            }
        }
    }

    pub async fn acknowledge(&mut self) {
        for link in &mut self.links {
            link.acknowledge().await;
        }
    }

    /// Whether its links gave what they had to give.
    pub fn gave(&self, story: Story, source: &Source) -> bool {
        self.passwords().all(|password| {
            // A second link for somebody whose colleague's was opened meanwhile has the rotated value.
            let another = story == Story::Shared && self.name == "two";
            // Rotated first, so what it was before is nobody's.
            let is_first = password == source.password();
            if story == Story::Fresh { !is_first } else { another || is_first }
        })
    }

    /// What its links gave.
    pub fn passwords(&self) -> impl Iterator<Item = &String> {
        self.links.iter().filter_map(|link| link.opened.as_ref()).map(|fields| fields.get("password").unwrap())
    }
}

/// More than one link of a delivery is live, or it was mailed more often than one harmed operator explains.
pub fn is_too_much(states: &[String]) -> bool {
    let live = states.iter().filter(|state| *state == "open" || *state == "claimed").count();
    live > 1 || states.len() > 2
}

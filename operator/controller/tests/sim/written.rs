//! What is written anywhere is looked at in that moment: it holds no delivered value and no key, and no event is dropped
//! that is not on the trail.

use ps_core::entry::Entry;
use ps_core::invariants::Invariant::{EveryChangeIsAudited, KeyIsForgotten, PlaintextInOneAct};
use serde::Serialize;

use crate::world::State;

/// How every value begins that Vault ever held, as it is, in base64 and as bytes. Nothing else begins so.
const VALUES: [&str; 6] =
    ["value-", "start-", "dmFsdWUt", "c3RhcnQt", "118,97,108,117,101,45", "115,116,97,114,116,45"];

impl State {
    /// Looks at what somebody writes.
    pub fn written(&self, what: &str, content: &impl Serialize) {
        self.said(what, &serde_json::to_string(content).unwrap());
    }

    /// Looks at what somebody is told.
    pub fn said(&self, what: &str, text: &str) {
        let value = VALUES.iter().find(|start| text.contains(**start));
        assert!(value.is_none(), "{PlaintextInOneAct}: a value is in {what}: {text}");
        for mail in &self.mails {
            let s = mail.link.strip_prefix("ps1.").unwrap();
            assert!(!text.contains(s), "{KeyIsForgotten}: S of {} is in {what}: {text}", mail.key);
        }
    }

    /// A key was just mailed: whoever wrote it down before did so too early to be seen by [`State::said`].
    pub fn mailed(&self) {
        self.written(
            "what is kept",
            &(
                self.ledger.values().map(|(entry, _)| entry).collect::<Vec<_>>(),
                self.store.values().map(|(record, _)| record).collect::<Vec<_>>(),
                self.statuses.values().collect::<Vec<_>>(),
                &self.audit,
            ),
        );
    }

    /// An event leaves an outbox only once it is on the trail.
    pub fn let_go(&self, before: &Entry, after: Option<&Entry>) {
        let stays = |event| after.is_some_and(|entry| entry.outbox.contains(event));
        let lost = before.outbox.iter().find(|event| !stays(event) && !self.audit.contains(event));
        assert!(lost.is_none(), "{EveryChangeIsAudited}: {} drops an event that is on no trail: {lost:?}", before.key);
    }
}

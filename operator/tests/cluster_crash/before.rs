//! What was before the first operator starts: deliveries of long ago, or a trail that knows more than its ledger.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ps_core::entry::Entry;
use ps_core::ids::LinkId;
use ps_testbed::wait_until;
use serde_json::{Value, json};

use crate::case::Place;
use crate::earlier::{aged, tell_of_more};
use crate::story::Story;
use crate::support::SOON;

/// The pod of an operator that is long gone; where its trail is shared, it has left it behind.
pub const PREDECESSOR: usize = 2;

impl Place {
    pub async fn begin(&mut self) {
        match self.case.story {
            Story::Forgotten => self.a_month_ago().await,
            Story::Restored => {
                self.stand.start_operator(PREDECESSOR).await;
                self.stand.wait_ready().await;
                self.stand.operators[PREDECESSOR].stop();
                let id = self.common().await["ledgerId"].as_str().unwrap().to_owned();
                // Of two at work, each has a trail that tells of it.
                let trails = if self.case.both_at_work() { 0..PREDECESSOR } else { 0..1 };
                for n in trails {
                    tell_of_more(&self.stand.path(&format!("audit-{n}.jsonl")), &id).await;
                }
                self.apply().await;
            }
            _ => self.apply().await,
        }
    }

    /// All was opened and rotated. Then the ledger says that this was a month ago; where the record of the second delivery
    /// was, there is junk; and the first one's object is deleted.
    async fn a_month_ago(&mut self) {
        self.apply().await;
        self.stand.start_operator(PREDECESSOR).await;
        let base = self.stand.public_url();
        for delivery in &mut self.deliveries {
            let opened = async || {
                delivery.look_at_mails(Story::Forgotten, self.smtp, &base).await;
                delivery.open(Story::Forgotten, self.smtp).await;
                delivery.acknowledge().await;
                delivery.is_opened().then_some(())
            };
            wait_until("a link to be opened", SOON, opened).await.unwrap();
            delivery.links.clear();
        }
        for delivery in &self.deliveries {
            self.stand.wait_rotated(delivery.name, SOON).await;
        }
        self.stand.operators[PREDECESSOR].stop();
        for (name, entry) in self.rows::<Entry>("entry-").await {
            let record = entry.current().unwrap().record;
            if entry.key.name == self.deliveries[1].name {
                put(self, &self.stand.names.links, &link(record), "record", b"junk").await;
            }
            put(self, &self.stand.names.own, &name, "entry", &serde_json::to_vec(&aged(entry)).unwrap()).await;
        }
        self.stand.delete(self.deliveries[0].name).await;
    }
}

/// The name of a record's Secret.
fn link(record: LinkId) -> String {
    let hex: String = record.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("link-{hex}")
}

async fn put(place: &Place, namespace: &str, secret: &str, key: &str, bytes: &[u8]) -> Value {
    let patch = json!({"data": {key: STANDARD.encode(bytes)}});
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
    place.stand.cluster.call("PATCH", &path, Some(&patch)).await.unwrap()
}

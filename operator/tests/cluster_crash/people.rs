//! What recipients and the sender do.

use ps_testbed::process::Process;
use ps_testbed::wait_until;

use crate::case::Place;
use crate::delivery::is_too_much;
use crate::story::Story;
use crate::support::SOON;

impl Place {
    /// Takes in new mails; of all links that were ever mailed for a delivery, at most one is live.
    pub async fn look_at_links(&mut self) {
        let base = self.stand.public_url();
        for at in 0..self.deliveries.len() {
            let states = self.deliveries[at].look_at_mails(self.case.story, self.smtp, &base).await;
            assert!(!is_too_much(&states), "links mailed: {states:?}\n{}", self.tale().await);
        }
    }

    pub async fn act(&mut self) {
        let story = self.case.story;
        if story == Story::Forgotten {
            return;
        }
        if story == Story::Restored && !self.accepted {
            if self.stand.status(self.deliveries[0].name).await.stalled() == Some("Restored") {
                assert!(self.deliveries.iter().all(|d| d.links.is_empty()), "mailed unasked\n{}", self.tale().await);
                self.accept().await;
                self.accepted = true;
            }
            return;
        }
        let everybody_has_mail = self.deliveries.iter().all(|d| !d.links.is_empty());
        for delivery in &mut self.deliveries {
            delivery.opens |= story == Story::Shared && delivery.links.len() == 2;
            if story == Story::Removed {
                if !delivery.links.is_empty() && !delivery.removed {
                    self.stand.delete(delivery.name).await;
                    delivery.removed = true;
                }
            } else if !delivery.is_opened() {
                let waits = self.case.is_patient() && !self.stand.status(delivery.name).await.is("Delivered");
                if delivery.opens && everybody_has_mail && !waits {
                    delivery.open(story, self.smtp).await;
                }
            } else {
                delivery.acknowledge().await;
            }
        }
    }

    /// A person accepts the restore.
    async fn accept(&self) {
        let command = self.stand.command(0, &["restore", "accept"]).await;
        let process = Process::spawn("accept", command).unwrap();
        let status = wait_until("its end", SOON, async || process.ended().unwrap()).await.unwrap();
        let said = process.log_text().unwrap();
        assert!(status.success() && said.contains("accepted: "), "{said}");
    }
}

//! What recipients and the sender do.

use ps_testbed::process::Process;
use ps_testbed::wait_until;

use crate::case::{Place, What};
use crate::delivery::is_too_much;
use crate::story::Story;
use crate::support::SOON;

impl Place {
    /// Takes in new mails; of all links that were ever mailed for one delivery, at most one is live.
    pub async fn look_at_mails(&mut self) {
        let base = self.stand.public_url();
        for at in 0..self.deliveries.len() {
            let states = self.deliveries[at].look_at_mails(self.case.story, self.smtp, &base).await;
            assert!(!is_too_much(&states), "links mailed: {states:?}\n{}", self.tale());
        }
    }

    /// What recipient and sender do.
    pub async fn act(&mut self) {
        let story = self.case.story;
        if story == Story::Forgotten {
            return;
        }
        if story == Story::Restored && !self.accepted {
            if self.stand.status("one").stalled() == Some("Restored") {
                assert!(self.deliveries.iter().all(|d| d.links.is_empty()), "mailed unasked\n{}", self.tale());
                self.accept().await;
                self.accepted = true;
            }
            return;
        }
        let everybody_has_mail = self.deliveries.iter().all(|d| !d.links.is_empty());
        for delivery in &mut self.deliveries {
            let told = self.stand.status(delivery.name).is("Delivered");
            delivery.opens |= story == Story::Shared && delivery.links.len() == 2;
            if story == Story::Removed {
                if !delivery.links.is_empty() && !delivery.removed {
                    self.stand.remove(delivery.name);
                    delivery.removed = true;
                }
            } else if delivery.opens && !delivery.is_opened() {
                if everybody_has_mail && (told || !story.is_patient()) {
                    delivery.open(story, self.smtp).await;
                    if !story.is_patient() {
                        delivery.acknowledge().await;
                    }
                }
            } else if !story.is_patient() {
                delivery.acknowledge().await;
            }
        }
    }

    /// A person accepts the restore; where nothing happens to the operator, it happens to the command.
    async fn accept(&self) {
        let run = async |harm: Option<&str>| {
            let mut command = self.stand.command(&["restore", "accept"]);
            command.arg("--data").arg(self.stand.path("data"));
            if let Some(harm) = harm {
                command.env(ps_operator::failpoints::VARIABLE, format!("kill:ledger.replace_common.{harm}#1"));
            }
            let process = Process::spawn("accept", command).unwrap();
            let status = wait_until("its end", SOON, async || process.ended().unwrap()).await.unwrap();
            assert_eq!(status.success(), harm.is_none(), "{}", process.log_text().unwrap());
            process.log_text().unwrap()
        };
        if self.case.what == What::Nothing {
            run(Some("before")).await;
            run(Some("after")).await;
            assert!(run(None).await.contains("nothing to accept"));
        } else {
            assert!(run(None).await.contains("accepted: "));
        }
    }
}

//! What recipients and the sender do.

use ps_testbed::process::Process;
use ps_testbed::wait_until;

use crate::case::{Place, What};
use crate::checks::carries_link;
use crate::link::Link;
use crate::story::Story;
use crate::support::{Invitation, SOON};

impl Place {
    /// Takes in new mails; of all links that were ever mailed for one delivery, at most one is live.
    pub async fn look_at_mails(&mut self) {
        let base = self.stand.public_url();
        for at in 0..self.deliveries.len() {
            let delivery = &mut self.deliveries[at];
            let mails = self.smtp.mails(&delivery.to).await.unwrap();
            let fresh = mails.iter().filter(|mail| carries_link(mail)).skip(delivery.links.len());
            let kinds = self.case.story.kinds();
            delivery.links.extend(fresh.map(|mail| Link::new(&Invitation::of(mail), &base).demanding(kinds)));
            let mut states = Vec::new();
            for link in &self.deliveries[at].links {
                states.push(link.state().await.unwrap_or_else(|| "no gateway".into()));
            }
            let live = states.iter().filter(|state| *state == "open" || *state == "claimed").count();
            assert!(live <= 1 && states.len() <= 2, "links mailed: {states:?}\n{}", self.tale());
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
                    for link in &mut delivery.links {
                        if story == Story::Checked && !link.pass(self.smtp, &delivery.to).await {
                            continue;
                        }
                        if link.claim().await {
                            if !story.is_patient() {
                                link.acknowledge().await;
                            }
                            break;
                        }
                    }
                }
            } else if !story.is_patient() {
                for link in &mut delivery.links {
                    link.acknowledge().await;
                }
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

//! Many who want the same link: one gets it, whoever answers and whoever dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ps_testbed::{Mail, Testbed, unique, wait_until};
use serde_json::{Value, json};
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

use crate::dice::Dice;
use crate::stand::{Setup, Stand, name};
use crate::support::{Invitation, KvSource, Recipient, SOON, kv_delivery};

const RACERS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixty_four_claims_through_three_gateways_one_wins_and_may_repeat() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let stand = Stand::start(Setup { operators: 2, gateways: 3, ..Setup::default() }).await;
    stand.connect(bao, &source.policy()).await;
    let to = format!("{}@v.example", unique("race"));
    stand.apply(&kv_delivery("race", &to, &source, "1h", "1h", json!({"link": {"claimWindow": "1h"}}))).await;
    let invitation = Invitation::of(&stand.mail(&to).await);
    let gate = Arc::new(Barrier::new(RACERS));
    let mut race = JoinSet::new();
    for racer in 0..RACERS {
        let (at, gate) = (Invitation { link: at(&invitation.link, &stand, racer), ..invitation.clone() }, gate.clone());
        race.spawn(async move {
            let recipient = Recipient::new(&at);
            gate.wait().await;
            let answer = recipient.claim().await;
            (recipient, answer)
        });
    }
    let (mut winners, mut losers) = (Vec::new(), Vec::new());
    for (recipient, answer) in race.join_all().await {
        match answer.status {
            200 => winners.push((recipient, answer)),
            409 => losers.push(recipient),
            other => panic!("{other}: {:?}", answer.body),
        }
    }
    assert_eq!((winners.len(), losers.len()), (1, RACERS - 1));
    let (mut winner, first) = winners.remove(0);
    assert_eq!(winner.unseal(&first)["password"], source.password);
    for _ in 0..3 {
        let again = winner.claim_again().await;
        assert_eq!((again.status, &again.body), (200, &first.body));
    }
    for loser in losers.iter().take(6) {
        assert_eq!((loser.claim().await.code(), loser.claim_again().await.code()), ("claimed", "claimed"));
    }
    assert_eq!(winner.acknowledge().await.state(), "retrieved");
    for gateway in &stand.gateways {
        winner = winner.moved_to(&format!("http://127.0.0.1:{}", gateway.port));
        let again = winner.claim_again().await;
        assert_eq!((again.status, again.state()), (410, "retrieved"), "not even its own claimant: {:?}", again.body);
    }
    stand.wait_status("race", "retrieved", SOON, |s| s.condition("Retrieved").2.contains("saved")).await;
    assert_eq!(stand.audited_by_all("race", "Claimed"), 1);
}

/// A link at one of the gateways, past the balancer.
fn at(link: &str, stand: &Stand, racer: usize) -> String {
    let (_, fragment) = link.split_once("/#").unwrap();
    format!("http://127.0.0.1:{}/#{fragment}", stand.gateways[racer % stand.gateways.len()].port)
}

/// Deliveries in the long race; `PASSWORD_SENDER_LINKS` says otherwise. Each is read, mailed and followed by the operator: the
/// gateways alone are raced with more links in `operator/gateway/tests/cluster`.
const LINKS: usize = 300;
const CLAIMANTS: usize = 3;
const AT_ONCE: usize = 48;
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// The same, for so many links.
fn patience(links: usize) -> Duration {
    PATIENCE + Duration::from_millis(150) * u32::try_from(links).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_claimants_and_dying_gateways_neither_double_nor_lose_a_link() {
    let links = std::env::var("PASSWORD_SENDER_LINKS").map_or(LINKS, |number| number.parse().unwrap());
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let first = KvSource::new(bao).await;
    let mut sources = Vec::new();
    for _ in 0..links {
        sources.push(KvSource::below(bao, &first.mount).await);
    }
    let stand = Arc::new(Stand::start(Setup { operators: 2, gateways: 3, level: "info", ..Setup::default() }).await);
    let policy = |part: &str, what: &str| format!("path \"{}/{part}/*\" {{ capabilities = [{what}] }}\n", first.mount);
    let policy =
        [policy("data", "\"read\", \"patch\""), policy("metadata", "\"read\""), policy("destroy", "\"update\"")];
    stand.connect(bao, &policy.concat()).await;
    let (began, domain) = (Instant::now(), format!("{}.example", name("race")));
    let mut manifests = Vec::new();
    for (n, source) in sources.iter().enumerate() {
        let more = json!({"link": {"claimWindow": "1h"}});
        let yaml = kv_delivery(&format!("race-{n}"), &format!("{n}@{domain}"), source, "2h", "2h", more);
        let mut object: Value = serde_yaml::from_str(&yaml).unwrap();
        object["metadata"]["namespace"] = stand.tenant.clone().into();
        manifests.push(object.to_string());
    }
    for part in manifests.chunks(250) {
        stand.cluster.apply(&part.join("\n---\n")).await.unwrap();
    }
    let applied = began.elapsed();
    let mails = mails(&domain, links).await;
    eprintln!("{links} links: applied in {applied:?}, mailed after {:?}", began.elapsed());

    let (racing, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let race = tokio::spawn(race(stand.clone(), mails, over.clone()));
    // One of the three dies by SIGKILL every second or so, and comes back.
    let mut dice = Dice::new();
    let mut killed = 0_usize;
    while !over.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(500 + dice.below(1000))).await;
        let victim = usize::try_from(dice.below(stand.gateways.len() as u64)).unwrap();
        stand.gateways[victim].kill();
        stand.start_gateway(victim).await;
        killed += 1;
        let ready = async || (stand.gateways[victim].asks("readyz").await == 200).then_some(());
        wait_until("the gateway to be back", PATIENCE, ready)
            .await
            .unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()));
    }
    let winners = race.await.unwrap();
    eprintln!("{} claims of {links} links in {:?}, {killed} gateways killed", links * CLAIMANTS, racing.elapsed());
    let doubles = winners.iter().filter(|winners| winners.len() > 1).count();
    let lost = winners.iter().filter(|winners| winners.is_empty()).count();
    assert_eq!((doubles, lost), (0, 0));
    assert!(killed > 2, "the race was over before anything happened");
    for (source, winners) in sources.iter().zip(&winners) {
        assert_eq!(winners[0], source.password);
    }
    // The operator has heard of each of them, once.
    let claimed = async || {
        let count = (0..2).map(|n| claims(&stand, n)).sum::<usize>();
        assert!(count <= links, "{count} claims of {links} links");
        (count == links).then_some(())
    };
    wait_until("the operator to know of every claim", patience(links), claimed).await.unwrap();
    assert_eq!(self::mails(&domain, links).await.len(), links, "one mail each");
}

/// The first mail to each number at a domain; no more than one may come.
async fn mails(domain: &str, count: usize) -> Vec<Mail> {
    let smtp = Testbed::connect_or_start().unwrap().smtp().await.unwrap();
    let all = async || {
        let of_us = |mail: &Mail| mail.recipients.iter().any(|to| to.ends_with(&format!("@{domain}")));
        let mut found: Vec<Mail> = smtp.all_mails().await.ok()?.into_iter().filter(of_us).collect();
        assert!(found.len() <= count, "{} mails for {count} links", found.len());
        // All mails are asked for each time.
        tokio::time::sleep(Duration::from_millis(500 + count as u64)).await;
        let number = |mail: &Mail| mail.recipients[0].split('@').next().unwrap().parse::<usize>().unwrap();
        found.sort_by_key(number);
        found.dedup_by_key(|mail| number(mail));
        (found.len() == count).then_some(found)
    };
    wait_until("every mail", patience(count), all).await.unwrap()
}

/// The different claims on an operator's trail.
fn claims(stand: &Stand, n: usize) -> usize {
    let text = std::fs::read_to_string(stand.path(&format!("audit-{n}.jsonl"))).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let claims = lines.filter(|line| line["event"]["kind"] == "Claimed");
    claims.map(|line| line["id"].to_string()).collect::<std::collections::BTreeSet<_>>().len()
}

/// All claimants of all links, some at a time; what each link gave, and to how many.
async fn race(stand: Arc<Stand>, mails: Vec<Mail>, over: Arc<AtomicBool>) -> Vec<Vec<String>> {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let (mut claims, mut winners) = (JoinSet::new(), vec![Vec::new(); mails.len()]);
    for (number, mail) in mails.iter().enumerate() {
        let invitation = Invitation::of(mail);
        for _ in 0..CLAIMANTS {
            let (slot, recipient) = (slots.clone().acquire_owned().await.unwrap(), Recipient::new(&invitation));
            claims.spawn(async move {
                let won = insist(&recipient).await;
                drop(slot);
                (number, won)
            });
        }
    }
    while let Some(done) = claims.join_next().await {
        let (number, won) = done.unwrap();
        winners[number].extend(won);
    }
    over.store(true, Ordering::SeqCst);
    drop(stand);
    winners
}

/// Somebody who keeps trying: again after a broken connection, with the token once an answer may have been lost.
async fn insist(recipient: &Recipient) -> Option<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no answer for minutes");
        for again in [false, true] {
            let answer = if again { recipient.try_claim_again().await } else { recipient.try_claim().await };
            match answer {
                Some(answer) if answer.status == 200 => return Some(recipient.unseal(&answer)["password"].clone()),
                // Claimed: by somebody else, unless the token shows that it was us.
                Some(answer) if answer.status == 409 && !again => {}
                Some(answer) if answer.status == 409 => return None,
                // Not ready, not known there yet, or nobody there.
                Some(answer) if answer.status != 503 && answer.status != 404 => panic!("{answer:?}"),
                _ => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    break;
                }
            }
        }
    }
}

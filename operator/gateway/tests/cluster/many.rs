//! Several gateways on one namespace: a link is claimed once, whoever asks where, and whoever dies.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ps_core::ids::Digest;
use ps_core::link::{Record, State};
use ps_core::ports::LinkStore as _;
use ps_gateway::verbs::{Holder, Sample};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

use crate::dice::Dice;
use crate::stand::{Gateway, Stand, now, shared};
use crate::support::{Conn, PATIENCE, post};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_claims_through_three_gateways_one_wins() {
    let stand = Stand::start(shared().await).await;
    stand.open();
    let gateways: Arc<Vec<Gateway>> = Arc::new((0..3).map(|n| stand.gateway(&format!("pod-{n}"), &[])).collect());
    for gateway in gateways.iter() {
        gateway.ready().await;
    }
    for round in 0..3 {
        let (holder, _) = stand.put(&format!("raced {round}")).await;
        for gateway in gateways.iter() {
            let known = async || (gateway.call("lookup", &holder.lookup()).await.status == 200).then_some(());
            ps_testbed::wait_until("known everywhere", PATIENCE, known).await.unwrap();
        }
        let mut tasks = tokio::task::JoinSet::new();
        for racer in 0..64 {
            let (gateways, holder) = (gateways.clone(), holder.elsewhere(racer));
            tasks.spawn(async move { (racer, gateways[racer % 3].call("claim", &holder.claim()).await) });
        }
        let mut winners = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let (racer, reply) = done.unwrap();
            match reply.status {
                200 => winners.push(racer),
                _ => assert_eq!(reply.refusal(), "409 claimed"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        let link = stand.stored(&holder).await;
        assert_eq!(link.claim.unwrap().token_hash, Digest::of(&holder.elsewhere(winners[0]).token));
    }
}

/// Links in the long race: more take longer than a test should. `PS_RACE_LINKS` says another number.
static LINKS: std::sync::LazyLock<usize> =
    std::sync::LazyLock::new(|| std::env::var("PS_RACE_LINKS").map_or(2000, |number| number.parse().unwrap()));
const CLAIMANTS: usize = 3;
const AT_ONCE: usize = 48;

/// Who answers at the moment.
struct Fleet {
    gateways: Mutex<Vec<(usize, std::net::SocketAddr)>>,
    turn: AtomicUsize,
}

impl Fleet {
    fn any(&self) -> std::net::SocketAddr {
        let gateways = self.gateways.lock().unwrap();
        gateways[self.turn.fetch_add(1, Ordering::Relaxed) % gateways.len()].1
    }
}

/// A claim by somebody who keeps trying: through any gateway, again after a broken connection. Whether they got the payload.
async fn insist(fleet: &Fleet, holder: &Holder) -> bool {
    let deadline = Instant::now() + Duration::from_secs(540);
    // Once an answer may have been lost, the claim is repeated with the token, as the page does.
    loop {
        assert!(Instant::now() < deadline, "no answer for minutes");
        for again in [false, true] {
            let request = if again { post("claim", &holder.claim_again()) } else { post("claim", &holder.claim()) };
            match ask(fleet.any(), &request).await {
                Some(200) => return true,
                // Claimed: by somebody else, unless the token shows that it was us.
                Some(409) if !again => {}
                Some(409) => return false,
                // Not ready, not known there yet, or nobody there.
                Some(503 | 404) | None => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    break;
                }
                Some(other) => panic!("answered {other}"),
            }
        }
    }
}

async fn ask(address: std::net::SocketAddr, request: &[u8]) -> Option<u16> {
    let work = async {
        let mut stream = tokio::io::BufReader::new(tokio::net::TcpStream::connect(address).await.ok()?);
        stream.get_mut().write_all(request).await.ok()?;
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        // The whole answer must have come, or the claimant has nothing.
        let mut length = 0;
        loop {
            line.clear();
            stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = text.trim().parse().ok()?;
            }
        }
        stream.read_exact(&mut vec![0; length]).await.ok()?;
        Some(status)
    };
    tokio::time::timeout(Duration::from_secs(15), work).await.ok().flatten()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_claimants_and_dying_gateways_neither_double_nor_lose_a_link() {
    let stand = Stand::start(shared().await).await;
    stand.open();
    let links = *LINKS;
    let began = Instant::now();
    let holders: Arc<Vec<Holder>> = Arc::new((0..links).map(|n| Holder::new(&format!("long {n}"))).collect());
    let mut puts = tokio::task::JoinSet::new();
    for part in 0..16 {
        let operator = stand.operator.clone();
        puts.spawn(async move {
            for number in (part..links).step_by(16) {
                let Sample { link, .. } = Sample::new(&format!("long {number}"), &[], now());
                operator.insert(&Record::Link(Box::new(link))).await.unwrap();
            }
        });
    }
    puts.join_all().await;
    println!("{links} links put in {:?}", began.elapsed());

    let mut started = 0;
    let mut start = || {
        started += 1;
        (started, stand.gateway(&format!("pod-{started}"), &["--log", "warn,password_sender_gateway=info"]))
    };
    let mut running: Vec<(usize, Gateway)> = (0..3).map(|_| start()).collect();
    for (_, gateway) in &running {
        gateway.ready().await;
    }
    let fleet = Arc::new(Fleet {
        gateways: Mutex::new(running.iter().map(|(n, g)| (*n, g.address)).collect()),
        turn: AtomicUsize::new(0),
    });
    let racing = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let race = {
        let (fleet, holders, over) = (fleet.clone(), holders.clone(), over.clone());
        tokio::spawn(async move {
            let slots = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
            let mut tasks = tokio::task::JoinSet::new();
            let mut winners = vec![Vec::new(); links];
            for number in 0..links {
                for browser in 0..CLAIMANTS {
                    let slot = slots.clone().acquire_owned().await.unwrap();
                    let (fleet, holder) = (fleet.clone(), holders[number].elsewhere(browser));
                    tasks.spawn(async move {
                        let won = insist(&fleet, &holder).await;
                        drop(slot);
                        (number, browser, won)
                    });
                }
            }
            while let Some(done) = tasks.join_next().await {
                let (number, browser, won) = done.unwrap();
                if won {
                    winners[number].push(browser);
                }
            }
            over.store(true, Ordering::SeqCst);
            winners
        })
    };
    // One of the three dies by SIGKILL every second or so, and another takes its place.
    let mut dice = Dice::new();
    let mut killed = 0;
    while !over.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(500 + dice.below(1000))).await;
        let victim = usize::try_from(dice.below(running.len() as u64)).unwrap();
        drop(running.remove(victim));
        killed += 1;
        let next = start();
        next.1.ready().await;
        running.push(next);
        *fleet.gateways.lock().unwrap() = running.iter().map(|(n, g)| (*n, g.address)).collect();
    }
    let winners = race.await.unwrap();
    println!("{} claims of {links} links in {:?}, {killed} gateways killed", links * CLAIMANTS, racing.elapsed());
    let doubles = winners.iter().filter(|winners| winners.len() > 1).count();
    let lost = winners.iter().filter(|winners| winners.is_empty()).count();
    assert_eq!((doubles, lost), (0, 0));
    assert_eq!(stand.operator.epoch(), 0, "a busy server is no restored one");
    assert!(killed > 3, "the race was over before anything happened");
    for (holder, winners) in holders.iter().zip(&winners) {
        let link = stand.stored(holder).await;
        assert_eq!(link.state, State::Claimed);
        assert_eq!(link.claim.unwrap().token_hash, Digest::of(&holder.elsewhere(winners[0]).token));
        assert_eq!(link.journal.len(), 1);
    }
    println!("a gateway that knows {links} links is resident in {} KiB", running[0].1.resident_kib());
    // It works to the end.
    let reply = Conn::open(running[0].1.address).await.ask(&post("lookup", &holders[0].lookup())).await;
    assert_eq!(reply.status, 200);
}

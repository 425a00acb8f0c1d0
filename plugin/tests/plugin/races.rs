//! 64 browsers claim one link while what serves it is killed, reloaded or sealed: at most one gets it, and one claim stands.

use ps_testbed::{OpenBao, Vendor, wait_until};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::claims::{Way, race, race_along, race_watched};
use crate::nodes::{answers, start};
use crate::programs::Gateway;
use crate::stand::{Holder, NAME, SOON, plugin_processes, prepare};

const RACERS: usize = 64;
/// When something happens: so many of them have their answer, and then, unless one more comes, other tasks had so many turns.
type Moment = (usize, usize);
/// Before, while and after the claims are made.
const MOMENTS: [Moment; 7] = [(0, 0), (0, 10_000), (0, 30_000), (1, 0), (8, 0), (32, 0), (RACERS, 0)];

/// Lets them ask, and something happen meanwhile; gives who has an answer.
async fn meanwhile(
    (answered, turns): Moment,
    link: &Holder,
    nodes: &[&OpenBao],
    happens: impl Future<Output = ()>,
) -> Vec<(Holder, Value)> {
    let over = watch::Sender::new(0);
    let later = async {
        over.subscribe().wait_for(|over| *over >= answered).await.unwrap();
        for _ in 0..turns {
            if *over.borrow() > answered {
                break;
            }
            tokio::task::yield_now().await;
        }
        happens.await;
    };
    let (won, ()) = tokio::join!(race_watched(link, nodes, RACERS, &over), later);
    won
}

/// When all is up again: all ask once more, and then one of them has it, may repeat that until it acknowledges, and no other
/// ever gets it. `won` are those who had an answer before.
async fn one_stands(what: &str, link: &Holder, node: &OpenBao, mut won: Vec<(Holder, Value)>) {
    won.extend(race(link, &[node], RACERS).await);
    assert!(won.len() <= 1, "{what}: {} browsers have it", won.len());
    let mut have = Vec::new();
    for browser in 0..RACERS {
        let racer = link.elsewhere(browser);
        match racer.claim_again(node).await {
            (200, answer) => have.push((racer, answer)),
            (409, answer) => assert_eq!(answer["error"]["code"], "claimed", "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    // Where an answer was lost with the process, the claim of one whom nobody answered stands.
    let [(claimant, answer)] = &have[..] else { panic!("{what}: {} claims stand", have.len()) };
    assert_eq!(claimant.open(answer, "password"), what);
    if let Some((winner, first)) = won.first() {
        assert_eq!(winner.token, claimant.token, "{what}: whoever got it keeps it");
        assert_eq!(first["data"]["ciphertext"], answer["data"]["ciphertext"], "{what}");
    }
    assert_eq!(claimant.acknowledge(node).await.0, 200, "{what}");
    assert_eq!(claimant.claim_again(node).await.0, 410, "{what}");
    assert_eq!(link.claim(node).await.0, 410, "{what}");
    let read = node.call("GET", &format!("send/links/{}", link.id), None).await.unwrap();
    let journal = read["data"]["journal"].as_array().unwrap();
    let told: Vec<&Value> = journal.iter().map(|entry| &entry["event"]).collect();
    assert_eq!(told, ["claimed", "acknowledged"], "{what}: one claim, ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_one_has_it_when_the_plugin_is_killed() {
    let bao = OpenBao::raft().await.unwrap();
    prepare(&bao).await;
    for moment in MOMENTS {
        let what = format!("killed {moment:?}");
        let link = Holder::issue(&bao, &what).await;
        let pids = plugin_processes(&bao, NAME);
        assert_eq!(pids.len(), 1, "{what}");
        let won = meanwhile(moment, &link, &[&bao], async {
            for pid in &pids {
                std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
            }
        })
        .await;
        // Whoever is asked next starts it again.
        answers(&bao).await;
        assert!(!plugin_processes(&bao, NAME).contains(&pids[0]), "{what}: it was really killed");
        one_stands(&what, &link, &bao, won).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_one_has_it_when_the_plugin_is_reloaded() {
    let bao = OpenBao::raft().await.unwrap();
    prepare(&bao).await;
    for moment in MOMENTS {
        let what = format!("reloaded {moment:?}");
        let link = Holder::issue(&bao, &what).await;
        let before = plugin_processes(&bao, NAME);
        let won = meanwhile(moment, &link, &[&bao], async {
            bao.call("PUT", "sys/plugins/reload/backend", Some(&json!({ "plugin": NAME }))).await.unwrap();
        })
        .await;
        answers(&bao).await;
        wait_until("the old process to end", SOON, async || {
            (!plugin_processes(&bao, NAME).contains(&before[0])).then_some(())
        })
        .await
        .unwrap();
        one_stands(&what, &link, &bao, won).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_one_has_it_when_the_server_is_sealed() {
    let bao = OpenBao::raft().await.unwrap();
    prepare(&bao).await;
    for moment in MOMENTS {
        let what = format!("sealed {moment:?}");
        let link = Holder::issue(&bao, &what).await;
        let won = meanwhile(moment, &link, &[&bao], async { bao.seal().await.unwrap() }).await;
        // They ask on while it comes back.
        let one = [&bao];
        let (more, unsealed) = tokio::join!(race(&link, &one, RACERS), bao.unseal());
        unsealed.unwrap();
        answers(&bao).await;
        one_stands(&what, &link, &bao, [won, more].concat()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_through_three_gateways_one_has_it_when_one_of_these_is_killed() {
    let bao = OpenBao::raft().await.unwrap();
    prepare(&bao).await;
    let folder = tempfile::tempdir().unwrap();
    // Nobody is killed after more answers than there are racers.
    for answered in [0, 1, 8, RACERS + 1] {
        let what = format!("a gateway killed after {answered}");
        let mut gateways = Vec::new();
        for _ in 0..3 {
            gateways.push(Gateway::start(&bao, folder.path()).await);
        }
        let way = |gateway: &Gateway| Way {
            address: gateway.address.clone(),
            token: "none".to_owned(),
            path: "api/v1/links/claim",
        };
        let (ways, over) = (gateways.iter().map(way).collect::<Vec<_>>(), watch::Sender::new(0));
        let link = Holder::issue(&bao, &what).await;
        let kill = async {
            if answered <= RACERS {
                over.subscribe().wait_for(|over| *over >= answered).await.unwrap();
                gateways[0].process.kill().unwrap();
            }
        };
        let (won, ()) = tokio::join!(race_along(&link, &ways, RACERS, &over), kill);
        assert!(answered <= RACERS || won.len() == 1, "{what}: {} browsers have it", won.len());
        let won = won.into_iter().map(|(racer, answer)| (racer, json!({ "data": answer }))).collect();
        one_stands(&what, &link, &bao, won).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_one_has_it_when_the_leader_steps_down() {
    let cluster = start().await;
    let all: Vec<&OpenBao> = cluster.nodes().iter().collect();
    for moment in MOMENTS {
        let what = format!("stepped down {moment:?}");
        let leader = cluster.active().await.unwrap();
        let link = Holder::issue(leader, &what).await;
        let before = plugin_processes(leader, NAME);
        let won = meanwhile(moment, &link, &all, async {
            leader.call("PUT", "sys/step-down", None).await.unwrap();
        })
        .await;
        // The plugin of a node that was the leader is started anew.
        wait_until("the step down", SOON * 2, async || {
            (!plugin_processes(leader, NAME).contains(&before[0])).then_some(())
        })
        .await
        .unwrap();
        let next = cluster.active().await.unwrap();
        answers(next).await;
        one_stands(&what, &link, next, won).await;
        for node in &all {
            answers(node).await;
            assert_eq!(link.state(node).await, "retrieved", "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_over_three_nodes_one_has_it_when_the_plugin_is_reloaded() {
    let cluster = start().await;
    let all: Vec<&OpenBao> = cluster.nodes().iter().collect();
    for moment in [1, 3, 5].map(|index| MOMENTS[index]) {
        let what = format!("reloaded on three {moment:?}");
        let leader = cluster.active().await.unwrap();
        let link = Holder::issue(leader, &what).await;
        let before = plugin_processes(leader, NAME);
        let won = meanwhile(moment, &link, &all, async {
            leader.call("PUT", "sys/plugins/reload/backend", Some(&json!({ "plugin": NAME }))).await.unwrap();
        })
        .await;
        wait_until("the old process to end", SOON, async || {
            (!plugin_processes(leader, NAME).contains(&before[0])).then_some(())
        })
        .await
        .unwrap();
        for node in &all {
            answers(node).await;
        }
        assert_eq!(cluster.active().await.unwrap().address(), leader.address(), "{what}");
        one_stands(&what, &link, cluster.standbys().await.unwrap()[0], won).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_four_one_has_it_when_the_leader_is_killed() {
    let cluster = start().await;
    let all: Vec<&OpenBao> = cluster.nodes().iter().collect();
    // On Vault a round takes almost three minutes, so there is one.
    let moments = if Vendor::chosen() == Vendor::Vault { &[1][..] } else { &[1, 3, 5][..] };
    for moment in moments.iter().map(|index| MOMENTS[*index]) {
        let what = format!("leader {moment:?}");
        let leader = cluster.active().await.unwrap();
        let link = Holder::issue(leader, &what).await;
        let won = meanwhile(moment, &link, &all, async { leader.kill().unwrap() }).await;
        let next = cluster.active().await.unwrap();
        assert_ne!(next.address(), leader.address(), "{what}");
        answers(next).await;
        one_stands(&what, &link, next, won).await;
        // Whole again for the next round, and what it missed is there.
        leader.restart().await.unwrap();
        leader.unseal_as_one_of_several().await.unwrap();
        answers(leader).await;
        assert_eq!(link.state(leader).await, "retrieved", "{what}");
    }
}

//! A leader that stands still between two requests of one rotation, while another one leads.

use ps_testbed::process::Signal;
use ps_testbed::{HttpProxy, ProxyAction, ProxyRule, Testbed, unique, wait_until};
use serde_json::json;

use crate::stand::{Setup, Stand};
use crate::support::{KvSource, SOON, kv_delivery};

#[tokio::test]
async fn a_leader_that_stands_still_between_writing_and_destroying_loses_nothing_and_does_nothing_twice() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let proxy = HttpProxy::start(bao.address()).unwrap();
    let stand = Stand::start(Setup { operators: 2, ..Setup::default() }).await;
    let first = KvSource::new(bao).await;
    stand.connect_as(bao, &proxy.address(), &stand.tenant, &first.policy_of_mount(), json!({"timeout": "5s"})).await;
    for (kind, action) in [("/data/", ProxyAction::DoneButHang), ("/destroy/", ProxyAction::Hang)] {
        let (source, name) = (KvSource::below(bao, &first.mount).await, unique("between").replace('_', "-"));
        let at = format!("{kind}{}", source.path);
        let rule = ProxyRule::new(&at, action);
        proxy.rule(if kind == "/data/" { rule.method("PATCH") } else { rule });
        let to = format!("{}@v.example", unique("between"));
        stand.apply(&kv_delivery(&name, &to, &source, "1h", "1s", json!({}))).await;
        assert_eq!(stand.recipient(&to).await.open().await["password"], source.password);
        let met = wait_until("the moment", SOON, async || {
            proxy.requests().iter().any(|r| r.path.contains(&at) && r.client.is_none()).then_some(())
        });
        met.await.unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()));
        let halted = stand.leader().await;
        stand.operators[halted].signal(Signal::SIGSTOP);
        proxy.clear();
        let other = &stand.operators[1 - halted];
        let leads = async || (other.metric("password_sender_leader").await > 0.0).then_some(());
        wait_until("another leader", SOON, leads).await.unwrap_or_else(|e| panic!("{e}\n{}", stand.tails()));
        stand.operators[halted].signal(Signal::SIGCONT);
        let seen = stand.wait_rotated(&name, SOON).await;
        source.assert_replaced(bao).await;
        assert_eq!(seen.text("/status/evidence/scope"), "Vault");
        let smtp = Testbed::connect_or_start().unwrap().smtp().await.unwrap();
        assert_eq!(smtp.mails(&to).await.unwrap().len(), 1);
    }
}

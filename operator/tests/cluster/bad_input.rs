//! Objects written around the schema (an older CRD, one that checks nothing), and hostile requests to a gateway: each harms
//! nothing but itself, and costs the API server next to nothing.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use ps_testbed::{Cluster, ClusterOptions, OpenBao, Testbed, unique, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::bad_input_cases::{Case, cases};
use crate::stand::{Setup, Stand};
use crate::support::{KvSource, SOON, Seen, kv_delivery};

/// How many odd objects there are at once.
const MANY: usize = 1000;
/// How much an operator may grow with them, in KiB; a debug build.
const GROWTH: u64 = 120 * 1024;

/// Every check of our kinds taken out of the API server.
async fn loosen(cluster: &Cluster) {
    for plural in ["secretdeliveries", "vaultconnections", "clustervaultconnections"] {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.passwordsender.io");
        let mut crd = cluster.call("GET", &path, None).await.unwrap();
        let version = &mut crd["spec"]["versions"][0];
        version["schema"]["openAPIV3Schema"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        version.as_object_mut().unwrap().remove("selectableFields");
        cluster.call("PUT", &path, Some(&crd)).await.unwrap();
    }
}

struct Odd {
    stand: Stand,
    good: Value,
}

impl Odd {
    async fn start(bao: &OpenBao, source: &KvSource) -> Self {
        let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(ClusterOptions::default()).await.unwrap()));
        let stand = Stand::prepare_on(Setup { level: "info", ..Setup::default() }, cluster).await;
        stand
            .connect(
                bao,
                &format!("path \"{}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}", source.mount),
            )
            .await;
        loosen(cluster).await;
        let yaml = kv_delivery("good", "nobody@v.example", source, "10m", "1h", Value::Null);
        Self { stand, good: serde_yaml::from_str(&yaml).unwrap() }
    }

    fn collection(&self) -> String {
        format!("/apis/passwordsender.io/v1alpha1/namespaces/{}/secretdeliveries", self.stand.tenant)
    }

    /// Waits until the API server takes what our schema refuses: a changed CRD takes a moment.
    async fn loose(&self) {
        let mut odd = self.good.clone();
        odd["spec"] = json!(5);
        let path = format!("{}?dryRun=All", self.collection());
        let taken = wait_until("the loose schema", SOON, async || {
            (self.stand.cluster.request("POST", &path, Some(&odd)).await.ok()?.0 == 201).then_some(())
        });
        taken.await.unwrap();
    }

    fn object(&self, name: &str, case: &Case) -> Value {
        let mut object = self.good.clone();
        object["metadata"]["name"] = json!(name);
        (case.change)(&mut object);
        object
    }

    async fn put(&self, name: &str, case: &Case) {
        let object = self.object(name, case);
        let made = self.stand.cluster.request("POST", &self.collection(), Some(&object)).await.unwrap();
        assert_eq!(made.0, 201, "{}: {}", case.name, made.1["message"]);
        if let Some(status) = case.status {
            let body = json!({"status": status()});
            self.stand.cluster.call("PATCH", &format!("{}/status", self.stand.uri(name)), Some(&body)).await.unwrap();
        }
    }

    /// A delivery goes through beside whatever else there is; says how long it took until its mail was there.
    async fn good_goes_through(
        &self,
        bao: &OpenBao,
        mount: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Duration {
        let source = KvSource::below(bao, mount).await;
        let to = format!("{}@v.example", unique(name));
        let yaml = kv_delivery(name, &to, &source, "10m", "1s", json!({"link": {"claimWindow": "1s"}}));
        let mut object: Value = serde_yaml::from_str(&yaml).unwrap();
        change(&mut object);
        let begun = Instant::now();
        self.stand.apply(&object.to_string()).await;
        let recipient = self.stand.recipient(&to).await;
        let took = begun.elapsed();
        assert_eq!(recipient.open().await["password"], source.password);
        self.stand.wait_rotated(name, SOON).await;
        took
    }

    /// The status, also of an object that is nested too deeply for our own reader.
    async fn seen(&self, name: &str) -> Seen {
        let object = self.stand.object(name).await;
        if !object.is_null() {
            return Seen(object);
        }
        let part = async |path: &str| {
            let words = ["get", "sd", name, "-n", &self.stand.tenant, "-o", &format!("jsonpath={{{path}}}")];
            self.stand.cluster.kubectl(&words).await.unwrap_or_default()
        };
        let conditions: Value = serde_json::from_str(&part(".status.conditions").await).unwrap_or_default();
        Seen(json!({"status": {"summary": part(".status.summary").await, "conditions": conditions}}))
    }

    async fn wait_seen(&self, name: &str, what: &str, is: impl Fn(&Seen) -> bool) -> Seen {
        let seen = wait_until(what, SOON, async || Some(self.seen(name).await).filter(|seen| is(seen))).await;
        match seen {
            Ok(seen) => seen,
            Err(e) => panic!("{name}: {e}\n{:#}\n{}", self.seen(name).await.0["status"], self.stand.tails()),
        }
    }

    fn rss(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.stand.operators[0].pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// How many requests the operator has made, but for its lease, watches and the reads between two watches.
    fn requests(&self) -> usize {
        let user = format!("system:serviceaccount:{}:password-sender-operator", self.stand.names.own);
        let events = self.stand.cluster.audit_events().unwrap();
        let counts = events.iter().filter(|e| e.user == user && e.resource != "leases");
        counts.filter(|e| e.verb != "watch" && e.verb != "list").count()
    }

    /// How many requests there are while nothing changes.
    async fn requests_in(&self, time: Duration) -> usize {
        let before = self.requests();
        tokio::time::sleep(time).await;
        self.requests() - before
    }
}

fn assert_stalled(case: &Case, seen: &Seen) {
    let (_, reason, message) = seen.condition("Stalled");
    let flat = format!("{reason}: {message}").to_lowercase();
    assert!(case.says.iter().all(|word| flat.contains(&word.to_lowercase())), "{}: {message}", case.name);
    assert!(message.len() < 2000, "{}: {} bytes of message", case.name, message.len());
    assert_eq!(seen.summary(), format!("Stalled: {reason}"), "{}", case.name);
    assert!(!seen.is("Delivered") && !seen.is("Ready"), "{}", case.name);
}

#[tokio::test]
async fn what_the_schema_let_through_stalls_only_itself() {
    let bao = Testbed::connect_or_start().unwrap().bao().await.unwrap();
    let source = KvSource::new(bao).await;
    let odd = Odd::start(bao, &source).await;
    let (stand, mount) = (&odd.stand, source.mount.as_str());
    odd.loose().await;
    stand.run().await;
    odd.good_goes_through(bao, mount, "before", |_| ()).await;
    let rss = odd.rss();

    let all = cases();
    let mut names = BTreeMap::new();
    for (n, case) in all.iter().enumerate() {
        let name = format!("odd-{n}");
        odd.put(&name, case).await;
        names.insert(name, case);
    }
    for (name, case) in &names {
        if case.says.is_empty() {
            odd.wait_seen(name, case.name, |s| s.is("Delivered")).await;
        } else {
            let seen = odd.wait_seen(name, case.name, |s| s.stalled().is_some()).await;
            assert_stalled(case, &seen);
        }
    }
    // Connections too: a fault of one concerns those that name it.
    for (name, spec) in [("junk", json!(5)), ("odd-auth", json!({"address": 5, "auth": [{"x": 1}]}))] {
        let object = json!({"apiVersion": "passwordsender.io/v1alpha1", "kind": "VaultConnection",
            "metadata": {"name": name, "namespace": stand.tenant}, "spec": spec});
        stand.cluster.apply(&object.to_string()).await.unwrap();
        let uses = format!("uses-{name}");
        let mut object = odd.good.clone();
        object["metadata"]["name"] = json!(uses);
        object["spec"]["source"]["vault"]["connectionRef"]["name"] = json!(name);
        stand.apply(&object.to_string()).await;
        let seen = stand.wait_status(&uses, "stalled", SOON, |s| s.stalled().is_some()).await;
        let message = seen.condition("Stalled").2;
        assert!(message.contains(name) && message.contains("spec"), "{message}");
    }
    let took = odd.good_goes_through(bao, mount, "beside", |_| ()).await;
    eprintln!("{took:?} until the mail of a good one beside {} odd ones", names.len());
    let quiet = odd.requests_in(Duration::from_secs(5)).await;
    assert!(quiet <= 20, "{quiet} requests in 5 s in which nothing happened");

    // Many, at once, then a start with all of them there.
    let before = odd.requests();
    let small: Vec<&Case> = all.iter().filter(|case| !case.says.is_empty() && !case.large).collect();
    let objects: Vec<Value> = (0..MANY).map(|n| odd.object(&format!("many-{n}"), small[n % small.len()])).collect();
    let mut tasks = JoinSet::new();
    for part in objects.chunks(MANY.div_ceil(8)) {
        let (cluster, path, part) = (stand.cluster, odd.collection(), part.to_vec());
        tasks.spawn(async move {
            for object in part {
                cluster.call("POST", &path, Some(&object)).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let took = odd.good_goes_through(bao, mount, "among-many", |_| ()).await;
    eprintln!("{took:?} until the mail of a good one among {MANY}");
    all_stalled(&odd, MANY).await;
    let each = (odd.requests() - before) as f64 / MANY as f64;
    let grown = odd.rss().saturating_sub(rss);
    eprintln!("{each:.1} requests for each odd object; memory grew by {grown} KiB from {rss} KiB");
    assert!(each <= 8.0, "{each} requests for each odd object");
    assert!(grown <= GROWTH, "{grown} KiB more");
    // On a busy machine the last Events of a thousand objects are still on their way.
    let mut quiet = odd.requests_in(Duration::from_secs(10)).await;
    for _ in 0..5 {
        if quiet > 50 {
            quiet = odd.requests_in(Duration::from_secs(10)).await;
        }
    }
    assert!(quiet <= 50, "{quiet} requests in 10 s in which nothing happened");

    let before = odd.requests();
    stand.restart_operators().await;
    let took = odd.good_goes_through(bao, mount, "after-restart", |_| ()).await;
    let asked = odd.requests() - before;
    eprintln!("{took:?} until the mail of a good one after a restart with all of them; {asked} requests");
    // One each: what is wrong goes on, and its Event says so anew.
    assert!(asked <= MANY * 3 / 2, "{asked} requests after a restart with {MANY} objects that are what they were");
    assert!(odd.rss() <= rss + GROWTH, "{} KiB", odd.rss());

    // Mended, it goes through; deleted, it goes.
    let mended = odd.good_goes_through(bao, mount, "odd-0", |_| ()).await;
    assert!(mended < SOON);
    stand.delete("odd-1").await;
    stand.wait_gone(&stand.uri("odd-1"), SOON).await;
}

/// Waits until every one of the many says that it is stalled. To look at a thousand objects is work for the API server: the
/// operator is asked first whether it still has something to do.
async fn all_stalled(odd: &Odd, count: usize) {
    let stalled = async || {
        let words =
            ["get", "sd", "-n", &odd.stand.tenant, "-o", "custom-columns=NAME:.metadata.name,STATUS:.status.summary"];
        let table = odd.stand.cluster.kubectl(&words).await.unwrap_or_default();
        table.lines().filter(|line| line.starts_with("many-") && line.contains("Stalled: ")).count()
    };
    let done = wait_until("all of them stalled", SOON * 4, async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let idle = odd.stand.operators[0].metric("password_sender_queue_ready").await == 0.0;
        (idle && stalled().await == count).then_some(())
    });
    if let Err(e) = done.await {
        panic!("{e}: {} of {count}\n{}", stalled().await, odd.stand.tails());
    }
}

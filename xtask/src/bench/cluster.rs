//! Part `cluster`: the operator in a cluster, on a real API server whose etcd waits for the disk.

mod api;
mod counts;
mod life;
mod stand;

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use ps_testbed::{HttpProxy, Mail, OpenBao, Postgres, SmtpOptions, SmtpServer};
use reqwest::Method;
use serde_json::{Value, json};

use super::figures::{Aim, Table, percentile};
use super::programs::{Programs, child_time, processor_time};
use super::stand::kv_delivery;
use super::standalone::{after, invitation, kv_source};
use api::{Api, Job};
use stand::{Stand, TENANT, deliveries, secret};

/// Secrets of others that lie in the cluster.
const FOREIGN: usize = 10_000;
/// Mails to one mailbox: asking the mail server for thousands at once takes long.
const IN_ONE_MAILBOX: usize = 500;
/// Who applies does so on this many connections.
const APPLIERS: usize = 8;
/// Claims, or plain writes, at once; and fewer.
const CLAIMANTS: usize = 64;
const FEW: usize = 8;
/// Links that are claimed in each of three runs.
const CLAIMS: usize = 1_500;
/// Waiting for all of a part to be done.
const LONG: Duration = Duration::from_secs(1_800);
/// After a burst: timers run out, and memory is given back.
const REST: Duration = Duration::from_secs(10);

struct Bench<'a> {
    programs: &'a Programs,
    stand: Stand,
    api: Arc<Api>,
    bao: OpenBao,
    proxy: HttpProxy,
    smtp: SmtpServer,
    mails: Vec<Mail>,
    /// Deliveries that were applied.
    count: usize,
}

/// All of it, with so many deliveries at the end.
pub(super) async fn cluster(programs: &Programs, table: &mut Table, most: usize) -> Result<()> {
    println!("\n== the operator in a cluster");
    let bao = OpenBao::dev().await?;
    let smtp = SmtpServer::start(SmtpOptions::default()).await?;
    let postgres = Postgres::start().await?;
    let proxy = HttpProxy::start(bao.address())?;
    let stand = Stand::prepare(programs, &smtp).await?;
    let api = Api::of(&stand.cluster)?;
    let mut bench = Bench { programs, stand, api, bao, proxy, smtp, mails: Vec::new(), count: 0 };

    bench.foreign(table).await?;
    let mut policy = kv_source(&bench.bao, "bulk", most).await?;
    policy.push_str(&bench.prepare_life(&postgres).await?);
    bench.stand.connect(&bench.bao, &bench.proxy.address(), &policy).await?;
    let first = bench.stand.start_operator().await?;
    table.add("start until it leads and has looked at everything, empty", first.as_secs_f64(), "s", Aim::None);
    bench.stand.start_gateway().await?;
    bench.stand.serving().await?;
    bench.memory(table, Aim::AtMost(25.0)).await?;

    bench.life(table).await?;
    // From here on without the proxy, whose own work would count.
    bench.stand.cluster.call("PATCH", &connection(), Some(&json!({"spec": {"address": bench.bao.address()}}))).await?;
    let mut steps: Vec<usize> = [100, 1_000].into_iter().filter(|step| *step < most).collect();
    steps.push(most);
    for upto in steps {
        bench.apply(table, upto).await?;
        if upto >= 1_000 {
            bench.memory(table, if upto == most { Aim::AtMost(120.0) } else { Aim::None }).await?;
        }
    }
    bench.stand.stop_operator()?;
    let settled = bench.stand.start_operator().await?.as_secs_f64();
    table.add(&format!("restart until settled, {} deliveries", bench.count), settled, "s", Aim::AtMost(60.0));
    bench.memory(table, Aim::AtMost(120.0)).await?;
    bench.claims(table).await
}

fn connection() -> String {
    format!("/apis/passwordsender.io/v1alpha1/namespaces/{TENANT}/vaultconnections/vault")
}

impl Bench<'_> {
    /// Secrets that are none of ours, and how fast they can be written.
    async fn foreign(&self, table: &mut Table) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "foreign"}});
        self.stand.cluster.apply(&namespace.to_string()).await?;
        let path = "/api/v1/namespaces/foreign/secrets";
        let job = |n| -> Job { (Method::POST, path.to_owned(), secret("foreign", &format!("foreign-{n}"), n)) };
        let (took, _) = self.api.send_all((0..FOREIGN).map(job).collect(), CLAIMANTS).await?;
        let rate = FOREIGN as f64 / took.as_secs_f64();
        table.add("plain Secrets of 2 KiB created, 64 at once, nothing else running", rate, "/s", Aim::None);
        Ok(())
    }

    async fn memory(&self, table: &mut Table, aim: Aim) -> Result<()> {
        tokio::time::sleep(REST).await;
        let [operator, gateway] = self.stand.memory()?;
        let with = format!("{} resting deliveries beside {FOREIGN} foreign Secrets", self.count);
        table.add(&format!("resident memory with {with}: operator"), operator.0, "MiB", aim);
        table.add("of that no file's (RssAnon)", operator.1, "MiB", Aim::None);
        table.add(&format!("resident memory with {with}: gateway"), gateway.0, "MiB", Aim::None);
        table.add("of that no file's (RssAnon)", gateway.1, "MiB", Aim::None);
        Ok(())
    }

    /// Applies deliveries until there are `upto`; each names a secret of its own.
    async fn apply(&mut self, table: &mut Table, upto: usize) -> Result<()> {
        let from = self.count;
        let mailbox = |n: usize| format!("bulk-{upto}-{}@v.example", n / IN_ONE_MAILBOX);
        let mut jobs: Vec<Job> = Vec::new();
        for n in from..upto {
            let text = kv_delivery(&format!("bulk-{n}"), &mailbox(n), "bulk", &format!("app-{n}"), "1h");
            jobs.push((Method::POST, deliveries(""), serde_json::from_str(&text)?));
        }
        let before = self.processor_times()?;
        let begun = SystemTime::now();
        let (applied, _) = self.api.send_all(jobs, APPLIERS).await?;
        let (mut last, mut at) = (0.0_f64, from);
        while at < upto {
            let end = upto.min((at / IN_ONE_MAILBOX + 1) * IN_ONE_MAILBOX);
            let mails = self.smtp.wait_for_mails(&mailbox(at), end - at, LONG).await;
            let mails = mails.with_context(|| self.stand.tail())?;
            for mail in &mails {
                last = last.max(after(begun, mail)?);
            }
            self.mails.extend(mails);
            at = end;
        }
        let (made, name) = ((upto - from) as f64, format!("{} more deliveries, {upto} in all", upto - from));
        table.add(&format!("{name}: applying took"), applied.as_secs_f64(), "s", Aim::None);
        let aim = if upto == 1_000 { Aim::AtMost(15.0 * made / 1_000.0) } else { Aim::None };
        table.add(&format!("{name}: first apply to last mail"), last, "s", aim);
        table.add(&format!("{name}: deliveries"), made / last, "/s", Aim::None);
        for ((who, before), (_, now)) in before.into_iter().zip(self.processor_times()?) {
            table.add(&format!("processor time of a delivery: {who}"), (now - before) * 1e3 / made, "ms", Aim::None);
        }
        self.count = upto;
        Ok(())
    }

    /// Seconds of processor time that each program has used.
    fn processor_times(&self) -> Result<[(&'static str, f64); 4]> {
        Ok([
            ("operator", self.stand.processor_time()?),
            ("OpenBao", processor_time(self.bao.pid()?)?),
            ("API server", child_time("kube-apiserver")?),
            ("etcd", child_time("etcd")?),
        ])
    }

    /// Claims through the gateway, beside what the API server can write by itself in the same minute.
    async fn claims(&self, table: &mut Table) -> Result<()> {
        self.stand.serving().await?;
        let gateway = Api::gateway(self.stand.port)?;
        let bodies = self.claim_bodies(3 * CLAIMS)?;
        let each = bodies.len() / 3;
        let mut bodies = bodies.into_iter();
        let (mut plain, mut claims) = (Vec::new(), Vec::new());
        plain.push(self.plain().await?);
        let runs = [
            (FEW, "the operator stopped", true),
            (CLAIMANTS, "the operator stopped", true),
            (CLAIMANTS, "the operator at work on them", false),
        ];
        for (at_once, how, frozen) in runs {
            self.stand.freeze_operator(frozen)?;
            let job = |body| -> Job { (Method::POST, "/api/v1/links/claim".to_owned(), body) };
            let jobs: Vec<Job> = bodies.by_ref().take(each).map(job).collect();
            let sent = gateway.send_all(jobs, at_once).await;
            self.stand.freeze_operator(false)?;
            let (took, mut times) = sent?;
            let rate = each as f64 / took.as_secs_f64();
            table.add(&format!("claims over HTTP, {at_once} at once, {how}"), rate, "/s", Aim::None);
            table.add("claim, p50", percentile(&mut times, 50), "ms", Aim::None);
            table.add("claim, p99", percentile(&mut times, 99), "ms", Aim::None);
            claims.push((at_once, how, rate));
            self.quiet().await?;
            plain.push(self.plain().await?);
        }
        let mean = plain.iter().sum::<f64>() / plain.len() as f64;
        table.add(
            &format!("plain updates of Secrets of 2 KiB, {CLAIMANTS} at once, mean of four runs"),
            mean,
            "/s",
            Aim::None,
        );
        for (at_once, how, rate) in claims {
            table.add(&format!("claims at {at_once} ÷ plain updates, {how}"), rate / mean, "", Aim::None);
        }
        Ok(())
    }

    /// Waits until the operator has nothing more to do.
    async fn quiet(&self) -> Result<()> {
        let begun = Instant::now();
        let mut before = self.stand.processor_time()?;
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = self.stand.processor_time()?;
            if now - before < 0.2 || begun.elapsed() > Duration::from_secs(120) {
                return Ok(());
            }
            before = now;
        }
    }

    /// Updates of Secrets per second that the API server takes.
    async fn plain(&self) -> Result<f64> {
        // Written twice, each time with another value.
        let job = |n: usize| -> Job {
            let name = format!("foreign-{}", n % CLAIMS);
            let path = format!("/api/v1/namespaces/foreign/secrets/{name}");
            (Method::PUT, path, secret("foreign", &name, n % CLAIMS + n / CLAIMS + 1))
        };
        let (took, _) = self.api.send_all((0..2 * CLAIMS).map(job).collect(), CLAIMANTS).await?;
        Ok(2.0 * CLAIMS as f64 / took.as_secs_f64())
    }

    /// The first claims of this many links.
    fn claim_bodies(&self, most: usize) -> Result<Vec<Value>> {
        let mut lines = String::new();
        for mail in self.mails.iter().take(most) {
            let (fragment, code) = invitation(mail)?;
            lines.push_str(&format!("{fragment} {code}\n"));
        }
        let mut command = self.programs.example("claim_body");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting claim_body")?;
        let mut input = child.stdin.take().context("no stdin")?;
        let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
        let output = child.wait_with_output()?;
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        let text = String::from_utf8(output.stdout)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

//! One delivery after the other, from apply to proof and removal: what it asks of the API server and of Vault, and how late
//! the rotation is.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ps_testbed::{Postgres, unique};
use reqwest::Method;
use serde_json::Value;

use super::counts::{self, Request};
use super::stand::deliveries;
use super::{Bench, LONG};
use crate::bench::figures::{Aim, Table, percentile};
use crate::bench::stand::{kv_delivery, role_delivery};
use crate::bench::standalone::{claim, kv_source, time_of_day};

/// Of each kind.
const LIVES: usize = 25;
/// Lives whose requests are not counted: the first one logs in.
const FIRST: usize = 1;

impl Bench<'_> {
    /// The sources; gives the policy's lines for them.
    pub(super) async fn prepare_life(&self, postgres: &Postgres) -> Result<String> {
        let policy = kv_source(&self.bao, "life", LIVES).await?;
        self.bao.database_config("db", "main", postgres).await?;
        for number in 0..LIVES {
            let user = unique("user");
            postgres.create_user(&user, "first").await?;
            self.bao.static_role("db", &format!("role-{number}"), "main", &user, "24h").await?;
        }
        let roles = "path \"db/static-creds/*\" { capabilities = [\"read\"] }\n\
                     path \"db/rotate-role/*\" { capabilities = [\"update\"] }\n";
        Ok(policy + roles)
    }

    /// See the module.
    pub(super) async fn life(&mut self, table: &mut Table) -> Result<()> {
        let mut delays = Vec::new();
        for (kind, aim) in [("KV", 6.0), ("static role", 4.0)] {
            let (mut vault, mut logins) = (Vec::new(), 0);
            let (mut lives, mut early, mut ends): (Vec<Request>, Vec<usize>, Vec<Request>) = Default::default();
            for number in 0..LIVES {
                let name = format!("{}-{number}", if kind == "KV" { "kv" } else { "role" });
                self.proxy.forget();
                let place = counts::here(&self.stand.cluster)?;
                let (sent_at, delay) = self.one(kind, &name, number).await?;
                delays.push(delay);
                let made = self.proxy.requests();
                logins += made.iter().filter(|r| r.path.contains("/login")).count();
                vault.push(made.iter().filter(|r| !r.path.contains("/auth/")).count() as f64);
                if number + 1 == LIVES {
                    made.iter().for_each(|r| println!("    {} {}", r.method, r.path));
                }
                self.settle(&name).await?;
                let asked = counts::since(&self.stand.cluster, place)?;
                let place = counts::here(&self.stand.cluster)?;
                self.remove(&name).await?;
                if number < FIRST {
                    continue;
                }
                ends.extend(counts::since(&self.stand.cluster, place)?);
                early.push(asked.iter().filter(|r| r.writes && !r.is_event && r.at <= sent_at).count());
                lives.extend(asked);
            }
            let each = |count: usize| count as f64 / (LIVES - FIRST) as f64;
            println!("  requests to the API server for one delivery, {kind}, apply to proof:");
            for (what, count) in counts::by_kind(lives.iter()) {
                println!("    {:.2} {what}", each(count));
            }
            println!("  and for its removal afterwards:");
            for (what, count) in counts::by_kind(ends.iter()) {
                println!("    {:.2} {what}", each(count));
            }
            let writes = |of: &[Request], event| of.iter().filter(|r| r.writes && r.is_event == event).count();
            let name = |what: &str| format!("{kind}: {what}");
            table.add(&name("Kubernetes writes, apply to proof"), each(writes(&lives, false)), "", Aim::AtMost(12.0));
            table.add(&name("of these before the mail"), each(early.iter().sum()), "", Aim::AtMost(4.0));
            table.add(&name("Events, written or counted up"), each(writes(&lives, true)), "", Aim::AtMost(4.0));
            table.add(&name("Kubernetes writes, removal"), each(writes(&ends, false)), "", Aim::None);
            table.add(&name("requests to Vault, p50"), percentile(&mut vault, 50), "", Aim::AtMost(aim));
            table.add(&name("logins to Vault, all of them"), logins as f64, "", Aim::None);
        }
        table.add("due time to proven rotation, p50", percentile(&mut delays, 50) * 1e3, "ms", Aim::None);
        table.add("due time to proven rotation, p99", percentile(&mut delays, 99) * 1e3, "ms", Aim::AtMost(2000.0));
        Ok(())
    }

    /// From apply to proof: when the mail came (seconds since midnight), and the seconds from due to proof.
    async fn one(&self, kind: &str, name: &str, number: usize) -> Result<(f64, f64)> {
        let to = format!("{name}@v.example");
        let text = match kind {
            "KV" => kv_delivery(name, &to, "life", &format!("app-{number}"), "1s"),
            _ => role_delivery(name, &to, "db", &format!("role-{number}"), "1s"),
        };
        self.api.send(&(Method::POST, deliveries(""), serde_json::from_str(&text)?)).await?;
        let mail = self.smtp.wait_for_mail(&to, LONG).await?;
        let sent_at = time_of_day(&mail.received_at)?;
        // The window of the claim begins somewhere within the request: this counts its whole time as delay.
        let due = Instant::now() + Duration::from_secs(1);
        claim(self.programs, self.stand.port, &mail)?;
        self.until(name, "its proof", |object| is(object, "Rotated")).await?;
        Ok((sent_at, Instant::now().saturating_duration_since(due).as_secs_f64()))
    }

    async fn until(&self, name: &str, what: &str, done: impl Fn(&Value) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            let object = self.stand.cluster.request("GET", &deliveries(&format!("/{name}")), None).await?.1;
            if done(&object) {
                return Ok(());
            }
            let waits = begun.elapsed() < Duration::from_secs(60);
            ensure!(waits, "{name} waits for {what}:\n{object:#}\n{}", self.stand.tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Until nothing more is asked because of it: the last Event, the ledger's last word.
    async fn settle(&self, name: &str) -> Result<()> {
        self.until(name, "Ready", |object| is(object, "Ready")).await?;
        tokio::time::sleep(Duration::from_millis(700)).await;
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.api.send(&(Method::DELETE, deliveries(&format!("/{name}")), Value::Null)).await?;
        self.until(name, "its end", |object| object.pointer("/code").and_then(Value::as_u64) == Some(404)).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }
}

/// Whether a condition is true.
fn is(object: &Value, condition: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| {
        all.iter().any(|c| {
            c.get("type").and_then(Value::as_str) == Some(condition)
                && c.get("status").and_then(Value::as_str) == Some("True")
        })
    })
}

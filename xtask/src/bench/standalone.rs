//! What an administrator feels: start, memory, deliveries, rotations, on real servers.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use ps_testbed::{HttpProxy, Mail, OpenBao, Postgres, SmtpOptions, SmtpServer, unique};
use serde_json::json;

use super::figures::{Aim, Figures, Table, percentile};
use super::programs::{Programs, processor_time};
use super::stand::{Stand, http, kv_delivery, role_delivery};
use crate::command::output;

/// Starts of which the median counts.
const STARTS: usize = 11;
/// Deliveries that are rotated, one after the other, of each kind.
const ROTATIONS: usize = 10;
/// Open links of which the memory is measured.
const OPEN: usize = 10_000;
/// Deliveries in one file of that many.
const IN_ONE_FILE: usize = 10;
/// Waiting for all of a part to be done.
const LONG: Duration = Duration::from_secs(600);

/// Part `start`: start to ready, and memory at rest.
pub(super) async fn start(programs: &Programs, table: &mut Table) -> Result<()> {
    println!("\n== start to ready, and memory at rest");
    let bao = OpenBao::dev().await?;
    let smtp = SmtpServer::start(SmtpOptions::default()).await?;
    let mut stand = Stand::prepare(programs, Some(&smtp))?;
    let policy = kv_source(&bao, "rest", 1).await?;
    stand.connect(&bao, bao.address(), &policy).await?;
    let (mut ready, mut serves, mut first) = (Vec::new(), Vec::new(), 0.0);
    for run in 0..STARTS {
        let (a, b) = stand.start()?;
        if run == 0 {
            first = millis(a);
        } else {
            ready.push(millis(a));
            serves.push(millis(b));
        }
        if run + 1 < STARTS {
            stand.stop()?;
        }
    }
    table.add("start to ready, on a new data folder", first, "ms", Aim::AtMost(50.0));
    table.add("start to ready, p50", percentile(&mut ready, 50), "ms", Aim::AtMost(50.0));
    table.add("start to the gateway's first answer, p50", percentile(&mut serves, 50), "ms", Aim::AtMost(50.0));
    tokio::time::sleep(Duration::from_secs(3)).await;
    memory(&stand, table, "at rest, never used", Aim::AtMost(20.0))?;
    stand.apply("one", &kv_delivery("one", "one@v.example", "rest", "app-0", "1h"))?;
    smtp.wait_for_mail("one@v.example", LONG).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    memory(&stand, table, "at rest, after a delivery", Aim::AtMost(20.0))
}

/// Part `deliveries`: so many files at once, to so many mails.
pub(super) async fn deliveries(programs: &Programs, table: &mut Table, files: usize) -> Result<()> {
    println!("\n== {files} manifests to {files} mails");
    let bao = OpenBao::dev().await?;
    let policy = kv_source(&bao, "bulk", files).await?;
    let smtp = SmtpServer::start(SmtpOptions::default()).await?;
    let speed = mail_speed(programs, &smtp, files)?;
    table.add("the testbed's mail server alone, our mailer, 4 connections", speed, "mails/s", Aim::None);

    let mut stand = Stand::prepare(programs, Some(&smtp))?;
    stand.connect(&bao, bao.address(), &policy).await?;
    stand.start()?;
    let to = format!("{}@v.example", unique("bulk"));
    let (operator, vault) = (stand.processor_time()?, processor_time(bao.pid()?)?);
    let begun = SystemTime::now();
    for number in 0..files {
        let name = format!("bulk-{number}");
        stand.apply(&name, &kv_delivery(&name, &to, "bulk", &format!("app-{number}"), "1h"))?;
    }
    let written = begun.elapsed()?;
    let mails = smtp.wait_for_mails(&to, files, LONG).await?;
    let mut at = mails.iter().map(|mail| after(begun, mail)).collect::<Result<Vec<f64>>>()?;
    let (first, last) = (percentile(&mut at, 0), percentile(&mut at, 100));
    table.add("writing the files took", millis(written), "ms", Aim::None);
    table.add("first file to first mail", first * 1e3, "ms", Aim::None);
    table.add("first file to last mail", last, "s", Aim::None);
    table.add("deliveries, manifest to mail, SMTP", files as f64 / last, "/s", Aim::AtLeast(200.0));
    let each = |used: f64| used * 1e3 / files as f64;
    table.add("processor time of a delivery: operator", each(stand.processor_time()? - operator), "ms", Aim::None);
    table.add("processor time of a delivery: OpenBao", each(processor_time(bao.pid()?)? - vault), "ms", Aim::None);
    memory(&stand, table, &format!("after {files} deliveries"), Aim::None)?;
    stand.stop()?;

    // The same without a mail server: what of the time is not the mail's.
    let mut stand = Stand::prepare(programs, None)?;
    stand.connect(&bao, bao.address(), &policy).await?;
    stand.start()?;
    let begun = Instant::now();
    for number in 0..files {
        let name = format!("bulk-{number}");
        stand.apply(&name, &kv_delivery(&name, &to, "bulk", &format!("app-{number}"), "1h"))?;
    }
    let took = wait_outbox(&stand, files, begun).await?;
    table.add("deliveries, manifest to mail, outbox folder", files as f64 / took, "/s", Aim::AtLeast(200.0));
    Ok(())
}

/// Part `open`: memory with many open links.
pub(super) async fn open_links(programs: &Programs, table: &mut Table) -> Result<()> {
    println!("\n== memory with {OPEN} open links");
    let bao = OpenBao::dev().await?;
    let sources = OPEN / IN_ONE_FILE;
    let policy = kv_source(&bao, "open", sources).await?;
    let mut stand = Stand::prepare(programs, None)?;
    stand.connect(&bao, bao.address(), &policy).await?;
    stand.start()?;
    let begun = Instant::now();
    for file in 0..sources {
        // Ten deliveries in each file, each of another source.
        let one = |n: usize| {
            let source = format!("app-{}", (file + n * sources / IN_ONE_FILE) % sources);
            kv_delivery(&format!("open-{file}-{n}"), "bulk@v.example", "open", &source, "1h")
        };
        let documents: Vec<String> = (0..IN_ONE_FILE).map(one).collect();
        stand.apply(&format!("open-{file}"), &documents.join("\n---\n"))?;
    }
    let took = wait_outbox(&stand, OPEN, begun).await?;
    table.add(&format!("{OPEN} deliveries, ten to a source, outbox folder"), OPEN as f64 / took, "/s", Aim::None);
    tokio::time::sleep(Duration::from_secs(5)).await;
    memory(&stand, table, &format!("with {OPEN} open links, as delivered"), Aim::AtMost(60.0))?;
    stand.stop()?;
    let (ready, _) = stand.start()?;
    table.add(&format!("start to ready with {OPEN} open links"), millis(ready), "ms", Aim::None);
    tokio::time::sleep(Duration::from_secs(5)).await;
    memory(&stand, table, &format!("with {OPEN} open links, restarted"), Aim::AtMost(60.0))
}

/// Part `rotation`: due time to proof, and requests to Vault, for both kinds of source.
pub(super) async fn rotation(programs: &Programs, table: &mut Table) -> Result<()> {
    println!("\n== due time to proven rotation");
    let bao = OpenBao::dev().await?;
    let postgres = Postgres::start().await?;
    let smtp = SmtpServer::start(SmtpOptions::default()).await?;
    let proxy = HttpProxy::start(bao.address())?;
    let mut policy = kv_source(&bao, "rotate", ROTATIONS).await?;
    bao.database_config("db", "main", &postgres).await?;
    for number in 0..ROTATIONS {
        let (role, user) = (format!("role-{number}"), unique("user"));
        postgres.create_user(&user, "first").await?;
        bao.static_role("db", &role, "main", &user, "24h").await?;
    }
    policy.push_str("path \"db/static-creds/*\" { capabilities = [\"read\"] }\npath \"db/rotate-role/*\" { capabilities = [\"update\"] }\n");
    let mut stand = Stand::prepare(programs, Some(&smtp))?;
    stand.connect(&bao, &proxy.address(), &policy).await?;
    stand.start()?;
    for (kind, aim) in [("KV", 6.0), ("static role", 4.0)] {
        let (mut delays, mut requests) = (Vec::new(), Vec::new());
        for number in 0..ROTATIONS {
            let name = format!("{}-{number}", if kind == "KV" { "kv" } else { "role" });
            let to = format!("{name}@v.example");
            proxy.forget();
            let manifest = match kind {
                "KV" => kv_delivery(&name, &to, "rotate", &format!("app-{number}"), "1s"),
                _ => role_delivery(&name, &to, "db", &format!("role-{number}"), "1s"),
            };
            stand.apply(&name, &manifest)?;
            let mail = smtp.wait_for_mail(&to, LONG).await?;
            // The window of the claim begins somewhere within the request: this counts its whole time as delay.
            let due = Instant::now() + Duration::from_secs(1);
            claim(programs, stand.port, &mail)?;
            stand.wait_status(&name, "summary: Rotated")?;
            delays.push(Instant::now().saturating_duration_since(due).as_secs_f64());
            let made = proxy.requests();
            requests.push(made.len() as f64);
            if number + 1 == ROTATIONS {
                made.iter().for_each(|r| println!("    {} {}", r.method, r.path));
            }
        }
        table.add(&format!("{kind}: due to proven, p50"), percentile(&mut delays, 50) * 1e3, "ms", Aim::AtMost(1000.0));
        table.add(
            &format!("{kind}: due to proven, longest of {ROTATIONS}"),
            percentile(&mut delays, 100) * 1e3,
            "ms",
            Aim::AtMost(1000.0),
        );
        let name = format!("{kind}: requests to Vault from manifest to proof, p50");
        table.add(&name, percentile(&mut requests, 50), "", Aim::AtMost(aim));
    }
    Ok(())
}

fn memory(stand: &Stand, table: &mut Table, when: &str, aim: Aim) -> Result<()> {
    let [operator, gateway] = stand.memory()?;
    table.add(&format!("resident memory {when}: operator"), operator.0, "MiB", Aim::None);
    table.add(&format!("resident memory {when}: gateway"), gateway.0, "MiB", Aim::None);
    table.add(&format!("resident memory {when}: both"), operator.0 + gateway.0, "MiB", aim);
    table.add(&format!("of that no file's (RssAnon) {when}: both"), operator.1 + gateway.1, "MiB", Aim::None);
    Ok(())
}

/// Mounts KV and writes so many secrets; gives the policy that delivers and rotates them.
pub(super) async fn kv_source(bao: &OpenBao, mount: &str, count: usize) -> Result<String> {
    bao.mount_kv2(mount).await?;
    for number in 0..count {
        let data = json!({"username": "shop", "password": format!("first password {number}"), "other": "stays"});
        bao.kv_put(mount, &format!("app-{number}"), data).await?;
    }
    Ok(format!(
        "path \"{mount}/data/*\" {{ capabilities = [\"read\", \"patch\"] }}\n\
         path \"{mount}/metadata/*\" {{ capabilities = [\"read\"] }}\n\
         path \"{mount}/destroy/*\" {{ capabilities = [\"update\"] }}\n"
    ))
}

/// Mails per second that the server takes from our mailer when nothing else runs.
fn mail_speed(programs: &Programs, smtp: &SmtpServer, count: usize) -> Result<f64> {
    let password = ps_testbed::RunDir::new("bench-mail")?;
    let file = password.path().join("password");
    fs::write(&file, smtp.password())?;
    let mut command = programs.example("send_speed");
    command.args([&smtp.port().to_string(), smtp.user()]).arg(&file).arg(smtp.ca_path());
    command.args(["speed@v.example", &count.to_string()]);
    Figures::parse(&output(command)?)?.get("mails_per_s")
}

/// Waits until the outbox holds so many mails; gives the seconds since `begun`.
async fn wait_outbox(stand: &Stand, count: usize, begun: Instant) -> Result<f64> {
    let outbox = stand.path("outbox");
    loop {
        let names = fs::read_dir(&outbox)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let found = names.filter(|name| name.ends_with(".eml")).count();
        if found >= count {
            return Ok(begun.elapsed().as_secs_f64());
        }
        ensure!(begun.elapsed() < LONG, "{found} of {count} mails after {LONG:?}");
        tokio::time::sleep(Duration::from_millis(if count > 2000 { 200 } else { 20 })).await;
    }
}

/// Claims as the recipient of a mail.
pub(super) fn claim(programs: &Programs, port: u16, mail: &Mail) -> Result<()> {
    let (fragment, code) = invitation(mail)?;
    let body = claim_body(programs, &format!("{fragment} {code}\n"))?;
    let answer = http(port, "POST", "/api/v1/links/claim", &body)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "the claim was refused: {answer}");
    Ok(())
}

/// What follows `#` in the link of a mail, and its opening code.
pub(super) fn invitation(mail: &Mail) -> Result<(&str, &str)> {
    let text = mail.text.as_deref().context("a mail without text")?;
    let link = text.lines().find(|line| line.contains("/#ps1.")).context("no link in the mail")?;
    let (_, fragment) = link.trim().split_once('#').context("no fragment")?;
    let code = text.lines().find_map(|line| line.strip_prefix("Opening code: ")).context("no opening code")?;
    Ok((fragment, code.trim()))
}

fn claim_body(programs: &Programs, line: &str) -> Result<String> {
    let mut command: Command = programs.example("claim_body");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting claim_body")?;
    child.stdin.take().context("no stdin")?.write_all(line.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "claim_body: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Seconds since midnight of an RFC 3339 time in UTC.
pub(super) fn time_of_day(text: &str) -> Result<f64> {
    let (_, time) = text.split_once('T').with_context(|| format!("no time: {text}"))?;
    let mut parts = time.trim_end_matches('Z').split(':').map(str::parse::<f64>);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(hours)), Some(Ok(minutes)), Some(Ok(seconds))) => Ok(hours * 3600.0 + minutes * 60.0 + seconds),
        _ => bail!("no time: {text}"),
    }
}

/// Seconds from `begun` to the arrival of a mail, less than a day later.
pub(super) fn after(begun: SystemTime, mail: &Mail) -> Result<f64> {
    let begun = begun.duration_since(UNIX_EPOCH)?.as_secs_f64().rem_euclid(86_400.0);
    Ok((time_of_day(&mail.received_at)? - begun).rem_euclid(86_400.0))
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_from_midnight() {
        assert_eq!(time_of_day("2026-11-22T10:01:02.500Z").unwrap(), 36_062.5);
        assert!(time_of_day("noon").is_err());
    }
}

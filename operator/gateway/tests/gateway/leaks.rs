//! A link's token that reached a path, a query or a header is nowhere in what the program says, even when it traces.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::Gateway;
use crate::support::{Conn, post_bytes};

/// A whole token and the 32 bytes that it stands for.
fn token(seed: u8) -> (String, Vec<u8>) {
    let bytes: Vec<u8> = (0..32_u8).map(|n| n.wrapping_mul(37) ^ seed).collect();
    (format!("ps1.{}", URL_SAFE_NO_PAD.encode(&bytes)), bytes)
}

fn percent(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

/// How a token may look in a log: each is as good as the link.
fn disguises(token: &str, bytes: &[u8]) -> Vec<String> {
    let secret = token.strip_prefix("ps1.").unwrap();
    let numbers = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    vec![
        secret.to_owned(),
        secret.to_lowercase(),
        // A shortened one, as loggers make them: half of it is too much.
        secret[..22].to_owned(),
        percent(secret),
        percent(secret).to_lowercase(),
        hex::encode(bytes),
        hex::encode(bytes).to_uppercase(),
        hex::encode(secret),
        STANDARD.encode(bytes),
        STANDARD.encode(secret),
        numbers(bytes),
        numbers(secret.as_bytes()),
    ]
}

fn found(text: &str, tokens: &[(String, Vec<u8>)]) -> Vec<String> {
    let all = tokens.iter().flat_map(|(token, bytes)| disguises(token, bytes));
    all.filter(|needle| text.contains(needle.as_str())).collect()
}

/// Every place in which a mangled link, or whoever follows it, may put a token; all of them are answered.
fn requests(tokens: &[(String, Vec<u8>)]) -> Vec<Vec<u8>> {
    let get = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nhost: g\r\n{more}connection: close\r\n\r\n").into_bytes()
    };
    let mut all = Vec::new();
    for (token, _) in tokens {
        let secret = token.strip_prefix("ps1.").unwrap();
        for path in [
            format!("/%23{token}"),
            format!("/%2523{token}"),
            format!("/{}", percent(token)),
            format!("/{token}/app.js"),
            format!("/?u=%23{token}&utm_source=mail"),
            format!("/?{}", percent(token)),
            format!("/%23{token}/api/v1/links/lookup"),
            format!("/api/v1/links/{token}"),
            format!("/api/v1/links/lookup?{token}"),
        ] {
            for method in ["GET", "HEAD", "OPTIONS"] {
                all.push(get(method, &path, ""));
            }
            all.push(get("GET", "/", &format!("referer: https://g{path}\r\n")));
        }
        for header in ["referer: https://g/#", "cookie: at=", "x-forwarded-for: ", "user-agent: ", "x-anything: "] {
            all.push(get("GET", "/", &format!("{header}{token}\r\n")));
        }
        all.push(format!("GET / HTTP/1.1\r\nhost: {secret}\r\nconnection: close\r\n\r\n").into_bytes());
        let bodies = [format!("{{\"id\":\"{token}\"}}"), format!("{{\"{token}\":1}}"), token.clone()];
        for verb in ["lookup", "claim", "acknowledge", "decline", "code", token] {
            for body in &bodies {
                all.push(post_bytes(verb, "application/json", body.as_bytes()));
            }
            all.push(post_bytes(verb, &format!("text/{secret}"), b"{}"));
        }
    }
    all
}

#[test]
fn the_search_finds_what_is_there() {
    let tokens = [token(1), token(2)];
    assert_eq!(found("serving pages=3", &tokens), [""; 0]);
    assert!(found(&format!("path=/%23{}", tokens[1].0), &tokens).len() >= 2);
    for (text, bytes) in &tokens {
        for needle in disguises(text, bytes) {
            assert!(!found(&format!("x{needle}y"), &tokens).is_empty());
        }
    }
}

#[tokio::test]
async fn it_serves_confined_and_no_token_is_in_log_metrics_or_answers_even_when_tracing() {
    let folder = tempfile::tempdir().unwrap();
    let links = folder.path().join("links");
    let args = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--rate", "0", "--log", "trace"];
    let mut gateway = Gateway::start(&links, &args, &[]);
    let admin = gateway.said.iter().find(|line| line.contains("health and metrics address=")).cloned();
    let admin = admin.unwrap_or_else(|| gateway.wait_for("health and metrics address="));
    let admin: SocketAddr = admin.split("address=").nth(1).unwrap().trim().parse().unwrap();

    let tokens = [token(0x5a), token(0xc3)];
    let mut answers = 0;
    for request in requests(&tokens) {
        let mut conn = Conn::open(gateway.address).await;
        conn.send(&request).await;
        let asked = String::from_utf8_lossy(&request).into_owned();
        let Some(reply) = conn.reply(asked.starts_with("HEAD ")).await else { panic!("no answer to {asked}") };
        assert!(reply.status < 500, "{} to {asked}", reply.status);
        let whole = format!("{:?}{}", reply.headers, String::from_utf8_lossy(&reply.body));
        assert_eq!(found(&whole, &tokens), [""; 0], "in the answer to {asked}");
        answers += 1;
    }
    // What is no HTTP at all ends up in other branches, and in the parser's errors.
    for (token, _) in &tokens {
        for junk in [format!("{token} {token} {token}\r\n\r\n"), format!("GET /{token} HTTP/9\r\n{token}\r\n\r\n")] {
            let mut conn = Conn::open(gateway.address).await;
            conn.send(junk.as_bytes()).await;
            assert_eq!(found(&String::from_utf8_lossy(&conn.closed().await), &tokens), [""; 0], "{junk}");
        }
    }

    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: g\r\n\r\n").into_bytes();
    assert_eq!(Conn::open(admin).await.ask(&get("/healthz")).await.status, 200);
    assert_eq!(Conn::open(admin).await.ask(&get("/readyz")).await.status, 200);
    let metrics = Conn::open(admin).await.ask(&get("/metrics")).await;
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.contains("verb=\"claim\",code=\"bad-request\"}"), "{metrics}");
    let exposed =
        metrics.lines().find(|l| l.starts_with("password_sender_gateway_exposed_links_total")).expect(&metrics);
    let exposed: u32 = exposed.split(' ').next_back().unwrap().parse().unwrap();
    assert!(exposed > 20, "whole tokens were seen for what they are, {exposed} times in {answers} requests");
    assert_eq!(found(&metrics, &tokens), [""; 0], "metrics");
    let page = Conn::open(gateway.address).await.ask(&get("/metrics")).await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));

    kill(Pid::from_raw(gateway.child.id().cast_signed()), Signal::SIGTERM).unwrap();
    let (code, said) = gateway.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("confined in_force="), "{said}");
    assert_eq!(found(&said, &tokens), [""; 0], "{said}");
}

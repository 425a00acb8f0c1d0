//! The page over HTTP: compressed for those who take it, an operator's name, colours and picture beside it, TLS insisted on.

use std::io::Read as _;
use std::process::Command;
use std::sync::Arc;

use ps_core::page::PageConfig;
use ps_gateway::page::Page;

use crate::support::{Server, post_bytes};

/// A picture that would run a script, if anybody let it.
const HOSTILE: &str = "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIG9ubG9hZD0iYWxlcnQoMSkiLz4=";

async fn branded() -> Server {
    let config: PageConfig = serde_json::from_value(serde_json::json!({
        "name": "</script><script>alert(1)</script>",
        "color": "#ffff00",
        "logo": format!("data:image/svg+xml;base64,{HOSTILE}"),
        "hstsSeconds": 31_536_000,
    }))
    .unwrap();
    let page = Arc::new(Page::new(&config.brand().unwrap()));
    Server::with(|settings, _| settings.page = page, |service| service).await
}

fn get(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: g\r\n{more}\r\n").into_bytes()
}

#[tokio::test]
async fn the_page_is_compressed_for_those_who_take_it() {
    let server = Server::start().await;
    for path in ["/", "/app.js", "/seal.js", "/zh.json"] {
        let plain = server.ask(&get(path, "")).await;
        let packed = server.ask(&get(path, "accept-encoding: br, gzip\r\n")).await;
        assert_eq!((plain.header("content-encoding"), packed.header("content-encoding")), (None, Some("gzip")));
        assert_eq!(packed.header("vary"), Some("accept-encoding"));
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut text).unwrap();
        assert_eq!(text, plain.body, "{path}");
    }
    let reply = server.ask(&post_bytes("lookup", "application/json", b"{}")).await;
    assert_eq!(reply.header("content-encoding"), None, "what an answer holds is never compressed");
}

#[tokio::test]
async fn what_an_operator_says_is_data_and_nothing_of_it_runs() {
    let (plain, server) = (Server::start().await, branded().await);
    for path in ["/", "/app.js", "/%23ps1.AAAA"] {
        assert_eq!(plain.ask(&get(path, "")).await.body, server.ask(&get(path, "")).await.body, "{path}");
    }
    let json = server.ask(&get("/page.json", "")).await;
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(json.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(json.json()["name"], "</script><script>alert(1)</script>");
    assert_eq!(json.json()["dark"], serde_json::json!(["#ffff00", "#000000"]));
    let logo = server.ask(&get("/logo", "")).await;
    assert_eq!(logo.header("content-type"), Some("image/svg+xml"));
    assert_eq!(
        logo.header("content-security-policy"),
        Some("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
        "shown by itself, its script does not run"
    );
}

#[tokio::test]
async fn tls_is_insisted_on_where_it_is_configured() {
    let (plain, server) = (Server::start().await, branded().await);
    for request in [get("/", ""), get("/nothing", ""), post_bytes("lookup", "application/json", b"{}")] {
        assert_eq!(server.ask(&request).await.header("strict-transport-security"), Some("max-age=31536000"));
        assert_eq!(plain.ask(&request).await.header("strict-transport-security"), None);
    }
}

#[test]
fn a_configuration_with_a_mistake_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.yaml");
    for (text, says) in [
        ("colour: red\n", "Did you mean `color`?"),
        ("color: red\n", "six hexadecimal digits"),
        ("logo: https://evil.example/x.png\n", "data:image/png"),
        ("guidance: {sv: hej}\n", "no language of the page"),
        ("name: [\n", "--page-config"),
    ] {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_password-sender-gateway"));
        command.arg("--links").arg(folder.path().join("links")).args(["--listen", "127.0.0.1:0"]);
        let ran = command.arg("--page-config").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(said.contains(says), "{text}: {said}");
    }
}

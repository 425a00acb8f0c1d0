//! `page`: hashes, and a gateway's page compared with them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::support::{World, command, run};

#[test]
fn hashes_are_printed_as_sha256sum_does() {
    let home = tempfile::tempdir().unwrap();
    let ran = run(command(home.path(), &["page"])).exits(0);
    assert!(ran.out.lines().count() > 20 && ran.out.contains("  index.html\n"), "{}", ran.out);
    assert!(ran.out.lines().all(|line| line.split_once("  ").is_some_and(|(hash, _)| hash.len() == 64)));
}

#[test]
fn a_gateway_of_ours_serves_just_that() {
    let world = World::new();
    let address = format!("http://{}", world.address);
    let ran = run(world.command(&["page", "--check", &address])).exits(0);
    assert!(ran.out.lines().count() > 20 && ran.out.lines().all(|line| line.starts_with("same ")), "{}", ran.out);
}

#[test]
fn another_page_is_told() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}/sub", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut asked = String::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).unwrap();
            asked = String::from_utf8_lossy(&head[..read]).into_owned();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nevil").unwrap();
            if asked.starts_with("GET /sub/zh.json ") {
                break;
            }
        }
        asked
    });
    let ran = run(command(home.path(), &["page", "--check", &address])).exits(1);
    assert!(ran.out.lines().all(|line| line.starts_with("DIFFERS  ")), "{}", ran.out);
    let asked = server.join().unwrap();
    assert!(!asked.to_ascii_lowercase().contains("referer"), "{asked}");
    ran.says("not those that this program was built with");
}

#[test]
fn addresses_are_those_of_a_page() {
    let home = tempfile::tempdir().unwrap();
    for address in
        ["http://links.example.com/", "links.example.com", "ftp://links.example.com", "https://a:b@links.example.com"]
    {
        run(command(home.path(), &["page", "--check", address])).exits(2);
    }
    run(command(home.path(), &["page", "--check", "http://127.0.0.1:1/"])).exits(5);
}

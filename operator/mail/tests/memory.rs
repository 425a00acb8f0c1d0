//! Once a mail is sent, its link is nowhere in this process's memory: not in a buffer of ours, not in a freed one of a
//! library's.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a test is the failure report"
)]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;

use common::{config, link_mail, mailer, somebody};
use ps_core::ports::Mailer;
use ps_core::secret::SecretString;
use ps_mail::{SmtpConfig, TlsMode};
use ps_testbed::{Fault, Phase, SmtpOptions, SmtpServer};

const MASK: u8 = 0x5a;
const CHUNK: usize = 1 << 20;

/// How often the masked needle is in this process's writable memory. `buffer` is left empty of what was read.
fn count(masked: &[u8], buffer: &mut [u8]) -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = 0;
    let own = buffer.as_ptr() as u64..buffer.as_ptr() as u64 + buffer.len() as u64;
    for map in maps.lines().filter(|map| map.contains(" rw") && !map.contains("[v")) {
        let (start, end) = map.split_once(' ').unwrap().0.split_once('-').unwrap();
        let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        // What is read lies in the buffer itself, which is not to be found.
        let overlaps_own = start < own.end && own.start < end;
        let mut at = start;
        while at < end {
            if overlaps_own && own.contains(&at) {
                at = own.end;
                continue;
            }
            let limit = if overlaps_own && at < own.start { own.start } else { end };
            let length = usize::try_from(limit - at).unwrap().min(buffer.len());
            let Ok(read) = memory.read_at(&mut buffer[..length], at) else { break };
            let (first, text) = (masked[0] ^ MASK, &buffer[..read]);
            let candidates = (0..read.saturating_sub(masked.len() - 1)).filter(|&at| text[at] == first);
            found += candidates.filter(|&at| masked.iter().zip(&text[at..]).all(|(m, b)| m ^ MASK == *b)).count();
            // The needle may lie across two chunks.
            at += if length == buffer.len() { (read - masked.len()) as u64 } else { length as u64 };
        }
    }
    buffer.fill(0);
    found
}

/// 43 characters that are in no other place: made masked, and unmasked only into the link.
fn masked_fragment() -> Vec<u8> {
    let mut seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"[usize::try_from(seed >> 60 & 63).unwrap()]
    };
    (0..43).map(|_| next() ^ MASK).collect()
}

fn link(masked: &[u8]) -> SecretString {
    let before = "https://secrets.example/#ps1.";
    let mut text = String::with_capacity(before.len() + masked.len());
    text.push_str(before);
    text.extend(masked.iter().map(|b| char::from(b ^ MASK)));
    SecretString::new(text)
}

#[tokio::test]
async fn nothing_of_a_link_stays_in_memory() {
    let server = SmtpServer::start(SmtpOptions::default()).await.unwrap();
    let mut buffer = vec![0; CHUNK];
    let masked = masked_fragment();
    for (tls, port) in [(TlsMode::Starttls, server.port()), (TlsMode::Implicit, server.tls_port())] {
        let mailer = mailer(SmtpConfig { tls, port, ..config(&server) });
        for name in ["Alice", "Größe"] {
            for fault in [None, Some(Fault::close(Phase::Final)), Some(Fault::close(Phase::Data))] {
                let mut mail = link_mail(&somebody());
                mail.to.name = Some(name.into());
                mail.link = link(&masked);
                assert!(count(&masked, &mut buffer) >= 1, "the control is not found");
                if let Some(fault) = &fault {
                    server.fault(&fault.clone().times(1)).await.unwrap();
                }
                assert_eq!(mailer.send_link(&mail).await.is_ok(), fault.is_none());
                drop(mail);
                assert_eq!(count(&masked, &mut buffer), 0, "{tls:?} {name} {fault:?}");
            }
        }
    }
}

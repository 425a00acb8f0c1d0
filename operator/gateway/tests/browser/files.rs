//! Files and keys that a browser saves: the bytes that were sent, under a name that is one, whatever the sender called it.

use ps_core::encode::b64;
use ps_core::link::State;
use ps_core::secret::SecretBytes;
use ps_envelope::File;
use ps_testbed::Screen;
use serde_json::json;

use crate::browser;
use crate::sent::{self, KEY, KEY_NAME, put_files};
use crate::support::Server;

/// What the page would do if it believed its files.
const EVIL: &[u8] = b"<!doctype html><title>taken</title><script>alert(document.domain)</script>\r\n";

/// What a sender calls a file, of which type they say it is, and under which name it may be saved. Not more: Chromium saves
/// ten within a second, and ignores the next.
const NAMES: [(&str, &str, &str); 8] = [
    ("ca.pem", "application/x-pem-file", "ca.pem"),
    ("Übersicht 2026.pdf", "application/pdf", "Übersicht 2026.pdf"),
    ("../../.ssh/authorized_keys", "text/plain", "authorized_keys"),
    ("C:\\Windows\\System32\\evil.exe", "text/plain", "evil.exe"),
    ("invoice\u{202e}fdp.exe", "application/pdf", "invoicefdp.exe"),
    ("<img src=x onerror=alert(1)>.html", "text/html", "img src=x onerror=alert(1).html"),
    ("a.txt\"; filename=\"evil.html\r\n\r\n<script>", "text/html\r\nx: y", "a.txt; filename=evil.htmlscript"),
    ("../..", "inode/directory", "secret"),
];

#[tokio::test]
async fn files_are_saved_as_they_were_sent_under_plain_names_and_do_nothing_else() {
    let server = Server::start().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let bytes = |at: usize| if at == 0 { every_byte.as_slice() } else { EVIL };
    for screen in Screen::ALL {
        let file = |(at, (name, kind, _)): (usize, &(&str, &str, &str))| File {
            name: (*name).to_owned(),
            media_type: (*kind).to_owned(),
            data: SecretBytes::new(bytes(at).to_vec()),
        };
        let sent = put_files(&server, NAMES.iter().enumerate().map(file).collect()).await;
        let args = json!({"link": sent.link, "code": sent.code});
        let report = browser(3).await.on(screen).run("save_files", args).await.unwrap();
        // Shown as it is saved: what was sent may hide its ending.
        let files = NAMES.iter().enumerate().map(|(at, (_, _, name))| (*name, *name, bytes(at)));
        let wanted: Vec<_> = [(KEY_NAME, "id_ed25519", KEY.as_bytes())].into_iter().chain(files).collect();
        let saved = report.result["saved"].as_array().unwrap();
        assert_eq!(saved.len(), wanted.len());
        for (saved, (shown, name, bytes)) in saved.iter().zip(wanted) {
            assert_eq!(*saved, json!({"shown": shown, "name": name, "bytes": b64(bytes)}));
        }
        assert_eq!(report.result["states"], json!(["ask", "opened", "done"]));
        assert!(report.page_errors.is_empty() && report.console.is_empty(), "{:?}", report.console);
        let ours = format!("http://{}/", server.address);
        let odd: Vec<_> = report.requests.iter().filter(|r| !r.url.starts_with(&ours)).collect();
        assert!(odd.iter().all(|r| r.url.starts_with(&format!("blob:{ours}"))), "{odd:?}");
        assert_eq!(sent::state(&server, sent.id).await, State::Retrieved);
    }
}

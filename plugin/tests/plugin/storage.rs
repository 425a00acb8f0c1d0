//! What a server keeps, decrypted.

use ps_testbed::OpenBao;
use serde_json::Value;

/// A value in the server's storage: what `sys/raw` answers.
pub(crate) struct Kept {
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) answer: Value,
}

impl Kept {
    /// Empty if it was not shown.
    pub(crate) fn value(&self) -> &str {
        self.answer["data"]["value"].as_str().unwrap_or_default()
    }
}

/// Everything that it keeps. Some of its own it does not show even here.
pub(crate) async fn everything_kept(bao: &OpenBao) -> Vec<Kept> {
    let (mut found, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        let (_, listed) = bao.request("LIST", &format!("sys/raw/{folder}"), None).await.unwrap();
        for name in listed["data"]["keys"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let path = format!("{folder}{name}");
            if name.ends_with('/') {
                folders.push(path);
                continue;
            }
            let (mut status, mut answer) = bao.request("GET", &format!("sys/raw/{path}"), None).await.unwrap();
            if status == 400 {
                // A value that begins like a compressed one, and is none.
                let plain = format!("sys/raw/{path}?compressed=false");
                (status, answer) = bao.request("GET", &plain, None).await.unwrap();
            }
            found.push(Kept { path, status, answer });
        }
    }
    found
}

//! What the agent asks of the mount of links.

use ps_core::error::{Class, Fault};
use ps_core::ports::Connection;
use ps_core::time::Timestamp;
use ps_vault::{VaultClient, Verb};
use serde_json::{Value, json};

use super::jobs::Owed;

/// Lines of history in one page.
const PAGE: usize = 200;
/// The longest account that the mount takes, in bytes.
const LONGEST_SEEN: usize = 300;

/// A page of history.
pub(super) struct Page {
    /// The links that it tells of.
    pub(super) ids: Vec<String>,
    /// Where the next page begins.
    pub(super) next: u64,
    /// Lines were lost.
    pub(super) reset: bool,
}

/// The mount.
pub(super) struct Mount<'a> {
    client: &'a VaultClient,
    at: &'a Connection,
    path: String,
}

impl<'a> Mount<'a> {
    pub(super) fn new(client: &'a VaultClient, at: &'a Connection, path: &str) -> Self {
        Self { client, at, path: path.trim_matches('/').to_owned() }
    }

    /// The ids of all links.
    pub(super) async fn links(&self) -> Result<Vec<String>, Fault> {
        let listed = self.read("links", Some("list=true")).await?.unwrap_or_default();
        Ok(texts(listed.get("keys")))
    }

    /// What a link owes; `None` for nothing, also where there is no such link any more.
    pub(super) async fn owed(&self, id: &str) -> Result<Option<Owed>, Fault> {
        let link = self.read(&format!("links/{id}"), None).await?.unwrap_or_default();
        let Some(rotation) = link.get("rotation") else { return Ok(None) };
        if rotation.get("owed").and_then(Value::as_bool) != Some(true) {
            return Ok(None);
        }
        let due = rotation.get("due_at_ms").and_then(Value::as_i64).map(Timestamp::from_millis);
        let how = serde_json::from_value(rotation.clone()).ok();
        let owed = due.zip(how).map(|(due, how)| Owed { how, due });
        let unknown = || {
            Fault::new(
                Class::Permanent,
                "rotation-unknown",
                "the mount tells of a rotation that this agent does not know",
            )
            .remedy("Run the agent of the plugin's version")
        };
        owed.map(Some).ok_or_else(unknown)
    }

    /// A page of history after a line.
    pub(super) async fn history(&self, after: u64) -> Result<Page, Fault> {
        let query = format!("after={after}&limit={PAGE}");
        let page = self.read("events", Some(&query)).await?.ok_or_else(|| strange("events"))?;
        let ids = page.get("events").and_then(Value::as_array).ok_or_else(|| strange("events"))?;
        let ids = ids.iter().filter_map(|line| line.get("id")?.as_str().map(str::to_owned)).collect();
        let next = page.get("next").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let reset = page.get("reset").and_then(Value::as_bool) == Some(true);
        Ok(Page { ids, next: next.ok_or_else(|| strange("events"))?, reset })
    }

    /// Where history stands, from a line that may be lost.
    pub(super) async fn newest(&self, after: u64) -> Result<u64, Fault> {
        let mut page = self.history(after).await?;
        while !page.ids.is_empty() {
            page = self.history(page.next).await?;
        }
        Ok(page.next)
    }

    /// Writes what was seen of a link's rotation.
    pub(super) async fn write_evidence(&self, id: &str, scope: &str, seen: &str) -> Result<(), Fault> {
        let seen = seen.get(..seen.floor_char_boundary(LONGEST_SEEN)).unwrap_or_default();
        let body = json!({"scope": scope, "seen": seen});
        self.client
            .write_data(self.at, &format!("{}/evidence/{id}", self.path), Verb::Post, Some(&body))
            .await
            .map(drop)
    }

    async fn read(&self, path: &str, query: Option<&str>) -> Result<Option<Value>, Fault> {
        self.client.read_data(self.at, &format!("{}/{path}", self.path), query).await
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn strange(path: &str) -> Fault {
    Fault::new(Class::Misconfigured, "mount-strange", format!("what answers at {path} is no mount of links"))
        .remedy("Check --vault-mount, and the agent's policy: read on MOUNT/events, read and list on MOUNT/links")
}

//! Secrets of one type in one namespace, as rows with compare-and-swap.
//!
//! A row's version is its resourceVersion: the number of the write in etcd, so no version ever comes back under a name, also
//! not when a row is deleted and made anew (a restored etcd is [`crate::index`]'s to notice).
//!
//! Each write carries a random mark of its own in an annotation. When an answer was lost, or the server says that the row
//! exists or changed, the row is read again: our bytes under our mark mean that the write was done, whatever was answered. The mark
//! also makes each write a change: the API server gives an unchanged object no new resourceVersion.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use http::{Method, Request};
use kube::Client;
use ps_core::error::{Class, Fault};
use ps_core::ports::CasError;

use crate::exchange::{ANY, LIST, ONE, Refusal, exchange};
use crate::fault::{self, Doing};
use crate::wire::{WireDeleted, WireHead, WireList, WireMeta, WireSecret, is_missing, number};

/// The most bytes that the data of one row may have in sum (the API server's limit for a Secret).
pub const MAX_DATA: usize = 1024 * 1024;
/// The most bytes that keys and values of a row's annotations may have in sum: the API server's limit, less our own mark.
pub const MAX_ANNOTATIONS: usize = 256 * 1024 - 128;
/// Longest time that one call takes, lookups and repetitions included.
pub const LONGEST: Duration = Duration::from_secs(12);

/// How often a write whose answer was lost is tried.
const TRIES: u32 = 3;
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// One row. Its data does not print.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Name of the Secret: lower-case letters, digits, `-` and `.`, at most 253.
    pub name: String,
    /// What the row is found by, readable in lists and watches: nothing secret.
    pub annotations: BTreeMap<String, String>,
    /// What it holds; keys of letters, digits, `-`, `_` and `.`.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: BTreeMap<&String, usize> = self.data.iter().map(|(key, bytes)| (key, bytes.len())).collect();
        f.debug_struct("Row")
            .field("name", &self.name)
            .field("annotations", &self.annotations)
            .field("data", &sizes)
            .finish()
    }
}

/// What a list or a watch says about a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowMeta {
    /// The row's name.
    pub name: String,
    /// Its annotations, without our own mark.
    pub annotations: BTreeMap<String, String>,
    /// Its version.
    pub version: u64,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows in order of name.
    pub rows: Vec<RowMeta>,
    /// The list shows the table as it was at this version: the same on every page of one list.
    pub position: u64,
    /// What to ask the next page with; `None` after the last.
    pub next: Option<String>,
}

/// Rows of one type in one namespace. Clones share the connection.
#[derive(Clone)]
pub struct SecretTable {
    pub(crate) client: Client,
    namespace: String,
    kind: String,
    labels: BTreeMap<String, String>,
}

impl fmt::Debug for SecretTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client: _, namespace, kind, labels } = self;
        f.debug_struct("SecretTable").field("namespace", namespace).field("kind", kind).field("labels", labels).finish()
    }
}

impl SecretTable {
    /// The rows of `secret_type` in `namespace`. Each row is written with `labels`, for people who look; rows are selected by
    /// their type alone, which nobody can change, so that a row whose labels were taken off is not hidden.
    #[must_use]
    pub fn new(client: Client, namespace: &str, secret_type: &str, labels: BTreeMap<String, String>) -> Self {
        Self { client, namespace: namespace.to_owned(), kind: secret_type.to_owned(), labels }
    }

    /// The namespace of the rows.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Adds a row. Returns its version.
    ///
    /// # Errors
    /// `AlreadyExists`; `Failed`: refused, or nobody knows whether it was done (`object-too-large`, `kubernetes-…`).
    pub async fn create(&self, row: &Row) -> Result<u64, CasError> {
        within(&self.doing("create", &row.name), self.write(row, None)).await.map(|written| written.version)
    }

    /// Reads a row, as new as every write that ended before the call.
    ///
    /// # Errors
    /// `Failed`; code `kubernetes-foreign-object` if there is a Secret of that name and another type; `object-too-large` if
    /// somebody has filled it with more than 2 MiB.
    pub async fn get(&self, name: &str) -> Result<Option<(Row, u64)>, CasError> {
        let doing = self.doing("get", name);
        within(&doing, async {
            let Some(found) = self.read(name).await.map_err(CasError::Failed)? else { return Ok(None) };
            let version = found.metadata.version(&doing).map_err(CasError::Failed)?;
            Ok(Some((found.row(&doing).map_err(CasError::Failed)?, version)))
        })
        .await
    }

    /// Replaces a row if it still has version `unchanged`: its data, its annotations and its labels. Returns the new version.
    ///
    /// # Errors
    /// `Conflict` if it changed or went, also if it was made anew since; `Failed` as for [`SecretTable::create`].
    pub async fn replace(&self, row: &Row, unchanged: u64) -> Result<u64, CasError> {
        within(&self.doing("update", &row.name), self.write(row, Some(unchanged))).await.map(|written| written.version)
    }

    /// Deletes a row if it still has version `unchanged`.
    ///
    /// # Errors
    /// `Conflict` if it changed or went; `Failed`.
    pub async fn delete(&self, name: &str, unchanged: u64) -> Result<(), CasError> {
        within(&self.doing("delete", name), self.remove(name, unchanged)).await
    }

    /// Deletes whatever row of our type lies under a name, whatever finalizers somebody has put on it (that takes the verb
    /// `patch`; as for [`SecretTable::delete`]). Returns whether there was one.
    ///
    /// # Errors
    /// `Failed`; code `kubernetes-foreign-object` for a Secret of another type, which stays.
    pub async fn purge(&self, name: &str) -> Result<bool, CasError> {
        let doing = self.doing("delete", name);
        within(&doing, async {
            let mut was_there = false;
            loop {
                let found = self.read_any(name).await.map_err(CasError::Failed)?;
                let Some(found) = found else { return Ok(was_there) };
                was_there = true;
                // Whatever it says by now: whoever writes it again and again must not keep it. Its type can't change.
                match self.remove_if(name, &Unless::Another(found.metadata.uid)).await {
                    Err(CasError::Conflict) => tokio::task::yield_now().await,
                    other => return other.map(|()| true),
                }
            }
        })
        .await
    }

    /// Names, annotations and versions of at most `limit` rows, as the table is now. `next` of a page asks for the one after
    /// it: the table as it was at the first page.
    ///
    /// # Errors
    /// A fault; `kubernetes-gone` if the first page is older than the history that the API server keeps (minutes);
    /// `object-too-large` if the page has more than 16 MiB, which a page of one row never has: ask for fewer.
    pub async fn page(&self, next: Option<&str>, limit: u32) -> Result<Page, Fault> {
        let doing = self.doing("list", "");
        let mut query = format!("{}&limit={limit}", self.selectors());
        if let Some(next) = next {
            query.push_str("&continue=");
            query.push_str(&escaped(next));
        }
        let uri = format!("{}?{query}", self.folder());
        let request = Request::get(uri)
            .header(http::header::ACCEPT, METADATA_LIST)
            .body(Vec::new())
            .map_err(|_| fault::unreadable(&doing))?;
        let list: WireList =
            exchange(&self.client, &doing, request, LIST).await.map_err(|refusal| refusal.fault(&doing))?;
        let rows = list.items.into_iter().map(|item| item.metadata.meta(&doing)).collect::<Result<_, _>>()?;
        let position = number(&list.metadata.resource_version, &doing)?;
        Ok(Page { rows, position, next: list.metadata.next.filter(|next| !next.is_empty()) })
    }

    /// Where the API server stands: the number of its newest write, of whatever object.
    ///
    /// # Errors
    /// A fault, after a few seconds at most.
    pub async fn position(&self) -> Result<u64, Fault> {
        Ok(self.page(None, 1).await?.position)
    }

    /// What selects the rows in lists and watches, as a query.
    pub(crate) fn selectors(&self) -> String {
        format!("fieldSelector={}", escaped(&format!("type={}", self.kind)))
    }

    /// The path of all rows.
    pub(crate) fn folder(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", self.namespace)
    }

    pub(crate) fn doing(&self, verb: &'static str, name: &str) -> Doing {
        Doing::new(verb, "secrets", &self.namespace, name)
    }

    /// Reads whatever is there; a foreign type is a fault.
    async fn read(&self, name: &str) -> Result<Option<WireSecret>, Fault> {
        self.read_within(name, ONE).await
    }

    /// The same, also if somebody has filled it with what is not ours.
    pub(crate) async fn read_any(&self, name: &str) -> Result<Option<WireSecret>, Fault> {
        self.read_within(name, ANY).await
    }

    async fn read_within(&self, name: &str, limit: usize) -> Result<Option<WireSecret>, Fault> {
        let doing = self.doing("get", name);
        let request = Request::get(self.place(name)?).body(Vec::new()).map_err(|_| fault::unreadable(&doing))?;
        match exchange::<WireSecret>(&self.client, &doing, request, limit).await {
            Ok(found) if found.kind == self.kind => Ok(Some(found)),
            Ok(_) => Err(fault::foreign(&self.namespace, name, &self.kind)),
            Err(Refusal::Said(status)) if is_missing(&status, name) => Ok(None),
            Err(other) => Err(other.fault(&doing)),
        }
    }

    fn place(&self, name: &str) -> Result<String, Fault> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if name.is_empty() || name.len() > 253 || !name.chars().all(plain) {
            return Err(Fault::new(
                Class::Permanent,
                "kubernetes-invalid",
                "a row's name is no name of a Kubernetes object",
            )
            .remedy("Report this: it is a defect of Password Sender"));
        }
        Ok(format!("{}/{name}", self.folder()))
    }

    /// Creates a row, or replaces it if it has the version.
    pub(crate) async fn write(&self, row: &Row, unchanged: Option<u64>) -> Result<Written, CasError> {
        let (verb, method) = if unchanged.is_some() { ("update", Method::PUT) } else { ("create", Method::POST) };
        let doing = self.doing(verb, &row.name);
        let taken = if unchanged.is_some() { CasError::Conflict } else { CasError::AlreadyExists };
        if unchanged == Some(0) {
            // To the API server this would mean: whatever is there.
            return Err(taken);
        }
        check_sizes(row, &doing).map_err(CasError::Failed)?;
        let place = self.place(&row.name).map_err(CasError::Failed)?;
        let place = if unchanged.is_some() { place } else { self.folder() };
        let mark = mark().map_err(CasError::Failed)?;
        let sent = WireSecret::new(row, &self.kind, &self.labels, &mark, unchanged);
        let body = serde_json::to_vec(&sent).map_err(|_| CasError::Failed(fault::unreadable(&doing)))?;
        let mut doubt: Option<Fault> = None;
        for tried in 0..TRIES {
            tokio::time::sleep(pause(tried)).await;
            let request = Request::builder()
                .method(method.clone())
                .uri(&place)
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(body.clone())
                .map_err(|_| CasError::Failed(fault::unreadable(&doing)))?;
            match exchange::<WireHead>(&self.client, &doing, request, ANY).await {
                Ok(done) => return Written::of(&done.metadata, &doing).map_err(CasError::Failed),
                Err(Refusal::Lost(fault)) if fault.class == Class::Permanent => return Err(CasError::Failed(fault)),
                Err(Refusal::Lost(fault)) => doubt = Some(fault),
                Err(Refusal::Said(status)) if status.code == 409 => {}
                Err(Refusal::Said(status)) if unchanged.is_some() && is_missing(&status, &row.name) => {}
                Err(said) => return Err(CasError::Failed(said.fault(&doing))),
            }
            let found = match self.read_any(&row.name).await {
                Ok(found) => found,
                Err(fault) if fault.class == Class::Transient && tried + 1 < TRIES => {
                    doubt.get_or_insert(fault);
                    continue;
                }
                Err(fault) => return Err(CasError::Failed(doubt.unwrap_or(fault))),
            };
            let version =
                found.as_ref().map(|found| found.metadata.version(&doing)).transpose().map_err(CasError::Failed)?;
            if let (Some(found), Some(version)) = (&found, version)
                && found.holds(&sent)
            {
                return Ok(Written { version, going: found.metadata.is_going() });
            }
            // As before: it was not done, and doing it again is safe, for at most one of the two can succeed.
            if version != unchanged {
                return Err(doubt.map_or(taken, CasError::Failed));
            }
        }
        Err(doubt.map_or(taken, CasError::Failed))
    }

    pub(crate) async fn remove(&self, name: &str, unchanged: u64) -> Result<(), CasError> {
        if unchanged == 0 {
            return Err(CasError::Conflict);
        }
        self.remove_if(name, &Unless::Changed(unchanged)).await
    }

    async fn remove_if(&self, name: &str, unless: &Unless) -> Result<(), CasError> {
        let doing = self.doing("delete", name);
        let place = self.place(name).map_err(CasError::Failed)?;
        let preconditions = match unless {
            Unless::Changed(version) => serde_json::json!({"resourceVersion": version.to_string()}),
            Unless::Another(uid) => serde_json::json!({ "uid": uid }),
        };
        let body = serde_json::json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
        let mut doubt: Option<Fault> = None;
        for tried in 0..TRIES {
            tokio::time::sleep(pause(tried)).await;
            let request = Request::delete(&place)
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(body.to_string().into_bytes())
                .map_err(|_| CasError::Failed(fault::unreadable(&doing)))?;
            match exchange::<WireDeleted>(&self.client, &doing, request, ANY).await {
                Ok(left) if left.metadata.finalizers.is_empty() => return Ok(()),
                Ok(_) => return self.strip(name).await.map_err(CasError::Failed),
                Err(Refusal::Lost(fault)) => doubt = Some(fault),
                Err(Refusal::Said(status)) if status.code == 409 || is_missing(&status, name) => {}
                Err(said) => return Err(CasError::Failed(said.fault(&doing))),
            }
            match self.read_any(name).await {
                // After a lost answer this is what was asked for, whoever did it.
                Ok(None) => return if doubt.is_some() { Ok(()) } else { Err(CasError::Conflict) },
                Ok(Some(found)) => {
                    let same = match unless {
                        Unless::Changed(version) => {
                            found.metadata.version(&doing).map_err(CasError::Failed)? == *version
                        }
                        Unless::Another(uid) => found.metadata.uid == *uid,
                    };
                    if !same {
                        return Err(doubt.map_or(CasError::Conflict, CasError::Failed));
                    }
                }
                Err(fault) if fault.class == Class::Transient && tried + 1 < TRIES => {
                    doubt.get_or_insert(fault);
                }
                Err(fault) => return Err(CasError::Failed(doubt.unwrap_or(fault))),
            }
        }
        Err(doubt.map_or(CasError::Conflict, CasError::Failed))
    }

    /// Takes off finalizers, so that a row whose deletion was accepted goes. We put none on; whoever may update rows could.
    async fn strip(&self, name: &str) -> Result<(), Fault> {
        let doing = self.doing("patch", name);
        let request = Request::patch(self.place(name)?)
            .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
            .body(br#"{"metadata":{"finalizers":null}}"#.to_vec())
            .map_err(|_| fault::unreadable(&doing))?;
        match exchange::<WireHead>(&self.client, &doing, request, ANY).await {
            Ok(_) => Ok(()),
            Err(Refusal::Said(status)) if is_missing(&status, name) => Ok(()),
            Err(other) => Err(other.fault(&doing)),
        }
    }
}

/// What keeps a row from being deleted.
enum Unless {
    /// It has another version than this.
    Changed(u64),
    /// It is another row than that of this uid.
    Another(String),
}

/// What a write has left.
pub(crate) struct Written {
    pub(crate) version: u64,
    /// The row was deleted before, and a finalizer had kept it: this write took it off, and the row is gone.
    pub(crate) going: bool,
}

impl Written {
    fn of(meta: &WireMeta, doing: &Doing) -> Result<Self, Fault> {
        Ok(Self { version: meta.version(doing)?, going: meta.is_going() })
    }
}

fn check_sizes(row: &Row, doing: &Doing) -> Result<(), Fault> {
    let data: usize = row.data.values().map(Vec::len).sum();
    let annotations: usize = row.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if data > MAX_DATA || annotations > MAX_ANNOTATIONS { Err(fault::too_large(doing)) } else { Ok(()) }
}

fn mark() -> Result<String, Fault> {
    let mut random = [0_u8; 12];
    getrandom::fill(&mut random)
        .map_err(|_| Fault::new(Class::Transient, "no-randomness", "the operating system has no randomness to give"))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random))
}

fn pause(tried: u32) -> Duration {
    Duration::from_millis(if tried == 0 { 0 } else { 100 << tried })
}

/// Percent-encodes what stands in a query.
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
        out
    })
}

pub(crate) async fn within<T>(doing: &Doing, work: impl Future<Output = Result<T, CasError>>) -> Result<T, CasError> {
    tokio::time::timeout(LONGEST, work).await.unwrap_or_else(|_| Err(CasError::Failed(fault::silent(doing))))
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;

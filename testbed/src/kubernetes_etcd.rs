//! The cluster's database: what it keeps of what was erased, and going back to an earlier state.
//!
//! It is asked over etcd's HTTP gateway; there is no etcdctl.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::http;
use crate::kubernetes::Cluster;
use crate::openbao::blocking;

impl Cluster {
    /// etcd's revision: it grows by one with each write to the cluster.
    ///
    /// # Errors
    /// If etcd does not answer.
    pub async fn etcd_revision(&self) -> Result<u64> {
        let answer = self.etcd_call("kv/range", &json!({"key": "AA==", "limit": 1, "keys_only": true})).await?;
        let revision = answer.pointer("/header/revision").and_then(Value::as_str);
        Ok(revision.context("no revision in etcd's answer")?.parse()?)
    }

    /// Drops all old revisions, then rewrites the database file without the room they took: what was deleted or
    /// replaced before is not in [`Cluster::etcd_raw_bytes`] after.
    ///
    /// # Errors
    /// If etcd does not answer or refuses.
    pub async fn etcd_compact_and_defrag(&self) -> Result<()> {
        let revision = self.etcd_revision().await?.to_string();
        self.etcd_call("kv/compaction", &json!({"revision": revision, "physical": true})).await?;
        self.etcd_call("maintenance/defragment", &json!({})).await?;
        Ok(())
    }

    /// The database file. Writes come into it within a tenth of a second.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn etcd_raw_bytes(&self) -> Result<Vec<u8>> {
        fs::read(self.layout().etcd().join("member/snap/db")).context("reading etcd's database")
    }

    /// The write-ahead log and its snapshots, one after another. Compaction does not touch them: a write stays there until
    /// etcd has taken snapshots past it (each ten thousand writes) and drops its segment (it keeps five, of 64 MB each).
    ///
    /// # Errors
    /// If they can't be read.
    pub fn etcd_wal_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for folder in ["member/wal", "member/snap"] {
            for entry in fs::read_dir(self.layout().etcd().join(folder))? {
                let path = entry?.path();
                if path.extension().is_some_and(|ending| ending == "wal" || ending == "snap") {
                    bytes.extend(fs::read(path)?);
                }
            }
        }
        Ok(bytes)
    }

    /// Copies etcd's data to `path`, a folder that is made; etcd stands still meanwhile. A cluster of one's own only.
    ///
    /// # Errors
    /// If another process started the cluster, or files can't be copied.
    pub async fn etcd_snapshot(&self, path: &Path) -> Result<()> {
        let (from, to) = (self.layout().etcd(), path.to_owned());
        self.freeze_etcd(true)?;
        let copied = blocking(move || copy_folder(&from, &to)).await;
        self.freeze_etcd(false)?;
        copied
    }

    /// Puts the cluster back to a snapshot, and waits until it is ready, on the same ports. Revisions go back as well,
    /// as they do when an operator of a cluster restores one. Every connection breaks.
    ///
    /// # Errors
    /// If another process started the cluster, the snapshot can't be read, or the cluster does not come up.
    pub async fn etcd_restore(&self, path: &Path) -> Result<()> {
        ensure!(path.join("member").is_dir(), "{} is no snapshot", path.display());
        self.stop_all()?;
        let (from, to) = (path.to_owned(), self.layout().etcd());
        blocking(move || {
            fs::remove_dir_all(&to)?;
            copy_folder(&from, &to)
        })
        .await?;
        self.start_etcd()?;
        self.start_api_server().await?;
        self.start_controller_manager()
    }

    async fn etcd_call(&self, method: &str, body: &Value) -> Result<Value> {
        let url = format!("{}/v3/{method}", self.etcd());
        let (status, answer) = http::request("POST", &url, &[], Some(body)).await?;
        if status != 200 {
            bail!("etcd answered {status} to {method}: {answer}");
        }
        Ok(answer)
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("copying to {}", target.display()))?;
        }
    }
    Ok(())
}

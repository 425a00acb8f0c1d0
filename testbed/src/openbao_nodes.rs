//! Several OpenBao nodes on raft, as one cluster.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::openbao::OpenBao;
use crate::wait::wait_until;

const ELECTION: Duration = Duration::from_secs(60);
const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];

/// A cluster; the nodes share keys and root token.
#[derive(Debug)]
pub struct OpenBaoNodes {
    nodes: Vec<OpenBao>,
}

impl OpenBaoNodes {
    /// `count` nodes, from 1 to 5, unsealed and joined. The first is active at first.
    ///
    /// # Errors
    /// If one can't be started or does not join in time.
    pub async fn start(count: usize) -> Result<Self> {
        ensure!((1..=NAMES.len()).contains(&count), "from 1 to {} nodes", NAMES.len());
        let mut nodes = vec![OpenBao::raft().await?];
        for name in NAMES.iter().take(count).skip(1) {
            let leader = nodes.first().context("no first node")?;
            let mut node = OpenBao::raft_node(name, Some(leader)).await?;
            node.follow(leader).await?;
            nodes.push(node);
        }
        let cluster = Self { nodes };
        cluster.wait_for_voters(count).await?;
        Ok(cluster)
    }

    /// All nodes, in the order of their start.
    #[must_use]
    pub fn nodes(&self) -> &[OpenBao] {
        &self.nodes
    }

    /// The active node, when there is one.
    ///
    /// # Errors
    /// If none becomes active in time.
    pub async fn active(&self) -> Result<&OpenBao> {
        let found = wait_until("an active node", ELECTION, async || {
            for node in &self.nodes {
                let (status, answer) = match node.request("GET", "sys/leader", None).await {
                    Ok(answered) => answered,
                    Err(_) => continue,
                };
                if status == 200 && answer.get("is_self").and_then(Value::as_bool) == Some(true) {
                    return Some(node);
                }
            }
            None
        });
        found.await
    }

    /// The nodes that run and are not active.
    ///
    /// # Errors
    /// As [`OpenBaoNodes::active`].
    pub async fn standbys(&self) -> Result<Vec<&OpenBao>> {
        let active = self.active().await?.address();
        Ok(self.nodes.iter().filter(|node| node.address() != active && node.pid().is_ok()).collect())
    }

    async fn wait_for_voters(&self, count: usize) -> Result<()> {
        let leader = self.nodes.first().context("no first node")?;
        let all = wait_until("all nodes to vote", ELECTION, async || {
            let answer = leader.call("GET", "sys/storage/raft/configuration", None).await.ok()?;
            let servers = answer.pointer("/data/config/servers")?.as_array()?.clone();
            let voters = servers.iter().filter(|server| server.get("voter").and_then(Value::as_bool) == Some(true));
            (voters.count() == count).then_some(())
        });
        all.await
    }
}

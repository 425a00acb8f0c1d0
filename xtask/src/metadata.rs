//! What Cargo knows about the workspace and everything below it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command::{cargo, output};

/// The platform that is looked at; others add crates for systems that nothing of ours runs on.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) targets: Vec<Target>,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Vec<String>,
    pub(crate) src_path: PathBuf,
}

#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Metadata {
    /// Asks Cargo.
    ///
    /// # Errors
    /// If a manifest is broken.
    pub(crate) fn load() -> Result<Self> {
        let arguments = ["metadata", "--format-version=1", "--locked", "--filter-platform", PLATFORM];
        serde_json::from_str(&output(cargo(&arguments))?).context("reading cargo's metadata")
    }

    /// Our own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.is_member(package))
    }

    pub(crate) fn is_member(&self, package: &Package) -> bool {
        self.workspace_members.contains(&package.id)
    }

    /// The packages that the platform really takes in, for building, running or testing any member. Asked of
    /// `cargo tree`, because the metadata also lists what only a feature would bring that nobody turns on.
    pub(crate) fn resolved() -> Result<BTreeSet<String>> {
        let arguments = ["tree", "--workspace", "--locked", "--target", PLATFORM];
        let mut tree = cargo(&arguments);
        tree.args(["--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"]);
        let names = |text: &str| text.split_whitespace().next().map(str::to_owned);
        Ok(output(tree)?.lines().filter_map(names).collect())
    }

    /// Everything that a member links, directly or not, each with the chain that leads to it. Dev-dependencies are
    /// not linked; build dependencies run on the builder, and count as linked here.
    pub(crate) fn reach(&self, member: &str) -> BTreeMap<&str, Vec<&str>> {
        let names: BTreeMap<&str, &str> = self.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
        let nodes: BTreeMap<&str, &Node> = self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let name_of = |id: &str| names.get(id).copied().unwrap_or_default();
        let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let start = self.members().find(|package| package.name == member).map(|package| package.id.as_str());
        let mut queue: Vec<(&str, Vec<&str>)> = start.map(|id| (id, vec![name_of(id)])).into_iter().collect();
        while let Some((id, chain)) = queue.pop() {
            for edge in nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default() {
                let linked = edge.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"));
                let name = name_of(&edge.pkg);
                if linked && !found.contains_key(name) {
                    let chain: Vec<&str> = chain.iter().copied().chain([name]).collect();
                    found.insert(name, chain.clone());
                    queue.push((&edge.pkg, chain));
                }
            }
        }
        found
    }
}

//! The parts of the tests, in one table.

use ps_testbed::install::Piece;

/// A test program of this name (`tests/cluster.rs`, `tests/cluster/main.rs`), in whichever crate, is of the part that
/// runs [`Command::Cluster`]; so is one whose name begins with it and an underscore (`tests/cluster_crash/main.rs`).
const CLUSTER: &str = "cluster";

fn is_cluster(target: &str) -> bool {
    target.strip_prefix(CLUSTER).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// What `cargo xtask test NAME` runs.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// Installed before, and started for all parts together.
    pub(crate) needs: &'static [Piece],
    pub(crate) command: Command,
}

/// How a part is run.
pub(crate) enum Command {
    /// Unit tests and doc tests of all crates, and the `tests/` of crates that no other part names.
    Unit,
    /// The `tests/` of these crates.
    Crates(&'static [&'static str]),
    /// The same, each test program with servers of its own; all of them, whatever they are called.
    CratesAlone(&'static [&'static str]),
    /// The `tests/` of these crates, and the test programs `cluster` and `cluster_…` of every other crate.
    Cluster(&'static [&'static str]),
    /// `npm ci && npm test` in this folder.
    Npm(&'static str),
    /// `cargo xtask demo --open-for-me`, with what is built already, and the `tests/` of xtask, which interrupt it.
    Demo,
}

impl Part {
    pub(crate) fn uses_cargo(&self) -> bool {
        !matches!(self.command, Command::Npm(_))
    }

    /// The crates whose `tests/` this part names.
    pub(crate) fn crates(&self) -> &'static [&'static str] {
        match self.command {
            Command::Crates(crates) | Command::CratesAlone(crates) | Command::Cluster(crates) => crates,
            Command::Demo => &["xtask"],
            Command::Unit | Command::Npm(_) => &[],
        }
    }

    /// Whether it runs the program `tests/TARGET` of a crate. Exactly one part does.
    pub(crate) fn runs(&self, package: &str, target: &str) -> bool {
        let alone = PARTS.iter().any(|part| matches!(part.command, Command::CratesAlone(c) if c.contains(&package)));
        let named = PARTS.iter().any(|part| part.crates().contains(&package));
        let cluster = is_cluster(target) && !alone;
        match self.command {
            Command::Cluster(crates) => cluster || crates.contains(&package),
            Command::Crates(crates) => crates.contains(&package) && !cluster,
            Command::CratesAlone(crates) => crates.contains(&package),
            Command::Unit => !named && !cluster,
            Command::Demo => self.crates().contains(&package),
            Command::Npm(_) => false,
        }
    }

    /// How many of its tests run at a time, if not one per core. Those of `flows` wait for servers, mails and due times far
    /// more than they compute. Those of the cluster wait too, but many start an API server of their own, or keep the shared one
    /// busy: with more of them at a time, what each waits for comes no sooner on two cores.
    pub(crate) fn threads(&self) -> Option<u32> {
        match self.name {
            "flows" => Some(8),
            CLUSTER => Some(4),
            _ => None,
        }
    }

    /// Servers that run for it, named in its programs' environment. The others start their own.
    pub(crate) fn shared(&self) -> &'static [Piece] {
        match self.command {
            Command::Crates(_) | Command::Cluster(_) => self.needs,
            Command::Unit | Command::CratesAlone(_) | Command::Npm(_) | Command::Demo => &[],
        }
    }
}

/// The servers that are no cluster, and the browser.
const NO_CLUSTER: &[Piece] = &[Piece::OpenBao, Piece::Postgres, Piece::Smtp, Piece::Oidc, Piece::Browser];
/// What a whole installation in a cluster speaks with.
const IN_CLUSTER: &[Piece] = &[
    Piece::OpenBao,
    Piece::Postgres,
    Piece::Smtp,
    Piece::Etcd,
    Piece::ApiServer,
    Piece::ControllerManager,
    Piece::Kubectl,
    Piece::Helm,
];

/// All parts, in the order in which they run: the quick ones first.
pub(crate) const PARTS: &[Part] = &[
    Part {
        name: "unit",
        description: "unit and doc tests of all crates, and tests that need no server",
        needs: &[],
        command: Command::Unit,
    },
    Part {
        name: "web",
        description: "the page's TypeScript, with the shared vectors",
        needs: &[],
        command: Command::Npm("web"),
    },
    Part {
        name: "store",
        description: "conformance of the store and the ledger",
        needs: &[],
        command: Command::Crates(&["ps-store", "ps-ledger"]),
    },
    Part {
        name: "vault",
        description: "reading, rotating and proving, on OpenBao and PostgreSQL",
        needs: &[Piece::OpenBao, Piece::Postgres],
        command: Command::Crates(&["ps-vault"]),
    },
    Part {
        name: "mail",
        description: "messages over SMTP, with faults in every phase",
        needs: &[Piece::Smtp],
        command: Command::Crates(&["ps-mail"]),
    },
    Part {
        name: "identity",
        description: "sign-ins at a real OpenID provider",
        needs: &[Piece::Oidc],
        command: Command::Crates(&["ps-identity"]),
    },
    Part {
        name: "browser",
        description: "the gateway and its page in Chromium",
        needs: &[Piece::Browser],
        command: Command::Crates(&["ps-gateway"]),
    },
    Part {
        name: "plugin",
        description: "the secrets engine in OpenBao: in memory, on raft, on three nodes, in its UI",
        needs: &[Piece::OpenBao, Piece::Browser],
        command: Command::CratesAlone(&["ps-plugin"]),
    },
    Part {
        name: "flows",
        description: "from manifest to proven rotation, with real processes and servers",
        needs: NO_CLUSTER,
        command: Command::Crates(&["ps-operator"]),
    },
    Part {
        name: CLUSTER,
        description: "on a real Kubernetes API: manifests, link store, ledger, two operators",
        needs: IN_CLUSTER,
        command: Command::Cluster(&["ps-kubernetes"]),
    },
    Part {
        name: "demo",
        description: "the README's first command, unattended to its end, and interrupted",
        needs: &[Piece::OpenBao],
        command: Command::Demo,
    },
    Part {
        name: "testbed",
        description: "the testbed's own servers",
        needs: &Piece::ALL,
        command: Command::CratesAlone(&["ps-testbed"]),
    },
];

/// For `--help`.
pub(crate) fn help() -> String {
    let lines = PARTS.iter().map(|part| format!("  {:<10} {}", part.name, part.description));
    let more = format!(
        "  {:<10} plugin and vault on HashiCorp Vault, which is built first: ten minutes, once; not in all",
        "vendors"
    );
    format!("Parts:\n  {:<10} all of them\n{}\n{more}", "all", lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_crate_is_in_two_parts() {
        let mut crates: Vec<&str> = PARTS.iter().flat_map(Part::crates).copied().collect();
        let all = crates.len();
        crates.sort_unstable();
        crates.dedup();
        assert_eq!(crates.len(), all);
    }

    #[test]
    fn each_program_is_run_by_one_part() {
        let part_of = |package: &str, target: &str| {
            let parts: Vec<_> = PARTS.iter().filter(|part| part.runs(package, target)).map(|part| part.name).collect();
            assert_eq!(parts.len(), 1, "{package} {target}: {parts:?}");
            parts[0]
        };
        assert_eq!(part_of("ps-store", "conformance"), "store");
        for package in ["ps-store", "ps-ledger", "ps-operator", "ps-controller", "ps-kubernetes"] {
            assert_eq!(part_of(package, "cluster"), "cluster");
        }
        assert_eq!(part_of("ps-operator", "cluster_crash"), "cluster");
        assert_eq!(part_of("ps-operator", "clusters"), "flows");
        assert_eq!(part_of("ps-kubernetes", "watches"), "cluster");
        assert_eq!(part_of("ps-testbed", "cluster"), "testbed");
        assert_eq!(part_of("ps-operator", "flows"), "flows");
        assert_eq!(part_of("ps-controller", "sim"), "unit");
    }

    #[test]
    fn names_differ() {
        for (index, part) in PARTS.iter().enumerate() {
            assert!(PARTS[index + 1..].iter().all(|other| other.name != part.name));
        }
    }
}

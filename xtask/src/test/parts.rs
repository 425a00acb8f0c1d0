//! The parts of the tests, in one table.

use ps_testbed::install::Piece;

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
    /// The same, each test program with servers of its own.
    CratesAlone(&'static [&'static str]),
    /// `npm ci && npm test` in this folder.
    Npm(&'static str),
    /// `cargo xtask demo --open-for-me`, with what is built already.
    Demo,
}

impl Part {
    pub(crate) fn uses_cargo(&self) -> bool {
        !matches!(self.command, Command::Npm(_))
    }

    /// The crates whose `tests/` this part names.
    pub(crate) fn crates(&self) -> &'static [&'static str] {
        match self.command {
            Command::Crates(crates) | Command::CratesAlone(crates) => crates,
            Command::Unit | Command::Npm(_) | Command::Demo => &[],
        }
    }
}

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
        name: "browser",
        description: "the gateway and its page in Chromium",
        needs: &[Piece::Browser],
        command: Command::Crates(&["ps-gateway"]),
    },
    Part {
        name: "flows",
        description: "from manifest to proven rotation, with real processes and servers",
        needs: &Piece::ALL,
        command: Command::Crates(&["ps-operator"]),
    },
    Part {
        name: "demo",
        description: "the README's first command, unattended to its end",
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
    format!("Parts:\n  {:<10} all of them\n{}", "all", lines.collect::<Vec<_>>().join("\n"))
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
    fn names_differ() {
        for (index, part) in PARTS.iter().enumerate() {
            assert!(PARTS[index + 1..].iter().all(|other| other.name != part.name));
        }
    }
}

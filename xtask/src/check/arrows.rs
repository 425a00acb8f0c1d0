//! Dependency arrows: a crate boundary is a privilege boundary.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Findings;
use super::deny::Deny;
use crate::metadata::Metadata;

/// Which of our crates each of our crates may use: the "may use" column of the design.
const MAY_USE: &[(&str, &[&str])] = &[
    ("ps-core", &[]),
    ("ps-envelope", &["ps-core"]),
    ("ps-api", &["ps-core"]),
    // How a SQLite file is opened, written and erased: under the store and the ledger.
    ("ps-hardening", &[]),
    ("ps-sqlite", &["ps-core"]),
    // How a Kubernetes API is talked to: under the store, the ledger and the controller.
    ("ps-kubernetes", &["ps-core"]),
    ("ps-store", &["ps-core", "ps-sqlite", "ps-kubernetes"]),
    ("ps-ledger", &["ps-core", "ps-sqlite", "ps-kubernetes"]),
    ("ps-vault", &["ps-core"]),
    ("ps-mail", &["ps-core"]),
    ("ps-identity", &["ps-core"]),
    ("ps-audit", &["ps-core"]),
    ("ps-controller", &["ps-core", "ps-api", "ps-envelope", "ps-kubernetes"]),
    ("ps-gateway", &["ps-core", "ps-envelope", "ps-store", "ps-hardening", "ps-kubernetes"]),
    (
        "ps-operator",
        &[
            "ps-core",
            "ps-envelope",
            "ps-api",
            "ps-kubernetes",
            "ps-store",
            "ps-ledger",
            "ps-vault",
            "ps-mail",
            "ps-identity",
            "ps-audit",
            "ps-controller",
            "ps-hardening",
        ],
    ),
    // The audit chain, for `password-sender audit verify`.
    ("ps-cli", &["ps-core", "ps-envelope", "ps-api", "ps-audit", "ps-hardening"]),
    // The secrets engine for Vault and OpenBao: the rules, then the protocol around them, then the program.
    ("ps-plugin-engine", &["ps-core", "ps-envelope"]),
    ("ps-plugin-wire", &["ps-core", "ps-plugin-engine"]),
    ("ps-plugin", &["ps-core", "ps-hardening", "ps-plugin-engine", "ps-plugin-wire"]),
    ("ps-testbed", &[]),
    ("xtask", &["ps-testbed"]),
];

/// Crates that only one of ours may name, for tests neither.
const ONLY: &[(&str, &str)] =
    &[("vaultrs", "ps-vault"), ("rustify", "ps-vault"), ("lettre", "ps-mail"), ("jsonwebtoken", "ps-identity")];

/// What a crate must not link, not even through others.
const NEVER_REACHES: &[(&str, &[&str])] = &[
    // The process that faces the internet has no way to Vault, to mail or to the ledger. (Link records may be Secrets, so it
    // links a Kubernetes client; what it may do there is its service account's to say.)
    (
        "ps-gateway",
        &["vaultrs", "rustify", "lettre", "reqwest", "ps-ledger", "ps-vault", "ps-mail", "ps-identity", "ps-testbed"],
    ),
    // The rules do no I/O, read no clock and roll no dice.
    ("ps-core", &["tokio", "reqwest", "rusqlite", "getrandom", "rand", "kube-client"]),
    ("ps-envelope", &["tokio", "reqwest", "rusqlite", "getrandom", "rand", "kube-client"]),
    ("ps-plugin-engine", &["reqwest", "hyper", "tonic", "rusqlite", "getrandom", "rand", "kube-client"]),
    // What runs inside a Vault server reaches nothing but that server.
    (
        "ps-plugin",
        &[
            "reqwest",
            "vaultrs",
            "lettre",
            "rusqlite",
            "kube-client",
            "ps-store",
            "ps-vault",
            "ps-gateway",
            "ps-testbed",
        ],
    ),
    // No product crate links the testbed.
    ("ps-operator", &["ps-testbed", "ps-gateway"]),
    ("ps-cli", &["ps-testbed", "lettre", "vaultrs"]),
];

pub(super) fn check() -> Result<Findings> {
    let metadata = Metadata::load()?;
    let members: BTreeSet<&str> = metadata.members().map(|package| package.name.as_str()).collect();
    let mut errors = Vec::new();
    for package in metadata.members() {
        let named = package.dependencies.iter().map(|used| (used.name.as_str(), used.kind.as_deref() == Some("dev")));
        errors.extend(judge(&package.name, named, &members));
    }
    for (member, banned) in NEVER_REACHES {
        let reach = metadata.reach(member);
        for chain in banned.iter().filter_map(|library| reach.get(library)) {
            errors.push(format!("{member} must not link {}: {}", chain.last().unwrap_or(&""), chain.join(" > ")));
        }
    }
    let resolved = Metadata::resolved()?;
    for library in Deny::load()?.banned.iter().filter(|library| resolved.contains(*library)) {
        errors
            .push(format!("{library} is banned by deny.toml: `cargo tree --workspace -i {library}` says who wants it"));
    }
    Ok(Findings { errors, warnings: Vec::new() })
}

/// What is wrong with the dependencies that a crate names: (crate, only for tests).
fn judge<'a>(name: &str, named: impl Iterator<Item = (&'a str, bool)>, members: &BTreeSet<&str>) -> Vec<String> {
    let Some((_, allowed)) = MAY_USE.iter().find(|(member, _)| *member == name) else {
        return vec![format!("{name} is not in the table MAY_USE of xtask/src/check/arrows.rs")];
    };
    let mut errors = Vec::new();
    for (used, for_tests) in named {
        if !for_tests && members.contains(used) && !allowed.contains(&used) {
            errors.push(format!("{name} may not use {used}"));
        }
        if let Some((_, owner)) = ONLY.iter().find(|(library, owner)| *library == used && *owner != name) {
            errors.push(format!("only {owner} may name {used}, and {name} does"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_point_towards_core_and_make_no_circle() {
        // Each crate is listed after what it may use, except for the tools, so a circle can't be written down.
        for (index, (name, allowed)) in MAY_USE.iter().enumerate() {
            for used in *allowed {
                let place = MAY_USE.iter().position(|(member, _)| member == used).unwrap();
                assert!(place < index, "{name} uses {used}, which is listed after it");
            }
        }
    }

    #[test]
    fn the_gateway_may_use_nothing_that_it_must_not_reach() {
        for (member, banned) in NEVER_REACHES {
            let (_, allowed) = MAY_USE.iter().find(|(name, _)| name == member).unwrap();
            assert!(allowed.iter().all(|used| !banned.contains(used)), "{member}");
        }
    }

    #[test]
    fn wrong_arrows_are_found() {
        let members = BTreeSet::from(["ps-core", "ps-store", "ps-ledger", "ps-testbed"]);
        let errors = |name: &str, named: &[(&'static str, bool)]| judge(name, named.iter().copied(), &members).len();
        assert_eq!(errors("ps-store", &[("ps-core", false), ("ps-testbed", true), ("serde", false)]), 0);
        assert_eq!(errors("ps-core", &[("ps-store", false)]), 1);
        assert_eq!(errors("ps-gateway", &[("ps-ledger", false), ("lettre", true)]), 2);
        assert_eq!(errors("ps-vault", &[("vaultrs", false)]), 0);
        assert_eq!(errors("ps-new", &[]), 1);
    }
}

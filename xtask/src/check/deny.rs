//! The lists of `deny.toml`, which cargo-deny reads too.

use anyhow::{Context, Result, ensure};
use ps_testbed::workspace;

/// What `deny.toml` allows and bans.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Deny {
    /// SPDX identifiers, with exceptions where they have one.
    pub(crate) licences: Vec<String>,
    /// Names of crates.
    pub(crate) banned: Vec<String>,
}

impl Deny {
    pub(crate) fn load() -> Result<Self> {
        Self::parse(&std::fs::read_to_string(workspace().join("deny.toml")).context("reading deny.toml")?)
    }

    /// Reads the two lists; nothing else of TOML is needed, and one of them empty means that the file changed shape.
    fn parse(text: &str) -> Result<Self> {
        let licences = quoted(list(section(text, "licenses"), "allow"));
        let bans = list(section(text, "bans"), "deny");
        let banned: Vec<String> =
            bans.split("crate = ").skip(1).filter_map(|rest| quoted(rest).into_iter().next()).collect();
        ensure!(!licences.is_empty() && !banned.is_empty(), "deny.toml has no [licenses] allow or no [bans] deny");
        Ok(Self { licences, banned })
    }
}

/// The text of `[name]` up to the next section.
fn section<'a>(text: &'a str, name: &str) -> &'a str {
    let rest = text.split_once(&format!("[{name}]\n")).map_or("", |(_, rest)| rest);
    rest.find("\n[").and_then(|end| rest.get(..end)).unwrap_or(rest)
}

/// What stands in the brackets of `key = [ … ]`.
fn list<'a>(section: &'a str, key: &str) -> &'a str {
    let rest = section.split_once(&format!("\n{key} = [")).or_else(|| section.split_once(&format!("{key} = [")));
    rest.and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list)
}

fn quoted(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_are_read() {
        let text = "[licenses]\nallow = [\n \"MIT\", \"A WITH B\"]\n[bans]\nx = \"y\"\ndeny = [{ crate = \"ring\", reason = \"r\" },\n { crate = \"b\" }]\n[sources]\n";
        let deny = Deny::parse(text).unwrap();
        assert_eq!(deny.licences, ["MIT", "A WITH B"]);
        assert_eq!(deny.banned, ["ring", "b"]);
        assert!(Deny::parse("[bans]\ndeny = []\n").is_err());
    }

    #[test]
    fn our_own_file_bans_the_other_tls_providers() {
        let deny = Deny::load().unwrap();
        for name in ["ring", "openssl-sys", "native-tls"] {
            assert!(deny.banned.iter().any(|banned| banned == name), "{name}");
        }
    }
}

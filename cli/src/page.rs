//! `page`: what the recipient's page is made of, and whether a gateway serves just that.

use std::io::{self, Write as _};
use std::process::ExitCode;

use ps_core::ids::Digest;

use crate::args::PageArgs;
use crate::failure::{Exit, Failure, enough};
use crate::gateway::Gateway;
use crate::link;

/// The hashes of the files that the page was built of together with this program, in the form of `sha256sum`.
const SUMS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../web/dist.sha256"));

/// Name and hash of each file.
fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    SUMS.lines().filter_map(|line| line.split_once("  ").map(|(hash, name)| (name, hash)))
}

/// Prints the hashes, or how the files of a gateway compare: 0 if they are the same, 1 if one differs.
pub(crate) fn run(args: &PageArgs) -> Result<ExitCode, Failure> {
    let Some(address) = &args.check else {
        print(SUMS)?;
        return Ok(ExitCode::SUCCESS);
    };
    let base = link::page_address(address).map_err(|why| Failure::usage(why.to_string(), why.remedy()))?;
    let gateway = Gateway::new(&base, args.ca_file.as_deref())?;
    let mut told = String::new();
    let mut differ = 0_usize;
    for (name, hash) in files() {
        let found = gateway.file(name).map_err(|why| why.failure())?;
        let same = Digest::of(&found).to_string() == hash;
        differ += usize::from(!same);
        told.push_str(&format!("{}  {name}\n", if same { "same   " } else { "DIFFERS" }));
    }
    print(&told)?;
    if differ == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let remedy = "Either the gateway is of another version than this program, or somebody has changed its page. Until you know, \
                  open links with `password-sender open`";
    Err(Failure::new(Exit::Other, format!("{differ} files are not those that this program was built with"), remedy))
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).or_else(enough).map_err(|e| Failure::io("print it", &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_are_those_of_the_files() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/dist/");
        let mut seen = 0;
        for (name, hash) in files() {
            let bytes = std::fs::read(format!("{folder}{name}")).unwrap();
            assert_eq!(Digest::of(&bytes).to_string(), hash, "{name}");
            seen += 1;
        }
        assert_eq!(seen, std::fs::read_dir(folder).unwrap().count());
    }
}

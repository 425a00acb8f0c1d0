//! Links through a mount against response wrapping on the same server.

use std::process::Command;

use anyhow::Result;
use ps_testbed::workspace;

use super::figures::{Aim, Figures, Table};
use crate::command::{cargo, output, run as run_command, target};

const BUILD: &[&str] = &[
    "build",
    "--profile",
    "bench-release",
    "--locked",
    "-p",
    "ps-plugin",
    "--bin",
    "password-sender-plugin",
    "--example",
    "mount_speed",
];
/// Connections at once.
const CONNECTIONS: usize = 16;

/// Part `plugin`.
pub(super) fn run(table: &mut Table, seconds: u64, build: bool) -> Result<()> {
    if build {
        run_command(cargo(BUILD))?;
    }
    for nodes in [1, 3] {
        println!("\n== a mount on {nodes} raft node(s), {CONNECTIONS} connections: issue and claim, wrap and unwrap");
        let mut load = Command::new(target().join("bench-release/examples/mount_speed"));
        load.args([nodes.to_string(), seconds.to_string(), CONNECTIONS.to_string()]).current_dir(workspace());
        let found = Figures::parse(&output(load)?)?;
        let (wrap, link) = (found.get("wrap_per_second")?, found.get("link_per_second")?);
        let mut add = |name: &str, value: f64, unit: &str, aim: Aim| {
            table.add(&format!("{nodes} node(s), {name}"), value, unit, aim);
        };
        add("values wrapped and unwrapped", wrap, "per s", Aim::None);
        add("links issued and claimed", link, "per s", Aim::None);
        add("links ÷ wrapping", link / wrap, "", Aim::AtLeast(1.0));
        add("wrapping, the slower request, p99", found.get("wrap_p99_ms")?, "ms", Aim::None);
        add("links, the slower request, p99", found.get("link_p99_ms")?, "ms", Aim::AtMost(found.get("wrap_p99_ms")?));
        add("the plugin's start, to its first line", found.get("start_ms")?, "ms", Aim::AtMost(50.0));
        add("the plugin at rest", found.get("rest_mib")?, "MiB", Aim::AtMost(15.0));
        add("the plugin after the load", found.get("after_mib")?, "MiB", Aim::None);
        add("enabling the mount, whole", found.get("mount_ms")?, "ms", Aim::None);
    }
    Ok(())
}

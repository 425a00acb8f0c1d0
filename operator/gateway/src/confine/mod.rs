//! What the process gives up before it serves: on Linux as much as the kernel can take away.
//!
//! Call [`apply`] on the only thread, after sockets are bound and before any other thread starts: threads inherit it.
//! What the kernel lacks is reported, not hidden; whether to serve without it is the caller's decision.

#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod linux;

use std::path::PathBuf;

/// What the process keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The only folder that it may write to.
    pub folder: Option<PathBuf>,
    /// Files and folders that it may read as well; those that do not exist are left out.
    pub readable: Vec<PathBuf>,
    /// The server that it may connect to.
    pub network: Option<Network>,
    /// The kernel kills it when the thread that started it ends.
    pub die_with_parent: bool,
}

/// A server, as far as a kernel can tell one from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its TCP port, the only one that may be connected to. Landlock knows no addresses.
    pub port: u16,
    /// Whether its name must be looked up: datagrams are allowed too, and TCP to port 53.
    pub names: bool,
}

/// What is in force, and what is not with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Names of what holds.
    pub in_force: Vec<String>,
    /// Names of what does not hold, each with its reason.
    pub lacking: Vec<String>,
}

impl Confinement {
    fn note(&mut self, name: &str, result: Result<(), String>) {
        match result {
            Ok(()) => self.in_force.push(name.to_owned()),
            Err(why) => self.lacking.push(format!("{name} ({why})")),
        }
    }

    /// Whether everything that this program knows is in force.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lacking.is_empty() && !self.in_force.is_empty()
    }
}

/// Takes everything from the process that `needs` does not name.
#[must_use]
pub fn apply(needs: &Needs) -> Confinement {
    let mut report = Confinement::default();
    #[cfg(target_os = "linux")]
    linux::apply(needs, &mut report);
    #[cfg(not(target_os = "linux"))]
    {
        let Needs { .. } = needs;
        report.note("confinement", Err("only Linux is supported".to_owned()));
    }
    report
}

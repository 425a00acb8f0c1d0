//! What the process gives up before it serves: on Linux as much as the kernel can take away.
//!
//! Call [`apply`] on the only thread, after sockets are bound and before any other thread starts: threads inherit it.
//! What the kernel lacks is reported, not hidden; whether to serve without it is the caller's decision.

#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod linux;

use std::path::Path;

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

/// Confines the process to reading and writing below `folder`. `die_with_parent`: the kernel kills it when the thread that
/// started it ends.
#[must_use]
pub fn apply(folder: &Path, die_with_parent: bool) -> Confinement {
    let mut report = Confinement::default();
    #[cfg(target_os = "linux")]
    linux::apply(folder, die_with_parent, &mut report);
    #[cfg(not(target_os = "linux"))]
    {
        let (_, _) = (folder, die_with_parent);
        report.note("confinement", Err("only Linux is supported".to_owned()));
    }
    report
}

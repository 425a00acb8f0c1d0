//! File sizes: a file that nobody can read at once hides its mistakes.

use std::fs;

use anyhow::Result;
use ps_testbed::workspace;

use super::{Findings, tracked_files};

/// More lines than this fail.
const MOST: usize = 800;
/// More lines than this are mentioned.
const MANY: usize = 450;
const KINDS: [&str; 4] = [".rs", ".ts", ".mjs", ".css"];
/// Made by a build, read by nobody.
const GENERATED: [&str; 1] = ["web/dist/"];

pub(super) fn check() -> Result<Findings> {
    let mut findings = Findings::default();
    for path in tracked_files()? {
        let counted =
            KINDS.iter().any(|kind| path.ends_with(kind)) && !GENERATED.iter().any(|dir| path.starts_with(dir));
        if counted {
            judge(&path, fs::read_to_string(workspace().join(&path))?.lines().count(), &mut findings);
        }
    }
    Ok(findings)
}

fn judge(path: &str, lines: usize, findings: &mut Findings) {
    if lines > MOST {
        findings.errors.push(format!("{path} has {lines} lines, more than {MOST}: split it by what it holds"));
    } else if lines > MANY {
        findings.warnings.push(format!("{path} has {lines} lines, more than {MANY}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_inclusive() {
        let mut findings = Findings::default();
        for lines in [0, MANY, MANY + 1, MOST, MOST + 1] {
            judge("f", lines, &mut findings);
        }
        assert_eq!((findings.errors.len(), findings.warnings.len()), (1, 2));
    }
}

//! `cargo xtask dist`: the programs that people install, each with the hash that it is shipped with.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::command::{cargo, command, output, run as run_command, target};

/// Crate and program. The plugin's hash is what Vault and OpenBao register.
const PROGRAMS: [(&str, &str); 4] = [
    ("ps-plugin", "password-sender-plugin"),
    ("ps-operator", "password-sender-operator"),
    ("ps-gateway", "password-sender-gateway"),
    ("ps-cli", "password-sender"),
];

/// Builds them, and puts them into `target/dist`.
pub(crate) fn run() -> Result<ExitCode> {
    let mut arguments = vec!["build", "--release", "--locked"];
    for (package, _) in PROGRAMS {
        arguments.extend(["-p", package]);
    }
    run_command(cargo(&arguments))?;
    let folder = target().join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for (_, name) in PROGRAMS {
        let built = target().join("release").join(name);
        // A copy that runs can't be written to; another file may take its name.
        let fresh = folder.join(format!("{name}.new"));
        fs::copy(&built, &fresh).with_context(|| format!("copying {}", built.display()))?;
        fs::rename(&fresh, folder.join(name))?;
        print!("{}", write_hash(&folder, name)?);
    }
    println!("in {}", folder.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes `NAME.sha256` beside the file, as `sha256sum -c` reads it, and gives its line.
fn write_hash(folder: &Path, name: &str) -> Result<String> {
    // In the folder, so that the line names the file alone and holds wherever both are copied.
    let mut sha256sum = command("sha256sum", &[name]);
    sha256sum.current_dir(folder);
    let line = output(sha256sum)?;
    let path = folder.join(format!("{name}.sha256"));
    fs::write(&path, &line).with_context(|| format!("writing {}", path.display()))?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_what_sha256sum_checks_and_registering_takes() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("program"), "abc").unwrap();
        // The example of FIPS 180.
        let wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  program\n";
        assert_eq!(write_hash(folder.path(), "program").unwrap(), wanted);
        assert_eq!(fs::read_to_string(folder.path().join("program.sha256")).unwrap(), wanted);
        let check = || {
            let mut check = command("sha256sum", &["-c", "program.sha256"]);
            check.current_dir(folder.path());
            output(check)
        };
        assert_eq!(check().unwrap(), "program: OK\n");
        fs::write(folder.path().join("program"), "abd").unwrap();
        assert!(check().is_err(), "another program is refused");
        assert!(write_hash(folder.path(), "missing").is_err());
        assert!(!folder.path().join("missing.sha256").exists());
    }
}

//! Plugins of an OpenBao that this process runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::openbao::OpenBao;

impl OpenBao {
    /// Copies a program into the plugin directory, and gives the hash that it is registered with.
    ///
    /// # Errors
    /// If another process runs the server, or the file can't be copied.
    pub fn install_plugin(&self, name: &str, program: &Path) -> Result<String> {
        let bytes = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
        let folder = self.folder()?.join("plugins");
        // A registered program that runs must not be written to; another file may take its name.
        let fresh = folder.join(format!("{name}.new"));
        fs::write(&fresh, &bytes)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
        fs::rename(&fresh, folder.join(name))?;
        Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Registers the program `command` of the plugin directory as the secrets engine `name`, with these arguments.
    ///
    /// # Errors
    /// If OpenBao refuses.
    pub async fn register_plugin(&self, name: &str, command: &str, sha256: &str, arguments: &[&str]) -> Result<()> {
        let body = json!({"sha256": sha256, "command": command, "args": arguments});
        self.call("PUT", &format!("sys/plugins/catalog/secret/{name}"), Some(&body)).await?;
        Ok(())
    }

    /// Copies, registers and mounts in one.
    ///
    /// # Errors
    /// If one of these fails.
    pub async fn mount_plugin(&self, name: &str, program: &Path, arguments: &[&str], mount: &str) -> Result<()> {
        let sha256 = self.install_plugin(name, program)?;
        self.register_plugin(name, name, &sha256, arguments).await?;
        self.mount(mount, json!({ "type": name })).await
    }
}

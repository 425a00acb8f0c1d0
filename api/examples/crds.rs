//! Writes the generated CRDs: `cargo run -p ps-api --example crds [FOLDER]`, by default `crds/` of this workspace.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../crds")), PathBuf::from);
    for (name, yaml) in ps_api::crds() {
        std::fs::write(folder.join(name), yaml)?;
    }
    Ok(())
}

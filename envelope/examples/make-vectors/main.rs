//! Writes `envelope/vectors/*.json` from fixed inputs. See `envelope/vectors/README.md` for their layout.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a tool for developers: a panic is its failure report"
)]

mod suites;

fn main() -> std::io::Result<()> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    for (name, text) in suites::all() {
        let path = folder.join(format!("{name}.json"));
        std::fs::write(&path, text)?;
        println!("{name}");
    }
    Ok(())
}

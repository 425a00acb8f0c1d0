//! `check`: what an API server would refuse, said before anything is applied.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ps_api::{Document, Kind, Limits, documents};
use ps_core::error::{Class, Fault};
use ps_core::ids::Key;

use crate::args::CheckArgs;
use crate::failure::{Failure, enough};
use crate::shown;

/// Ends of names that count in a folder, and those that don't: the operator writes them itself.
const MANIFEST: [&str; 2] = [".yaml", ".yml"];
const NO_MANIFEST: [&str; 2] = [".status.yaml", ".status.yml"];

/// Checks everything and prints one line an object, two a fault; 1 if there is any fault.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let mut check = Check::default();
    for path in &args.paths {
        for file in files(path)? {
            check.file(&file);
        }
    }
    let Check { lines, faults, objects, .. } = check;
    let mut text = lines.join("\n");
    text.push_str(&format!("\n{objects} objects, {faults} faults\n"));
    io::stdout().write_all(text.as_bytes()).or_else(enough).map_err(|e| Failure::io("print the result", &e))?;
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The manifests that a path names.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |e: io::Error| Failure::usage(format!("{} could not be read: {e}", path.display()), "");
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        if ends(&MANIFEST) && !ends(&NO_MANIFEST) && !name.starts_with('.') && !entry.is_dir() {
            found.push(entry);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Failure::usage(format!("{} holds no *.yaml and no *.yml", path.display()), ""));
    }
    Ok(found)
}

#[derive(Default)]
struct Check {
    lines: Vec<String>,
    faults: usize,
    objects: usize,
    seen: BTreeMap<(Kind, Key), String>,
}

impl Check {
    fn file(&mut self, path: &Path) {
        let stdin = path == Path::new("-");
        let name = if stdin { "standard input".to_owned() } else { path.display().to_string() };
        let name = shown::line(&name).to_string();
        let text = if stdin { read(io::stdin().lock()) } else { File::open(path).and_then(read) };
        let text = text.map_err(|e| {
            let remedy = format!("A manifest is UTF-8 text of at most {} KiB", Limits::default().bytes / 1024);
            Fault::new(Class::Misconfigured, "unreadable", format!("it could not be read: {e}")).remedy(remedy)
        });
        match text.and_then(|text| documents(&text, &Limits::default())) {
            Ok(documents) if documents.is_empty() => self.lines.push(format!("{name}: holds no object")),
            Ok(documents) => documents.into_iter().for_each(|document| self.document(&name, document)),
            Err(fault) => self.fault(&name, &fault),
        }
    }

    fn document(&mut self, file: &str, document: Document) {
        self.objects += 1;
        let Document { kind, key, object, .. } = document;
        let what = format!("{file}: {} {key}", kind.as_str());
        if let Some(first) = self.seen.get(&(kind, key.clone())) {
            let fault = Fault::new(Class::Misconfigured, "duplicate", format!("the same object stands in {first}"))
                .field("metadata.name")
                .remedy("Rename one of them, or remove it");
            self.fault(&what, &fault);
        } else {
            self.seen.insert((kind, key), file.to_owned());
        }
        match object {
            Ok(_) => self.lines.push(format!("{what}: ok")),
            Err(fault) => self.fault(&what, &fault),
        }
    }

    fn fault(&mut self, what: &str, fault: &Fault) {
        self.faults += 1;
        let field = fault.field.as_deref().filter(|field| !field.is_empty()).map(|field| format!("{field}: "));
        let field = field.unwrap_or_default();
        self.lines.push(format!("{what}: FAULT\n  {}", &*shown::line(&format!("{field}{}", fault.message))));
        if !fault.remedy.is_empty() {
            self.lines.push(format!("  remedy: {}", &*shown::line(&fault.remedy)));
        }
    }
}

/// Reads at most one byte more than a manifest may have; the parser refuses it then.
fn read(input: impl Read) -> io::Result<String> {
    let mut text = String::new();
    let most = u64::try_from(Limits::default().bytes).unwrap_or(u64::MAX);
    input.take(most.saturating_add(1)).read_to_string(&mut text)?;
    Ok(text)
}

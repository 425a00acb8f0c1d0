//! What was sent, in the form that was asked for. Built in one wiped buffer and written past the buffers of the library.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ps_core::secret::SecretString;
use ps_envelope::{Field, FieldKind, Payload};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::shown;
use crate::terminal::say;

/// What stands where a value is hidden; as long for each.
const HIDDEN: &str = "••••••••";

/// The form of the output.
#[derive(Debug)]
pub(crate) enum Form {
    /// Labels and values, for people.
    Table,
    /// One JSON object.
    Json,
    /// `NAME='value'` lines; the names start with this.
    Env(String),
    /// The value of the field with this key, and nothing else.
    Field(String),
}

/// Whether a value is hidden on a terminal until somebody asks for it.
fn is_hidden(field: &Field) -> bool {
    !matches!(field.kind, FieldKind::Text | FieldKind::Url)
}

/// Whether any value is.
pub(crate) fn hides(payload: &Payload) -> bool {
    payload.fields.iter().any(is_hidden)
}

/// Prints to standard output. Without `show` a table hides values; the other forms always show what they are asked for.
pub(crate) fn print(form: &Form, payload: &Payload, show: bool, to_terminal: bool) -> Result<(), Failure> {
    let text = match form {
        Form::Table => table(payload, show, to_terminal),
        Form::Json => json(payload)?,
        Form::Env(prefix) => env(payload, prefix)?,
        Form::Field(key) => field(payload, key, to_terminal)?,
    };
    write(&text).map_err(|e| Failure::io("print everything, so nothing was acknowledged", &e))
}

fn write(text: &[u8]) -> io::Result<()> {
    File::from(io::stdout().as_fd().try_clone_to_owned()?).write_all(text)
}

/// Room for everything in its longest spelling, so that the buffer never moves: six bytes for one of JSON, the indent of
/// each line of a table.
fn room(payload: &Payload) -> Zeroizing<Vec<u8>> {
    let size = |text: &SecretString| 6 * text.len() + 64 * text.expose().matches('\n').count();
    let texts: usize = facts(payload).map(|(_, text)| size(text)).sum();
    let field = |f: &Field| 6 * (f.key.len() + f.label.len()) + size(&f.value) + 256;
    let fields: usize = payload.fields.iter().map(field).sum();
    let files: usize = payload.files.iter().map(|f| 6 * (f.name.len() + f.media_type.len()) + 256).sum();
    Zeroizing::new(Vec::with_capacity(texts + fields + files + 4096))
}

fn facts(payload: &Payload) -> impl Iterator<Item = (&'static str, &SecretString)> {
    let Payload { title, purpose, environment, url, note, sender, .. } = payload;
    [("What", title), ("From", sender), ("For", purpose), ("Where", environment), ("Address", url), ("Note", note)]
        .into_iter()
        .filter_map(|(label, text)| Some((label, text.as_ref()?)))
        .filter(|(_, text)| !text.is_empty())
}

fn table(payload: &Payload, show: bool, to_terminal: bool) -> Zeroizing<Vec<u8>> {
    let mut out = room(payload);
    let label = |f: &Field| shown::line(if f.label.is_empty() { &f.key } else { &f.label });
    let labels = payload.fields.iter().map(|f| label(f).chars().count());
    let width = labels.chain([7]).max().unwrap_or(7).min(40);
    for (name, text) in facts(payload) {
        row(&mut out, name, text.expose(), width);
    }
    if let Some(span) = payload.works_for {
        row(&mut out, "Works", &format!("{span} from the first opening"), width);
    }
    if !out.is_empty() {
        out.push(b'\n');
    }
    let mut replaced = false;
    for field in &payload.fields {
        let visible = show || !is_hidden(field);
        let value = if visible { field.value.expose() } else { HIDDEN };
        replaced |= visible && shown::changes(value);
        row(&mut out, &label(field), value, width);
    }
    for file in &payload.files {
        let text = format!("{} ({} bytes)", file.plain_name().unwrap_or_else(|| "unnamed".to_owned()), file.data.len());
        row(&mut out, "File", &text, width);
    }
    if replaced && to_terminal {
        say(
            "A value holds characters that would act on the terminal; they are shown as \u{fffd}. --field prints it as it is.",
        );
    } else if replaced {
        say(
            "A value holds characters that a table can't show; they stand there as \u{fffd}. --field and --output json print it as it is.",
        );
    }
    out
}

fn row(out: &mut Vec<u8>, label: &str, value: &str, width: usize) {
    let value = shown::block(value);
    let mut lines = value.trim_end_matches('\n').split('\n');
    let pad = width.saturating_sub(label.chars().count()) + 2;
    out.extend_from_slice(label.as_bytes());
    out.extend(std::iter::repeat_n(b' ', pad));
    out.extend_from_slice(lines.next().unwrap_or_default().as_bytes());
    for line in lines {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', width + 2));
        out.extend_from_slice(line.as_bytes());
    }
    out.push(b'\n');
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonPayload<'a> {
    title: Option<&'a str>,
    purpose: Option<&'a str>,
    environment: Option<&'a str>,
    url: Option<&'a str>,
    note: Option<&'a str>,
    sender: Option<&'a str>,
    works_for_ms: Option<i64>,
    fields: Vec<JsonField<'a>>,
    files: Vec<JsonFile<'a>>,
}

#[derive(Serialize)]
struct JsonField<'a> {
    key: &'a str,
    label: &'a str,
    kind: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
struct JsonFile<'a> {
    name: &'a str,
    r#type: &'a str,
    bytes: usize,
}

fn json(payload: &Payload) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut out = room(payload);
    let object = JsonPayload {
        title: payload.title.as_ref().map(SecretString::expose),
        purpose: payload.purpose.as_ref().map(SecretString::expose),
        environment: payload.environment.as_ref().map(SecretString::expose),
        url: payload.url.as_ref().map(SecretString::expose),
        note: payload.note.as_ref().map(SecretString::expose),
        sender: payload.sender.as_ref().map(SecretString::expose),
        works_for_ms: payload.works_for.map(ps_core::time::Span::as_millis),
        fields: payload
            .fields
            .iter()
            .map(|f| JsonField { key: &f.key, label: &f.label, kind: f.kind.as_str(), value: f.value.expose() })
            .collect(),
        files: payload
            .files
            .iter()
            .map(|f| JsonFile { name: &f.name, r#type: &f.media_type, bytes: f.data.len() })
            .collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &object).map_err(|e| Failure::io("write JSON", &e.into()))?;
    out.push(b'\n');
    Ok(out)
}

/// Names are upper-cased, with `_` for what a name can't hold. A value that a shell can't hold is refused.
fn env(payload: &Payload, prefix: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        || prefix.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(Failure::usage("--env-prefix is no beginning of a name", "Use letters, digits and _"));
    }
    let mut out = room(payload);
    let mut names: Vec<String> = Vec::with_capacity(payload.fields.len());
    for field in &payload.fields {
        let mut name = prefix.to_owned();
        name.extend(field.key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }));
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            name.insert(0, '_');
        }
        let other_form = "Use --output json or --field";
        if names.contains(&name) {
            return Err(Failure::usage(format!("two fields would both be called {name}"), other_form));
        }
        if field.value.expose().contains('\0') {
            return Err(Failure::usage(
                format!("the value of {name} holds a zero byte, which no variable can"),
                other_form,
            ));
        }
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"='");
        for (at, part) in field.value.expose().split('\'').enumerate() {
            if at > 0 {
                out.extend_from_slice(br"'\''");
            }
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(b"'\n");
        names.push(name);
    }
    Ok(out)
}

fn field(payload: &Payload, key: &str, to_terminal: bool) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let Some(field) = payload.fields.iter().find(|field| field.key == key) else {
        let keys: Vec<String> = payload.fields.iter().map(|f| shown::line(&f.key).to_string()).collect();
        return Err(Failure::usage(format!("there is no field of that name; there are: {}", keys.join(", ")), ""));
    };
    let mut out = room(payload);
    out.extend_from_slice(field.value.expose().as_bytes());
    if to_terminal {
        out.push(b'\n');
    }
    Ok(out)
}

/// Saves the files, mode 0600, under names without folders; nothing is overwritten.
pub(crate) fn save(payload: &Payload, folder: &Path) -> Result<(), Failure> {
    for file in &payload.files {
        let name = file.plain_name().ok_or_else(|| {
            Failure::new(Exit::Other, "a file came with a name that can't be used", "Open the link in a browser")
        })?;
        let path = folder.join(name);
        let failed = |e: &io::Error| Failure::io(format!("save {}", path.display()), e);
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(|e| {
            if e.kind() == io::ErrorKind::AlreadyExists {
                Failure::usage(format!("{} is there already", path.display()), "Name another folder with --files")
            } else {
                failed(&e)
            }
        })?;
        out.write_all(file.data.expose()).and_then(|()| out.sync_all()).map_err(|e| failed(&e))?;
        say(&format!("Saved {}.", path.display()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "printer_tests.rs"]
mod tests;

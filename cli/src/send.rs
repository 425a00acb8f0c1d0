//! `send`: seals here, and gives the sealed link to a mount of Vault. What is secret is read from files, standard input or a
//! prompt, and leaves this machine as ciphertext only.

use std::io::{self, Write as _};

use ps_core::secret::SecretString;
use ps_core::time::{Span, Timestamp};
use ps_envelope::{CodedInput, Field, FieldKind, OpeningCode, Passphrase, Payload, Preview, SealedLink};
use serde_json::{Value, json};

use crate::args::SendArgs;
use crate::clock;
use crate::failure::Failure;
use crate::inputs::{file, missing, text};
use crate::shown;
use crate::terminal::Terminal;
use crate::vault::Vault;

/// Where a field's value comes from.
#[derive(Debug, PartialEq, Eq)]
enum From<'a> {
    Prompt,
    File(&'a str),
    Stdin,
}

/// Runs the command.
pub(crate) fn run(args: &SendArgs) -> Result<(), Failure> {
    let mount = args.to.strip_prefix("vault:").map(|mount| mount.trim_matches('/')).filter(|mount| !mount.is_empty());
    let mount =
        mount.ok_or_else(|| Failure::usage("--to must be vault: and the path of a mount", "As in vault:send"))?;
    let (ttl, window) = (span(&args.ttl, "--ttl")?, span(&args.claim_window, "--claim-window")?);
    let longest = args.renewable_to.as_deref().map(|text| span(text, "--renewable-to")).transpose()?.unwrap_or(ttl);
    if longest < ttl {
        return Err(Failure::usage("--renewable-to must not be shorter than --ttl", ""));
    }
    let named = args.fields.iter().map(|field| parse(field)).collect::<Result<Vec<_>, _>>()?;
    if named.iter().filter(|(_, from)| *from == From::Stdin).count() > 1 {
        return Err(Failure::usage("only one field can come from standard input", "Give the others as files"));
    }
    // Before anything is asked for: a server that can't be used is told first.
    let vault = Vault::new(args)?;
    let mut terminal = if args.no_input { None } else { Terminal::open() };
    let mut fields = Vec::with_capacity(named.len());
    for (key, from) in named {
        let value = value(key, &from, terminal.as_mut())?;
        let kind = FieldKind::guess(key, value.expose());
        fields.push(Field { key: key.to_owned(), label: String::new(), kind, value });
    }
    let passphrase = passphrase(args, terminal.as_mut())?;
    let (link, code) = sealed(args, fields, passphrase.as_ref(), clock::now() + longest + window, window)?;
    let pinned = args.public_url.as_deref().map(|url| link.secret.to_url(url)).transpose()?;
    let body = json!({
        "sealed": link.sealed,
        "ciphertext": ps_core::encode::b64(&link.ciphertext),
        "preview": ps_core::encode::b64(&link.preview),
        "ttl": ttl.to_string(),
    });
    let answer = vault.write(&format!("{mount}/sealed/{}", args.role), &body)?;
    let at = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (public_url, expires_at, lease_id) = (at("/data/public_url"), at("/data/expires_at"), at("/lease_id"));
    let url = pinned.map_or_else(|| link.secret.to_url(&public_url), Ok)?;
    // A reader that is gone is a failure here: the link is stored nowhere else.
    print(args.json, &url, &code.shown()?, &expires_at, &lease_id)
        .map_err(|e| Failure::io("print the link, which is lost; what was sealed expires unopened", &e))
}

fn print(as_json: bool, url: &SecretString, code: &SecretString, expires_at: &str, lease_id: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if as_json {
        let object =
            json!({"url": url.expose(), "openingCode": code.expose(), "expiresAt": expires_at, "leaseId": lease_id});
        writeln!(out, "{object}")
    } else {
        writeln!(out, "Link          {}", url.expose())?;
        writeln!(out, "Opening code  {}", code.expose())?;
        writeln!(out, "Expires       {}", &*shown::line(expires_at))?;
        writeln!(out, "Lease         {}", &*shown::line(lease_id))
    }
}

fn sealed(
    args: &SendArgs,
    fields: Vec<Field>,
    passphrase: Option<&Passphrase>,
    not_after: Timestamp,
    claim_window: Span,
) -> Result<(SealedLink, OpeningCode), Failure> {
    let no_random = |error: getrandom::Error| Failure::io("get random bytes", &io::Error::other(error));
    let shown = |text: &str| SecretString::new(text.to_owned());
    let known = |text: &str| (!text.is_empty()).then(|| shown(text));
    let payload = Payload { title: known(&args.title), sender: known(&args.sender), fields, ..Payload::default() };
    let preview = Preview { title: shown(&args.title), sender: shown(&args.sender), works_for: None };
    let input = CodedInput { passphrase, payload: &payload, preview: &preview, not_after, claim_window };
    ps_envelope::seal_coded(input, |out| getrandom::fill(out).map_err(no_random))
}

fn passphrase(args: &SendArgs, terminal: Option<&mut Terminal>) -> Result<Option<Passphrase>, Failure> {
    if let Some(path) = &args.passphrase_file {
        return Ok(Some(Passphrase::new(file(path, "--passphrase-file")?.expose())?));
    }
    if !args.passphrase {
        return Ok(None);
    }
    let terminal = terminal.ok_or_else(|| missing("the passphrase", "--passphrase-file"))?;
    let first = terminal.hidden("Passphrase for the link (not shown): ")?;
    if terminal.hidden("Once more: ")?.expose() != first.expose() {
        return Err(Failure::usage("these are two passphrases", "Nothing was sent"));
    }
    Ok(Some(Passphrase::new(first.expose())?))
}

/// `KEY`, `KEY=@FILE` or `KEY=-`. A value on the command line is refused without repeating it.
fn parse(field: &str) -> Result<(&str, From<'_>), Failure> {
    let (key, from) = match field.split_once('=') {
        None => (field, From::Prompt),
        Some((key, "-")) => (key, From::Stdin),
        Some((key, file)) => match file.strip_prefix('@').filter(|file| !file.is_empty()) {
            Some(file) => (key, From::File(file)),
            None => {
                return Err(Failure::usage(
                    "a value as an argument can be seen by everybody on this machine. Nothing was sent",
                    "Give KEY alone to be asked for it, KEY=@FILE, or KEY=- for standard input",
                ));
            }
        },
    };
    if key.is_empty() { Err(Failure::usage("a field has no key", "")) } else { Ok((key, from)) }
}

fn value(key: &str, from: &From<'_>, terminal: Option<&mut Terminal>) -> Result<SecretString, Failure> {
    let whole = match from {
        From::Prompt => {
            let terminal = terminal.ok_or_else(|| missing("a field's value", "--field KEY=@"))?;
            return terminal.hidden(&format!("{key} (not shown): "));
        }
        From::File(path) => file(path.as_ref(), "--field")?,
        From::Stdin => text(io::stdin().lock(), "standard input")?,
    };
    let trimmed = whole.expose().strip_suffix("\r\n").or_else(|| whole.expose().strip_suffix('\n'));
    Ok(trimmed.map_or_else(|| whole.clone(), |trimmed| SecretString::new(trimmed.to_owned())))
}

fn span(text: &str, option: &str) -> Result<Span, Failure> {
    let span = Span::parse(text).filter(|span| *span >= Span::from_secs(1));
    span.ok_or_else(|| Failure::usage(format!("{option} must be a time such as 4h or 90m"), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_on_the_command_line_are_refused_without_repeating_them() {
        assert_eq!(parse("password").unwrap(), ("password", From::Prompt));
        assert_eq!(parse("password=@pw.txt").unwrap(), ("password", From::File("pw.txt")));
        assert_eq!(parse("password=-").unwrap(), ("password", From::Stdin));
        for bad in ["password=hunter2", "password=", "password=@", "=@x", ""] {
            let failure = parse(bad).unwrap_err();
            assert!(!failure.to_string().contains("hunter2"), "{bad}");
        }
    }
}

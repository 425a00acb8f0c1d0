//! From JSON to payload and preview. Refuses what section 5 refuses, ignores what it does not know.

use ps_core::secret::SecretString;
use ps_core::time::Span;

use super::{Field, FieldKind, File, MAX_ITEMS, MAX_PAYLOAD_JSON, MAX_PREVIEW_JSON, Payload, Preview};
use crate::Error;
use crate::json::Reader;

pub(super) fn payload(json: &[u8]) -> Result<Payload, Error> {
    if json.len() > MAX_PAYLOAD_JSON {
        return Err(Error::TooLarge);
    }
    let mut version = None;
    let (mut title, mut purpose, mut environment) = (None, None, None);
    let (mut url, mut note, mut sender) = (None, None, None);
    let (mut works_for, mut fields, mut files) = (None, None, None);
    let mut items = 0;
    let mut reader = Reader::new(json)?;
    reader.object("payload", |reader, name| match name {
        "v" => once(&mut version, "v", reader.integer("v")),
        "title" => once(&mut title, "title", reader.string("title")),
        "purpose" => once(&mut purpose, "purpose", reader.string("purpose")),
        "environment" => once(&mut environment, "environment", reader.string("environment")),
        "url" => once(&mut url, "url", reader.string("url")),
        "note" => once(&mut note, "note", reader.string("note")),
        "sender" => once(&mut sender, "sender", reader.string("sender")),
        "worksForMs" => once(&mut works_for, "worksForMs", reader.integer("worksForMs")),
        "fields" => once(&mut fields, "fields", list(reader, "fields", &mut items, field)),
        "files" => once(&mut files, "files", list(reader, "files", &mut items, file)),
        _ => reader.skip(),
    })?;
    reader.end()?;
    is_version_1(version)?;
    let payload = Payload {
        title,
        purpose,
        environment,
        url,
        note,
        sender,
        works_for: works_for.map(Span::from_millis),
        fields: fields.ok_or(Error::Missing("fields"))?,
        files: files.unwrap_or_default(),
    };
    payload.validate()?;
    Ok(payload)
}

pub(super) fn preview(json: &[u8]) -> Result<Preview, Error> {
    if json.len() > MAX_PREVIEW_JSON {
        return Err(Error::TooLarge);
    }
    let (mut version, mut title, mut sender, mut works_for) = (None, None, None, None);
    let mut reader = Reader::new(json)?;
    reader.object("preview", |reader, name| match name {
        "v" => once(&mut version, "v", reader.integer("v")),
        "title" => once(&mut title, "title", reader.string("title")),
        "sender" => once(&mut sender, "sender", reader.string("sender")),
        "worksForMs" => once(&mut works_for, "worksForMs", reader.integer("worksForMs")),
        _ => reader.skip(),
    })?;
    reader.end()?;
    is_version_1(version)?;
    let preview = Preview {
        title: title.ok_or(Error::Missing("title"))?,
        sender: sender.ok_or(Error::Missing("sender"))?,
        works_for: works_for.map(Span::from_millis),
    };
    preview.validate()?;
    Ok(preview)
}

fn field(reader: &mut Reader<'_>) -> Result<Field, Error> {
    let (mut key, mut label, mut kind, mut value) = (None, None, None, None);
    reader.object("fields", |reader, name| match name {
        "key" => once(&mut key, "key", reader.string("key")),
        "label" => once(&mut label, "label", reader.string("label")),
        "kind" => once(&mut kind, "kind", reader.string("kind")),
        "value" => once(&mut value, "value", reader.string("value")),
        _ => reader.skip(),
    })?;
    Ok(Field {
        key: plain(key, "key")?,
        label: plain(label, "label")?,
        kind: FieldKind::parse(kind.ok_or(Error::Missing("kind"))?.expose()),
        value: value.ok_or(Error::Missing("value"))?,
    })
}

fn file(reader: &mut Reader<'_>) -> Result<File, Error> {
    let (mut file_name, mut media_type, mut data) = (None, None, None);
    reader.object("files", |reader, name| match name {
        "name" => once(&mut file_name, "name", reader.string("name")),
        "type" => once(&mut media_type, "type", reader.string("type")),
        "data" => once(&mut data, "data", reader.base64("data")),
        _ => reader.skip(),
    })?;
    Ok(File {
        name: plain(file_name, "name")?,
        media_type: plain(media_type, "type")?,
        data: data.ok_or(Error::Missing("data"))?,
    })
}

/// Keeps the first value of a member and refuses a second one.
fn once<T>(place: &mut Option<T>, name: &'static str, value: Result<T, Error>) -> Result<(), Error> {
    if place.replace(value?).is_some() { Err(Error::Duplicate(name)) } else { Ok(()) }
}

/// A list that stops growing where the payload's limit is.
fn list<T>(
    reader: &mut Reader<'_>,
    what: &'static str,
    items: &mut usize,
    read: impl Fn(&mut Reader<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    // Room for all from the start: a list that moves would leave its old copy behind.
    let mut all = Vec::with_capacity(MAX_ITEMS);
    reader.array(what, |reader| {
        *items += 1;
        if *items > MAX_ITEMS {
            return Err(Error::ItemCount);
        }
        all.push(read(reader)?);
        Ok(())
    })?;
    Ok(all)
}

fn is_version_1(version: Option<i64>) -> Result<(), Error> {
    match version {
        Some(1) => Ok(()),
        Some(_) => Err(Error::Version),
        None => Err(Error::Missing("v")),
    }
}

/// Names and labels are no secrets: they stand in the manifest too.
fn plain(text: Option<SecretString>, name: &'static str) -> Result<String, Error> {
    text.map(|t| t.expose().to_owned()).ok_or(Error::Missing(name))
}

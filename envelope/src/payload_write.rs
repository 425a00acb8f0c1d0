//! From payload and preview to JSON.

use ps_core::time::Span;

use super::{Content, Field, FieldKind, File, MAX_PAYLOAD_JSON, MAX_PREVIEW_JSON, Payload, Preview};
use crate::Error;
use crate::json::Sink;

impl Content for Payload {
    const MAX: usize = MAX_PAYLOAD_JSON;

    fn check(&self) -> Result<(), Error> {
        self.validate()?;
        if self.fields.iter().any(|f| f.kind == FieldKind::Unknown) {
            return Err(Error::FieldKind);
        }
        works_for_fits(self.works_for)
    }

    fn write(&self, out: &mut impl Sink) {
        // Every member by name, so that a new one cannot be forgotten here.
        let Self { title, purpose, environment, url, note, sender, works_for, fields, files } = self;
        out.raw(b"{\"v\":1");
        let texts = [
            ("title", title),
            ("purpose", purpose),
            ("environment", environment),
            ("url", url),
            ("note", note),
            ("sender", sender),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                member(out, b",", name);
                out.text(text.expose());
            }
        }
        works_for_member(out, *works_for);
        member(out, b",", "fields");
        list(out, fields, field);
        if !files.is_empty() {
            member(out, b",", "files");
            list(out, files, file);
        }
        out.raw(b"}");
    }
}

impl Content for Preview {
    const MAX: usize = MAX_PREVIEW_JSON;

    fn check(&self) -> Result<(), Error> {
        self.validate()?;
        works_for_fits(self.works_for)
    }

    fn write(&self, out: &mut impl Sink) {
        let Self { title, sender, works_for } = self;
        out.raw(b"{\"v\":1,\"title\":");
        out.text(title.expose());
        member(out, b",", "sender");
        out.text(sender.expose());
        works_for_member(out, *works_for);
        out.raw(b"}");
    }
}

fn works_for_fits(span: Option<Span>) -> Result<(), Error> {
    let too_long = span.is_some_and(|span| span.as_millis() >= 1 << 53);
    if too_long { Err(Error::Number("worksForMs")) } else { Ok(()) }
}

fn works_for_member(out: &mut impl Sink, span: Option<Span>) {
    if let Some(span) = span {
        member(out, b",", "worksForMs");
        out.raw(span.as_millis().to_string().as_bytes());
    }
}

fn field(out: &mut impl Sink, field: &Field) {
    let Field { key, label, kind, value } = field;
    for (open, name, text) in [
        (&b"{"[..], "key", key.as_str()),
        (b",", "label", label),
        (b",", "kind", kind.as_str()),
        (b",", "value", value.expose()),
    ] {
        member(out, open, name);
        out.text(text);
    }
    out.raw(b"}");
}

fn file(out: &mut impl Sink, file: &File) {
    let File { name, media_type, data } = file;
    member(out, b"{", "name");
    out.text(name);
    member(out, b",", "type");
    out.text(media_type);
    member(out, b",", "data");
    out.raw(b"\"");
    out.base64(data.expose());
    out.raw(b"\"}");
}

fn list<S: Sink, T>(out: &mut S, items: &[T], write: impl Fn(&mut S, &T)) {
    out.raw(b"[");
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.raw(b",");
        }
        write(out, item);
    }
    out.raw(b"]");
}

fn member(out: &mut impl Sink, before: &[u8], name: &str) {
    out.raw(before);
    out.text(name);
    out.raw(b":");
}

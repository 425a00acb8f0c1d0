//! One object of the folder: what it was, what its file says now, and what it therefore is.

use std::sync::Arc;

use ps_api::{ClusterVaultConnection, Document, Limits, Object, documents, resolve, validate_update};
use ps_core::delivery::{ConnectionRef, Spec};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, Key, Stamp};
use ps_core::ports::Connection;
use ps_core::time::Timestamp;
use serde_json::{Value, json};

use super::memory::Note;
use super::read::Sighting;

/// A spec at rest: its JSON, a third of what it takes in its own form. Ten thousand of them stay in memory.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Packed(Arc<[u8]>);

impl Packed {
    fn of(spec: &Spec) -> Result<Self, Fault> {
        serde_json::to_vec(spec).map(|json| Self(json.into())).map_err(|_| unpackable())
    }

    fn unpacked(&self) -> Result<Spec, Fault> {
        serde_json::from_slice(&self.0).map_err(|_| unpackable())
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed").field("bytes", &self.0.len()).finish()
    }
}

/// A delivery that the folder holds, or held until a moment ago.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// What is remembered of it; without the text of the last good manifest while that rests.
    pub(super) note: Note,
    /// Whether there is a text that lies in the memory of notes only: it is needed to judge a change.
    pub(super) text_rests: bool,
    /// What it asks for: the last good spec; a fault only while there never was one.
    spec: Result<Packed, Fault>,
    /// Digest of the document that was judged last.
    judged: Option<Digest>,
    /// What is wrong with its file now.
    pub(super) fault: Option<Fault>,
    /// The stamp in the manifest itself.
    pub(super) annotation: Option<Stamp>,
    /// Since when it is missing from a folder that can be read.
    pub(super) absent_since: Option<Timestamp>,
}

impl Delivery {
    /// From what was remembered, before the folder was seen.
    pub(super) fn remembered(note: Note) -> Self {
        let spec = match note.last_good.as_deref().and_then(last_document) {
            Some(Document { object: Ok(Object::Delivery(delivery)), .. }) => {
                resolve(&delivery).and_then(|spec| Packed::of(&spec))
            }
            Some(Document { object: Err(fault), .. }) => Err(fault),
            _ => Err(never_good()),
        };
        Self { note, text_rests: false, spec, judged: None, fault: None, annotation: None, absent_since: None }
    }

    /// What it asks for: the last good spec.
    ///
    /// # Errors
    /// While there never was one: why.
    pub(super) fn spec(&self) -> Result<Spec, Fault> {
        self.spec.as_ref().map_err(Clone::clone)?.unpacked()
    }

    /// Lets the text go, which the memory of notes holds.
    pub(super) fn rest(&mut self) {
        self.text_rests |= self.note.last_good.take().is_some();
    }

    /// Takes the text back; `None` if the memory has lost it, and there is nothing to judge a change by.
    pub(super) fn wake(&mut self, text: Option<String>) {
        self.text_rests = false;
        self.note.last_good = text;
    }

    /// Whether a document must be judged that was not judged before.
    pub(super) fn is_to_judge(&self, sighting: &Sighting) -> bool {
        self.judged != Some(sighting.digest) && sighting.content.is_some()
    }

    /// A delivery of which nothing is known yet.
    pub(super) fn unknown(key: Key, uid: String) -> Self {
        let note = Note {
            key,
            uid,
            generation: 0,
            spec_digest: Digest::of(b""),
            last_good: None,
            file: String::new(),
            deleting: false,
        };
        let spec = Err(never_good());
        Self { note, text_rests: false, spec, judged: None, fault: None, annotation: None, absent_since: None }
    }

    /// What it is after it was seen in `file`; `None` if its text is needed to say that, and was not kept.
    pub(super) fn seen(&self, sighting: &Sighting, file: &str) -> Option<Self> {
        let mut next = self.clone();
        next.absent_since = None;
        // Put back before it was let go: the same object again.
        next.note.deleting = false;
        file.clone_into(&mut next.note.file);
        next.annotation.clone_from(&sighting.stamp);
        if self.judged == Some(sighting.digest) {
            return Some(next);
        }
        let document = sighting.content.as_deref().filter(|_| !self.text_rests)?;
        next.judged = Some(sighting.digest);
        next.fault = None;
        match self.judge(document).and_then(|spec| Ok((spec.digest(), Packed::of(&spec)?))) {
            Ok((digest, spec)) => {
                if digest != next.note.spec_digest || next.spec.is_err() {
                    next.note.generation = next.note.generation.saturating_add(1);
                    next.note.spec_digest = digest;
                    next.note.last_good = Some(text_of(&document.value).to_string());
                }
                next.spec = Ok(spec);
            }
            Err(fault) if self.spec.is_ok() => next.fault = Some(fault),
            Err(fault) => {
                if sighting.digest != next.note.spec_digest {
                    next.note.generation = next.note.generation.saturating_add(1);
                    next.note.spec_digest = sighting.digest;
                }
                next.spec = Err(fault.clone());
                next.fault = Some(fault);
            }
        }
        Some(next)
    }

    /// The document's spec, if it is good by itself and as a change of the last good one.
    fn judge(&self, document: &Document) -> Result<Spec, Fault> {
        let Object::Delivery(delivery) = document.object.as_ref().map_err(Clone::clone)? else {
            return Err(never_good());
        };
        let spec = resolve(delivery)?;
        if self.spec.is_ok()
            && spec.digest() != self.note.spec_digest
            && let Some(old) = self.note.last_good.as_deref().and_then(last_document)
        {
            validate_update(document.kind, &document.value, &old.value)?;
        }
        Ok(spec)
    }

    /// What it is while its file is there but can't be read as manifests, or not yet.
    pub(super) fn unread(&self, fault: Option<&Fault>) -> Self {
        let fault = fault.cloned().or_else(|| self.fault.clone());
        Self { absent_since: None, judged: None, fault, ..self.clone() }
    }

    /// Whether nothing at all is different, so that the old one can stand.
    pub(super) fn is(&self, other: &Self) -> bool {
        !self.differs(other) && self.absent_since == other.absent_since && self.judged == other.judged
    }

    /// Whether somebody who looks at this object would see a difference.
    pub(super) fn differs(&self, other: &Self) -> bool {
        self.note != other.note
            || self.spec.as_ref().err() != other.spec.as_ref().err()
            || self.fault != other.fault
            || self.annotation != other.annotation
    }
}

/// What a connection's document says, as far as it can be said without knowing who asks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Server {
    /// Of one namespace.
    Own(Box<Connection>),
    /// Of all that it lists.
    Shared(Box<ClusterVaultConnection>),
}

impl Server {
    /// The cluster-wide connection that cleans up after this one.
    fn cleanup(&self) -> Option<&str> {
        match self {
            Self::Own(connection) => connection.cleanup.as_deref(),
            Self::Shared(object) => object.spec.connection.cleanup_connection_ref.as_ref().map(|c| c.name.as_str()),
        }
    }
}

/// A connection that the folder holds, or held until a moment ago.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KnownConnection {
    /// The file it came from.
    pub(super) file: String,
    /// Its last good form; a fault only while there never was one.
    pub(super) server: Result<Server, Fault>,
    /// What is wrong with its file now.
    pub(super) fault: Option<Fault>,
    /// Since when it is missing.
    pub(super) absent_since: Option<Timestamp>,
    /// Digest of the document that was judged last.
    pub(super) judged: Digest,
}

impl KnownConnection {
    /// What it is after it was seen in `file`, keeping the last good form where the new one is bad; `None` if its text is
    /// needed to say that, and was not kept.
    pub(super) fn seen(before: Option<&Self>, sighting: &Sighting, file: &str) -> Option<Self> {
        if let Some(same) = before.filter(|known| known.judged == sighting.digest) {
            return Some(Self { file: file.to_owned(), absent_since: None, ..same.clone() });
        }
        let now = match &sighting.content.as_deref()?.object {
            Ok(Object::Connection(object)) => ps_api::connection(object).map(|at| Server::Own(Box::new(at))),
            Ok(Object::ClusterConnection(object)) => Ok(Server::Shared(object.clone())),
            Ok(Object::Delivery(_)) => Err(never_good()),
            Err(fault) => Err(fault.clone()),
        };
        let fault = now.as_ref().err().cloned();
        let server = match (now, before.map(|b| &b.server)) {
            (Err(_), Some(Ok(good))) => Ok(good.clone()),
            (now, _) => now,
        };
        Some(Self { file: file.to_owned(), server, fault, absent_since: None, judged: sighting.digest })
    }

    /// Whether `name` cleans up after it.
    pub(super) fn is_cleaned_by(&self, name: &ConnectionRef) -> bool {
        !name.kind.is_namespaced() && self.server.as_ref().is_ok_and(|s| s.cleanup() == Some(&name.name))
    }
}

/// As what a connection is known: a cluster-wide one is the same for every namespace.
pub(super) fn known_as(name: &ConnectionRef) -> ConnectionRef {
    if name.kind.is_namespaced() { name.clone() } else { ConnectionRef::cluster("", &name.name) }
}

/// Whether a delivery uses this connection.
pub(super) fn uses(delivery: &Delivery, name: &ConnectionRef) -> bool {
    delivery.spec().is_ok_and(|spec| known_as(&spec.connection) == *name)
}

/// What of a manifest is worth remembering: no status, no foreign metadata.
fn text_of(value: &Value) -> Value {
    json!({
        "apiVersion": value.get("apiVersion"),
        "kind": value.get("kind"),
        "metadata": {
            "name": value.pointer("/metadata/name"),
            "namespace": value.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or(ps_api::DEFAULT_NAMESPACE),
        },
        "spec": value.get("spec"),
    })
}

/// Reads a remembered manifest.
fn last_document(text: &str) -> Option<Document> {
    documents(text, &Limits::default()).ok()?.pop()
}

fn unpackable() -> Fault {
    Fault::new(Class::Permanent, "note-unreadable", "a manifest that was good can't be read any more")
}

fn never_good() -> Fault {
    Fault::new(Class::Misconfigured, "invalid-spec", "there has been no valid manifest yet").remedy("Correct the file")
}

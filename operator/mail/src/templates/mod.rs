//! The templates of mails: those of this program, and those that replace them.
//!
//! A folder may hold `KIND.PART` and `KIND.LANGUAGE.PART` ([`Kind`], [`Part`], the two letters of a [`Language`]), and
//! `layout.html`, which the HTML of this program is laid out by. All that it holds is tried at start, with each kind and
//! language ([`check`]). No template ever sees a secret: the link and the code are marks in it ([`crate::body`]).

mod check;
mod folder;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Rest;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, filters, tests};
use ps_core::error::{Class, Fault};

use crate::language::Language;
use crate::wrap::wrap;

/// Instructions that one template may take: a hundred times what the built-in ones need.
const FUEL: u64 = 50_000;
/// Most bytes that one template makes; Gmail shows no more than 102 KiB of a mail.
const MAX_RENDERED: usize = 64 * 1024;
/// Longest subject, in characters.
const MAX_SUBJECT: usize = 500;

const BUILT_IN: [(&str, &str); 10] = [
    ("layout.html", include_str!("../../templates/layout.html")),
    ("link.subject", include_str!("../../templates/link.subject")),
    ("link.txt", include_str!("../../templates/link.txt")),
    ("link.html", include_str!("../../templates/link.html")),
    ("code.subject", include_str!("../../templates/code.subject")),
    ("code.txt", include_str!("../../templates/code.txt")),
    ("code.html", include_str!("../../templates/code.html")),
    ("notice.subject", include_str!("../../templates/notice.subject")),
    ("notice.txt", include_str!("../../templates/notice.txt")),
    ("notice.html", include_str!("../../templates/notice.html")),
];

/// What kind of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The link and the opening code, to the recipient.
    Link,
    /// A one-time code, to the recipient.
    Code,
    /// What happened to a delivery, to its sender; in English.
    Notice,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Link, Self::Code, Self::Notice];

    /// How files and arguments name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Code => "code",
            Self::Notice => "notice",
        }
    }
}

/// A part of a mail that has a template of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Subject,
    Text,
    Html,
}

impl Part {
    pub(crate) const ALL: [Self; 3] = [Self::Subject, Self::Text, Self::Html];

    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Text => "txt",
            Self::Html => "html",
        }
    }
}

/// A mail's parts, with marks in the places of its secrets.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

/// A set of templates. Clones share it.
#[derive(Clone)]
pub struct Templates {
    environment: Arc<Environment<'static>>,
    /// The sources of a folder's templates, by name, to quote from.
    own: Arc<BTreeMap<String, String>>,
}

impl Templates {
    /// The templates of this program.
    ///
    /// # Errors
    /// Permanent, as a defect of it.
    pub fn built_in() -> Result<Self, Fault> {
        Self::with(BTreeMap::new())
    }

    /// The templates of a folder, and those of this program where it has none. Each kind of mail is tried in each language.
    ///
    /// # Errors
    /// Misconfigured (`mail-template-refused`), with the file, the line where it is known, and what to do: for a file that
    /// can't be read, is larger than 64 KiB or has a name that no template has, and for a template that fails or makes no
    /// proper mail.
    pub fn load(folder: &Path) -> Result<Self, Fault> {
        let templates = Self::with(folder::read(folder)?)?;
        check::all(&templates)?;
        Ok(templates)
    }

    fn with(own: BTreeMap<String, String>) -> Result<Self, Fault> {
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| defect(&e))?);
        environment.set_auto_escape_callback(|name: &str| match name.ends_with(".html") {
            true => AutoEscape::Html,
            false => AutoEscape::None,
        });
        add_words(&mut environment);
        for (name, source) in BUILT_IN {
            environment.add_template(name, source).map_err(|e| defect(&e))?;
        }
        for (name, source) in &own {
            let added = environment.add_template_owned(name.clone(), source.clone());
            added.map_err(|error| check::fault(&own, name, &error))?;
        }
        Ok(Self { environment: Arc::new(environment), own: Arc::new(own) })
    }

    /// One mail of this kind.
    ///
    /// # Errors
    /// Permanent if a template fails; what it was given is not repeated.
    pub(crate) fn render(&self, kind: Kind, language: Language, values: &Value) -> Result<Rendered, Fault> {
        let part = |part: Part| {
            let name = self.name(kind, language, part);
            self.one(&name, values).map_err(|e| defect(&e))
        };
        let subject = part(Part::Subject)?.trim().to_owned();
        if subject.is_empty() || subject.chars().count() > MAX_SUBJECT || subject.contains(char::is_control) {
            return Err(defect(&Error::new(ErrorKind::InvalidOperation, "not a subject")));
        }
        Ok(Rendered { subject, text: part(Part::Text)?, html: part(Part::Html)? })
    }

    /// Which template makes this part: that of the language, if there is one.
    fn name(&self, kind: Kind, language: Language, part: Part) -> String {
        let (kind, part) = (kind.as_str(), part.extension());
        let special = format!("{kind}.{}.{part}", language.code());
        if self.own.contains_key(&special) { special } else { format!("{kind}.{part}") }
    }

    fn one(&self, name: &str, values: &Value) -> Result<String, Error> {
        let mut out = Bounded(Vec::new());
        self.environment.get_template(name)?.render_captured_to(values, &mut out)?;
        String::from_utf8(out.0).map_err(|_| Error::new(ErrorKind::WriteFailure, "not UTF-8"))
    }
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.own.keys()).finish()
    }
}

/// The filters and tests that templates have. None of them can make much of little.
fn add_words(environment: &mut Environment<'static>) {
    environment.add_filter("wrap", |text: &str, lead: Rest<String>| wrap(text, lead.first().map_or("", |lead| lead)));
    environment.add_filter("escape", filters::escape);
    environment.add_filter("e", filters::escape);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("default", filters::default);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("none", tests::is_none);
}

/// Takes no more than a mail may have.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > MAX_RENDERED {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Templates were tried at start: this is a defect. The error's text could quote values; it is not repeated.
fn defect(error: &Error) -> Fault {
    Fault::new(Class::Permanent, "mail-template", format!("a mail template failed: {:?}", error.kind()))
}

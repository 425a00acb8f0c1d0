//! Messages, templates, SMTP. The only crate that names lettre.

//! What there is to say, once for each language.

use std::collections::BTreeMap;

use super::fill;

/// Declares the texts, and lists them with their names: a template finds each as `words.NAME`.
macro_rules! texts {
    ($($(#[$doc:meta])* $key:ident,)*) => {
        /// All that one language says. Every text is there in every language, or it does not compile.
        ///
        /// `{sender}`, `{name}`, `{host}`, `{until}` and `{length}` are filled in; the same ones stand in every language.
        #[derive(Debug)]
        pub(crate) struct Texts {
            $($(#[$doc])* pub(super) $key: &'static str,)*
            /// The months, January first, as they stand in `date`.
            pub(super) months: [&'static str; 12],
            /// How the first day of a month is written.
            pub(super) first: &'static str,
            /// A date with its time and time zone, of `{day}`, `{month}`, `{year}`, `{hour}` and `{minute}`.
            pub(super) date: &'static str,
            /// How lengths of time are said.
            pub(super) lengths: Lengths,
        }

        impl Texts {
            /// Every text by its name, as it is before anything is filled in.
            pub(super) fn all(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($key), self.$key)),*]
            }
        }
    };
}

texts! {
    /// How a mail begins where the recipient's name is not known.
    hello,
    /// The same, where it is.
    hello_named,
    /// Heads what says how to check a mail.
    genuine_question,
    /// Heads what to do with a mail that one did not expect.
    unexpected_question,
    /// Subject of a mail with a link.
    link_subject,
    /// Who sends something; the link follows.
    link_intro,
    /// What is on the button, which is the link.
    link_button,
    /// What stands before the opening code.
    link_code,
    /// Until when it can be opened.
    link_until,
    /// How long the credential works.
    link_works_for,
    /// What happens on opening.
    link_ready,
    /// That a passphrase will be asked for.
    link_passphrase,
    /// That a one-time code will be asked for, which is mailed on request.
    link_email_code,
    /// That a sign-in will be asked for.
    link_sign_in,
    /// How to check a mail with a link.
    link_genuine,
    /// What to do with a link that one did not expect.
    link_unexpected,
    /// Subject of a mail with a one-time code.
    code_subject,
    /// Why it was sent; the code follows.
    code_intro,
    /// How long the code is taken.
    code_until,
    /// Where the code belongs.
    code_genuine,
    /// What a code means that one did not ask for.
    code_unexpected,
}

impl Texts {
    /// The texts of one kind of mail and those of all kinds, filled in, by the names that templates use: those of the kind
    /// without `link_` or `code_` before them.
    pub(crate) fn of_kind(&self, kind: &str, values: &[(&str, &str)]) -> BTreeMap<&'static str, String> {
        let others = ["link_", "code_"];
        let own = format!("{kind}_");
        let named = |name: &'static str| match name.strip_prefix(own.as_str()) {
            Some(rest) => Some(rest),
            None => Some(name).filter(|name| !others.iter().any(|other| name.starts_with(other))),
        };
        self.all().into_iter().filter_map(|(name, text)| Some((named(name)?, fill(text, values)))).collect()
    }

    /// A time, to the minute: `year`, `month` and `day` counted from 1.
    pub(super) fn date(&self, year: i16, month: i8, day: i8, hour: i8, minute: i8) -> String {
        let name = usize::try_from(month).ok().and_then(|month| self.months.get(month.checked_sub(1)?));
        let day = if day == 1 { self.first.to_owned() } else { day.to_string() };
        fill(
            self.date,
            &[
                ("day", &day),
                ("month", name.copied().unwrap_or_default()),
                ("year", &year.to_string()),
                ("hour", &format!("{hour:02}")),
                ("minute", &format!("{minute:02}")),
            ],
        )
    }
}

/// The forms of the units of time: each list has those that `form` chooses among, or a last one for all that is left.
#[derive(Debug)]
pub(crate) struct Lengths {
    pub(super) days: &'static [&'static str],
    pub(super) hours: &'static [&'static str],
    pub(super) minutes: &'static [&'static str],
    pub(super) seconds: &'static [&'static str],
    /// Between two units.
    pub(super) and: &'static str,
    /// Less than a second.
    pub(super) none: &'static str,
    /// Which form goes with a number (the plural rules of CLDR, for whole numbers).
    pub(super) form: fn(i64) -> usize,
}

impl Lengths {
    /// `1 hour 30 minutes`: the two greatest units that matter, rounded down, so that nothing is promised that does not hold.
    pub(crate) fn say(&self, millis: i64) -> String {
        let units =
            [(self.days, 86_400_000), (self.hours, 3_600_000), (self.minutes, 60_000), (self.seconds, 1000_i64)];
        let (mut rest, mut parts) = (millis.max(0), Vec::new());
        for (forms, size) in units {
            let count = rest / size;
            rest %= size;
            if count > 0 {
                let form = forms.get((self.form)(count)).or(forms.last()).copied().unwrap_or_default();
                parts.push(fill(form, &[("n", &count.to_string())]));
            }
            // Two units at most, and only neighbours: "3 days 20 seconds" says no more than "3 days".
            if parts.len() == 2 || (parts.len() == 1 && count == 0) {
                break;
            }
        }
        if parts.is_empty() { self.none.to_owned() } else { parts.join(self.and) }
    }
}

//! Licences of everything that is linked or built, against the list in `deny.toml`.

use anyhow::Result;

use super::Findings;
use super::deny::Deny;
use crate::metadata::Metadata;

pub(super) fn check() -> Result<Findings> {
    let metadata = Metadata::load()?;
    let allowed = Deny::load()?.licences;
    let resolved = Metadata::resolved()?;
    let mut errors = Vec::new();
    for package in &metadata.packages {
        if metadata.is_member(package) || !resolved.contains(&package.name) {
            continue;
        }
        let name = format!("{} {}", package.name, package.version);
        match &package.license {
            None => errors.push(format!("{name} names no licence")),
            Some(expression) if !acceptable(expression, &allowed) => errors.push(format!("{name}: {expression}")),
            Some(_) => {}
        }
    }
    Ok(Findings { errors, warnings: Vec::new() })
}

/// Whether an SPDX expression can be met with allowed licences. `/` is the old way to write OR.
fn acceptable(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed };
    let met = parser.any();
    met && parser.words.is_empty()
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a [String],
}

impl Parser<'_> {
    fn any(&mut self) -> bool {
        let mut met = self.all();
        while self.take("OR") {
            met |= self.all();
        }
        met
    }

    fn all(&mut self) -> bool {
        let mut met = self.one();
        while self.take("AND") {
            met &= self.one();
        }
        met
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let met = self.any();
            return self.take(")") && met;
        }
        let Some((licence, rest)) = self.words.split_first() else {
            return false;
        };
        self.words = rest;
        let mut name = (*licence).to_owned();
        if self.take("WITH")
            && let Some((exception, rest)) = self.words.split_first()
        {
            name = format!("{name} WITH {exception}");
            self.words = rest;
        }
        self.allowed.contains(&name)
    }

    fn take(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_or_not() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR GPL-3.0) AND ISC",
            "ISC AND (GPL-3.0 OR (MIT AND ISC))",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(acceptable(good, &allowed), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "MIT WITH odd", "(MIT", "MIT MIT"] {
            assert!(!acceptable(bad, &allowed), "{bad}");
        }
    }
}

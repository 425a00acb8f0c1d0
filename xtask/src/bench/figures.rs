//! What was measured, what was aimed at, and whether it was met.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Aim {
    AtLeast(f64),
    AtMost(f64),
    /// Told because it explains another one.
    None,
}

impl Aim {
    fn met(self, value: f64) -> &'static str {
        match self {
            Self::AtLeast(aim) if value >= aim => "met",
            Self::AtMost(aim) if value <= aim => "met",
            Self::AtLeast(_) | Self::AtMost(_) => "**not met**",
            Self::None => "",
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtLeast(aim) => format!("≥ {}", number(aim)),
            Self::AtMost(aim) => format!("≤ {}", number(aim)),
            Self::None => String::new(),
        }
    }
}

/// The figures of one run, printed as they come and as a table at the end.
#[derive(Default)]
pub(super) struct Table(Vec<(String, String, Aim, f64)>);

impl Table {
    pub(super) fn add(&mut self, name: &str, value: f64, unit: &str, aim: Aim) {
        let (shown, met) = (number(value), aim.met(value).replace('*', ""));
        println!("  {name}: {shown} {unit} {} {met}", aim.shown());
        self.0.push((name.to_owned(), unit.to_owned(), aim, value));
    }

    pub(super) fn markdown(&self) -> String {
        let mut out = "| figure | measured | aim | |\n|---|---|---|---|\n".to_owned();
        for (name, unit, aim, value) in &self.0 {
            // Writing to a string does not fail.
            let line = writeln!(out, "| {name} | {} {unit} | {} | {} |", number(*value), aim.shown(), aim.met(*value));
            debug_assert!(line.is_ok());
        }
        out
    }
}

fn number(value: f64) -> String {
    let digits = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        large if large >= 100.0 => 0,
        small if small < 10.0 => 2,
        _ => 1,
    };
    format!("{value:.digits$}")
}

/// The `figure NAME VALUE` lines of a measuring program.
pub(super) struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub(super) fn parse(output: &str) -> Result<Self> {
        let mut all = BTreeMap::new();
        for line in output.lines().filter_map(|line| line.strip_prefix("figure ")) {
            let (name, value) = line.split_once(' ').with_context(|| format!("no figure: {line}"))?;
            all.insert(name.to_owned(), value.parse().with_context(|| format!("no number: {line}"))?);
        }
        Ok(Self(all))
    }

    pub(super) fn get(&self, name: &str) -> Result<f64> {
        self.0.get(name).copied().with_context(|| format!("the measuring program gave no {name}"))
    }
}

/// The value below which `part` percent of all lie; 0 for none.
pub(super) fn percentile(values: &mut [f64], part: usize) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = (values.len() * part / 100).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_are_judged_on_their_own_side() {
        assert_eq!((Aim::AtLeast(10.0).met(10.0), Aim::AtLeast(10.0).met(9.9)), ("met", "**not met**"));
        assert_eq!((Aim::AtMost(5.0).met(5.0), Aim::AtMost(5.0).met(5.1)), ("met", "**not met**"));
    }

    #[test]
    fn figures_are_read_from_a_programs_output() {
        let figures = Figures::parse("noise\nfigure a.b 12.5\nfigure c 3\n").unwrap();
        assert_eq!((figures.get("a.b").unwrap(), figures.get("c").unwrap()), (12.5, 3.0));
        assert!(figures.get("d").is_err() && Figures::parse("figure a\n").is_err());
    }

    #[test]
    fn percentiles_of_few_values_are_among_them() {
        assert_eq!(percentile(&mut [3.0, 1.0, 2.0], 50), 2.0);
        assert_eq!(percentile(&mut [3.0, 1.0], 99), 3.0);
        assert_eq!(percentile(&mut [], 50), 0.0);
    }
}

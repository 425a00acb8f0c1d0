//! Which machine it was: a figure means little without it.

use std::fs;

use anyhow::Result;

use crate::command::{command, output};

/// Date, commit, processor, memory, kernel, compiler, and what else the machine was doing.
pub(super) fn description() -> Result<String> {
    let one = |program: &str, arguments: &[&str]| -> Result<String> {
        Ok(output(command(program, arguments))?.trim().to_owned())
    };
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let changed =
        if one("git", &["status", "--porcelain", "--untracked-files=no"])?.is_empty() { "" } else { " with changes" };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Ok(format!(
        "{}, commit {}{changed}\n{} × {}, {} of memory, Linux {}, {}\nload before: {}",
        one("date", &["-u", "+%Y-%m-%d %H:%M UTC"])?,
        one("git", &["rev-parse", "--short", "HEAD"])?,
        std::thread::available_parallelism()?,
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        one("uname", &["-r"])?,
        one("rustc", &["--version"])?,
        load.split_whitespace().next().unwrap_or_default(),
    ))
}

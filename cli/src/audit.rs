//! `audit verify`: whether a trail is complete and unaltered, with nothing but its file.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use ps_audit::{Broken, Gap, Head, Report, verify, verify_file};
use ps_core::audit::Writer;
use serde_json::{Value, json};

use crate::args::VerifyArgs;
use crate::failure::{Failure, enough};

/// Prints the report; 0 if nothing is wrong, 1 if something is.
pub(crate) fn run(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let head = match &args.head {
        None => None,
        Some(text) => Some(Head::parse(text).ok_or_else(|| {
            Failure::usage("--head is not what a report prints", "Copy it whole: a number, a colon, 64 hex digits")
        })?),
    };
    let report = if args.file == Path::new("-") {
        verify(io::stdin().lock(), head.as_ref())
    } else {
        verify_file(&args.file, head.as_ref())
    };
    let report = report.map_err(|e| Failure::usage(format!("{} could not be read: {e}", args.file.display()), ""))?;
    let text = if args.json { format!("{:#}\n", as_json(&report)) } else { report.to_string() };
    // The verdict stands, whether or not anybody reads to the end.
    io::stdout().write_all(text.as_bytes()).or_else(enough).map_err(|e| Failure::io("print the report", &e))?;
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(report: &Report) -> Value {
    let Report {
        lines,
        events,
        duplicates,
        uncompared,
        unfollowed,
        gaps,
        broken,
        further,
        ledger,
        first,
        last,
        head,
        head_found,
    } = report;
    json!({
        "ok": report.is_ok(),
        "lines": lines,
        "events": events,
        "duplicates": duplicates,
        "uncompared": uncompared,
        "unfollowed": unfollowed,
        "ledger": ledger,
        "first": first.map(|at| at.to_string()),
        "last": last.map(|at| at.to_string()),
        "head": head.as_ref().map(Head::to_string),
        "headFound": head_found,
        "broken": broken.iter().map(|Broken { line, what }| json!({"line": line, "what": what.to_string()})).collect::<Vec<_>>(),
        "gaps": gaps.iter().map(gap).collect::<Vec<_>>(),
        "further": further,
    })
}

fn gap(gap: &Gap) -> Value {
    let Gap { delivery, incarnation, attempt, writer, expected, found } = gap;
    json!({
        "delivery": delivery.to_string(),
        "incarnation": incarnation,
        "attempt": attempt,
        "writer": match writer { Writer::Operator => "operator", Writer::Record => "record" },
        "expected": expected,
        "found": found,
    })
}

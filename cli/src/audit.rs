//! `audit verify`: whether a trail, or several together, is complete and unaltered, with nothing but its file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::ExitCode;

use ps_audit::{Broken, Gap, Head, Report, Together, verify, verify_together};
use ps_core::audit::Writer;
use serde_json::{Value, json};

use crate::args::VerifyArgs;
use crate::failure::{Failure, enough};

/// Prints the report; 0 if nothing is wrong, 1 if something is.
pub(crate) fn run(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let heads = heads(args)?;
    let inputs = args.files.iter().map(|file| open(file)).collect::<Result<Vec<_>, _>>()?;
    let names = args.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
    let unread = |e: io::Error| Failure::usage(format!("{} could not be read: {e}", names.join(" or ")), "");
    let (is_ok, text, value) = match <[_; 1]>::try_from(inputs) {
        Ok([input]) => {
            let report = verify(input, heads.first()).map_err(unread)?;
            (report.is_ok(), report.to_string(), as_json(&report))
        }
        Err(inputs) => {
            let heads = (0..inputs.len()).map(|n| heads.get(n));
            let report = verify_together(inputs.into_iter().zip(heads).collect()).map_err(unread)?;
            (report.is_ok(), report.to_string(), together_as_json(&names, &report))
        }
    };
    let text = if args.json { format!("{value:#}\n") } else { text };
    // The verdict stands, whether or not anybody reads to the end.
    io::stdout().write_all(text.as_bytes()).or_else(enough).map_err(|e| Failure::io("print the report", &e))?;
    Ok(if is_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn heads(args: &VerifyArgs) -> Result<Vec<Head>, Failure> {
    if !args.heads.is_empty() && args.heads.len() != args.files.len() {
        let message = format!("--head is given {} times for {} trails", args.heads.len(), args.files.len());
        return Err(Failure::usage(message, "Give it once for each trail, in their order, or not at all"));
    }
    let parse = |text: &String| {
        Head::parse(text).ok_or_else(|| {
            Failure::usage("--head is not what a report prints", "Copy it whole: a number, a colon, 64 hex digits")
        })
    };
    args.heads.iter().map(parse).collect()
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = File::open(file);
    let opened = opened.map_err(|e| Failure::usage(format!("{} could not be read: {e}", file.display()), ""))?;
    Ok(Box::new(BufReader::with_capacity(64 * 1024, opened)))
}

fn together_as_json(names: &[String], report: &Together) -> Value {
    let Together { trails, gaps, further } = report;
    let each = names.iter().zip(trails).map(|(name, trail)| json!({"file": name, "trail": as_json(trail)}));
    json!({
        "ok": report.is_ok(),
        "events": report.events(),
        "gaps": gaps.iter().map(gap).collect::<Vec<_>>(),
        "further": further,
        "trails": each.collect::<Vec<_>>(),
    })
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

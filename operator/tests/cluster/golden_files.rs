//! Golden output: what kubectl prints, what differs from run to run masked, compared with a file of `golden/`.

use std::fs;

use ps_testbed::workspace;

const FOLDER: &str = "operator/tests/cluster/golden";
/// Set to `write`, golden files are written instead of compared.
const RENEW: &str = "PS_GOLDEN";

/// What stands for what in golden files.
pub type Names<'a> = [(&'a str, &'a str)];

/// Compares with `golden/NAME.txt`.
pub fn assert_golden(name: &str, seen: &str) {
    if let Err(why) = compare(name, seen) {
        panic!("{why}");
    }
}

/// As [`assert_golden`], for what may take a moment to be so: the difference is an answer.
pub fn compare(name: &str, seen: &str) -> Result<(), String> {
    let path = workspace().join(FOLDER).join(format!("{name}.txt"));
    let seen = seen.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>();
    if std::env::var(RENEW).is_ok_and(|value| value == "write") {
        fs::write(&path, seen).unwrap();
        return Ok(());
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    if golden == seen {
        return Ok(());
    }
    Err(format!(
        "{FOLDER}/{name}.txt differs (- golden, + seen):\n{}\nIf this is meant: {RENEW}=write cargo test -p ps-operator \
         --test cluster golden",
        diff(&golden, &seen)
    ))
}

/// Names, times, uids and ages masked.
pub fn masked(text: &str, names: &Names<'_>) -> String {
    let mut text = text.to_owned();
    for (name, stands_for) in names {
        text = text.replace(name, stands_for);
    }
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(letter) = rest.chars().next() {
        let (length, put) = match () {
            () if starts_like(rest, "dddd-dd-ddTdd:dd:dd") => {
                let fraction = if starts_like(&rest[19..], ".ddd") { 4 } else { 0 };
                (20 + fraction, "<time>")
            }
            () if starts_like(rest, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") => (36, "<uid>"),
            () => (letter.len_utf8(), ""),
        };
        if put.is_empty() {
            out.push(letter);
        } else {
            out.push_str(put);
        }
        rest = &rest[length..];
    }
    out
}

/// `d` is a digit and `x` a hexadecimal one; anything else is itself.
fn starts_like(text: &str, pattern: &str) -> bool {
    let fits = |(byte, wanted): (&u8, u8)| match wanted {
        b'd' => byte.is_ascii_digit(),
        b'x' => byte.is_ascii_hexdigit(),
        other => *byte == other,
    };
    text.len() >= pattern.len() && text.as_bytes().iter().zip(pattern.bytes()).all(fits)
}

/// Tables as kubectl prints them, each cell masked and the columns set again; of each only rows that name one of ours. Several
/// of them come in no order of kubectl's.
pub fn table(text: &str, names: &Names<'_>, ours: impl Fn(&str) -> bool) -> String {
    let tables = text.split("\n\n").map(|table| one_table(table, names, &ours));
    let mut tables: Vec<String> = tables.filter(|table| table.lines().count() > 1).collect();
    tables.sort();
    tables.join("\n")
}

fn one_table(text: &str, names: &Names<'_>, ours: &impl Fn(&str) -> bool) -> String {
    let mut lines = text.lines();
    let Some(header) = lines.next() else { return String::new() };
    let starts = column_starts(header);
    let titles = cells(header, &starts);
    let mut rows = vec![titles.clone()];
    for line in lines {
        let cells = cells(line, &starts);
        if !ours(&cells[0]) {
            continue;
        }
        let masked = cells.iter().zip(&titles).map(|(cell, title)| match title.as_str() {
            "AGE" => "<age>".to_owned(),
            _ => masked(cell, names),
        });
        rows.push(masked.collect());
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Where columns begin, in characters: a title has at most one space between its words.
fn column_starts(header: &str) -> Vec<usize> {
    let letters: Vec<char> = header.chars().collect();
    let begins = |at: &usize| letters[*at] != ' ' && (*at == 0 || (*at >= 2 && letters[*at - 2..*at] == [' ', ' ']));
    (0..letters.len()).filter(begins).collect()
}

fn cells(line: &str, starts: &[usize]) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
    let cell = |(from, to): (&usize, usize)| {
        let cell: String = letters.iter().skip(*from).take(to - from).collect();
        cell.trim().to_owned()
    };
    starts.iter().zip(ends).map(cell).collect()
}

/// Lines that only one of two texts has, with one line around.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            let longer = common[i + 1][j].max(common[i][j + 1]);
            common[i][j] = if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { longer };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j < new.len() && (i == old.len() || common[i][j + 1] >= common[i + 1][j]) {
            out.push(format!("{:>4} + {}", j + 1, new[j]));
            j += 1;
        } else {
            out.push(format!("{:>4} - {}", i + 1, old[i]));
            i += 1;
        }
    }
    out.join("\n")
}

#[test]
fn masks_and_tables() {
    let text = "a team-1 2026-12-01T12:00:00.000Z, 2026-12-01T12:00:00Z 01234567-89ab-cdef-0123-456789abcdef 2026-12 ü";
    assert_eq!(masked(text, &[("team-1", "NS")]), "a NS <time>, <time> <uid> 2026-12 ü");
    let printed = "NAME   STATUS      A B   AGE\nx      Delivered   …     5s\ny                  b     2m3s\nz      Q           c     1s\n";
    let expected = "NAME   STATUS      A B   AGE\nx      Delivered   …     <age>\nlong               b     <age>\n";
    assert_eq!(table(printed, &[("y", "long")], |name| name != "z"), expected);
    assert_eq!(diff("a\nb\nc", "a\nB\nc\nd"), "   2 + B\n   2 - b\n   4 + d");
}

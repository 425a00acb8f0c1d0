//! Counting what test programs report.

/// Lines that are told again of each failed test, and characters of each.
const TOLD_LINES: usize = 16;
const TOLD_WIDTH: usize = 400;
/// Lines of a panic's message: what follows is a state or a log.
const PANIC_LINES: usize = 4;

/// How many tests passed and failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// Those that failed.
    pub(crate) failures: Vec<Failure>,
}

/// A failed test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) name: String,
    /// How each of its panics begins: what is told again at the end, for whoever sees the end only.
    pub(crate) says: Vec<String>,
}

impl From<String> for Failure {
    fn from(name: String) -> Self {
        Self { name, says: Vec::new() }
    }
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures.iter().cloned());
    }

    /// Counts one failure.
    pub(crate) fn fail(&mut self, what: &str) {
        self.failed += 1;
        self.failures.push(what.to_owned().into());
    }

    /// From the output of Rust's test programs and doc tests. One that ended badly without a failed test (a crash, a
    /// hang, no report) counts as one failure under its own name. A program without Rust's own harness, which announces no
    /// tests, counts as one.
    pub(crate) fn of_rust(program: &str, output: &str, success: bool) -> Self {
        let mut outcome = Self::default();
        let mut reported = false;
        for text in output.lines() {
            if let Some(counts) = text.strip_prefix("test result: ") {
                reported = true;
                outcome.passed += count_before(counts, "passed");
                outcome.failed += count_before(counts, "failed");
                outcome.ignored += count_before(counts, "ignored");
            } else if let Some(name) = text.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
                outcome.failures.push(Failure { name: format!("{program}: {name}"), says: panics(output, name) });
            }
        }
        if success && !reported && !output.lines().any(|text| text.starts_with("running ")) {
            outcome.passed = 1;
        } else if outcome.failed == 0 && !(success && reported) {
            outcome.failed = 1;
            outcome.failures.push(format!("{program}: ended without a report of all its tests").into());
        }
        outcome
    }

    /// From the output of Node's test runner (`pass 3`, `fail 0`, behind `#` or `ℹ`). Without such lines the command
    /// as a whole counts as one test.
    pub(crate) fn of_node(program: &str, output: &str, success: bool) -> Self {
        let mut outcome = Self::default();
        for text in output.lines() {
            let mut words = text.split_whitespace();
            let (mark, name, count) = (words.next(), words.next(), words.next());
            let count = count.and_then(|count| count.parse::<u64>().ok()).unwrap_or_default();
            match (mark, name) {
                (Some("#" | "ℹ"), Some("pass")) => outcome.passed += count,
                (Some("#" | "ℹ"), Some("fail" | "cancelled")) => outcome.failed += count,
                (Some("#" | "ℹ"), Some("skipped" | "todo")) => outcome.ignored += count,
                (Some("not"), Some("ok")) | (Some("✖"), _) => {
                    outcome.failures.push(format!("{program}: {}", text.trim()).into());
                }
                _ => {}
            }
        }
        if success && outcome.passed + outcome.failed == 0 {
            outcome.passed = 1;
        }
        if !success && outcome.failed == 0 {
            outcome.failed = 1;
            outcome.failures.push(format!("{program}: failed").into());
        }
        outcome
    }
}

/// How the panics of a test begin, from what Rust's harness kept of its output.
fn panics(output: &str, test: &str) -> Vec<String> {
    let (begin, other) = (format!("---- {test} stdout ----"), |line: &&str| !line.starts_with("---- "));
    let own = output.lines().skip_while(|line| *line != begin).skip(1).take_while(other);
    let (mut told, mut left) = (Vec::new(), 0);
    for line in own {
        if line.starts_with("thread '") {
            left = PANIC_LINES;
        }
        if left > 0 && !line.trim().is_empty() && told.len() < TOLD_LINES {
            left -= 1;
            told.push(line.chars().take(TOLD_WIDTH).collect());
        }
    }
    told
}

/// The number before a word: `3 passed; 1 failed`.
fn count_before(text: &str, word: &str) -> u64 {
    let words: Vec<&str> = text.split([' ', ';', '.']).filter(|part| !part.is_empty()).collect();
    let found = words.windows(2).find_map(|pair| match pair {
        [count, name] if *name == word => count.parse().ok(),
        _ => None,
    });
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_reports_are_summed() {
        let output = "test a ... ok\ntest b ... FAILED\n\
            test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let outcome = Outcome::of_rust("x", output, false);
        assert_eq!((outcome.passed, outcome.failed, outcome.ignored), (4, 1, 2));
        assert_eq!(outcome.failures, ["x: b".to_owned().into()]);
    }

    #[test]
    fn how_the_panics_of_a_failed_test_begin_is_told_again() {
        let output = "test b ... FAILED\n\n---- a stdout ----\nthread 'a' panicked at x:\nno\n\n---- b stdout ----\nits case\n\n\
            thread 'b' (7) panicked at y.rs:1:2:\nleft: 1\nright: 2\na log\nmore of it\nthread 'b' (7) panicked at z.rs:\nagain\n\n\
            failures:\n    b\ntest result: FAILED. 0 passed; 1 failed; 0 ignored\n";
        let says = Outcome::of_rust("x", output, false).failures.remove(0).says;
        let wanted = ["thread 'b' (7) panicked at y.rs:1:2:", "left: 1", "right: 2", "a log"];
        assert_eq!(says[..4], wanted);
        assert_eq!(says[4..6], ["thread 'b' (7) panicked at z.rs:", "again"]);
        let long =
            format!("test b ... FAILED\n---- b stdout ----\n{}", format!("thread '{}\n", "é".repeat(999)).repeat(99));
        let says = Outcome::of_rust("x", &long, false).failures.remove(0).says;
        assert_eq!((says.len(), says[0].chars().count()), (TOLD_LINES, TOLD_WIDTH));
    }

    #[test]
    fn a_crash_is_a_failure_with_and_without_a_report() {
        let half = "running 2 tests\ntest a ... ok\n";
        for (output, success) in [(half, false), (half, true), ("", false)] {
            let outcome = Outcome::of_rust("x", output, success);
            assert_eq!((outcome.passed, outcome.failed, outcome.failures.len()), (0, 1, 1));
        }
        let ok = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Outcome::of_rust("x", ok, false).failed, 1);
        assert_eq!(Outcome::of_rust("x", ok, true).failed, 0);
    }

    #[test]
    fn a_program_without_the_harness_is_one_test() {
        assert_eq!(Outcome::of_rust("x", "all fine\n", true).passed, 1);
        assert_eq!(Outcome::of_rust("x", "", false).failed, 1);
    }

    #[test]
    fn node_reports_are_read() {
        let outcome = Outcome::of_node("web", "ℹ tests 4\nℹ pass 3\nℹ fail 1\n✖ opens (2ms)\n", false);
        assert_eq!((outcome.passed, outcome.failed), (3, 1));
        assert_eq!(outcome.failures, ["web: ✖ opens (2ms)".to_owned().into()]);
        assert_eq!(Outcome::of_node("web", "", true).passed, 1);
        assert_eq!(Outcome::of_node("web", "# pass 3\n# fail 0\n", false).failed, 1);
    }
}

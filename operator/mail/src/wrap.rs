//! Lines of plain text that are no longer than a terminal is wide.

/// Columns; a letter of Chinese or Japanese takes two.
const WIDTH: usize = 74;

/// Breaks one paragraph into lines. `lead` stands before the first, and as many blanks before the others.
///
/// Lines break at a blank, and beside a wide letter, but neither after an opening bracket nor before what closes or goes
/// with the letter before it. A word that is longer than a line stays whole.
pub(crate) fn wrap(text: &str, lead: &str) -> String {
    let used = width(lead);
    let mut lines = Lines { done: String::new(), line: lead.to_owned(), used, lead: used, fresh: true };
    let (mut word, mut before, mut blank) = (String::new(), None, false);
    for c in text.chars() {
        if c == ' ' || c == '\n' {
            lines.put(&std::mem::take(&mut word), blank);
            blank = true;
            before = None;
            continue;
        }
        let beside_wide = before.is_some_and(|b| is_wide(b) || is_wide(c));
        if beside_wide && !OPENING.contains(before.unwrap_or(' ')) && !STAYS.contains(c) {
            lines.put(&std::mem::take(&mut word), blank);
            blank = false;
        }
        word.push(c);
        before = Some(c);
    }
    lines.put(&word, blank);
    lines.done + &lines.line
}

/// What is not left at a line's end.
const OPENING: &str = "「（『“‘《";
/// What does not begin a line.
const STAYS: &str = "」）』”’》、。，．：；？！ーっゃゅょッャュョ";

struct Lines {
    done: String,
    line: String,
    used: usize,
    lead: usize,
    /// Whether the line has no word yet.
    fresh: bool,
}

impl Lines {
    fn put(&mut self, word: &str, blank: bool) {
        if word.is_empty() {
            return;
        }
        let blank = blank && !self.fresh;
        let wanted = width(word) + usize::from(blank);
        if !self.fresh && self.used + wanted > WIDTH {
            self.done.push_str(&self.line);
            self.done.push('\n');
            self.line = " ".repeat(self.lead);
            self.used = self.lead;
        } else if blank {
            self.line.push(' ');
            self.used += 1;
        }
        self.line.push_str(word);
        self.used += width(word);
        self.fresh = false;
    }
}

fn width(text: &str) -> usize {
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

/// Whether a letter takes two columns: Chinese, Japanese and Korean, and their punctuation.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{20000}'..='\u{3fffd}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_fill_lines_and_a_lead_is_kept_clear() {
        assert_eq!(wrap("short", ""), "short");
        let long = "word ".repeat(40);
        let wrapped = wrap(&long, "- ");
        assert!(wrapped.starts_with("- word word") && wrapped.lines().skip(1).all(|line| line.starts_with("  word")));
        assert!(wrapped.lines().all(|line| line.len() <= WIDTH) && wrapped.lines().count() == 3, "{wrapped}");
        let url = "x".repeat(100);
        assert_eq!(wrap(&format!("a {url} b"), ""), format!("a\n{url}\nb"));
    }

    #[test]
    fn wide_letters_break_anywhere_but_before_what_closes() {
        let wrapped = wrap(&"情報、".repeat(40), "");
        for line in wrapped.lines() {
            assert!(width(line) <= WIDTH && !line.starts_with('、'), "{line}");
        }
        assert!(wrapped.lines().next().is_some_and(|line| width(line) > WIDTH - 6));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_line_is_long(text in "[a-zé情報。「」 ]{0,400}") {
            let wrapped = wrap(&text, "- ");
            let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(bare(&wrapped), format!("-{}", bare(&text)));
            for line in wrapped.lines() {
                // What can't be broken is one word, or letters that hang on each other.
                let breaks = line.trim_start_matches(['-', ' ']).contains(' ');
                prop_assert!(width(line) <= WIDTH || !breaks, "{}", line);
            }
        }
    }
}

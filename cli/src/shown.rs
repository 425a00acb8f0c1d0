//! Text of strangers, safe for a terminal: what a sender or a manifest says must not move the cursor or hide a word.

use zeroize::Zeroizing;

/// Whether a character would act on a terminal, or on how its neighbours are read, instead of showing.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// One line, with every such character replaced. Wiped: titles are part of what is sealed.
pub(crate) fn line(text: &str) -> Zeroizing<String> {
    replaced(text, |_| false)
}

/// Several lines: line ends and tabs stay.
pub(crate) fn block(text: &str) -> Zeroizing<String> {
    replaced(text, |c| matches!(c, '\n' | '\t'))
}

/// Whether [`block`] would change a text.
pub(crate) fn changes(text: &str) -> bool {
    text.chars().any(|c| acts(c) && !matches!(c, '\n' | '\t'))
}

fn replaced(text: &str, keep: impl Fn(char) -> bool) -> Zeroizing<String> {
    // The replacement has three bytes, what it replaces has at least one.
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 3));
    out.extend(text.chars().map(|c| if acts(c) && !keep(c) { '\u{fffd}' } else { c }));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_the_terminal() {
        assert_eq!(&**line("a\x1b[2Jb\nc\u{202e}d é 漢"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d é 漢");
        assert_eq!(&**block("a\n\tb\r\x07"), "a\n\tb\u{fffd}\u{fffd}");
        assert!(changes("a\r\n") && !changes("a\n\tb"));
    }
}

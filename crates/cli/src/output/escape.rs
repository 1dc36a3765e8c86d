//! Text from images and users must not drive the terminal: control characters are made visible.

use std::borrow::Cow;

/// Escapes every control character but line end and tab.
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c == '\n' || c == '\t')
}

/// Escapes every control character, for one cell of a table.
pub fn cell(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// Escapes what a program wrote, for a terminal: colours stay, as do line ends and tabs; every other sequence, which
/// could write to the clipboard, ask the terminal to type, or hide what was printed before, is made visible.
pub fn log(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        let (before, sequence) = rest.split_at(at);
        let body = sequence.get(2..).unwrap_or_default();
        let length = body.find(|c: char| !c.is_ascii_digit() && c != ';' && c != ':').unwrap_or(body.len());
        clean.push_str(&log_plain(before));
        if body.get(length..).is_some_and(|end| end.starts_with('m')) {
            let (colour, after) = sequence.split_at(2 + length + 1);
            clean.push_str(colour);
            rest = after;
        } else {
            clean.push_str("\\x1b[");
            rest = body;
        }
    }
    if clean.is_empty() {
        return log_plain(rest);
    }
    clean.push_str(&log_plain(rest));
    Cow::Owned(clean)
}

/// A carriage return is kept before a line end only: alone it would hide what stands before it.
fn log_plain(text: &str) -> Cow<'_, str> {
    match text.strip_suffix("\r\n") {
        Some(line) => Cow::Owned(format!("{}\r\n", lines(line))),
        None => lines(text),
    }
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    // Besides the control characters: marks that turn the direction of the text around them, which hide words.
    let bad = |c: char| {
        !keep(c)
            && (c.is_control()
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}'))
    };
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if !bad(c) => clean.push(c),
            '\n' => clean.push_str("\\n"),
            '\t' => clean.push_str("\\t"),
            '\r' => clean.push_str("\\r"),
            c if u32::from(c) < 256 => clean.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => clean.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_its_colours_and_nothing_else() {
        assert_eq!(log("\x1b[1;31mred\x1b[0m\r\n"), "\x1b[1;31mred\x1b[0m\r\n");
        assert_eq!(log("a\x1b]52;c;eA==\x07b\n"), "a\\x1b]52;c;eA==\\x07b\n");
        assert_eq!(log("x\x1b[2Jy\x1b[6n"), "x\\x1b[2Jy\\x1b[6n");
        assert_eq!(log("seen\rhidden\n"), "seen\\rhidden\n");
        assert_eq!(log("\x1b["), "\\x1b[");
        assert!(matches!(log("plain\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn escape_sequences_are_shown() {
        assert_eq!(cell("a\x1b[31mb\n\u{9b}c"), "a\\x1b[31mb\\n\\x9bc");
        assert_eq!(lines("a\n\tb\r\u{202e}"), "a\n\tb\\r\\u{202e}");
        assert!(matches!(cell("plain é"), Cow::Borrowed(_)));
    }
}

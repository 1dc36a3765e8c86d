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
    fn escape_sequences_are_shown() {
        assert_eq!(cell("a\x1b[31mb\n\u{9b}c"), "a\\x1b[31mb\\n\\x9bc");
        assert_eq!(lines("a\n\tb\r\u{202e}"), "a\n\tb\\r\\u{202e}");
        assert!(matches!(cell("plain é"), Cow::Borrowed(_)));
    }
}

//! `--detach-keys`: `ctrl-p,ctrl-q`, `ctrl-@`, `a`.

use super::Needed;

/// The bytes that these keys send.
///
/// # Errors
///
/// Anything but single characters and `ctrl-` with a letter or one of `@ [ \ ] ^ _`, with commas between.
pub fn parse(text: &str) -> Result<Vec<u8>, Needed> {
    let needed =
        || Needed::from("keys like ctrl-p,ctrl-q are needed: a character, or ctrl- and one of a-z @ [ \\ ] ^ _");
    let key = |word: &str| -> Result<u8, Needed> {
        let control = word.strip_prefix("ctrl-").or_else(|| word.strip_prefix("CTRL-"));
        match (control.unwrap_or(word).as_bytes(), control.is_some()) {
            (&[byte], false) if byte.is_ascii() => Ok(byte),
            (&[byte @ (b'a'..=b'z' | b'A'..=b'Z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')], true) => Ok(byte & 0x1f),
            _ => Err(needed()),
        }
    };
    text.split(',').map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn keys_become_bytes() {
        assert_eq!(parse("ctrl-p,ctrl-q").unwrap(), [0x10, 0x11]);
        assert_eq!(parse("ctrl-@,a,ctrl-[,ctrl-A").unwrap(), [0, b'a', 0x1b, 1]);
        for wrong in ["", "ctrl-", "ab", "ctrl-1", "a,,b", "ctrl-é"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}

//! Signals by name or number.

use super::Needed;

/// Names and numbers, the same on x86-64, arm64 and riscv64.
const NAMES: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The first real-time signal as the C libraries count them: two before it are theirs.
const RTMIN: i32 = 34;
/// The last signal.
const RTMAX: i32 = 64;

/// A signal number from `TERM`, `SIGTERM`, `15`, `RTMIN+3`, in any case.
///
/// # Errors
///
/// Anything else.
pub fn parse(text: &str) -> Result<i32, Needed> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name.parse::<i32>() {
        // Rust reads "+9" as a number, and "SIG9" has one behind its prefix: neither is written by anybody.
        Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(number).filter(|number| (1..=RTMAX).contains(number))
        }
        _ => by_name(name),
    };
    number.ok_or_else(|| "a signal is needed, like SIGTERM, KILL, RTMIN+3 or a number from 1 to 64".into())
}

fn by_name(name: &str) -> Option<i32> {
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let (base, rest, up) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => (RTMIN, rest, true),
        (_, Some(rest)) => (RTMAX, rest, false),
        _ => return None,
    };
    if rest.is_empty() {
        return Some(base);
    }
    let digits = rest.strip_prefix(if up { '+' } else { '-' })?;
    let step: i32 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    let number = if up { base.checked_add(step)? } else { base.checked_sub(step)? };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("1", 1),
            ("64", 64),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in
            ["", "SIG", "0", "65", "-9", "+9", "SIG9", "FOO", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN+", "RTMIN++1"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! Sizes: `512m`, `1g`, `1.5GiB`. Units are powers of 1024, as for Docker.

use super::Needed;

const NEEDED: &str = "a size like 512m or 2g is needed";

/// Bytes of a size with an optional unit (`b`, `k`, `m`, `g`, `t`, `p`; also `kb`, `KiB`); no unit means bytes.
///
/// # Errors
///
/// Anything that is no such size, or more bytes than fit 63 bits.
pub fn parse(text: &str) -> Result<u64, Needed> {
    let needed = || Needed::from(NEEDED);
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split).ok_or_else(needed)?;
    let shift = unit_shift(unit.strip_prefix(' ').unwrap_or(unit)).ok_or_else(needed)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
        return Err(needed());
    }
    // Exact arithmetic: 0.1g must not depend on how floating point rounds. More digits than this carry nothing.
    let fraction = fraction.get(..12).unwrap_or(fraction);
    let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| needed())?;
    let scale = u32::try_from(fraction.len()).ok().and_then(|places| 10u128.checked_pow(places)).ok_or_else(needed)?;
    let bytes = digits.checked_mul(1u128 << shift).ok_or_else(needed)? / scale;
    u64::try_from(bytes).ok().filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(needed)
}

/// As [`parse`], but not zero.
///
/// # Errors
///
/// As [`parse`].
pub fn positive(text: &str) -> Result<u64, Needed> {
    parse(text)?.checked_sub(1).map(|less| less + 1).ok_or_else(|| "a size above 0, like 512m or 2g, is needed".into())
}

/// The memory limit of a container: at least 6 MiB, below which no program starts.
///
/// # Errors
///
/// As [`parse`], and sizes that are too small.
pub fn memory(text: &str) -> Result<u64, Needed> {
    let bytes = parse(text)?;
    if bytes < 6 << 20 { Err("a size of at least 6m is needed, like 512m or 2g".into()) } else { Ok(bytes) }
}

/// Memory plus swap: a size, or -1 for no limit.
///
/// # Errors
///
/// As [`parse`].
pub fn memory_swap(text: &str) -> Result<i64, Needed> {
    if text == "-1" {
        return Ok(-1);
    }
    let needed = || Needed::from("a size like 512m or 2g (memory plus swap), or -1 for no limit, is needed");
    let bytes = parse(text).map_err(|_| needed())?;
    i64::try_from(bytes).ok().filter(|bytes| *bytes > 0).ok_or_else(needed)
}

fn unit_shift(unit: &str) -> Option<u32> {
    let unit = unit.to_ascii_lowercase();
    let letter = match unit.as_str() {
        "" | "b" => return Some(0),
        // `k`, `kb`, `kib`.
        other => other.strip_suffix("ib").or_else(|| other.strip_suffix('b')).unwrap_or(other).to_owned(),
    };
    match letter.as_str() {
        "k" => Some(10),
        "m" => Some(20),
        "g" => Some(30),
        "t" => Some(40),
        "p" => Some(50),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_docker_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("512m", 512 << 20),
            ("1g", 1 << 30),
            ("1G", 1 << 30),
            ("1gb", 1 << 30),
            ("1.5GiB", 3 << 29),
            ("1.5 GiB", 3 << 29),
            ("2t", 2 << 40),
            ("1p", 1 << 50),
            ("0.1k", 102),
            ("64kb", 64 << 10),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size() {
        for text in [
            "", "m", "12q", "-1", "-5m", "1.", ".5g", "1..5g", "1.2.3", "5 mm", "5  m", "1e3", "9999999p", "ib", "5ib",
            "é", "1é",
        ] {
            assert_eq!(parse(text), Err(NEEDED.into()), "{text}");
        }
    }

    #[test]
    fn limits_have_a_floor() {
        assert_eq!(memory("6m"), Ok(6 << 20));
        assert!(memory("5m").is_err());
        assert!(memory("0").is_err());
        assert_eq!(positive("1"), Ok(1));
        assert!(positive("0").is_err());
        assert_eq!(memory_swap("-1"), Ok(-1));
        assert_eq!(memory_swap("1g"), Ok(1 << 30));
        assert!(memory_swap("-2").is_err());
        assert!(memory_swap("0").is_err());
    }
}

//! Points in time: `10m` ago, seconds since 1970, RFC 3339.

use super::Needed;

const SECOND: i64 = 1_000_000_000;

/// Nanoseconds since 1970 from a duration before `now` (`90s`, `1h30m`), a number of seconds since 1970, or a date
/// (`2026-01-02`, `2026-01-02T15:04:05`, with `Z` or `+02:00`; without a zone it is UTC).
///
/// # Errors
///
/// Anything else.
pub fn since(text: &str, now: i64) -> Result<i64, Needed> {
    let found = duration(text).map(|ago| now.saturating_sub(ago)).or_else(|| epoch(text)).or_else(|| date(text));
    found.ok_or_else(|| "a duration like 10m, a time like 2026-01-02T15:04:05Z, or seconds since 1970 is needed".into())
}

/// Nanoseconds of a length of time as Go writes it: `30s`, `1m30s`, `1.5h`, `250ms`; `0` needs no unit.
///
/// # Errors
///
/// Anything else, negative ones included.
pub fn length(text: &str) -> Result<u64, Needed> {
    let needed = || Needed::from("a time like 30s, 1m30s or 500ms is needed");
    if text == "0" {
        return Ok(0);
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(needed)?;
        let (number, after) = rest.split_at(split);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let unit: u64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(needed()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 {
            return Err(needed());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| needed())? };
        let parts: u64 = format!("{fraction:0<9}").parse().map_err(|_| needed())?;
        let nanos = u64::try_from(u128::from(parts) * u128::from(unit) / 1_000_000_000).map_err(|_| needed())?;
        total = whole.checked_mul(unit).and_then(|w| w.checked_add(nanos)?.checked_add(total)).ok_or_else(needed)?;
        rest = next;
    }
    if text.is_empty() { Err(needed()) } else { Ok(total) }
}

/// `1h30m`, `90s`, `2d`; a unit is needed.
fn duration(text: &str) -> Option<i64> {
    let mut total = 0i64;
    let mut rest = text;
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest.get(..split)?.parse().ok()?;
        let unit_end = rest.get(split..)?.find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| split + at);
        let unit = match rest.get(split..unit_end)? {
            "ms" => SECOND / 1000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            "d" => 86_400 * SECOND,
            _ => return None,
        };
        total = total.checked_add(count.checked_mul(unit)?)?;
        rest = rest.get(unit_end..)?;
    }
    (!text.is_empty()).then_some(total)
}

fn epoch(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = digits(seconds)?;
    seconds.checked_mul(SECOND)?.checked_add(nanos(fraction)?)
}

fn nanos(fraction: &str) -> Option<i64> {
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{fraction:0<9}").parse().ok()
}

fn digits(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn date(text: &str) -> Option<i64> {
    let (day, clock) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00Z"));
    let mut parts = day.split('-');
    let (year, month, date) = (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&date) || year > 9999 {
        return None;
    }
    let (clock, offset) = match clock.strip_suffix('Z') {
        Some(clock) => (clock, 0),
        None => match clock.rfind(['+', '-']) {
            Some(at) => (clock.get(..at)?, zone(clock.get(at..)?)?),
            None => (clock, 0),
        },
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let (hour, minute) = (digits(parts.next()?)?, digits(parts.next()?)?);
    let second = parts.next().map_or(Some(0), digits)?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_since_epoch(year, month, date) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(SECOND)?.checked_add(nanos(fraction)?)
}

/// Seconds of `+02:00`.
fn zone(text: &str) -> Option<i64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    Some(sign * (digits(hours)? * 3600 + digits(minutes)? * 60))
}

/// Days from 1970-01-01 in the Gregorian calendar (Howard Hinnant's algorithm: years start in March).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000 * SECOND;

    #[test]
    fn lengths_are_read_as_go_reads_them() {
        for (text, nanos) in [
            ("0", 0),
            ("30s", 30 * 1_000_000_000),
            ("1m30s", 90 * 1_000_000_000),
            ("1.5h", 5400 * 1_000_000_000),
            (".5s", 500_000_000),
            ("250ms", 250_000_000),
            ("1ns", 1),
        ] {
            assert_eq!(super::length(text).unwrap(), nanos, "{text}");
        }
        for wrong in ["", "5", "s", "-1s", "1d", "1.2.3s", "99999999999h", ".s"] {
            assert!(super::length(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn durations_dates_and_seconds() {
        for (text, seconds) in [
            ("90s", 1_800_000_000 - 90),
            ("1h30m", 1_800_000_000 - 5400),
            ("2d", 1_800_000_000 - 172_800),
            ("1700000000", 1_700_000_000),
            ("2023-11-14T22:13:20Z", 1_700_000_000),
            ("2023-11-15T00:13:20+02:00", 1_700_000_000),
            ("2023-11-14T17:13:20-05:00", 1_700_000_000),
            ("2023-11-14 22:13:20", 1_700_000_000),
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
        ] {
            assert_eq!(since(text, NOW), Ok(seconds * SECOND), "{text}");
        }
        assert_eq!(since("1.5", NOW), Ok(SECOND * 3 / 2));
        assert_eq!(since("1970-01-01T00:00:01.25Z", NOW), Ok(SECOND * 5 / 4));
    }

    #[test]
    fn what_is_no_time() {
        for text in ["", "x", "m", "10x", "5m3", "2023-13-01", "2023-1", "2023-01-01T25:00:00Z", "-5m", "1.1234567890"]
        {
            assert!(since(text, NOW).is_err(), "{text}");
        }
    }
}

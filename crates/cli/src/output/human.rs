//! Durations, sizes and times in the words that Docker uses.

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;

/// Now, in nanoseconds since 1970.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// `Less than a second`, `5 seconds`, `About a minute`, `3 hours`, `2 weeks`; `nanos` is a length of time.
pub fn duration(nanos: i64) -> String {
    let seconds = nanos.max(0) / SECOND;
    let minutes = seconds / 60;
    // Docker rounds hours to the nearest.
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., 2..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1440) => format!("{} weeks", hours / 24 / 7),
        (.., 1440..17_520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// `7.83MB`: three digits, units of 1000, as Docker shows images.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut unit = 1u64;
    let mut names = UNITS.into_iter().peekable();
    // 999.5 of a unit would be shown as 1000: that is one of the next.
    while let Some(name) = names.next() {
        let last = names.peek().is_none();
        let tenths = |scale: u64| (u128::from(bytes) * u128::from(scale) + u128::from(unit) / 2) / u128::from(unit);
        if tenths(1) >= 1000 && !last {
            unit = unit.saturating_mul(1000);
            continue;
        }
        let decimals: usize = match tenths(100) {
            0..1000 => 2,
            _ if tenths(10) < 1000 => 1,
            _ => 0,
        };
        let scale = [1u64, 10, 100].get(decimals).copied().unwrap_or(1);
        let digits = tenths(scale);
        let (whole, rest) = (digits / u128::from(scale), digits % u128::from(scale));
        let fraction = if decimals == 0 { String::new() } else { format!(".{rest:0decimals$}") };
        let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
        return format!("{whole}{fraction}{name}");
    }
    format!("{bytes}B")
}

/// Year, month, day, hour, minute, second in UTC, and nanoseconds.
fn civil(nanos: i64) -> (i64, i64, i64, i64, i64, i64, i64) {
    let seconds = nanos.div_euclid(SECOND);
    let days = seconds.div_euclid(86_400);
    let clock = seconds.rem_euclid(86_400);
    // Howard Hinnant's algorithm: eras of 400 years that start in March of year 0.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * index + 2) / 5 + 1;
    let month = if index < 10 { index + 3 } else { index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day, clock / 3600, clock / 60 % 60, clock % 60, nanos.rem_euclid(SECOND))
}

/// `2026-01-02T15:04:05.000000000Z`.
pub fn rfc3339(nanos: i64) -> String {
    let (year, month, day, hour, minute, second, rest) = civil(nanos);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:09}Z")
}

/// `2026-01-02 15:04:05 +0000 UTC`, as Docker's `CreatedAt`.
pub fn created_at(nanos: i64) -> String {
    let (year, month, day, hour, minute, second, _) = civil(nanos);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
}

/// The first `width` characters, the last of them `…` when something was cut.
pub fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_dockers_words() {
        for (seconds, words) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (180, "3 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (13 * 86_400, "13 days"),
            (14 * 86_400, "2 weeks"),
            (60 * 86_400, "2 months"),
            (730 * 86_400, "2 years"),
        ] {
            assert_eq!(duration(seconds * SECOND), words, "{seconds}");
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1024, "1.02kB"),
            (7_834_567, "7.83MB"),
            (78_300_000, "78.3MB"),
            (187_400_000, "187MB"),
            (999_999, "1MB"),
            (9_999, "10kB"),
            (1_500_000_000, "1.5GB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn times_in_utc() {
        assert_eq!(rfc3339(1_700_000_000 * SECOND + 5), "2023-11-14T22:13:20.000000005Z");
        assert_eq!(rfc3339(951_782_400 * SECOND), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(created_at(0), "1970-01-01 00:00:00 +0000 UTC");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(ellipsis("abcd", 4), "abcd");
    }
}

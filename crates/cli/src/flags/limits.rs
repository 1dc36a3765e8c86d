//! CPU, process and block weight limits.

use super::Needed;

/// Thousandths of a CPU.
///
/// # Errors
///
/// Anything but a number from 0.01 with up to three decimals.
pub fn cpus(text: &str) -> Result<u64, Needed> {
    let needed =
        || Needed::from("a number of CPUs like 0.5 or 2 is needed, at least 0.01, with three decimals at most");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = fraction.trim_end_matches('0');
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || fraction.len() > 3 {
        return Err(needed());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| needed())? };
    let milli: u64 = format!("{fraction:0<3}").parse().map_err(|_| needed())?;
    let total = whole.checked_mul(1000).and_then(|value| value.checked_add(milli)).ok_or_else(needed)?;
    // The kernel takes no quota below 1 ms in a period of 100 ms. No machine has a million CPUs.
    if (10..1_000_000_000).contains(&total) { Ok(total) } else { Err(needed()) }
}

/// `--cpu-shares`.
///
/// # Errors
///
/// Anything but a number from 2 to 262144.
pub fn cpu_shares(text: &str) -> Result<u64, Needed> {
    let shares = text.parse().ok().filter(|shares| (2..=262_144).contains(shares));
    shares.ok_or_else(|| "a number from 2 to 262144 is needed (1024 is the usual weight)".into())
}

/// A list of CPUs or memory nodes as the kernel writes it: `0-1,3`.
///
/// # Errors
///
/// Anything else, and ranges that run backwards.
pub fn cpu_list(text: &str) -> Result<String, Needed> {
    let good = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok())?;
        matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
    };
    if text.split(',').all(good) { Ok(text.to_owned()) } else { Err("a list like 0-1,3 is needed".into()) }
}

/// `--pids-limit`.
///
/// # Errors
///
/// Anything but a number from 1, or -1.
pub fn pids(text: &str) -> Result<i64, Needed> {
    let limit = text.parse().ok().filter(|limit| *limit == -1 || *limit > 0);
    limit.ok_or_else(|| "a number of processes from 1, or -1 for no limit, is needed".into())
}

/// `--blkio-weight`.
///
/// # Errors
///
/// Anything but a number from 10 to 1000.
pub fn blkio_weight(text: &str) -> Result<u16, Needed> {
    let weight = text.parse().ok().filter(|weight| (10..=1000).contains(weight));
    weight.ok_or_else(|| "a number from 10 to 1000 is needed".into())
}

/// `--cpu-period`: what the kernel takes, in microseconds.
///
/// # Errors
///
/// Anything but a number from 1000 to 1000000; 0 is Docker's word for nothing asked.
pub fn cpu_period(text: &str) -> Result<Option<u64>, Needed> {
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(period @ 1000..=1_000_000) => Ok(Some(period)),
        _ => Err("a number of microseconds from 1000 to 1000000 is needed".into()),
    }
}

/// `--cpu-quota`, in microseconds.
///
/// # Errors
///
/// Anything but a number from 1000, or -1; 0 is Docker's word for nothing asked.
pub fn cpu_quota(text: &str) -> Result<Option<i64>, Needed> {
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(quota) if quota == -1 || quota >= 1000 => Ok(Some(quota)),
        _ => Err("a number of microseconds from 1000, or -1 for no limit, is needed".into()),
    }
}

/// `--memory-swappiness`.
///
/// # Errors
///
/// Anything but a number from 0 to 100, or -1 for the host's own.
pub fn swappiness(text: &str) -> Result<Option<u64>, Needed> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(number @ 0..=100) => Ok(u64::try_from(number).ok()),
        _ => Err("a number from 0 to 100, or -1 for the host's own, is needed".into()),
    }
}

/// `--oom-score-adj`.
///
/// # Errors
///
/// Anything but a number from -1000 to 1000.
pub fn oom_score_adj(text: &str) -> Result<i32, Needed> {
    let score = text.parse().ok().filter(|score| (-1000..=1000).contains(score));
    score.ok_or_else(|| "a number from -1000 to 1000 is needed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_thousandths() {
        for (text, milli) in [("1.5", 1500), ("2", 2000), ("0.01", 10), (".5", 500), ("1.", 1000), ("0.2500", 250)] {
            assert_eq!(cpus(text), Ok(milli), "{text}");
        }
        for text in ["", ".", "0", "0.0", "-1", "0.001", "1.0001", "1,5", "two", "1e2", "+1", "99999999999999999999"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_as_the_kernel_writes_them() {
        for text in ["0", "0-1", "0-1,3", "7,5"] {
            assert_eq!(cpu_list(text).as_deref(), Ok(text));
        }
        for text in ["", ",", "0-", "-1", "3-1", "a", "0,,1", "0 1", "0\n1", "+1"] {
            assert!(cpu_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quotas_are_what_the_kernel_takes() {
        assert_eq!((cpu_period("0"), cpu_period("1000")), (Ok(None), Ok(Some(1000))));
        assert_eq!((cpu_quota("-1"), cpu_quota("0"), cpu_quota("50000")), (Ok(Some(-1)), Ok(None), Ok(Some(50_000))));
        assert_eq!((swappiness("-1"), swappiness("0"), swappiness("100")), (Ok(None), Ok(Some(0)), Ok(Some(100))));
        for text in ["", "x", "-2", "999999999999999999999"] {
            assert!(cpu_period(text).is_err() && cpu_quota(text).is_err() && swappiness(text).is_err(), "{text}");
        }
        assert!(cpu_period("999").is_err() && cpu_period("1000001").is_err() && cpu_quota("999").is_err());
        assert!(swappiness("101").is_err());
    }

    #[test]
    fn ranges_are_kept() {
        assert_eq!((cpu_shares("2"), cpu_shares("262144")), (Ok(2), Ok(262_144)));
        assert!(cpu_shares("1").is_err() && cpu_shares("262145").is_err() && cpu_shares("x").is_err());
        assert_eq!((pids("-1"), pids("100")), (Ok(-1), Ok(100)));
        assert!(pids("0").is_err() && pids("-2").is_err());
        assert_eq!(blkio_weight("10"), Ok(10));
        assert!(blkio_weight("9").is_err() && blkio_weight("1001").is_err() && blkio_weight("70000").is_err());
        assert_eq!(oom_score_adj("-1000"), Ok(-1000));
        assert!(oom_score_adj("1001").is_err());
    }
}

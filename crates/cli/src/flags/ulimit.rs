//! `--ulimit NAME=SOFT[:HARD]`.

use super::Needed;

/// The names of the kernel's limits, without `RLIMIT_`.
const NAMES: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// (name, soft, hard); `u64::MAX` is unlimited, written `-1` or `unlimited`. Without `:HARD` both are the same.
///
/// # Errors
///
/// An unknown name, a value that is no number, a soft limit above the hard one.
pub fn parse(text: &str) -> Result<(String, u64, u64), Needed> {
    let form = "NAME=SOFT[:HARD] is needed, like nofile=1024:2048 or core=-1";
    let (name, limits) = text.split_once('=').ok_or(form)?;
    if !NAMES.contains(&name) {
        return Err(format!("the name must be one of {}", NAMES.join(", ")).into());
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (limit(soft).ok_or(form)?, limit(hard).ok_or(form)?);
    if soft > hard {
        return Err("the soft limit must not be above the hard one".into());
    }
    Ok((name.to_owned(), soft, hard))
}

fn limit(text: &str) -> Option<u64> {
    match text {
        "-1" | "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_with_and_without_a_hard_value() {
        assert_eq!(parse("nofile=1024"), Ok(("nofile".to_owned(), 1024, 1024)));
        assert_eq!(parse("nofile=1024:2048"), Ok(("nofile".to_owned(), 1024, 2048)));
        assert_eq!(parse("core=-1"), Ok(("core".to_owned(), u64::MAX, u64::MAX)));
        assert_eq!(parse("memlock=5:unlimited"), Ok(("memlock".to_owned(), 5, u64::MAX)));
    }

    #[test]
    fn wrong_limits() {
        for text in [
            "",
            "nofile",
            "nofile=",
            "nofile=a",
            "nofile=1:",
            "nofile=1:2:3",
            "files=1",
            "nofile=2:1",
            "core=-2",
            "core=-1:5",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("files=1").unwrap_err().contains("nofile"));
    }
}

//! `KEY=VALUE` flags: labels, kernel parameters, cgroup files.

use super::Needed;

/// `-l KEY[=VALUE]`.
///
/// # Errors
///
/// An empty key.
pub fn label(text: &str) -> Result<(String, String), Needed> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.trim().is_empty() {
        return Err("KEY=VALUE is needed".into());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `--annotation KEY=VALUE`.
///
/// # Errors
///
/// An empty key, or no value.
pub fn annotation(text: &str) -> Result<(String, String), Needed> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("KEY=VALUE is needed".into()),
    }
}

/// `--sysctl NAME=VALUE`; a name may be written with slashes or dots and comes back with dots.
///
/// # Errors
///
/// A name that is none, or no value.
pub fn sysctl(text: &str) -> Result<(String, String), Needed> {
    let needed = || Needed::from("NAME=VALUE is needed, like net.core.somaxconn=1024");
    let (name, value) = text.split_once('=').ok_or_else(needed)?;
    let name = name.trim().replace('/', ".");
    let good = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if !name.contains('.') || !name.split('.').all(good) || value.trim().is_empty() {
        return Err(needed());
    }
    Ok((name, value.trim().to_owned()))
}

/// `--cgroup-conf FILE=VALUE`: a file of cgroup v2 such as `memory.high`.
///
/// # Errors
///
/// Anything that is not the name of such a file: it must not lead out of the cgroup.
pub fn cgroup_conf(text: &str) -> Result<(String, String), Needed> {
    let needed = || Needed::from("FILE=VALUE is needed, like memory.high=1073741824");
    let (file, value) = text.split_once('=').ok_or_else(needed)?;
    let good = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if !file.contains('.') || !file.split('.').all(good) || value.is_empty() {
        return Err(needed());
    }
    // These decide who is in the cgroup and what it may delegate; they are the engine's.
    if file.starts_with("cgroup.") {
        return Err(
            format!("{file} belongs to the engine; files of a controller are accepted, like memory.high").into()
        );
    }
    Ok((file.to_owned(), value.to_owned()))
}

/// A host name of up to 63 characters for each part and 64 in all, the limit of the kernel.
///
/// # Errors
///
/// Any other text.
pub fn hostname(text: &str) -> Result<String, Needed> {
    let good = |part: &str| {
        let inner = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        inner && !part.is_empty() && part.len() <= 63 && !part.starts_with('-') && !part.ends_with('-')
    };
    if text.len() <= 64 && text.split('.').all(good) {
        Ok(text.to_owned())
    } else {
        Err("letters, digits, '-' and '.' are needed, 64 at most, without '-' at an end".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> Result<(String, String), Needed> {
        Ok((key.to_owned(), value.to_owned()))
    }

    #[test]
    fn labels_may_be_empty() {
        assert_eq!(label("a=b=c"), pair("a", "b=c"));
        assert_eq!(label("a"), pair("a", ""));
        assert!(label("").is_err() && label("=x").is_err());
    }

    #[test]
    fn sysctls_are_dotted_names() {
        assert_eq!(sysctl("net.core.somaxconn=5"), pair("net.core.somaxconn", "5"));
        assert_eq!(sysctl("net/core/somaxconn = 5"), pair("net.core.somaxconn", "5"));
        for text in ["", "a", "a=1", "net..x=1", "net.x", "net.x=", "../x=1", "net. x=1"] {
            assert!(sysctl(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cgroup_files_stay_in_the_cgroup() {
        assert_eq!(cgroup_conf("memory.high=1"), pair("memory.high", "1"));
        assert_eq!(cgroup_conf("io.max=8:0 rbps=1"), pair("io.max", "8:0 rbps=1"));
        assert_eq!(cgroup_conf("hugetlb.2MB.max=1"), pair("hugetlb.2MB.max", "1"));
        for text in ["memory.high", "memory=1", "../memory.max=1", "a/b.c=1", "memory.high=", ".x=1", "cgroup.procs=1"]
        {
            assert!(cgroup_conf(text).is_err(), "{text}");
        }
    }

    #[test]
    fn host_names() {
        assert!(hostname("web-1.example.org").is_ok() && hostname("a").is_ok());
        for text in ["", "-a", "a-", "a..b", "a b", &"x".repeat(64), &"ab.".repeat(22)] {
            assert!(hostname(text).is_err(), "{text}");
        }
    }
}

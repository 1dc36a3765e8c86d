//! Paths in flags: absolute, in one form, and without `..`.

use std::path::{Component, Path, PathBuf};

use super::Needed;

/// A path inside the container: absolute, not `/`, without `..`; double slashes and `.` are taken out.
///
/// # Errors
///
/// Any other text.
pub fn target(text: &str) -> Result<PathBuf, Needed> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(format!("the path in the container must be absolute, and {text:?} is not").into());
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("the path in the container must not contain \"..\"".into());
    }
    let clean: PathBuf = path.components().collect();
    if clean == Path::new("/") {
        return Err("the path in the container must not be \"/\"".into());
    }
    Ok(clean)
}

/// A path on the host, made absolute: below `cwd` when relative, below `home` when it starts with `~/`.
///
/// `..` is kept: only the kernel knows where it leads when a link is on the way.
///
/// # Errors
///
/// `~` without a home, and `~user`.
pub fn source(text: &str, cwd: &Path, home: Option<&Path>) -> Result<PathBuf, Needed> {
    if text.contains('\0') {
        return Err("a path without a zero byte is needed".into());
    }
    if let Some(rest) = text.strip_prefix('~') {
        let home = home.ok_or("a path without \"~\" is needed, because HOME is not set")?;
        return match rest.strip_prefix('/') {
            Some(below) => Ok(home.join(below)),
            None if rest.is_empty() => Ok(home.to_owned()),
            None => Err("\"~user\" is not understood; write the directory out".into()),
        };
    }
    // components() takes out "." and double slashes.
    Ok(cwd.join(text).components().collect())
}

/// A volume's name by Docker's rule.
///
/// # Errors
///
/// Any other text.
pub fn volume_name(text: &str) -> Result<String, Needed> {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && text.len() <= 255 {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is no volume name ([a-zA-Z0-9][a-zA-Z0-9_.-]*); a directory of the host starts with / or ./"
        )
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_absolute_and_clean() {
        assert_eq!(target("/a//b/./c/"), Ok(PathBuf::from("/a/b/c")));
        for text in ["", "a", "/", "//", "/.", "/a/../b", ".."] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sources_become_absolute() {
        let cwd = Path::new("/work");
        let home = Some(Path::new("/home/a"));
        assert_eq!(source("./x", cwd, home), Ok("/work/x".into()));
        assert_eq!(source(".", cwd, home), Ok("/work".into()));
        assert_eq!(source("../x", cwd, home), Ok("/work/../x".into()));
        assert_eq!(source("/x/", cwd, home), Ok("/x".into()));
        assert_eq!(source("~", cwd, home), Ok("/home/a".into()));
        assert_eq!(source("~/x", cwd, home), Ok("/home/a/x".into()));
        assert!(source("~bob/x", cwd, home).is_err());
        assert!(source("~/x", cwd, None).is_err());
        assert!(source("a\0b", cwd, home).is_err());
    }

    #[test]
    fn volume_names() {
        assert!(volume_name("data-1.x_y").is_ok() && volume_name("a").is_ok());
        for text in ["", "-a", "a/b", "a b", "ä"] {
            assert!(volume_name(text).is_err(), "{text}");
        }
    }
}

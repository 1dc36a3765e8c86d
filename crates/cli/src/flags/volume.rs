//! `-v SOURCE:TARGET[:OPTIONS]` and `--tmpfs TARGET[:OPTIONS]`.

use std::path::PathBuf;

use bulkhead_engine::request::{MountRequest, VolumesFrom};

use super::mount::Place;
use super::{Needed, path, size};

const FORM: &str = "[SOURCE:]TARGET[:OPTIONS] is needed, like ./data:/data:ro";

/// A `-v`: a source that starts with `/`, `.` or `~` is a directory of the host, any other a volume's name; without a
/// source it is an anonymous volume.
///
/// # Errors
///
/// What is wrong, and what would be accepted.
pub fn parse(text: &str, place: &Place) -> Result<MountRequest, Needed> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(FORM.into()),
    };
    let target = path::target(target)?;
    let (mut read_only, mut exec, mut no_copy) = (false, false, false);
    let listed = parts.len() == 3;
    for option in options.split(',').filter(|_| listed) {
        match option {
            "nocopy" => no_copy = true,
            "ro" => read_only = true,
            "rw" => read_only = false,
            "exec" => exec = true,
            "noexec" => exec = false,
            // What is so without a word: private propagation, and no set-user-id programs and devices. SELinux labels
            // and macOS caching do nothing here; files that people share with other machines carry them.
            "z" | "Z" | "private" | "rprivate" | "nosuid" | "nodev" | "cached" | "delegated" | "consistent" => {}
            "suid" | "dev" => {
                return Err(format!(
                    "{option} is not given to any mount: set-user-id programs work only with --security-opt no-new-privileges=false, and devices are not reached through files"
                )
                .into());
            }
            "shared" | "rshared" | "slave" | "rslave" => {
                return Err(format!(
                    "the propagation {option} is refused: mounts of the host stay out of containers, and theirs out of the host"
                )
                .into());
            }
            other => {
                return Err(format!(
                    "the option {other:?} is unknown; ro, rw, exec, noexec, nocopy, z and Z are known"
                )
                .into());
            }
        }
    }
    match source {
        None => Ok(volume(None, target, read_only, exec, no_copy)),
        Some("") => Err(FORM.into()),
        Some(source) if source.starts_with(['/', '.', '~']) && no_copy => {
            Err(format!("nocopy goes with a volume, and {source:?} is a directory of the host").into())
        }
        Some(source) if source.starts_with(['/', '.', '~']) => {
            let source = path::source(source, &place.cwd, place.home.as_deref())?;
            Ok(MountRequest::Bind { source, target, read_only, exec, create_source: true, recursive: true })
        }
        Some(name) => Ok(volume(Some(path::volume_name(name)?), target, read_only, exec, no_copy)),
    }
}

/// Options of `--tmpfs` that change nothing.
const TMPFS_PLAIN: [&str; 15] = [
    "defaults",
    "nosuid",
    "nodev",
    "private",
    "rprivate",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "sync",
    "async",
];
fn volume(name: Option<String>, target: PathBuf, read_only: bool, exec: bool, no_copy: bool) -> MountRequest {
    let (subpath, labels, options, anonymous) = (None, Vec::new(), Vec::new(), false);
    MountRequest::Volume { name, target, read_only, exec, no_copy, subpath, labels, options, anonymous }
}

/// A `--volumes-from`: a container, and `ro` or `rw`.
///
/// # Errors
///
/// What is wrong, and what would be accepted.
pub fn from(text: &str) -> Result<VolumesFrom, Needed> {
    let (container, mode) = text.split_once(':').unwrap_or((text, "rw"));
    let read_only = match mode {
        "ro" => true,
        "rw" | "z" | "Z" => false,
        _ => return Err("CONTAINER[:ro|rw] is needed".into()),
    };
    if container.is_empty() {
        return Err("CONTAINER[:ro|rw] is needed".into());
    }
    Ok(VolumesFrom { container: container.to_owned(), read_only })
}

/// A `--tmpfs`.
///
/// # Errors
///
/// What is wrong, and what would be accepted.
pub fn tmpfs(text: &str) -> Result<MountRequest, Needed> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let target = path::target(target)?;
    let (mut bytes, mut mode, mut exec, mut read_only) = (None, None, false, false);
    let (mut uid, mut gid, mut inodes) = (0, 0, None);
    let id = |text: &str| text.parse::<u32>().map_err(|_| Needed::from("uid and gid are numbers, as seen inside"));
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => bytes = Some(size::positive(value)?),
            Some(("mode", value)) => mode = Some(octal_mode(value)?),
            Some(("uid", value)) => uid = id(value)?,
            Some(("gid", value)) => gid = id(value)?,
            Some(("nr_inodes", value)) => {
                let number = value.parse().ok().filter(|n| (2..=1 << 24).contains(n));
                inodes = Some(number.ok_or("nr_inodes must be a number from 2 to 16777216")?);
            }
            None if option == "ro" => read_only = true,
            None if option == "rw" => read_only = false,
            None if option == "exec" => exec = true,
            None if option == "noexec" => exec = false,
            // What is so without a word, and what means nothing in memory.
            None if TMPFS_PLAIN.contains(&option) => {}
            None if matches!(option, "suid" | "dev") => {
                return Err(format!("{option} is never given: memory holds no set-user-id programs and devices").into());
            }
            _ => {
                return Err(format!(
                    "the option {option:?} is unknown; size=, mode=, uid=, gid=, nr_inodes=, ro, rw, exec and noexec are known"
                )
                .into());
            }
        }
    }
    Ok(MountRequest::Tmpfs { target, size: bytes, mode, exec, read_only, uid, gid, inodes })
}

/// Permission bits in octal.
pub(super) fn octal_mode(text: &str) -> Result<u32, Needed> {
    let octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o7777);
    mode.ok_or_else(|| "an octal mode like 1777 or 0700 is needed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { cwd: "/work".into(), home: Some("/home/a".into()) }
    }

    fn bind(source: &str, target: &str, read_only: bool, exec: bool) -> MountRequest {
        let (source, target) = (source.into(), target.into());
        MountRequest::Bind { source, target, read_only, exec, create_source: true, recursive: true }
    }

    fn volume(name: Option<&str>, target: &str, read_only: bool, exec: bool) -> MountRequest {
        super::volume(name.map(str::to_owned), target.into(), read_only, exec, false)
    }

    #[test]
    fn mounts_of_other_containers() {
        let made = |container: &str, read_only| VolumesFrom { container: container.to_owned(), read_only };
        assert_eq!(from("web"), Ok(made("web", false)));
        assert_eq!(from("web:rw"), Ok(made("web", false)));
        assert_eq!(from("web:ro"), Ok(made("web", true)));
        for text in ["", ":ro", "web:", "web:exec"] {
            assert!(from(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sources_decide_the_kind() {
        let parse = |text| parse(text, &place()).unwrap();
        assert_eq!(parse("/a:/b"), bind("/a", "/b", false, false));
        assert_eq!(parse("./a:/b:ro"), bind("/work/a", "/b", true, false));
        assert_eq!(parse(".:/b:exec,ro,z"), bind("/work", "/b", true, true));
        assert_eq!(parse("~/a:/b:rw,noexec"), bind("/home/a/a", "/b", false, false));
        assert_eq!(parse("data:/b"), volume(Some("data"), "/b", false, false));
        assert_eq!(parse("/b"), volume(None, "/b", false, false));
        let bare = super::volume(Some("data".to_owned()), "/b".into(), true, false, true);
        assert_eq!(parse("data:/b:nocopy,ro"), bare);
    }

    #[test]
    fn wrong_specifications() {
        for text in [
            "",
            ":",
            "/a:",
            ":/b",
            "/a:b",
            "/a:/",
            "/a:/b:",
            "/a:/b:rx",
            "/a:/b:ro:z",
            "a/b:/c",
            "/a:/b/../c",
            "/a:/b:shared",
            "/a:/b:nocopy",
            "data:/b:suid",
            "data:/b:dev",
            "data:/b:rslave",
        ] {
            assert!(parse(text, &place()).is_err(), "{text}");
        }
        assert!(parse("a/b:/c", &place()).unwrap_err().contains("./"));
    }

    #[test]
    fn tmpfs_options() {
        let plain = MountRequest::Tmpfs {
            target: "/t".into(),
            size: None,
            mode: None,
            exec: false,
            read_only: false,
            uid: 0,
            gid: 0,
            inodes: None,
        };
        assert_eq!(tmpfs("/t"), Ok(plain));
        let full = MountRequest::Tmpfs {
            target: "/t".into(),
            size: Some(1 << 20),
            mode: Some(0o1770),
            exec: true,
            read_only: true,
            uid: 5,
            gid: 6,
            inodes: Some(10),
        };
        assert_eq!(tmpfs("/t:size=1m,mode=1770,exec,ro,nosuid,uid=5,gid=6,nr_inodes=10,noatime"), Ok(full));
        for text in [
            "",
            "t",
            "/",
            "/t:size=0",
            "/t:size=50%",
            "/t:mode=8",
            "/t:mode=",
            "/t:mode=17777",
            "/t:suid",
            "/t:dev",
            "/t:uid=root",
            "/t:uid=-1",
            "/t:nr_inodes=0",
            "/t:size=1m,size",
            "/t:mode=+7",
        ] {
            assert!(tmpfs(text).is_err(), "{text}");
        }
    }
}

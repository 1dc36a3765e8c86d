//! Lines of `/proc/PID/mountinfo` (`proc_pid_mountinfo(5)`), and the hierarchies of control groups without it.

use std::fmt::Write as _;
use std::path::Path;

use bulkhead_sys::{Errno, fd};

/// Where control groups are mounted, and where the caller is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Lines of `mountinfo`: all, or those of control groups.
    pub mountinfo: String,
    /// `/proc/self/cgroup`.
    pub cgroup: String,
}

impl Seen {
    /// Looks where every host has its hierarchies. One that is elsewhere, or of which a part is mounted, is looked for in
    /// `mountinfo`, as with `all`: to make that text costs the kernel more than anything else that is read for a start.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn look(all: bool) -> Result<Self, Errno> {
        let cgroup = fd::text("/proc/self/cgroup").unwrap_or_default();
        let usual = if all { None } else { usual(&cgroup, Path::new("/sys/fs/cgroup"), &whole) };
        let mountinfo = usual.map_or_else(|| fd::text("/proc/self/mountinfo"), Ok)?;
        Ok(Self { mountinfo, cgroup })
    }
}

/// `CGROUP_SUPER_MAGIC` and `CGROUP2_SUPER_MAGIC` of `statfs(2)`.
const MAGICS: [i128; 2] = [0x0027_e0eb, 0x6367_7270];

/// Whether the root of a hierarchy is mounted there.
fn whole(point: &Path, unified: bool) -> bool {
    /// Inode number of the root of every hierarchy.
    const ROOT: u64 = 1;
    rustix::fs::statfs(point).is_ok_and(|s| i128::from(s.f_type) == MAGICS[usize::from(unified)])
        && rustix::fs::stat(point).is_ok_and(|s| s.st_ino == ROOT)
}

/// The lines of the hierarchies that `/proc/self/cgroup` lists, when all of them are where they usually are.
fn usual(cgroup: &str, top: &Path, is_whole: &dyn Fn(&Path, bool) -> bool) -> Option<String> {
    let names = || cgroup.lines().map(|line| line.split(':').nth(1).unwrap_or_default());
    let alone = names().eq([""]);
    let mut text = String::new();
    for name in names() {
        let unified = name.is_empty();
        let point = match name {
            "" if alone => top.to_path_buf(),
            "" => top.join("unified"),
            name => top.join(name.strip_prefix("name=").unwrap_or(name)),
        };
        match is_whole(&point, unified) {
            true => {}
            // Beside version 1 it has no controllers.
            false if unified && !alone => continue,
            false => return None,
        }
        let (point, kind) = (point.to_str()?, if unified { "cgroup2" } else { "cgroup" });
        let options = if unified { "rw".to_owned() } else { format!("rw,{name}") };
        writeln!(text, "0 0 0:0 / {point} rw - {kind} {kind} {options}").ok()?;
    }
    (!text.is_empty()).then_some(text)
}

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Which directory of its file system is shown, escaped.
    pub(crate) root: &'a str,
    /// Where, escaped.
    pub(crate) point: &'a str,
    /// Type of the file system.
    pub(crate) kind: &'a str,
    /// Options of the file system.
    pub(crate) options: &'a str,
}

/// Mounts of these kinds. A host has hundreds of others, whose lines are looked at no further than to see that.
pub(crate) fn of<'a>(mountinfo: &'a str, kinds: &'static [&'static str]) -> impl Iterator<Item = Line<'a>> {
    mountinfo.lines().filter_map(move |line| {
        let bytes = line.as_bytes();
        // Before it stand optional fields, any number of them.
        let dash = (1..bytes.len()).find(|at| bytes.get(at - 1..at + 2) == Some(b" - "))?;
        let (left, right) = (line.get(..dash - 1)?, line.get(dash + 2..)?);
        let end = right.bytes().position(|byte| byte == b' ').unwrap_or(right.len());
        let kind = right.get(..end).filter(|kind| kinds.contains(kind))?;
        let mut left = left.split(' ').skip(3);
        let options = right.split(' ').nth(2).unwrap_or_default();
        Some(Line { root: left.next()?, point: left.next()?, kind, options })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_taken_from_their_usual_places_or_not_at_all() {
        let lines = |cgroup: &str| {
            usual(cgroup, Path::new("/g"), &|point, unified| {
                (point != Path::new("/g/blkio")) && unified == matches!(point.to_str(), Some("/g" | "/g/unified"))
            })
        };
        let hybrid = "4:cpu,cpuacct:/a\n1:name=systemd:/b:c\n0::/\n";
        let text = "0 0 0:0 / /g/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                    0 0 0:0 / /g/systemd rw - cgroup cgroup rw,name=systemd\n0 0 0:0 / /g/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(lines(hybrid).as_deref(), Some(text));
        let without = usual(hybrid, Path::new("/g"), &|_, unified| !unified).unwrap();
        assert!(!without.contains("cgroup2") && without.lines().eq(text.lines().take(2)));
        assert_eq!(lines("0::/x\n").as_deref(), Some("0 0 0:0 / /g rw - cgroup2 cgroup2 rw\n"));
        assert_eq!(lines("4:blkio:/\n1:pids:/\n"), None);
        assert_eq!(lines(""), None);
    }

    /// What is found without the whole text is what is found with it.
    #[test]
    fn this_host_is_seen_alike_both_ways() {
        use crate::cgroup::oci::Own;
        let all_unified = |cgroup: &str| cgroup.lines().all(|line| line.starts_with("0::"));
        let own = |seen: Seen| {
            let mut all = Own::of(&seen.mountinfo, &seen.cgroup).hierarchies;
            all.retain(|h| !h.unified || all_unified(&seen.cgroup));
            all.sort_by(|a, b| a.mount.cmp(&b.mount));
            all
        };
        assert_eq!(own(Seen::look(false).unwrap()), own(Seen::look(true).unwrap()));
    }

    #[test]
    fn optional_fields_and_dashes_are_passed_over() {
        let info = "35 31 0:32 /a\\040b /sys - x rw shared:1 master:2 - cgroup none rw,memory\n\
                    36 31 0:33 / /- rw - proc proc rw\n37 31 0:34 / /t rw - tmpfs tmpfs rw\n38 1 2\n";
        let found: Vec<Line<'_>> = of(info, &["cgroup", "proc"]).collect();
        let line = Line { root: "/", point: "/-", kind: "proc", options: "rw" };
        assert_eq!(found, [line]);
        let info = info.replacen("/sys - x", "/sys-x", 1);
        let first = of(&info, &["cgroup"]).next().unwrap();
        assert_eq!((first.root, first.point, first.options), ("/a\\040b", "/sys-x", "rw,memory"));
    }
}

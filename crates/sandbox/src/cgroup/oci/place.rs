//! Where a group lies: the hierarchies that are mounted, and `linux.cgroupsPath` in each.

use std::path::{Path, PathBuf};

use super::{Ask, LimitError, Place};

/// One mounted hierarchy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers, `name=systemd` of a named one; those that can be used at its top for version 2.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Which group of it the mount shows: `/` but in a container without a cgroup namespace.
    pub root: String,
    /// The caller's own group, as `/proc/self/cgroup` has it.
    pub own: String,
    /// It is version 2.
    pub unified: bool,
}

impl Hierarchy {
    /// The directory of a group of which `/proc/PID/cgroup` has the path.
    #[must_use]
    pub fn directory(&self, path: &str) -> PathBuf {
        self.mount.join(names(below(path, &self.root)).join("/"))
    }
}

/// The hierarchies of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// Each mounted one, once.
    pub hierarchies: Vec<Hierarchy>,
}

impl Own {
    /// Reads them from `/proc`.
    #[must_use]
    pub fn read() -> Self {
        let text = |path| bulkhead_sys::fd::text(path).unwrap_or_default();
        Self::seen(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"))
    }

    /// As [`Own::read`], by a caller who has read `/proc/self/mountinfo` and `/proc/self/cgroup`.
    #[must_use]
    pub fn seen(mountinfo: &str, cgroup: &str) -> Self {
        let mut own = Self::of(mountinfo, cgroup);
        if own.hierarchies.iter().any(|h| !h.unified) {
            // Those of version 1 have them all.
            return own;
        }
        for hierarchy in &mut own.hierarchies {
            let controllers = bulkhead_sys::fd::text(hierarchy.mount.join("cgroup.controllers")).unwrap_or_default();
            hierarchy.controllers = controllers.split_whitespace().map(str::to_owned).collect();
        }
        own
    }

    /// From the texts of `mountinfo` and `cgroup`, see `proc(5)` and `cgroups(7)`.
    #[must_use]
    pub fn of(mountinfo: &str, cgroup: &str) -> Self {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for crate::mountinfo::Line { root, point, kind, options } in
            crate::mountinfo::of(mountinfo, &["cgroup", "cgroup2"])
        {
            let unified = kind == "cgroup2";
            let names: Vec<String> =
                options.split(',').filter(|o| !unified && is_controller(o)).map(str::to_owned).collect();
            // One hierarchy can be mounted in several places; the first will do.
            if hierarchies.iter().any(|h| if unified { h.unified } else { !h.unified && h.controllers == names }) {
                continue;
            }
            let own = own_path(cgroup, unified, &names);
            hierarchies.push(Hierarchy {
                controllers: names,
                mount: PathBuf::from(unescape(point)),
                root: unescape(root),
                own,
                unified,
            });
        }
        Self { hierarchies }
    }
}

/// Options of a v1 mount that are none of its controllers.
fn is_controller(option: &str) -> bool {
    const OTHER: [&str; 8] =
        ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "none"];
    !OTHER.contains(&option) && (!option.contains('=') || option.starts_with("name="))
}

/// `12:cpu,cpuacct:/a`, `1:name=systemd:/a`, `0::/a`.
fn own_path(cgroup: &str, unified: bool, names: &[String]) -> String {
    let line = cgroup.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (listed, path) = (parts.next()?, parts.next()?);
        let found = if unified { listed.is_empty() } else { names.iter().any(|n| listed.split(',').any(|l| l == n)) };
        found.then_some(path)
    });
    line.unwrap_or("/").to_owned()
}

/// `\040` and its kin in `mountinfo`.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out + rest
}

/// The names of a path, `.` and `..` resolved by its text alone; nothing leads above the top.
pub(crate) fn names(path: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names
}

/// The directory in each hierarchy. An absolute path lies below the mount; a relative one, as also the id where there is
/// no path, below the caller's own group, or on version 2 beside it, for a group with processes can have no children
/// that have controllers.
pub(super) fn places(ask: &Ask<'_>, unified: bool) -> Result<Vec<Place>, LimitError> {
    let refuse = |reason: &str| LimitError::new(&format!("linux.cgroupsPath {:?}", ask.path), reason);
    let asked = if ask.path.is_empty() { ask.id } else { ask.path };
    if asked.chars().any(char::is_control) {
        return Err(refuse("a control group's name has no control characters"));
    }
    let inner = names(asked);
    if inner.is_empty() {
        return Err(refuse("it names no group below the top, and the top belongs to the host"));
    }
    if inner.iter().any(|name| name.len() > 255) || asked.len() > 4000 {
        return Err(refuse("a name has at most 255 bytes, a path 4000"));
    }
    let mut places = Vec::new();
    for hierarchy in ask.own.hierarchies.iter().filter(|h| h.unified == unified) {
        let mut directory = hierarchy.mount.clone();
        if !asked.starts_with('/') {
            let mut own = names(below(&hierarchy.own, &hierarchy.root));
            if unified {
                own.pop();
            }
            directory.extend(own);
        }
        directory.extend(&inner);
        let own = hierarchy.directory(&hierarchy.own);
        if own.starts_with(&directory) {
            return Err(refuse("it is the caller's own group, or one above it"));
        }
        places.push(Place { directory, mount: hierarchy.mount.clone(), controllers: hierarchy.controllers.clone() });
    }
    Ok(places)
}

/// The part of a group's path that a mount shows.
fn below<'a>(own: &'a str, root: &str) -> &'a str {
    match own.strip_prefix(root.trim_end_matches('/')) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        // With a cgroup namespace the group's path is relative to it already.
        _ => own,
    }
}

/// The nearest directory on the way to the group that exists.
pub(super) fn nearest<'a>(directory: &'a Path, mount: &'a Path) -> &'a Path {
    directory.ancestors().take_while(|d| d.starts_with(mount)).find(|d| d.is_dir()).unwrap_or(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
         35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
         32 31 0:29 /pod\\040a /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
         33 31 0:29 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct\n\
         40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
         41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
    const CGROUP: &str = "12:memory:/m/x\n4:cpuacct,cpu:/pod a/y\n1:name=systemd:/s.slice\n0::/u/leaf\n";

    fn directories(path: &str, unified: bool) -> Result<Vec<String>, LimitError> {
        let own = Own::of(INFO, CGROUP);
        let none = std::collections::BTreeMap::new();
        let ask =
            Ask { id: "box", path, resources: None, systemd: false, annotations: &none, rootless: false, own: &own };
        places(&ask, unified)
            .map(|all| all.iter().map(|p| p.directory.to_string_lossy().replace("/sys/fs/cgroup/", "")).collect())
    }

    #[test]
    fn every_hierarchy_has_its_directory() {
        let table: [(&str, [&str; 3]); 6] = [
            ("/a/b", ["memory/a/b", "cpu,cpuacct/a/b", "systemd/a/b"]),
            ("a", ["memory/m/x/a", "cpu,cpuacct/y/a", "systemd/s.slice/a"]),
            ("", ["memory/m/x/box", "cpu,cpuacct/y/box", "systemd/s.slice/box"]),
            ("/../../a/./c/..", ["memory/a", "cpu,cpuacct/a", "systemd/a"]),
            ("../../../a", ["memory/m/x/a", "cpu,cpuacct/y/a", "systemd/s.slice/a"]),
            ("/m/x/deeper", ["memory/m/x/deeper", "cpu,cpuacct/m/x/deeper", "systemd/m/x/deeper"]),
        ];
        for (path, wanted) in table {
            assert_eq!(directories(path, false).unwrap(), wanted, "{path}");
        }
        assert_eq!(directories("a", true).unwrap(), ["unified/u/a"]);
        assert_eq!(directories("", true).unwrap(), ["unified/u/box"]);
        assert_eq!(directories("/a", true).unwrap(), ["unified/a"]);
    }

    #[test]
    fn no_path_names_the_top_or_the_callers_own_group() {
        for path in ["/", "/..", ".", "a/..", "/m", "/m/x", "/s.slice", "/a\nb", "/a\0"] {
            let error = directories(path, false).unwrap_err();
            assert!(error.limit.starts_with("linux.cgroupsPath"), "{path}: {error}");
        }
        assert!(directories("/u", true).is_err());
        assert!(directories(&format!("/{}", "x".repeat(300)), true).is_err());
    }

    #[test]
    fn hierarchies_are_found_once_and_by_name() {
        let own = Own::of(INFO, CGROUP);
        let names: Vec<String> = own.hierarchies.iter().map(|h| h.controllers.join(",")).collect();
        assert_eq!(names, ["memory", "cpu,cpuacct", "name=systemd", ""]);
        assert_eq!(own.hierarchies[1].root, "/pod a");
    }
}

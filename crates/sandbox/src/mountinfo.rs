//! Lines of `/proc/PID/mountinfo` (`proc_pid_mountinfo(5)`).

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

//! The root file system and all that is mounted in it.

use std::path::{Path, PathBuf};

use bulkhead_sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY};

use super::{Origin, PlanError, Tree, host, identity, is_domain, path_text, text};
use crate::cgroup::CgroupPlan;
use crate::facts::HostFacts;
use crate::spec::{Device, Grant, Mount, MountFlags, Rootfs, SandboxSpec, Text};
use crate::step::{Directory, Missing, Step, TreeFrom, TreePath};

/// Options of the root mount come in one string of at most this many bytes (`fsconfig(2)`).
const OPTION_LIMIT: usize = 255;

struct Builder<'a> {
    facts: &'a HostFacts,
    trees: &'a mut Vec<Tree>,
    steps: &'a mut Vec<Step>,
}

impl Builder<'_> {
    /// Root opens a tree itself, because the child has no right to the path; an ordinary user's child is the user.
    fn tree(&mut self, path: &Path, recursive: bool, exact: bool, shift_ids: bool) -> Result<TreeFrom, PlanError> {
        tree(self.facts, self.trees, path, recursive, exact, shift_ids)
    }

    /// A tree that the parent opens, whoever it is.
    fn sent(&mut self, tree: Tree) -> TreeFrom {
        self.trees.push(tree);
        TreeFrom::Sent(self.trees.len() - 1)
    }

    fn mount(
        &mut self,
        filesystem: &str,
        target: &str,
        options: &[(&str, &str)],
        attributes: u64,
        missing: Missing,
    ) -> Result<(), PlanError> {
        let options = options
            .iter()
            .map(|(k, v)| {
                Ok((text("mount option", k)?, if v.is_empty() { None } else { Some(text("mount option", v)?) }))
            })
            .collect::<Result<_, PlanError>>()?;
        self.steps.push(Step::Mount {
            filesystem: text("file system", filesystem)?,
            target: path_text("mount target", target)?,
            options,
            attributes,
            missing,
            directories: Vec::new(),
        });
        Ok(())
    }
}

/// A tree that the parent opens where it is root, and the child where it is the user.
pub(crate) fn tree(
    facts: &HostFacts,
    trees: &mut Vec<Tree>,
    path: &Path,
    recursive: bool,
    exact: bool,
    shift_ids: bool,
) -> Result<TreeFrom, PlanError> {
    let shown = path.to_str().ok_or_else(|| PlanError::invalid("path", path.to_string_lossy(), "UTF-8 is needed"))?;
    Ok(place(facts, trees, TreePath::new(path_text("path", shown)?, recursive, exact), shift_ids))
}

/// [`tree`] for a place that is known more closely.
pub(crate) fn place(facts: &HostFacts, trees: &mut Vec<Tree>, place: TreePath, shift_ids: bool) -> TreeFrom {
    if !facts.privileged {
        return TreeFrom::Path(place);
    }
    trees.push(Tree { place, shift_ids, origin: Origin::Host, maps: None, peer: false });
    TreeFrom::Sent(trees.len() - 1)
}

/// Where a bind of a container comes from.
pub(crate) fn bind_place(mount: &Mount) -> Result<Option<(TreePath, bool)>, PlanError> {
    let Mount::Bind { source, below, recursive, exact, expected, shift_ids, .. } = mount else { return Ok(None) };
    let shown =
        source.to_str().ok_or_else(|| PlanError::invalid("path", source.to_string_lossy(), "UTF-8 is needed"))?;
    let below = below.as_deref().map(|b| text("subpath", b)).transpose()?;
    let path = path_text("path", shown)?;
    let place = TreePath { path, below, recursive: *recursive, exact: *exact, expected: *expected, follow: false };
    Ok(Some((place, *shift_ids)))
}

/// "l126:l125:…:l0" must fit the option where layers cannot be given one by one.
pub(crate) fn check_layers(layers: usize, facts: &HostFacts) -> Result<(), PlanError> {
    let one_string: usize = (0..layers).map(|i| i.to_string().len() + 2).sum();
    if facts.kernel < (6, 8) && one_string > OPTION_LIMIT {
        return Err(PlanError::Unsupported {
            what: format!("an image of {layers} layers"),
            reason: "kernels before 6.8 take about 60; squash the image".to_owned(),
        });
    }
    Ok(())
}

pub(super) fn steps(
    spec: &SandboxSpec,
    facts: &HostFacts,
    cgroup: &CgroupPlan,
    trees: &mut Vec<Tree>,
    steps: &mut Vec<Step>,
) -> Result<(), PlanError> {
    let suid = if spec.granted(|g| *g == Grant::NewPrivileges) { 0 } else { NOSUID };
    let mut b = Builder { facts, trees, steps };
    b.steps.push(Step::PrivateMounts);
    root(&mut b, spec, suid)?;
    kernel_files(&mut b, spec, cgroup)?;
    devices(&mut b, spec)?;
    for mount in &spec.mounts {
        user_mount(&mut b, mount, suid)?;
    }
    for (name, value) in spec.sysctls.iter().filter(|(name, _)| !is_domain(name)) {
        b.steps.push(Step::Sysctl { path: sysctl(name)?, value: sysctl_value(name, value)? });
    }
    if !spec.granted(|g| matches!(g, Grant::KernelPaths | Grant::Privileged)) {
        for path in &spec.read_only_paths {
            b.steps.push(Step::ReadOnly { target: path_text("read-only path", path)? });
        }
        for path in &spec.masked_paths {
            b.steps.push(Step::Mask { target: path_text("masked path", path)? });
        }
    }
    b.steps.push(Step::Workdir { path: identity::workdir(&spec.process)? });
    if spec.read_only_root {
        b.steps.push(Step::ReadOnlyRoot);
    }
    b.steps.push(Step::Pivot);
    Ok(())
}

/// The layers of an image below a private writable directory, as the root of a worker.
pub(crate) fn overlay_root(
    facts: &HostFacts,
    trees: &mut Vec<Tree>,
    steps: &mut Vec<Step>,
    (lowers, writable): (&[PathBuf], &Path),
    attributes: u64,
) -> Result<(), PlanError> {
    overlay(&mut Builder { facts, trees, steps }, lowers, writable, true, attributes)
}

fn overlay(
    b: &mut Builder<'_>,
    lowers: &[PathBuf],
    writable: &Path,
    volatile: bool,
    attributes: u64,
) -> Result<(), PlanError> {
    if lowers.is_empty() {
        return Err(PlanError::invalid("image", "", "it has no layer"));
    }
    let append = b.facts.kernel >= (6, 8);
    check_layers(lowers.len(), b.facts)?;
    b.steps.push(Step::Scratch { layers: lowers.len() });
    for (index, lower) in lowers.iter().enumerate() {
        let from = b.tree(lower, false, false, true)?;
        b.steps.push(Step::Layer { index, from });
    }
    let from = b.tree(writable, false, false, false)?;
    b.steps.push(Step::Writable { from });
    b.steps.push(Step::Overlay { layers: lowers.len(), append, volatile, attributes });
    Ok(())
}

fn root(b: &mut Builder<'_>, spec: &SandboxSpec, suid: u64) -> Result<(), PlanError> {
    match &spec.rootfs {
        Rootfs::Overlay { lowers, writable, volatile } => {
            overlay(b, lowers, writable, *volatile, suid | NODEV)?;
        }
        Rootfs::Directory { path } => {
            b.steps.push(Step::Scratch { layers: 0 });
            // A child with fewer rights may not take a mount apart from what is mounted below it.
            let from = b.tree(path, !b.facts.privileged, true, true)?;
            b.steps.push(Step::DirectoryRoot { from, attributes: suid | NODEV });
        }
    }
    Ok(())
}

fn kernel_files(b: &mut Builder<'_>, spec: &SandboxSpec, cgroup: &CgroupPlan) -> Result<(), PlanError> {
    const QUIET: u64 = NOSUID | NODEV | NOEXEC;
    let subset: &[(&str, &str)] = if spec.proc_pid_only { &[("subset", "pid")] } else { &[] };
    b.mount("proc", "/proc", subset, QUIET, Missing::Make)?;
    if host::network(spec) {
        host::sysfs(b.facts, cgroup, b.trees, b.steps)?;
    } else {
        b.mount("sysfs", "/sys", &[], QUIET | RDONLY, Missing::Make)?;
    }
    match cgroup {
        // A bundle lists its mounts itself.
        CgroupPlan::None | CgroupPlan::Oci(_) => {}
        CgroupPlan::V1 { visible, .. } => {
            let options = [("size", "64k"), ("nr_inodes", "16"), ("mode", "755")];
            b.mount("tmpfs", "/sys/fs/cgroup", &options, QUIET | RDONLY, Missing::Skip)?;
            if let Some(Step::Mount { directories, .. }) = b.steps.last_mut() {
                for controller in visible {
                    directories.push(Directory { path: text("controller", controller)?, mode: 0o755, uid: 0, gid: 0 });
                }
            }
            for controller in visible {
                let target = format!("/sys/fs/cgroup/{controller}");
                b.mount("cgroup", &target, &[(controller, "")], QUIET | RDONLY, Missing::Skip)?;
            }
        }
        CgroupPlan::V2 { .. } => b.mount("cgroup2", "/sys/fs/cgroup", &[], QUIET | RDONLY, Missing::Skip)?,
    }
    Ok(())
}

/// A fresh `/dev`: whatever the image has there is never looked at (CVE-2026-41579).
fn devices(b: &mut Builder<'_>, spec: &SandboxSpec) -> Result<(), PlanError> {
    const QUIET: u64 = NOSUID | NOEXEC;
    let options = [("size", "64k"), ("nr_inodes", "256"), ("mode", "755")];
    b.mount("tmpfs", "/dev", &options, QUIET, Missing::Make)?;
    for (name, major, minor) in
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
    {
        b.steps.push(Step::Device {
            name: text("device", name)?,
            source: text("device", &format!("/dev/{name}"))?,
            target: text("device", &format!("/dev/{name}"))?,
            major,
            minor,
        });
    }
    for device in &spec.devices {
        granted_device(b, device)?;
    }
    for (path, content) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ] {
        b.steps.push(Step::Symlink { content: text("link", content)?, path: text("link", path)? });
    }
    let tty_group = if crate::spec::outside(&spec.ids.gids, 5).is_some() { "5" } else { "0" };
    let pts = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "620"), ("gid", tty_group), ("max", "1024")];
    b.mount("devpts", "/dev/pts", &pts, QUIET, Missing::Make)?;
    if spec.process.terminal {
        b.steps.push(Step::Terminal { console: true });
    }
    match &spec.share {
        Some(share) if share.ipc => {
            let path = path_text("path", "/dev/shm")?;
            let tree = Tree {
                place: TreePath::new(path.clone(), false, true),
                shift_ids: false,
                origin: Origin::Other,
                maps: None,
                peer: false,
            };
            let from = b.sent(tree);
            b.steps.push(Step::Bind { from, target: path, directory: true, attributes: QUIET | NODEV });
        }
        _ if spec.shm_size == 0 => {}
        _ => {
            let size = spec.shm_size.to_string();
            b.mount("tmpfs", "/dev/shm", &[("size", &size), ("mode", "1777")], QUIET | NODEV, Missing::Make)?;
        }
    }
    b.mount("mqueue", "/dev/mqueue", &[], QUIET | NODEV, Missing::Make)
}

/// Names in `/dev` that are the sandbox's own.
const OWN: [&str; 14] = [
    "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "fd", "stdin", "stdout", "stderr", "pts",
    "shm",
];

/// A device that was granted. Root's parent makes a node for the sandbox's root, which has no right to the host's own;
/// an ordinary user's child binds what the user may open.
fn granted_device(b: &mut Builder<'_>, device: &Device) -> Result<(), PlanError> {
    let mut parts = device.target.strip_prefix("/dev/").unwrap_or_default().split('/');
    let first = parts.next().unwrap_or_default();
    if first.is_empty() || OWN.contains(&first) || first == "mqueue" || device.target.ends_with('/') {
        return Err(PlanError::invalid(
            "--device",
            device.target.as_str(),
            "a path below /dev that is none of the container's own devices is needed",
        ));
    }
    let shown = device.source.to_str().unwrap_or_default();
    let path = path_text("--device", shown)?;
    let from = if b.facts.privileged {
        let origin = Origin::Node(device.rule, device.mode & 0o666);
        b.sent(Tree { place: TreePath::new(path, false, true), shift_ids: false, origin, maps: None, peer: false })
    } else {
        TreeFrom::Path(TreePath::new(path, false, true))
    };
    let target = path_text("--device", &device.target)?;
    b.steps.push(Step::Granted { from, target, rule: device.rule });
    Ok(())
}

/// Targets that would hide or replace what the sandbox itself puts there.
fn check_target(target: &str) -> Result<(), PlanError> {
    let components: Vec<&str> = target.split('/').filter(|c| !c.is_empty() && *c != ".").collect();
    let refused = match components.as_slice() {
        [] => Some("the root itself"),
        ["proc" | "sys", ..] => Some("a kernel file system"),
        ["dev"]
        | ["dev", "pts" | "mqueue", ..]
        | ["dev", "null" | "zero" | "full" | "random" | "urandom" | "tty" | "console" | "ptmx"] => {
            Some("a device of the sandbox")
        }
        _ => None,
    };
    match refused {
        Some(what) => Err(PlanError::invalid("mount target", target, format!("{what} cannot be mounted over"))),
        None => Ok(()),
    }
}

fn attributes(flags: MountFlags, suid: u64) -> u64 {
    let mut bits = suid | NODEV;
    if flags.read_only {
        bits |= RDONLY;
    }
    if !flags.exec {
        bits |= NOEXEC;
    }
    bits
}

fn user_mount(b: &mut Builder<'_>, mount: &Mount, suid: u64) -> Result<(), PlanError> {
    check_target(mount.target())?;
    match mount {
        Mount::Bind { target, directory, flags, .. } => {
            let Some((from, shift_ids)) = bind_place(mount)? else { return Ok(()) };
            let from = place(b.facts, b.trees, from, shift_ids);
            b.steps.push(Step::Bind {
                from,
                target: path_text("mount target", target)?,
                directory: *directory,
                attributes: attributes(*flags, suid),
            });
        }
        Mount::Tmpfs { target, size, mode, owner, inodes, flags, directories } => {
            let (size, mode, inodes) = (size.to_string(), format!("{mode:o}"), inodes.to_string());
            let (uid, gid) = (owner.0.to_string(), owner.1.to_string());
            // Inodes are bounded too: each costs about a kilobyte of kernel memory.
            let mut options = vec![("size", size.as_str()), ("mode", &mode), ("nr_inodes", &inodes)];
            // Root owns it without a word.
            options.extend((owner.0 != 0).then_some(("uid", uid.as_str())));
            options.extend((owner.1 != 0).then_some(("gid", gid.as_str())));
            b.mount("tmpfs", target, &options, attributes(*flags, NOSUID), Missing::Make)?;
            if let Some(Step::Mount { directories: made, .. }) = b.steps.last_mut() {
                for d in directories {
                    *made = made
                        .iter()
                        .cloned()
                        .chain([Directory { path: text("directory", &d.path)?, mode: d.mode, uid: d.uid, gid: d.gid }])
                        .collect();
                }
            }
        }
    }
    Ok(())
}

/// A sysctl that belongs to a namespace of the sandbox, as a path below `/proc`.
fn sysctl(name: &str) -> Result<Text, PlanError> {
    const IPC: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.domainname",
    ];
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
        && !name.split(['.', '/']).any(str::is_empty);
    // Interface names hold dots; sysctl(8) writes such a name with slashes.
    let dotted = if name.contains('/') { name.replace('/', ".") } else { name.to_owned() };
    let namespaced = IPC.contains(&dotted.as_str()) || dotted.starts_with("net.") || dotted.starts_with("fs.mqueue.");
    if !plain || !namespaced {
        return Err(PlanError::invalid(
            "--sysctl",
            name,
            "net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm* and kernel.domainname belong to a container",
        ));
    }
    let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    text("--sysctl", &format!("sys/{path}"))
}

/// A value that reaches one file and nothing else (CVE-2022-0811 was a second setting behind a `+`).
fn sysctl_value(name: &str, value: &str) -> Result<Text, PlanError> {
    if value.is_empty() || value.len() > 1024 || value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(PlanError::invalid(
            "--sysctl",
            format!("{name}={}", value.escape_debug()),
            "one line of text is needed",
        ));
    }
    text("--sysctl", value)
}

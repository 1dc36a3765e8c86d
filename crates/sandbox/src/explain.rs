//! Plans and steps in words.

use std::fmt;

use bulkhead_sys::clone;
use bulkhead_sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY};

use crate::cgroup::CgroupPlan;
use crate::plan::{Origin, SandboxPlan};
use crate::spec::Caps;
use crate::step::{Step, TreeFrom};

/// Attribute bits as mount options.
fn attribute_words(bits: u64) -> String {
    let words: Vec<&str> = [(RDONLY, "ro"), (NOSUID, "nosuid"), (NODEV, "nodev"), (NOEXEC, "noexec")]
        .into_iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, word)| word)
        .collect();
    if words.is_empty() { "rw".to_owned() } else { words.join(",") }
}

fn cap_words(bits: u64) -> String {
    let names = Caps(bits).names();
    if names.is_empty() { "none".to_owned() } else { names.join(" ").to_lowercase() }
}

impl fmt::Display for TreeFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(index) => write!(f, "tree {index}"),
            Self::Path(place) => write!(f, "{:?}", place.show()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DieWithParent => f.write_str("be killed when the supervisor ends"),
            Self::JoinCgroups { count } => write!(f, "enter {count} control groups"),
            Self::CgroupNamespace => f.write_str("make the cgroup namespace"),
            Self::BecomeRoot { .. } => f.write_str("become root of the user namespace"),
            Self::NewSession => f.write_str("start a session"),
            Self::PrivateMounts => f.write_str("cut mounts off from the host"),
            Self::Scratch { layers } => write!(f, "mount scratch space for {layers} layers"),
            Self::Layer { index, from } => write!(f, "attach layer {index} from {from}"),
            Self::Writable { from } => write!(f, "attach the writable layer from {from}"),
            Self::Overlay { layers, attributes, volatile, .. } => {
                let kept = if *volatile { ", volatile" } else { "" };
                write!(f, "mount overlay of {layers} layers as the root, {}{kept}", attribute_words(*attributes))
            }
            Self::LayersRoot { layers, attributes, .. } => {
                write!(f, "mount overlay of {layers} layers as the root, {}", attribute_words(*attributes))
            }
            Self::JoinedView { recursive, attributes } => {
                let what = if *recursive { "all mounts" } else { "the root mount" };
                write!(f, "take a private copy of {what} of the container, {}", attribute_words(*attributes))
            }
            Self::ScratchRoot => f.write_str("use the scratch space and its layers as the root, read-only"),
            Self::BindExisting { from, target, attributes } => {
                write!(f, "bind {from} on {:?} if it exists, {}", target.show(), attribute_words(*attributes))
            }
            Self::DirectoryRoot { from, attributes } => {
                write!(f, "attach {from} as the root, {}", attribute_words(*attributes))
            }
            Self::Mount { filesystem, target, options, attributes, .. } => {
                write!(f, "mount {filesystem} on {:?}, {}", target.show(), attribute_words(*attributes))?;
                for (key, value) in options {
                    match value {
                        Some(value) => write!(f, ",{key}={value}")?,
                        None => write!(f, ",{key}")?,
                    }
                }
                Ok(())
            }
            Self::Bind { from, target, attributes, .. } => {
                write!(f, "bind {from} on {:?}, {}", target.show(), attribute_words(*attributes))
            }
            Self::Device { source, target, major, minor, .. } => {
                write!(f, "bind device {major}:{minor} {:?} on {:?}", source.show(), target.show())
            }
            Self::Granted { from, target, rule } => {
                write!(f, "bind granted device {rule} from {from} on {:?}", target.show())
            }
            Self::Symlink { content, path } => write!(f, "link {:?} to {:?}", path.show(), content.show()),
            Self::Terminal { .. } => f.write_str("make a terminal"),
            Self::JoinedRoot => f.write_str("enter the root of the container"),
            Self::Bundle(step) => step.fmt(f),
            Self::Mask { target } => write!(f, "mask {:?}", target.show()),
            Self::ReadOnly { target } => write!(f, "make {:?} read-only", target.show()),
            Self::Sysctl { path, value } => write!(f, "set /proc/{path} to {:?}", value.show()),
            Self::Hostname { name } => write!(f, "set the host name to {:?}", name.show()),
            Self::Domainname { name } => write!(f, "set the domain name to {:?}", name.show()),
            Self::Loopback => f.write_str("bring the loopback interface up"),
            Self::Workdir { path } => write!(f, "open the working directory {:?}", path.show()),
            Self::ExistingWorkdir { path } => write!(f, "find the working directory {:?}", path.show()),
            Self::ReadOnlyRoot => f.write_str("make the root read-only"),
            Self::Pivot => f.write_str("leave the host's root"),
            Self::Stdio { terminal, .. } => {
                write!(f, "put the standard streams in place ({})", if *terminal { "terminal" } else { "pipes" })
            }
            Self::Keyring { .. } => f.write_str("join a fresh session keyring"),
            Self::Umask { mask } => write!(f, "set the umask to {mask:03o}"),
            Self::Label { value, .. } => write!(f, "take the security label {:?}", value.show()),
            Self::Ready => f.write_str("say ready"),
            Self::EnterWorkdir => f.write_str("enter the working directory"),
            Self::Landlock => f.write_str("forbid changes of mounts by Landlock"),
            Self::OwnSockets => f.write_str("keep abstract Unix sockets of others away by Landlock"),
            Self::Bounding { keep } => write!(f, "bound capabilities to: {}", cap_words(*keep)),
            Self::KeepCaps => f.write_str("keep capabilities over the change of user"),
            Self::Identity { uid, gid, .. } => write!(f, "become user {uid}, group {gid}"),
            Self::Caps { set } => write!(f, "hold capabilities: {}", cap_words(*set)),
            Self::NoNewPrivileges => f.write_str("give up gaining privileges"),
            Self::Seccomp => f.write_str("load the system call filter"),
            Self::Exec => f.write_str("start the program"),
        }
    }
}

impl SandboxPlan {
    /// The whole plan, a line for each thing that will be done.
    #[must_use]
    pub fn describe(&self) -> String {
        use fmt::Write as _;
        let mut out = String::new();
        let namespaces: Vec<&str> = [
            (clone::NEWUSER, "user"),
            (clone::NEWNS, "mount"),
            (clone::NEWPID, "pid"),
            (clone::NEWNET, "net"),
            (clone::NEWIPC, "ipc"),
            (clone::NEWUTS, "uts"),
            (clone::NEWCGROUP, "cgroup"),
            (clone::NEWTIME, "time"),
        ]
        .into_iter()
        .filter(|(flag, _)| self.namespaces & flag != 0)
        .map(|(_, name)| name)
        .collect();
        // Writing to a string cannot fail.
        let written: Result<(), fmt::Error> = (|| {
            writeln!(out, "clone   {}", namespaces.join(" "))?;
            if let Some(share) = &self.share {
                writeln!(out, "share   user {} of {}", share.names().join(" "), share.with)?;
            }
            for (name, ranges) in [("uids", &self.ids.uids), ("gids", &self.ids.gids)] {
                for r in ranges {
                    writeln!(
                        out,
                        "{name}    {} to {} are {} to {} on the host",
                        r.inside,
                        r.inside + (r.count - 1),
                        r.outside,
                        r.outside + (r.count - 1)
                    )?;
                }
            }
            match &self.cgroup {
                CgroupPlan::None => writeln!(out, "cgroup  none: no controller is delegated to this user")?,
                CgroupPlan::Oci(group) => {
                    if let Some(unit) = &group.unit {
                        writeln!(out, "unit    {} in {}", unit.name, unit.slice)?;
                    }
                    for place in &group.places {
                        writeln!(out, "cgroup  {}", place.directory.display())?;
                    }
                    for s in &group.settings {
                        writeln!(out, "limit   {} = {} for {}", s.file.display(), s.value, s.field)?;
                    }
                    for rule in group.devices.iter().flat_map(|d| &d.rules) {
                        writeln!(out, "device  {rule}")?;
                    }
                }
                CgroupPlan::V1 { writes, reserve, granted, .. } | CgroupPlan::V2 { writes, reserve, granted, .. } => {
                    for w in reserve {
                        writeln!(out, "reserve {} = {}", w.file.display(), w.value)?;
                    }
                    for w in writes {
                        writeln!(out, "limit   {} = {}", w.file.display(), w.value)?;
                    }
                    for rule in granted {
                        writeln!(out, "device  {rule}")?;
                    }
                }
            }
            for l in &self.limits {
                let show = |v: Option<u64>| v.map_or_else(|| "unlimited".to_owned(), |v| v.to_string());
                writeln!(out, "rlimit  {} = {}:{}", l.name, show(l.soft), show(l.hard))?;
            }
            if let Some(score) = self.oom_score_adj {
                writeln!(out, "oom     score adjustment {score}")?;
            }
            for (index, t) in self.trees.iter().enumerate() {
                let how = if t.shift_ids { ", owners shifted" } else { "" };
                let place = match t.origin {
                    Origin::Host => String::new(),
                    Origin::Other => " of the other container".to_owned(),
                    Origin::Node(rule, mode) => format!(", a node of its own for {rule}, mode {mode:04o}"),
                };
                writeln!(out, "tree    {index} is {:?}{place}{how}", t.place.show())?;
            }
            for (index, step) in self.steps.iter().enumerate() {
                let phase = format!("{:?}", step.phase()).to_lowercase();
                writeln!(out, "{index:3}  {phase:9}  {step}")?;
            }
            let args: Vec<String> = self.program.args.iter().map(|a| format!("{:?}", a.show())).collect();
            writeln!(out, "program {}{}", if self.program.init { "init, then " } else { "" }, args.join(" "))?;
            let grants: Vec<String> = self.grants.iter().map(ToString::to_string).collect();
            writeln!(out, "grants  {}", if grants.is_empty() { "none".to_owned() } else { grants.join(" ") })
        })();
        written.unwrap_or_default();
        out
    }
}

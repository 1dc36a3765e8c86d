//! One change to the kernel's view of the new process. A step holds all it needs; carrying it out decides nothing.

use serde::{Deserialize, Serialize};

use crate::oci::step::OciStep;
use crate::spec::{DeviceRule, FileId, Text};

/// When a step may happen. A plan's steps never go back to an earlier phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Control groups and namespaces.
    Namespace,
    /// Mounts, while the old root is still there.
    Rootfs,
    /// After the old root is gone.
    Process,
    /// After "ready": what takes rights away, the last thing first to be missed.
    Identity,
    /// `execve`.
    Exec,
}

/// A place on the host whose mount tree is opened once, and used by its descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreePath {
    /// Absolute path on the host.
    pub path: Text,
    /// A path below it; nothing on it leads out of the place.
    pub below: Option<Text>,
    /// With the mounts below it.
    pub recursive: bool,
    /// No link may be on the way.
    pub exact: bool,
    /// What it must be.
    pub expected: Option<FileId>,
    /// A link at its end is followed.
    #[serde(default)]
    pub follow: bool,
}

impl TreePath {
    /// The place itself, whatever it is.
    #[must_use]
    pub fn new(path: Text, recursive: bool, exact: bool) -> Self {
        Self { path, below: None, recursive, exact, expected: None, follow: false }
    }

    /// The path for people.
    #[must_use]
    pub fn show(&self) -> String {
        match &self.below {
            Some(below) => format!("{}/{}", self.path.show(), below.show()),
            None => self.path.show().into_owned(),
        }
    }
}

/// Where a mount tree comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TreeFrom {
    /// Opened by the parent, which holds rights the child does not have, and sent: number in the plan's trees.
    Sent(usize),
    /// Opened by the child with the caller's own rights.
    Path(TreePath),
}

/// What to do when the target of a step does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The start fails.
    Fail,
    /// The step is done: there is nothing to protect.
    Skip,
    /// It is made: a directory, or an empty file.
    Make,
}

/// A directory that is made in a fresh tmpfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Path below the tmpfs.
    pub path: Text,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Step {
    /// Be killed when the parent ends.
    DieWithParent,
    /// Enter the v1 groups whose `tasks` files the parent opened, all at once.
    JoinCgroups {
        /// How many descriptors.
        count: usize,
    },
    /// See the own control groups as the root of theirs.
    CgroupNamespace,
    /// Become user and group 0 of the user namespace.
    BecomeRoot {
        /// Drop the caller's supplementary groups; impossible in a single-id map.
        drop_groups: bool,
    },
    /// Leave the caller's session and terminal.
    NewSession,
    /// Cut all mounts off from other namespaces.
    PrivateMounts,
    /// A small memory file system that holds mount points for layers and what masks are made of.
    Scratch {
        /// How many layers.
        layers: usize,
    },
    /// Attach one layer, lowest first.
    Layer {
        /// Which, from 0.
        index: usize,
        /// Its tree.
        from: TreeFrom,
    },
    /// Attach the directory that holds `upper` and `work`.
    Writable {
        /// Its tree.
        from: TreeFrom,
    },
    /// Put the layers together as the root file system.
    Overlay {
        /// How many layers.
        layers: usize,
        /// Each layer as an option of its own (Linux 6.8), else one string.
        append: bool,
        /// Do not write to disk at the end.
        volatile: bool,
        /// Mount attributes.
        attributes: u64,
    },
    /// Put layers together as a root file system that takes no writes.
    LayersRoot {
        /// How many layers, two at least.
        layers: usize,
        /// Each layer as an option of its own (Linux 6.8), else one string.
        append: bool,
        /// Mount attributes.
        attributes: u64,
    },
    /// Take a private copy of the mounts of the sandbox that was joined as the root.
    JoinedView {
        /// With what is mounted below the root.
        recursive: bool,
        /// Mount attributes that are added to all of them.
        attributes: u64,
    },
    /// Use the scratch file system, with the layers side by side, as the root; nothing in it takes a write.
    ScratchRoot,
    /// Use one directory as the root file system.
    DirectoryRoot {
        /// Its tree.
        from: TreeFrom,
        /// Mount attributes.
        attributes: u64,
    },
    /// Mount a new file system.
    Mount {
        /// Type.
        filesystem: Text,
        /// Absolute path in the sandbox.
        target: Text,
        /// Options; one without a value is a flag.
        options: Vec<(Text, Option<Text>)>,
        /// Mount attributes.
        attributes: u64,
        /// What to do when the target is not there.
        missing: Missing,
        /// Directories to make in it.
        directories: Vec<Directory>,
    },
    /// Bind a tree of the host.
    Bind {
        /// Its tree.
        from: TreeFrom,
        /// Absolute path in the sandbox.
        target: Text,
        /// It is a directory.
        directory: bool,
        /// Mount attributes.
        attributes: u64,
    },
    /// Bind a tree of the host where there is something already, and nowhere else.
    BindExisting {
        /// Its tree.
        from: TreeFrom,
        /// Absolute path in the sandbox.
        target: Text,
        /// Mount attributes.
        attributes: u64,
    },
    /// Bind one device of the host's `/dev`, checked to be a character device with these numbers.
    Device {
        /// Name below `/dev` on both sides.
        name: Text,
        /// Path on the host.
        source: Text,
        /// Path in the sandbox.
        target: Text,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Bind one device of the host that was granted, checked to be the one that was looked at.
    Granted {
        /// Its node.
        from: TreeFrom,
        /// Absolute path in the sandbox.
        target: Text,
        /// Which it must be.
        rule: DeviceRule,
    },
    /// Make a symbolic link.
    Symlink {
        /// What it says.
        content: Text,
        /// Absolute path in the sandbox.
        path: Text,
    },
    /// Make a terminal from the sandbox's own devpts and keep the master for the parent.
    Terminal {
        /// Bind it on `/dev/console`.
        console: bool,
    },
    /// Enter the root of the sandbox that was joined.
    JoinedRoot,
    /// Cover a kernel file or directory by an empty one.
    Mask {
        /// Absolute path in the sandbox.
        target: Text,
    },
    /// Make a kernel file or directory read-only.
    ReadOnly {
        /// Absolute path in the sandbox.
        target: Text,
    },
    /// Write a namespaced sysctl through the own procfs.
    Sysctl {
        /// Path below `/proc`.
        path: Text,
        /// Value.
        value: Text,
    },
    /// Set the host name.
    Hostname {
        /// The name.
        name: Text,
    },
    /// Set the domain name.
    Domainname {
        /// The name.
        name: Text,
    },
    /// Bring the loopback interface up.
    Loopback,
    /// Open the working directory, which is made if it does not exist.
    Workdir {
        /// Absolute path in the sandbox.
        path: Text,
    },
    /// Open the working directory of a program that joins, which must exist.
    ExistingWorkdir {
        /// Absolute path in the sandbox.
        path: Text,
    },
    /// Make the root mount read-only.
    ReadOnlyRoot,
    /// Make the root file system the root, and let go of the host's.
    Pivot,
    /// Put standard input, output and error in place.
    Stdio {
        /// They are the terminal, which becomes the controlling one.
        terminal: bool,
        /// Give them to this user, and to this group where one is named.
        owner: Option<(u32, Option<u32>)>,
    },
    /// Join a fresh session keyring.
    Keyring {
        /// Its name.
        name: Text,
    },
    /// Set the file mode creation mask.
    Umask {
        /// Mask bits.
        mask: u32,
    },
    /// Name the label that the program starts under.
    Label {
        /// File below the own directory in `/proc`.
        file: Text,
        /// What is written.
        value: Text,
    },
    /// Say "ready" and wait for the word to go on.
    Ready,
    /// Leave the working directory that was opened.
    EnterWorkdir,
    /// Landlock: files may be executed and moved below the root; mounts may not be changed.
    Landlock,
    /// Landlock: abstract Unix sockets of processes outside cannot be reached.
    OwnSockets,
    /// Drop capabilities from the bounding set.
    Bounding {
        /// Bits that stay.
        keep: u64,
    },
    /// Keep permitted capabilities over the change of user.
    KeepCaps,
    /// Become the user of the program.
    Identity {
        /// User id inside.
        uid: u32,
        /// Group id inside.
        gid: u32,
        /// Set the supplementary groups; impossible in a single-id map.
        set_groups: bool,
    },
    /// Set effective and permitted capabilities, and no inheritable or ambient ones.
    Caps {
        /// Bits.
        set: u64,
    },
    /// `no_new_privs`.
    NoNewPrivileges,
    /// Load the system call filter.
    Seccomp,
    /// What only a bundle asks for.
    Bundle(OciStep),
    /// Start the program.
    Exec,
}

impl From<OciStep> for Step {
    fn from(step: OciStep) -> Self {
        Self::Bundle(step)
    }
}

impl Step {
    /// The phase it belongs to.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::DieWithParent
            | Self::JoinCgroups { .. }
            | Self::CgroupNamespace
            | Self::BecomeRoot { .. }
            | Self::NewSession
            | Self::Loopback
            | Self::Domainname { .. }
            | Self::Hostname { .. } => Phase::Namespace,
            Self::PrivateMounts
            | Self::Scratch { .. }
            | Self::Layer { .. }
            | Self::Writable { .. }
            | Self::Overlay { .. }
            | Self::LayersRoot { .. }
            | Self::JoinedView { .. }
            | Self::ScratchRoot
            | Self::DirectoryRoot { .. }
            | Self::Mount { .. }
            | Self::Bind { .. }
            | Self::BindExisting { .. }
            | Self::Device { .. }
            | Self::Granted { .. }
            | Self::Symlink { .. }
            | Self::Terminal { .. }
            | Self::JoinedRoot
            | Self::Mask { .. }
            | Self::ReadOnly { .. }
            | Self::Sysctl { .. }
            | Self::Workdir { .. }
            | Self::ExistingWorkdir { .. }
            | Self::ReadOnlyRoot
            | Self::Pivot => Phase::Rootfs,
            Self::Stdio { .. } | Self::Keyring { .. } | Self::Umask { .. } | Self::Label { .. } | Self::Ready => {
                Phase::Process
            }
            Self::EnterWorkdir
            | Self::Landlock
            | Self::OwnSockets
            | Self::Bounding { .. }
            | Self::KeepCaps
            | Self::Identity { .. }
            | Self::Caps { .. }
            | Self::NoNewPrivileges
            | Self::Seccomp => Phase::Identity,
            Self::Bundle(step) => step.phase(),
            Self::Exec => Phase::Exec,
        }
    }
}

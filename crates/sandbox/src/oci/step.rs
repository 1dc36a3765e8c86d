//! Steps that only a bundle asks for: the engine's own containers have none of them.

use serde::{Deserialize, Serialize};

use crate::plan::TreeMaps;
use crate::spec::Text;
use crate::step::{Phase, TreeFrom};

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "from")]
pub enum Source {
    /// A new file system.
    New {
        /// Type.
        filesystem: Text,
        /// What it is made of, or a word that only shows.
        source: Option<Text>,
        /// Options; one without a value is a flag.
        options: Vec<(Text, Option<Text>)>,
        /// Its root gets the permission bits of the directory below it.
        keep_mode: bool,
        /// What the directory below it holds is copied into it.
        copy_up: bool,
    },
    /// A tree of the host.
    Tree {
        /// Its tree.
        tree: TreeFrom,
    },
    /// A tree of the container itself, with what was mounted there so far.
    Inside {
        /// Absolute path in the container.
        path: Text,
        /// With the mounts below it.
        recursive: bool,
        /// How its ids are shifted, by the parent.
        maps: Option<TreeMaps>,
    },
    /// What is mounted there already: only its attributes change.
    Existing,
}

/// Attributes of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Bits that are set.
    pub set: u64,
    /// Bits that are cleared.
    pub clear: u64,
    /// Bits that are cleared where nothing more privileged has locked them.
    pub clear_if_free: u64,
    /// Restrictions of the source are kept, as the kernel keeps them for a less privileged namespace
    /// (`mount_namespaces(7)`): taking one away is refused.
    #[serde(default)]
    pub locked: bool,
    /// Bits that are set on it and on all mounts below.
    pub set_below: u64,
    /// Bits that are cleared on it and on all mounts below.
    pub clear_below: u64,
    /// Its propagation; 0 leaves it.
    pub propagation: u64,
    /// Propagation of it and of all mounts below; 0 leaves it.
    pub propagation_below: u64,
}

/// A kind of node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Pipe,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "bundle")]
pub enum OciStep {
    /// Mounts of the host arrive, and none made here travels back.
    SlaveMounts,
    /// Attach a copy of the bundle's root file system on itself: hooks know it by this path.
    BundleRoot {
        /// Its tree.
        from: TreeFrom,
        /// Its propagation until it is the root: `pivot_root(2)` takes no shared one.
        propagation: u64,
        /// Of the mounts in it too: others see this mount namespace, and none of them may travel on.
        #[serde(default)]
        below: bool,
    },
    /// Let the parent run the hooks of this moment, and wait.
    Hooks,
    /// Mount something below the root.
    Attach {
        /// What it shows.
        source: Source,
        /// Absolute path in the container.
        target: Text,
        /// Its attributes.
        attributes: Attributes,
    },
    /// Make a node.
    Node {
        /// Absolute path in the container.
        path: Text,
        /// What it is.
        kind: NodeKind,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
        /// Permission bits.
        mode: u32,
        /// Owner inside.
        uid: u32,
        /// Group inside.
        gid: u32,
    },
    /// Bind the host's node of a device, checked to be the one that is meant.
    HostNode {
        /// Path on both sides.
        path: Text,
        /// What it is.
        kind: NodeKind,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Make a symbolic link in `/dev` where nothing is yet.
    DeviceLink {
        /// What it says.
        content: Text,
        /// Absolute path in the container, in `/dev`.
        path: Text,
    },
    /// Open a procfs that is mounted nowhere, to write settings through.
    DetachedProc,
    /// Cover a file by `/dev/null`, a directory by an empty one.
    Cover {
        /// Absolute path in the container.
        target: Text,
    },
    /// Make a path read-only, with all that is mounted below it.
    Seal {
        /// Absolute path in the container.
        target: Text,
    },
    /// Set the propagation of the root mount.
    RootPropagation {
        /// Propagation bit.
        propagation: u64,
        /// Of all mounts below, too.
        below: bool,
    },
    /// Move the root file system over the root, where the root cannot be changed otherwise.
    MoveRoot {
        /// Where the host has its kernel's own file systems.
        kernel: Vec<Text>,
    },
    /// Make the root file system the root of this process alone, in a mount namespace that others use.
    Chroot,
    /// Set the execution domain.
    Personality {
        /// Number of `personality(2)`.
        domain: u64,
    },
    /// Set how the CPU is shared.
    Schedule {
        /// `SCHED_…`.
        policy: u32,
        /// `SCHED_FLAG_…`.
        flags: u64,
        /// Nice value.
        nice: i32,
        /// Realtime priority.
        priority: u32,
        /// Nanoseconds of run time, deadline and period.
        deadline: [u64; 3],
    },
    /// Set how the disk is shared.
    IoPriority {
        /// Class, 1 to 3.
        class: u32,
        /// Level, 0 to 7.
        level: u32,
    },
    /// Set from which nodes memory is taken.
    MemoryPolicy {
        /// `MPOL_…` with flags.
        mode: u32,
        /// Bit set of nodes.
        nodes: Vec<u64>,
    },
    /// Run on these CPUs only.
    Affinity {
        /// Bit set of CPUs.
        cpus: Vec<u64>,
    },
    /// Find the directory of the user, for an environment that has none.
    Home {
        /// User id inside.
        uid: u32,
    },
    /// Make sure that there is a program.
    FindProgram,
    /// Wait until the container is started, for as long as it takes.
    AwaitStart,
    /// Set all sets of capabilities.
    CapSets {
        /// In force.
        effective: u64,
        /// Can be put in force.
        permitted: u64,
        /// Inheritable.
        inheritable: u64,
        /// Ambient.
        ambient: u64,
    },
    /// Load the system call filter with flags.
    Filter {
        /// `SECCOMP_FILTER_FLAG_…`.
        flags: u64,
        /// Send the descriptor of a listener to the parent.
        listener: bool,
    },
}

impl OciStep {
    /// Whether it changes the mounts of its whole mount namespace.
    #[must_use]
    pub fn is_of_all(&self) -> bool {
        matches!(self, Self::SlaveMounts | Self::RootPropagation { .. } | Self::MoveRoot { .. })
    }

    /// The phase it belongs to.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::SlaveMounts
            | Self::BundleRoot { .. }
            | Self::Hooks
            | Self::Attach { .. }
            | Self::Node { .. }
            | Self::HostNode { .. }
            | Self::DeviceLink { .. }
            | Self::DetachedProc
            | Self::Cover { .. }
            | Self::Seal { .. }
            | Self::MoveRoot { .. }
            | Self::Chroot => Phase::Rootfs,
            Self::Affinity { .. } => Phase::Namespace,
            Self::RootPropagation { .. }
            | Self::Personality { .. }
            | Self::Schedule { .. }
            | Self::IoPriority { .. }
            | Self::MemoryPolicy { .. }
            | Self::Home { .. }
            | Self::FindProgram => Phase::Process,
            Self::AwaitStart | Self::CapSets { .. } | Self::Filter { .. } => Phase::Identity,
        }
    }
}

impl std::fmt::Display for OciStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SlaveMounts => f.write_str("keep mounts from travelling to the host"),
            Self::BundleRoot { from, .. } => write!(f, "attach {from} as the root"),
            Self::Hooks => f.write_str("run hooks"),
            Self::Attach { source, target, .. } => match source {
                Source::New { filesystem, .. } => write!(f, "mount {filesystem} on {:?}", target.show()),
                Source::Tree { tree } => write!(f, "bind {tree} on {:?}", target.show()),
                Source::Inside { path, .. } => {
                    write!(f, "bind {:?} of the container on {:?}", path.show(), target.show())
                }
                Source::Existing => write!(f, "change the attributes of the mount {:?}", target.show()),
            },
            Self::Node { path, major, minor, .. } => write!(f, "make the device {major}:{minor} {:?}", path.show()),
            Self::HostNode { path, major, minor, .. } => write!(f, "bind the device {major}:{minor} {:?}", path.show()),
            Self::DeviceLink { content, path } => write!(f, "link {:?} to {:?}", path.show(), content.show()),
            Self::DetachedProc => f.write_str("open a procfs for settings"),
            Self::Cover { target } => write!(f, "mask {:?}", target.show()),
            Self::Seal { target } => write!(f, "make {:?} read-only", target.show()),
            Self::RootPropagation { .. } => f.write_str("set the propagation of the root mount"),
            Self::MoveRoot { .. } => f.write_str("move the root file system over the root"),
            Self::Chroot => f.write_str("change the root"),
            Self::Personality { domain } => write!(f, "set the execution domain {domain:#x}"),
            Self::Schedule { policy, nice, priority, .. } => {
                write!(f, "set scheduling policy {policy}, nice {nice}, priority {priority}")
            }
            Self::IoPriority { class, level } => write!(f, "set I/O priority class {class}, level {level}"),
            Self::MemoryPolicy { .. } => f.write_str("set the memory policy"),
            Self::Affinity { .. } => f.write_str("choose CPUs"),
            Self::Home { uid } => write!(f, "find the home directory of user {uid}"),
            Self::FindProgram => f.write_str("find the program"),
            Self::AwaitStart => f.write_str("wait for the start"),
            Self::CapSets { effective, permitted, inheritable, ambient } => write!(
                f,
                "set capabilities: effective {effective:#x}, permitted {permitted:#x}, inheritable {inheritable:#x}, ambient {ambient:#x}"
            ),
            Self::Filter { .. } => f.write_str("load the system call filter"),
        }
    }
}

//! What can go wrong between a plan and a running program.

use bulkhead_sys::Errno;

use crate::cgroup::CgroupError;
use crate::step::Step;
use crate::verify::Violation;

/// What kind of failure it is, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The program does not exist: exit code 127.
    ProgramNotFound,
    /// The program cannot be executed: exit code 126.
    ProgramNotExecutable,
    /// Anything else: exit code 125.
    Engine,
}

/// A start that failed. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The plan breaks an invariant.
    #[error("the plan was refused before anything was done")]
    Refused(#[from] Violation),
    /// Control groups.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// Something the parent does.
    #[error("cannot {what}")]
    Parent {
        /// What was attempted, with its object.
        what: String,
        /// The kernel's answer.
        source: Errno,
    },
    /// `newuidmap` or `newgidmap`.
    #[error("cannot write the id map with {helper}: {message}")]
    Helper {
        /// Name of the program.
        helper: &'static str,
        /// What it said.
        message: String,
    },
    /// A step of the child.
    #[error("step {index}, {description}")]
    Step {
        /// Index in the plan.
        index: usize,
        /// What was attempted, with its object.
        description: String,
        /// It was the start of the program itself.
        exec: bool,
        /// The kernel's answer.
        source: Errno,
    },
    /// What is left of a plan cannot be made again.
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
    /// A hook of a bundle.
    #[error("{0}")]
    Hook(String),
    /// A system call filter asks, and its listener could not be given to whoever answers.
    #[error("linux.seccomp: {0}")]
    Listener(String),
    /// The child ended without a word.
    #[error("the new process ended before it was ready ({0})")]
    Vanished(String),
}

impl StartError {
    pub(crate) fn parent(what: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let what = what.into();
        move |source| Self::Parent { what, source }
    }

    pub(crate) fn step(steps: &[Step], program: &str, index: u32, errno: i32) -> Self {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let step = steps.get(index);
        Self::Step {
            index,
            description: match step {
                Some(Step::Exec) => format!("start {program:?}"),
                Some(step) => step.to_string(),
                None => "a step that the plan does not have".to_owned(),
            },
            exec: matches!(step, Some(Step::Exec)),
            source: Errno::from_raw_os_error(errno),
        }
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Step { exec: true, source, .. } => match *source {
                Errno::NOENT | Errno::NOTDIR => Kind::ProgramNotFound,
                _ => Kind::ProgramNotExecutable,
            },
            // Docker's code for a working directory that is not there, of `exec`.
            Self::Step { description, .. } if description.starts_with("find the working directory") => {
                Kind::ProgramNotExecutable
            }
            _ => Kind::Engine,
        }
    }

    /// What would help, where it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Step { exec: true, source, .. } => match *source {
                Errno::NOENT => Some("the program, or the interpreter its first line names, is not in the image"),
                Errno::ACCESS => Some("the file is not executable, or its file system is mounted noexec"),
                Errno::NOEXEC => Some("the file is not a program for this machine, and has no #! line"),
                Errno::PERM => Some("the file has capabilities that the container does not grant"),
                _ => None,
            },
            Self::Step { description, source, .. }
                if description.starts_with("find the working directory") && *source == Errno::NOENT =>
            {
                Some("the directory must exist: only 'run -w' makes one")
            }
            Self::Step { description, source, .. } if description.starts_with("mount ") && *source == Errno::NOTDIR => {
                Some("it must be mounted on ordinary directory, not on a link or a file")
            }
            Self::Step { source, .. } if *source == Errno::LOOP => {
                Some("the image has a symbolic link where a directory of the container must be")
            }
            Self::Step { description, source, .. }
                if description.starts_with("mount proc") && *source == Errno::PERM =>
            {
                Some(
                    "parts of this host's /proc are covered by other mounts, so the kernel shows none to a new namespace",
                )
            }
            Self::Parent { what, source } if what.starts_with("shift the owners") && *source == Errno::INVAL => {
                Some("this file system cannot be id-mapped; copy the data to ext4, xfs, btrfs or tmpfs")
            }
            Self::Parent { what, source } if what.starts_with("make the namespaces") && *source == Errno::NOSPC => {
                Some("the limit on user namespaces is reached: see /proc/sys/user/max_user_namespaces")
            }
            Self::Parent { what, source } if what.starts_with("make the namespaces") && *source == Errno::PERM => Some(
                "this host forbids user namespaces to this user: see kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns",
            ),
            Self::Parent { what, source }
                if what.starts_with("set oom_score_adj") && matches!(*source, Errno::ACCESS | Errno::PERM) =>
            {
                Some("an ordinary user can raise his own score (/proc/self/oom_score_adj) and not lower it")
            }
            Self::Helper { .. } => Some("the range must be listed for this user in /etc/subuid and /etc/subgid"),
            _ => None,
        }
    }
}

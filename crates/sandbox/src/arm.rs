//! Makes a plan ready: every string, filter and list that the child needs is in memory before the clone.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use bulkhead_sys::exec::ArgVec;
use bulkhead_sys::seccomp::Instruction;
use rustix::process::Gid;

use crate::plan::Program;
use crate::spec::Text;
use crate::step::Step;

/// Standard streams of the program.
#[derive(Debug)]
pub enum Stdio {
    /// Three open files, in order.
    Files([OwnedFd; 3]),
    /// Those of the process that makes the sandbox.
    Own,
    /// A terminal that the child makes.
    Terminal,
}

/// What the child holds.
#[derive(Debug)]
pub(crate) struct Armed<'a> {
    pub(crate) steps: &'a [Step],
    pub(crate) candidates: Vec<CString>,
    pub(crate) args: ArgVec,
    pub(crate) env: ArgVec,
    pub(crate) groups: Vec<Gid>,
    pub(crate) filter: Vec<Instruction>,
    pub(crate) stdio: Stdio,
    /// `tasks` or `cgroup.procs` of groups to enter.
    pub(crate) groups_to_enter: &'a [OwnedFd],
    /// Our own binary, when init is process 1.
    pub(crate) init: Option<OwnedFd>,
    /// Room for the mount trees that are sent; never grows after the clone.
    pub(crate) trees: Vec<OwnedFd>,
    /// How many descriptors beyond the standard streams stay open.
    pub(crate) preserve: u32,
    /// It outlives its parent.
    pub(crate) survives: bool,
    /// Where a start is waited for.
    pub(crate) listener: Option<OwnedFd>,
    /// Names of scratch directories.
    pub(crate) layer_names: Vec<CString>,
    /// `lowerdir` in one string, for kernels that take it so.
    pub(crate) lower_option: CString,
    /// Process 1 of the plan's own procfs, or a process that joined and is known by its own number.
    pub(crate) joining: bool,
    /// Processes of another sandbox see it before it is one of theirs: nobody may trace it until then.
    pub(crate) hidden: bool,
}

fn owned(texts: &[Text]) -> Vec<CString> {
    texts.iter().map(|t| t.c().to_owned()).collect()
}

/// The first words of process 1 when it is our init: what it is, then the program's own words.
pub(crate) const INIT_ARGS: [&CStr; 3] = [c"bulkhead", c"init", c"--"];

impl<'a> Armed<'a> {
    pub(crate) fn new(
        steps: &'a [Step],
        program: &Program,
        filter: &[bulkhead_seccomp::Insn],
        stdio: Stdio,
        trees: usize,
        groups_to_enter: &'a [OwnedFd],
        init: Option<OwnedFd>,
    ) -> Self {
        let layers = steps.iter().find_map(|s| if let Step::Scratch { layers } = s { Some(*layers) } else { None });
        let layer_names: Vec<CString> =
            (0..layers.unwrap_or(0)).filter_map(|i| CString::new(format!("l{i}")).ok()).collect();
        // The first name in the option is the top.
        let joined = layer_names.iter().rev().map(|n| n.to_string_lossy()).collect::<Vec<_>>().join(":");
        let mut args = Vec::new();
        if init.is_some() && !program.candidates.is_empty() {
            args.extend(INIT_ARGS.map(CStr::to_owned));
        }
        args.extend(owned(&program.args));
        Self {
            steps,
            candidates: owned(&program.candidates),
            args: ArgVec::new(args),
            env: ArgVec::new(owned(&program.env)),
            groups: program.groups.iter().map(|g| Gid::from_raw(*g)).collect(),
            filter: filter.iter().map(|i| Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect(),
            stdio,
            groups_to_enter,
            init,
            trees: Vec::with_capacity(trees),
            lower_option: CString::new(joined).unwrap_or_default(),
            layer_names,
            preserve: 0,
            survives: false,
            listener: None,
            joining: false,
            hidden: false,
        }
    }
}

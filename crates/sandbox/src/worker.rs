//! A worker: a part of the engine that reads what strangers wrote, in a sandbox that holds one directory and nothing
//! else: no `/proc`, no devices, no network, no way to start another program.

use std::path::PathBuf;

use bulkhead_sys::clone;
use bulkhead_sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY};

use crate::cgroup;
use crate::facts::HostFacts;
use crate::plan::{LimitStep, PlanError, Program, SandboxKind, SandboxPlan, Tree, path_text, rootfs, text};
use crate::spec::{Caps, Grant, IdMaps, MapWriter, Resources};
use crate::step::Step;

/// What a worker is for.
#[derive(Debug, Clone)]
pub struct WorkerSpec {
    /// Names its control group.
    pub id: String,
    /// Id maps.
    pub ids: IdMaps,
    /// The directory that becomes its root, writable; with an image it is mounted in that.
    pub directory: PathBuf,
    /// The image that becomes its root instead.
    pub image: Option<WorkerImage>,
    /// A directory that it may read, at `/input`.
    pub input: Option<PathBuf>,
    /// Words after the name of the program.
    pub args: Vec<String>,
    /// System call filter.
    pub filter: Vec<bulkhead_seccomp::Insn>,
}

/// An image that a worker looks at as a container would see it.
#[derive(Debug, Clone)]
pub struct WorkerImage {
    /// Absolute directories, lowest first.
    pub layers: Vec<PathBuf>,
    /// Holds `upper` and `work`, which belong to the worker's ids.
    pub writable: PathBuf,
    /// Where the worker's directory is, in the root: a name that the image does not have.
    pub at: String,
}

/// Bytes of memory a worker may use, its page cache included.
const MEMORY: u64 = 1 << 30;

/// Gives files away, and reads and marks what it gave away: all that unpacking takes.
fn caps() -> Caps {
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETFCAP"]
        .iter()
        .filter_map(|n| Caps::named(n))
        .fold(Caps::EMPTY, Caps::with)
}

/// Plans a worker. The program is the engine itself, from its protected copy.
///
/// # Errors
/// As [`crate::plan::plan`].
pub fn plan_worker(spec: &WorkerSpec, facts: &HostFacts) -> Result<SandboxPlan, PlanError> {
    let mut trees = Vec::new();
    let quiet = NOSUID | NODEV | NOEXEC;
    let mut root = vec![Step::PrivateMounts];
    if let Some(image) = &spec.image {
        rootfs::overlay_root(facts, &mut trees, &mut root, (&image.layers, &image.writable), quiet)?;
        let from = rootfs::tree(facts, &mut trees, &spec.directory, false, false, true)?;
        let target = path_text("mount target", &image.at)?;
        root.push(Step::Bind { from, target, directory: true, attributes: quiet });
    } else {
        root.push(Step::Scratch { layers: 0 });
        let from = rootfs::tree(facts, &mut trees, &spec.directory, false, false, true)?;
        root.push(Step::DirectoryRoot { from, attributes: quiet });
    }
    if let Some(input) = &spec.input {
        let target = text("mount target", "/input")?;
        let from = rootfs::tree(facts, &mut trees, input, false, false, true)?;
        root.push(Step::Bind { from, target, directory: true, attributes: quiet | RDONLY });
    }
    plan_with(spec, facts, trees, root)
}

/// A worker whose root file system these steps make.
pub(crate) fn plan_with(
    spec: &WorkerSpec,
    facts: &HostFacts,
    trees: Vec<Tree>,
    root: Vec<Step>,
) -> Result<SandboxPlan, PlanError> {
    let limited = match &facts.cgroup {
        crate::facts::CgroupLayout::None => false,
        crate::facts::CgroupLayout::V1 { controllers } => controllers.contains_key("memory"),
        crate::facts::CgroupLayout::V2 { controllers, .. } => controllers.iter().any(|c| c == "memory"),
    };
    let resources = Resources { memory: limited.then_some(MEMORY), pids: Some(8), ..Resources::default() };
    let cgroup = cgroup::plan(&spec.id, &resources, facts)?;
    let mut namespaces = clone::NEWUSER | clone::NEWNS | clone::NEWPID | clone::NEWNET | clone::NEWIPC | clone::NEWUTS;
    let mut steps = vec![Step::DieWithParent];
    match &cgroup {
        cgroup::CgroupPlan::V1 { directories, .. } => steps.push(Step::JoinCgroups { count: directories.len() }),
        cgroup::CgroupPlan::V2 { .. } => namespaces |= clone::NEWCGROUP,
        cgroup::CgroupPlan::None | cgroup::CgroupPlan::Oci(_) => {}
    }
    let set_groups = spec.ids.writer != MapWriter::Single;
    steps.extend([Step::BecomeRoot { drop_groups: set_groups }, Step::NewSession]);
    steps.extend(root);
    steps.extend([
        Step::Workdir { path: text("working directory", "/")? },
        Step::Pivot,
        Step::Stdio { terminal: false, owner: None },
        Step::Umask { mask: 0o022 },
        Step::Ready,
        Step::EnterWorkdir,
        Step::NoNewPrivileges,
    ]);
    if facts.landlock_abi >= 2 {
        steps.push(Step::Landlock);
    }
    steps.extend([
        Step::Bounding { keep: caps().0 },
        Step::Identity { uid: 0, gid: 0, set_groups },
        Step::Caps { set: caps().0 },
        Step::Seccomp,
        Step::Exec,
    ]);
    Ok(SandboxPlan {
        kind: SandboxKind::Worker,
        id: spec.id.clone(),
        namespaces,
        enter: Vec::new(),
        time_offsets: Vec::new(),
        share: None,
        cgroup,
        ids: spec.ids.clone(),
        limits: vec![
            LimitStep { name: "core".to_owned(), soft: Some(0), hard: Some(0) },
            LimitStep { name: "as".to_owned(), soft: Some(MEMORY), hard: Some(MEMORY) },
        ],
        oom_score_adj: Some(500),
        net_devices: Vec::new(),
        rdt: None,
        trees,
        steps,
        program: Program {
            candidates: Vec::new(),
            args: spec.args.iter().map(|a| text("argument", a)).collect::<Result<_, _>>()?,
            env: Vec::new(),
            groups: Vec::new(),
            init: true,
        },
        preserve: 0,
        filter: spec.filter.clone(),
        grants: vec![Grant::Capabilities(vec!["SETFCAP".to_owned()])],
    })
}

//! OCI bundles: from `config.json` to the same plan that the engine's own containers have.
//!
//! Where a config asks for less than our defaults it gets what it asks: whoever calls an OCI runtime decides. What is
//! then missing is named by a [`Grant`], so that `verify` holds for these plans too.

mod cgroups;
pub mod config;
mod devices;
mod exec;
mod filter;
pub mod hook;
mod mounts;
mod namespaces;
pub mod options;
mod process;
mod sets;
mod start;
pub mod step;
pub mod tune;

use std::path::Path;

use bulkhead_sys::clone;

use self::config::{Config, IdMapping, Linux};
pub use self::exec::{Entered, plan_exec};
pub use self::filter::{Filter, filter};
use self::namespaces::Namespaces;
pub(crate) use self::namespaces::unmade;
pub use self::namespaces::{Enter, KINDS};
pub use self::process::{flag_bit, idle_ambient, unknown_capabilities};
pub use self::sets::bits;
pub use self::start::{Rest, start};
use self::step::OciStep;
use crate::cgroup::CgroupPlan;
use crate::facts::HostFacts;
use crate::netdev::NetDevice;
use crate::plan::{PlanError, SandboxKind, SandboxPlan, Tree, oom_score, path_text, text};
use crate::rdt::RdtPlan;
use crate::spec::{Grant, IdMaps, IdRange, MapWriter, outside};
use crate::step::Step;

/// What the caller of the runtime says beside the config.
#[derive(Debug)]
pub struct Ask<'a> {
    /// Names the container.
    pub id: &'a str,
    /// Absolute directory of the bundle.
    pub bundle: &'a Path,
    /// Its control group.
    pub cgroup: CgroupPlan,
    /// The root cannot be changed by `pivot_root(2)`.
    pub no_pivot: bool,
    /// The caller's session keyring stays.
    pub no_new_keyring: bool,
    /// How many descriptors beyond the standard streams the program gets.
    pub preserve: u32,
    /// Where resctrl is mounted; asked for only where the config has `linux.intelRdt`.
    pub resctrl: Option<&'a Path>,
    /// It waits for a start by another process; else it is started by whoever made it.
    pub waits: bool,
}

/// What steps are made from.
struct Builder<'a> {
    config: &'a Config,
    linux: &'a Linux,
    facts: &'a HostFacts,
    namespaces: &'a Namespaces,
    trees: Vec<Tree>,
    steps: Vec<Step>,
    /// `/dev` becomes read-only at the end.
    sealed_dev: bool,
}

/// How a process gets its rights.
struct Rights<'a> {
    /// Id that names its session keyring.
    keyring: Option<&'a str>,
    filter: Option<&'a Filter>,
    set_groups: bool,
}

/// Plans a container.
///
/// # Errors
/// A field that cannot be carried out, by its name; nothing was changed.
pub fn plan(config: &Config, ask: &Ask<'_>, facts: &HostFacts) -> Result<SandboxPlan, PlanError> {
    refuse(config, facts)?;
    let linux = config.linux();
    let process = config
        .process
        .as_ref()
        .ok_or_else(|| PlanError::invalid("process", "", "a container without a program is never started"))?;
    process::refuse_foreign(process)?;
    let namespaces = Namespaces::of(&linux, facts)?;
    let ids = ids(&linux, &namespaces, facts)?;
    check_process_ids(process, &ids)?;
    let filter = filter::filter(&linux, facts)?;
    let rights = Rights {
        keyring: (!ask.no_new_keyring).then_some(ask.id),
        filter: filter.as_ref(),
        set_groups: ids.writer != MapWriter::Single,
    };
    let mut b = Builder {
        config,
        linux: &linux,
        facts,
        namespaces: &namespaces,
        trees: Vec::new(),
        steps: Vec::new(),
        sealed_dev: false,
    };
    let make = begin(&mut b, &ask.cgroup, &ids)?;
    rootfs(&mut b, ask, process)?;
    if let Some((propagation, below)) = mounts::propagation(&b)? {
        b.steps.push(OciStep::RootPropagation { propagation, below }.into());
    }
    process::early(process, facts, &rights, &mut b.steps)?;
    tune::container_steps(process, &linux, &mut b.steps)?;
    b.steps.push(OciStep::FindProgram.into());
    b.steps.push(Step::Ready);
    process::late(process, &rights, ask.waits, &mut b.steps)?;
    let mut grants = process::grants(process, filter.is_some())?;
    grants.extend(loosened(&b));
    let Builder { trees, steps, .. } = b;
    Ok(SandboxPlan {
        kind: SandboxKind::Bundle,
        id: ask.id.to_owned(),
        namespaces: make,
        enter: namespaces.enter.clone(),
        time_offsets: time_offsets(&linux, &namespaces, facts)?,
        share: None,
        cgroup: ask.cgroup.clone(),
        ids,
        limits: process::limits(process, facts)?,
        oom_score_adj: process.oom_score_adj.map(oom_score).transpose()?,
        net_devices: net_devices(&linux, &namespaces, facts)?,
        rdt: linux.intel_rdt.as_ref().map(|rdt| RdtPlan::of(rdt, ask.id, ask.resctrl)).transpose()?,
        trees,
        steps,
        program: process::what(process)?,
        preserve: ask.preserve,
        filter: filter.map(|f| f.program.insns().to_vec()).unwrap_or_default(),
        grants,
    })
}

/// What no plan carries out: each is refused by its name.
fn refuse(config: &Config, facts: &HostFacts) -> Result<(), PlanError> {
    let version = config.oci_version.as_str();
    let major = version.split('.').next().and_then(|m| m.parse::<u32>().ok());
    if major != Some(1) || version.split('.').count() < 3 {
        return Err(PlanError::invalid("ociVersion", version, "1.0.0 to 1.3.x is needed"));
    }
    let foreign = [
        ("solaris", config.solaris.is_some()),
        ("windows", config.windows.is_some()),
        ("vm", config.vm.is_some()),
        ("zos", config.zos.is_some()),
        ("freebsd", config.freebsd.is_some()),
    ];
    let linux = config.linux();
    if !linux.mount_label.is_empty() && !facts.selinux {
        return Err(PlanError::Unsupported {
            what: format!("linux.mountLabel {:?}", linux.mount_label),
            reason: "SELinux is not active in this kernel".to_owned(),
        });
    }
    for (name, there) in foreign {
        if there {
            return Err(PlanError::Unsupported {
                what: name.to_owned(),
                reason: "it belongs to another platform".to_owned(),
            });
        }
    }
    Ok(())
}

/// The devices of `linux.netDevices`, with names that a device can have.
fn net_devices(linux: &Linux, namespaces: &Namespaces, facts: &HostFacts) -> Result<Vec<NetDevice>, PlanError> {
    let field = "linux.netDevices";
    if linux.net_devices.is_empty() {
        return Ok(Vec::new());
    }
    if !namespaces.has(clone::NEWNET) {
        return Err(PlanError::invalid(field, "", "it needs a network namespace of the container's own"));
    }
    if !facts.privileged {
        let reason = "only root may move network devices of the host".to_owned();
        return Err(PlanError::Unsupported { what: field.to_owned(), reason });
    }
    let mut devices: Vec<NetDevice> = Vec::with_capacity(linux.net_devices.len());
    for (from, device) in &linux.net_devices {
        let to = if device.name.is_empty() { from } else { &device.name };
        for (field, name) in [(field.to_owned(), from), (format!("{field}.{from}.name"), to)] {
            // `dev_valid_name` of the kernel; it makes a number of a `%`.
            let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
            if name.is_empty() || name.len() > 15 || matches!(name.as_str(), "." | "..") || name.contains(odd) {
                let accepted = "1 to 15 bytes without spaces, '/', ':' and '%' are needed";
                return Err(PlanError::invalid(&field, name, accepted));
            }
        }
        if devices.iter().any(|other| other.to == *to) {
            return Err(PlanError::invalid(&format!("{field}.{from}.name"), to, "another device has this name"));
        }
        devices.push(NetDevice { from: from.clone(), to: to.clone() });
    }
    Ok(devices)
}

/// Control group, user namespace, session, names: what comes before mounts. Returns the namespaces that are made at the
/// clone.
fn begin(b: &mut Builder<'_>, cgroup: &CgroupPlan, ids: &IdMaps) -> Result<u64, PlanError> {
    let mut make = b.namespaces.make;
    b.steps.push(process::all_cpus());
    if let Some(group) = cgroup.bundle().filter(|g| !g.unified) {
        b.steps.push(Step::JoinCgroups { count: group.places.len() });
        if make & clone::NEWCGROUP != 0 {
            // The view is rooted where the process is when it is made.
            make &= !clone::NEWCGROUP;
            b.steps.push(Step::CgroupNamespace);
        }
    }
    if b.namespaces.has(clone::NEWUSER) {
        b.steps.push(Step::BecomeRoot { drop_groups: ids.writer != MapWriter::Single });
    }
    b.steps.push(Step::NewSession);
    if make & clone::NEWNET != 0 {
        b.steps.push(Step::Loopback);
    }
    let names = [("hostname", &b.config.hostname), ("domainname", &b.config.domainname)];
    for (field, name) in names {
        if name.is_empty() {
            continue;
        }
        if !b.namespaces.has(clone::NEWUTS) {
            return Err(PlanError::invalid(field, name, "it needs a uts namespace of its own"));
        }
        if name.len() > 64 {
            return Err(PlanError::invalid(field, name, "at most 64 bytes are possible"));
        }
        let name = text(field, name)?;
        b.steps.push(if field == "hostname" { Step::Hostname { name } } else { Step::Domainname { name } });
    }
    for (name, value) in &b.linux.sysctl {
        // Their files in /proc belong to the host's root; the calls ask the user namespace.
        match setting(name).as_str() {
            "kernel/hostname" => b.steps.push(Step::Hostname { name: text("linux.sysctl", value)? }),
            "kernel/domainname" => b.steps.push(Step::Domainname { name: text("linux.sysctl", value)? }),
            _ => {}
        }
    }
    Ok(make)
}

fn rootfs(b: &mut Builder<'_>, ask: &Ask<'_>, process: &config::Process) -> Result<(), PlanError> {
    if b.namespaces.enters(clone::NEWNS) {
        return Err(PlanError::Unsupported {
            what: "linux.namespaces: mount with a path".to_owned(),
            reason: "the root file system would be set up in a mount namespace that others use".to_owned(),
        });
    }
    let own_mounts = b.namespaces.has(clone::NEWNS);
    if !own_mounts && b.namespaces.has(clone::NEWUSER) {
        return Err(PlanError::Unsupported {
            what: "linux.namespaces with user and without mount".to_owned(),
            reason: "a user namespace has no right to mount anything in the caller's mount namespace".to_owned(),
        });
    }
    if !own_mounts && !b.linux.rootfs_propagation.is_empty() {
        let accepted = "it needs a mount namespace of its own; it would change the host";
        return Err(PlanError::invalid("linux.rootfsPropagation", &b.linux.rootfs_propagation, accepted));
    }
    mounts::root(b, ask)?;
    mounts::mounts(b, ask)?;
    devices::devices(b)?;
    if process.terminal {
        b.steps.push(Step::Terminal { console: !mounts::has_foreign_dev(b) });
    }
    mounts::seal_dev(b)?;
    let labelled = !process.apparmor_profile.is_empty() || !process.selinux_label.is_empty();
    if labelled || !b.linux.sysctl.is_empty() {
        b.steps.push(OciStep::DetachedProc.into());
    }
    sysctls(b)?;
    let hooks = b.config.hooks.as_ref();
    if hooks.is_some_and(|h| !(h.prestart.is_empty() && h.create_runtime.is_empty() && h.create_container.is_empty())) {
        b.steps.push(OciStep::Hooks.into());
    }
    for path in &b.linux.readonly_paths {
        b.steps.push(OciStep::Seal { target: path_text("linux.readonlyPaths", &mounts::clean(path))? }.into());
    }
    let mut masked: Vec<String> = b.linux.masked_paths.iter().map(|path| mounts::clean(path)).collect();
    let mut seen = std::collections::BTreeSet::new();
    masked.retain(|path| seen.insert(path.clone()));
    for path in masked {
        b.steps.push(OciStep::Cover { target: path_text("linux.maskedPaths", &path)? }.into());
    }
    b.steps.push(Step::Workdir { path: process::workdir(process)? });
    if b.config.root.as_ref().is_some_and(|r| r.readonly) {
        b.steps.push(Step::ReadOnlyRoot);
    }
    b.steps.push(match (own_mounts, ask.no_pivot) {
        (false, _) => OciStep::Chroot.into(),
        (true, true) => move_root(b, ask)?,
        (true, false) => Step::Pivot,
    });
    Ok(())
}

fn move_root(b: &Builder<'_>, ask: &Ask<'_>) -> Result<Step, PlanError> {
    let root = ask.bundle.join(b.config.root.as_ref().map_or("", |r| r.path.as_str()));
    // Those in the root file system are the container's.
    let host = b.facts.kernel_mounts.iter().filter(|point| !Path::new(point).starts_with(&root));
    let kernel = host.map(|point| text("mount point", point)).collect::<Result<_, _>>()?;
    Ok(OciStep::MoveRoot { kernel }.into())
}

/// The path below `/proc/sys`: names come with dots, or with slashes where an interface has a dot in its name.
fn setting(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { name.replace('.', "/") }
}

/// Settings of the container's own namespaces: any other would be the host's.
fn sysctls(b: &mut Builder<'_>) -> Result<(), PlanError> {
    for (name, value) in &b.linux.sysctl {
        let field = format!("linux.sysctl.{name}");
        let path = setting(name);
        let belongs = match path.as_str() {
            "kernel/domainname" | "kernel/hostname" => clone::NEWUTS,
            p if p.starts_with("net/") => clone::NEWNET,
            p if p.starts_with("fs/mqueue/") => clone::NEWIPC,
            "kernel/msgmax"
            | "kernel/msgmnb"
            | "kernel/msgmni"
            | "kernel/sem"
            | "kernel/shmall"
            | "kernel/shmmax"
            | "kernel/shmmni"
            | "kernel/shm_rmid_forced" => clone::NEWIPC,
            p if p.starts_with("user/") => clone::NEWUSER,
            _ => return Err(PlanError::invalid(&field, value, "it belongs to no namespace: set it on the host")),
        };
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(PlanError::invalid("linux.sysctl", name, "a name like net.ipv4.ip_forward is needed"));
        }
        if !b.namespaces.has(belongs) {
            let kind = KINDS.iter().find(|(_, _, bit)| *bit == belongs).map_or("", |(kind, _, _)| kind);
            return Err(PlanError::invalid(
                &field,
                value,
                format!("it needs a {kind} namespace of its own; it would change the host"),
            ));
        }
        if !path.ends_with("name") || path.starts_with("net/") {
            let path = text(&field, &format!("sys/{path}"))?;
            b.steps.push(Step::Sysctl { path, value: text(&field, value)? });
        }
    }
    Ok(())
}

/// Ranges of a map, checked as far as the kernel would not say which one is wrong.
pub(super) fn id_ranges(field: &str, maps: &[IdMapping]) -> Result<Vec<IdRange>, PlanError> {
    if maps.len() > 340 {
        return Err(PlanError::invalid(field, maps.len().to_string(), "the kernel takes at most 340 ranges"));
    }
    let mut ranges = Vec::with_capacity(maps.len());
    for map in maps {
        let ends = map.container_id.checked_add(map.size).and(map.host_id.checked_add(map.size));
        if map.size == 0 || ends.is_none() {
            let value = format!("{}:{}:{}", map.container_id, map.host_id, map.size);
            return Err(PlanError::invalid(field, value, "a range of at least one 32-bit id is needed"));
        }
        ranges.push(IdRange { inside: map.container_id, outside: map.host_id, count: map.size });
    }
    Ok(ranges)
}

fn ids(linux: &Linux, namespaces: &Namespaces, facts: &HostFacts) -> Result<IdMaps, PlanError> {
    let uids = id_ranges("linux.uidMappings", &linux.uid_mappings)?;
    let gids = id_ranges("linux.gidMappings", &linux.gid_mappings)?;
    let own = namespaces.has(clone::NEWUSER);
    if own && namespaces.make & clone::NEWUSER != 0 && (uids.is_empty() || gids.is_empty()) {
        return Err(PlanError::invalid(
            "linux.uidMappings",
            "",
            "a new user namespace needs uidMappings and gidMappings",
        ));
    }
    if !(own || uids.is_empty() && gids.is_empty()) {
        return Err(PlanError::invalid(
            "linux.uidMappings",
            format!("{} ranges", uids.len()),
            "id maps need a user namespace of the container's own",
        ));
    }
    if !own && !facts.privileged && !facts.nested {
        return Err(PlanError::Unsupported {
            what: "linux.namespaces without user".to_owned(),
            reason: "an ordinary user needs a user namespace ('spec --rootless' writes such a config)".to_owned(),
        });
    }
    let one = |ranges: &[IdRange], id: u32| matches!(ranges, [r] if r.count == 1 && r.outside == id);
    let writer = if facts.privileged || facts.nested {
        MapWriter::Direct
    } else if one(&uids, facts.uid) && one(&gids, facts.gid) {
        MapWriter::Single
    } else {
        MapWriter::Helpers
    };
    Ok(IdMaps { uids, gids, writer })
}

fn check_process_ids(process: &config::Process, ids: &IdMaps) -> Result<(), PlanError> {
    let user = &process.user;
    let all = [("process.user.uid", &ids.uids, user.uid), ("process.user.gid", &ids.gids, user.gid)];
    let groups = user.additional_gids.iter().map(|g| ("process.user.additionalGids", &ids.gids, *g));
    for (field, ranges, id) in all.into_iter().chain(groups) {
        if id == u32::MAX || !ranges.is_empty() && outside(ranges, id).is_none() {
            return Err(PlanError::invalid(field, id.to_string(), "it is not mapped into this container"));
        }
    }
    if ids.writer == MapWriter::Single && !user.additional_gids.is_empty() {
        return Err(PlanError::invalid(
            "process.user.additionalGids",
            format!("{:?}", user.additional_gids),
            "an ordinary user without subordinate ids cannot set groups",
        ));
    }
    Ok(())
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces, facts: &HostFacts) -> Result<Vec<String>, PlanError> {
    if !(linux.time_offsets.is_empty() || facts.privileged || facts.nested) {
        return Err(PlanError::Unsupported {
            what: "linux.timeOffsets".to_owned(),
            reason: "the clocks are set before the container's user namespace is made, which only root may".to_owned(),
        });
    }
    let mut lines = Vec::new();
    for (clock, offset) in &linux.time_offsets {
        let field = format!("linux.timeOffsets.{clock}");
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(PlanError::invalid("linux.timeOffsets", clock, "monotonic or boottime is needed"));
        }
        if namespaces.make & clone::NEWTIME == 0 {
            return Err(PlanError::invalid(&field, offset.secs.to_string(), "it needs a new time namespace"));
        }
        if offset.nanosecs >= 1_000_000_000 {
            return Err(PlanError::invalid(&field, offset.nanosecs.to_string(), "less than a second is needed"));
        }
        lines.push(format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
    }
    Ok(lines)
}

/// What is weaker than our defaults, beside the process.
fn loosened(b: &Builder<'_>) -> Vec<Grant> {
    let mut grants = vec![Grant::Bundle];
    let shared = b.namespaces.shared();
    if !shared.is_empty() {
        grants.push(Grant::Host(shared));
    }
    if !b.namespaces.enter.is_empty() {
        let kind = |e: &Enter| KINDS.iter().find(|(_, _, bit)| *bit == e.kind).map_or("", |(kind, _, _)| *kind);
        grants.push(Grant::Entered(b.namespaces.enter.iter().map(|e| kind(e).to_owned()).collect()));
    }
    if b.linux.masked_paths.is_empty() || b.linux.readonly_paths.is_empty() {
        grants.push(Grant::KernelPaths);
    }
    grants
}

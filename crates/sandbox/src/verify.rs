//! Invariants of a plan, checked apart from the code that makes plans, in tests and again before every start.

use bulkhead_sys::clone;

use crate::cgroup::CgroupPlan;
use crate::oci::step::OciStep;
use crate::plan::{SandboxKind, SandboxPlan};
use crate::spec::{Caps, DeviceRule, Grant, Share, Text};
use crate::step::{Phase, Step};

/// An invariant that a plan breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(String);

fn must(holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(what())) }
}

/// Namespaces that no grant takes away.
const NAMESPACES: [(u64, &str); 6] = [
    (clone::NEWUSER, "user"),
    (clone::NEWNS, "mount"),
    (clone::NEWPID, "pid"),
    (clone::NEWNET, "network"),
    (clone::NEWIPC, "ipc"),
    (clone::NEWUTS, "uts"),
];

/// Checks a plan of a whole sandbox.
///
/// # Errors
/// The first invariant that does not hold.
pub fn verify(plan: &SandboxPlan) -> Result<(), Violation> {
    if plan.kind == SandboxKind::Bundle {
        return bundle(plan);
    }
    let shared = plan.share.as_ref().map_or(0, Share::bits);
    let host = host_kinds(plan);
    let in_hosts_network = host == ["network"];
    must(host.is_empty() || in_hosts_network, || "a container has nothing of the host's but its network".to_owned())?;
    for (flag, name) in NAMESPACES {
        let given = in_hosts_network && flag == clone::NEWNET;
        let present = (plan.namespaces | shared) & flag != 0;
        must(present != given, || {
            let why = if given { "there, and a grant says that it is the host's" } else { "missing" };
            format!("the {name} namespace is {why}")
        })?;
    }
    if in_hosts_network {
        hosts_network(plan)?;
    }
    shares(plan)?;
    devices(plan)?;
    ids(plan)?;
    rootfs(plan)?;
    rights(&plan.steps, &plan.filter, &plan.grants)
}

/// Kinds of namespaces that are the host's by grant.
fn host_kinds(plan: &SandboxPlan) -> Vec<&String> {
    let kinds = plan.grants.iter().filter_map(|g| if let Grant::Host(kinds) = g { Some(kinds) } else { None });
    kinds.flatten().collect()
}

/// Nothing of the host's network is changed.
fn hosts_network(plan: &SandboxPlan) -> Result<(), Violation> {
    let setting = |path: &Text| path.show().starts_with("sys/net/");
    let changes = |s: &&Step| match s {
        Step::Loopback => true,
        Step::Sysctl { path, .. } => setting(path),
        _ => false,
    };
    let found = plan.steps.iter().find(changes);
    must(found.is_none() && plan.net_devices.is_empty(), || {
        format!("{} would change the host's network", found.map_or_else(|| "a device".to_owned(), ToString::to_string))
    })
}

/// A plan of [`crate::oci`]: what is missing has a name, mounts never travel to the host, and what takes rights away is
/// as complete as a config can have it.
fn bundle(plan: &SandboxPlan) -> Result<(), Violation> {
    must(plan.share.is_none(), || "a bundle shares by path only".to_owned())?;
    let host = host_kinds(plan);
    let present = plan.entered();
    for (flag, name) in NAMESPACES {
        must(present & flag != 0 || host.iter().any(|kind| *kind == name), || {
            format!("the {name} namespace is missing and no grant says so")
        })?;
    }
    let entered = plan.enter.iter().fold(0, |bits, e| bits | e.kind);
    must(plan.namespaces & entered == 0, || "a namespace is both new and entered".to_owned())?;
    must(entered & clone::NEWNS == 0, || "mounts would be made in a namespace of others".to_owned())?;
    // In the caller's own mount namespace, with the grant for it, all hangs on the root, and nothing else is touched.
    let (cut, left) = if plan.namespaces & clone::NEWNS == 0 {
        let of_others =
            |s: &Step| matches!(s, Step::PrivateMounts | Step::Pivot) || matches!(s, Step::Bundle(s) if s.is_of_all());
        must(!plan.steps.iter().any(of_others), || "mounts of the host would be changed".to_owned())?;
        let root = |s: &Step| matches!(s, Step::Bundle(OciStep::BundleRoot { below: true, .. }));
        (position(&plan.steps, root), position(&plan.steps, |s| *s == OciStep::Chroot.into()))
    } else {
        (
            position(&plan.steps, |s| *s == Step::PrivateMounts || *s == OciStep::SlaveMounts.into()),
            position(&plan.steps, |s| matches!(s, Step::Pivot | Step::Bundle(OciStep::MoveRoot { .. }))),
        )
    };
    let (Some(cut), Some(left)) = (cut, left) else {
        return Err(Violation("mounts are not cut off, or the old root is kept".to_owned()));
    };
    for (index, step) in plan.steps.iter().enumerate().filter(|(_, s)| s.phase() == Phase::Rootfs) {
        // The one thing that is asked of the new root itself.
        let of_root = matches!(step, Step::Bundle(OciStep::RootPropagation { .. }));
        let in_place = if of_root { index > left } else { (cut..=left).contains(&index) };
        must(in_place, || format!("{step} comes before mounts are cut off or after the root"))?;
    }
    rights(&plan.steps, &plan.filter, &plan.grants)
}

/// Only ipc, pid, uts and the network are ever shared, each with a grant that names it, and never half.
fn shares(plan: &SandboxPlan) -> Result<(), Violation> {
    let Some(share) = &plan.share else { return Ok(()) };
    let names = share.names();
    let granted = plan
        .grants
        .iter()
        .any(|g| matches!(g, Grant::Shared { with, namespaces } if *with == share.with && *namespaces == names));
    must(granted && !names.is_empty(), || format!("namespaces of {} are shared and no grant says so", share.with))?;
    must(plan.namespaces & share.bits() == 0, || "a namespace is both new and shared".to_owned())?;
    let renamed = plan.steps.iter().any(|s| matches!(s, Step::Hostname { .. } | Step::Domainname { .. }));
    must(!(share.uts && renamed), || "the host name of another container would be changed".to_owned())
}

/// The character devices of the minimal `/dev`.
const DEVICES: [(u32, u32); 6] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)];

/// Every device is a usual one, or one that a grant names; and the control group allows no other.
fn devices(plan: &SandboxPlan) -> Result<(), Violation> {
    let named = |rule: &DeviceRule| {
        plan.grants.iter().any(|g| matches!(g, Grant::Device { rule: granted, .. } if granted == rule))
    };
    for step in &plan.steps {
        match step {
            Step::Device { major, minor, .. } => {
                must(DEVICES.contains(&(*major, *minor)), || format!("{step} is no usual device"))?;
            }
            Step::Granted { rule, .. } => must(named(rule), || format!("{step} has no grant"))?,
            _ => {}
        }
    }
    let (CgroupPlan::V1 { granted, .. } | CgroupPlan::V2 { granted, .. }) = &plan.cgroup else { return Ok(()) };
    granted.iter().try_for_each(|rule| must(named(rule), || format!("the device rule {rule} has no grant")))
}

/// Checks the plan of a worker that enters the namespaces of a running container, whose user namespace it is confined by.
///
/// # Errors
/// The first invariant that does not hold.
pub fn joined_worker(plan: &SandboxPlan) -> Result<(), Violation> {
    must(plan.kind == SandboxKind::Worker, || "only a worker is started so".to_owned())?;
    for (flag, name) in NAMESPACES.into_iter().filter(|(flag, _)| *flag != clone::NEWUSER) {
        must(plan.namespaces & flag != 0, || format!("the {name} namespace is missing"))?;
    }
    must(plan.namespaces & clone::NEWUSER == 0, || "it would leave the container's ids".to_owned())?;
    rootfs(plan)?;
    rights(&plan.steps, &plan.filter, &plan.grants)
}

/// Ids of the host's own accounts are never mapped by a privileged supervisor.
fn ids(plan: &SandboxPlan) -> Result<(), Violation> {
    if plan.ids.writer != crate::spec::MapWriter::Direct {
        return Ok(());
    }
    for range in plan.ids.uids.iter().chain(&plan.ids.gids) {
        must(range.outside >= 65_536, || format!("host id {} belongs to the host itself", range.outside))?;
    }
    Ok(())
}

fn is_caps(step: &Step) -> bool {
    matches!(step, Step::Caps { .. } | Step::Bundle(OciStep::CapSets { .. }))
}

fn position(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> Option<usize> {
    steps.iter().position(wanted)
}

fn rootfs(plan: &SandboxPlan) -> Result<(), Violation> {
    let private = position(&plan.steps, |s| *s == Step::PrivateMounts);
    let pivot = position(&plan.steps, |s| *s == Step::Pivot);
    let (Some(private), Some(pivot)) = (private, pivot) else {
        return Err(Violation("mounts are not cut off, or the old root is kept".to_owned()));
    };
    let first_mount = position(&plan.steps, |s| s.phase() == Phase::Rootfs && *s != Step::PrivateMounts);
    must(first_mount.is_none_or(|m| private < m), || "a mount comes before mounts are cut off".to_owned())?;
    let granted = |g: &Grant| plan.grants.contains(g);
    for (index, step) in plan.steps.iter().enumerate() {
        if step.phase() == Phase::Rootfs {
            must(index <= pivot, || format!("{step} comes after the old root is gone"))?;
        }
        let (attributes, what) = match step {
            Step::Overlay { attributes, .. }
            | Step::LayersRoot { attributes, .. }
            | Step::JoinedView { attributes, .. }
            | Step::DirectoryRoot { attributes, .. } => (*attributes, "the root"),
            Step::Bind { attributes, .. } | Step::BindExisting { attributes, .. } => (*attributes, "a bind"),
            _ => continue,
        };
        must(attributes & bulkhead_sys::mount::NODEV != 0, || format!("{what} is mounted without nodev"))?;
        let suid_ok = attributes & bulkhead_sys::mount::NOSUID != 0 || granted(&Grant::NewPrivileges);
        must(suid_ok, || format!("{what} is mounted without nosuid and no grant says so"))?;
    }
    if plan.kind == SandboxKind::Worker {
        // What a container keeps in memory is shown as empty and read-only.
        let empty = |s: &Step| match s {
            Step::Mount { filesystem, attributes, .. } => filesystem.show() == "tmpfs" && attributes & 0xf == 0xf,
            _ => false,
        };
        let kernel = |s: &Step| matches!(s, Step::Mount { .. } | Step::Device { .. } | Step::Granted { .. });
        let mounts = plan.steps.iter().filter(|s| kernel(s) && !empty(s)).count();
        return must(mounts == 0, || "a worker has a kernel file system or a device".to_owned());
    }
    let hosts_sysfs = host_kinds(plan).iter().any(|kind| *kind == "network");
    for (name, flags) in [("proc", 0xe), ("sysfs", 0xf)] {
        let found = plan.steps.iter().find_map(|s| match s {
            Step::Mount { filesystem, attributes, .. } if filesystem.show() == name => Some(*attributes),
            // It cannot be made anew in a network of others.
            Step::Bind { target, attributes, .. } if hosts_sysfs && name == "sysfs" && target.show() == "/sys" => {
                Some(*attributes)
            }
            _ => None,
        });
        must(found.is_some_and(|a| a & flags == flags), || {
            format!("{name} is missing or mounted with too many rights")
        })?;
    }
    if !granted(&Grant::KernelPaths) && !granted(&Grant::Privileged) {
        for needed in ["/proc/kcore", "/proc/sysrq-trigger", "/proc/keys", "/sys/firmware"] {
            let covered = plan.steps.iter().any(|s| match s {
                Step::Mask { target } | Step::ReadOnly { target } => target.show() == needed,
                _ => false,
            });
            must(covered, || format!("{needed} is neither masked nor read-only and no grant says so"))?;
        }
        let sealed = plan.steps.iter().any(|s| matches!(s, Step::ReadOnly { target } if target.show() == "/proc/sys"));
        must(sealed, || "/proc/sys can be written and no grant says so".to_owned())?;
    }
    Ok(())
}

/// What takes rights away, of a sandbox's first process and of one that joins.
pub(crate) fn rights(steps: &[Step], filter: &[bulkhead_seccomp::Insn], grants: &[Grant]) -> Result<(), Violation> {
    for pair in steps.windows(2) {
        if let [a, b] = pair {
            must(a.phase() <= b.phase(), || format!("{b} comes after {a}, which belongs to a later phase"))?;
        }
    }
    must(steps.last() == Some(&Step::Exec), || "the plan does not end with the program".to_owned())?;
    let once = |what: &str, is: &dyn Fn(&Step) -> bool| {
        let count = steps.iter().filter(|s| is(s)).count();
        must(count == 1, || format!("{what} appears {count} times"))
    };
    once("the start", &|s| *s == Step::Exec)?;
    once("ready", &|s| *s == Step::Ready)?;
    once("the bounding set", &|s| matches!(s, Step::Bounding { .. }))?;
    once("the capability set", &is_caps)?;
    once("the user", &|s| matches!(s, Step::Identity { .. }))?;
    let granted = |g: &Grant| grants.contains(g);
    let no_new_privileges = position(steps, |s| *s == Step::NoNewPrivileges);
    must(no_new_privileges.is_some() || granted(&Grant::NewPrivileges), || {
        "no_new_privs is missing and no grant says so".to_owned()
    })?;
    let seccomp = position(steps, |s| matches!(s, Step::Seccomp | Step::Bundle(OciStep::Filter { .. })));
    if !granted(&Grant::SeccompUnconfined) {
        must(seccomp.is_some() && !filter.is_empty(), || {
            "the system call filter is missing and no grant says so".to_owned()
        })?;
    }
    let caps = position(steps, is_caps);
    if let (Some(seccomp), Some(caps)) = (seccomp, caps) {
        let right = if no_new_privileges.is_some() { caps < seccomp } else { seccomp < caps };
        must(right, || "the system call filter is loaded at the wrong moment".to_owned())?;
    }
    let mut allowed = Caps::DEFAULT;
    for grant in grants {
        match grant {
            Grant::Capabilities(names) => {
                for name in names {
                    allowed = allowed.with(Caps::named(name).unwrap_or_default());
                }
            }
            Grant::Privileged => allowed = Caps(u64::MAX),
            Grant::Compat => allowed = allowed.with(Caps::DOCKER),
            _ => {}
        }
    }
    for step in steps {
        let set = match step {
            Step::Bounding { keep: set } | Step::Caps { set } => *set,
            Step::Bundle(OciStep::CapSets { effective, permitted, inheritable, ambient }) => {
                must(ambient & !(permitted & inheritable) == 0, || {
                    "an ambient capability is not permitted".to_owned()
                })?;
                effective | permitted | inheritable
            }
            _ => 0,
        };
        let extra = Caps(set).without(allowed);
        must(extra.is_empty(), || format!("capabilities {} have no grant", extra.names().join(", ")))?;
    }
    Ok(())
}

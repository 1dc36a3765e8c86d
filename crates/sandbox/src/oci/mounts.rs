//! `root` and `mounts` of a config, as steps.

use std::path::Path;

use bulkhead_sys::clone::{NEWNS, NEWUSER};
use bulkhead_sys::mount::{NODEV, NOEXEC, NOSUID, NOSYMFOLLOW, PRIVATE, RDONLY, SHARED, SLAVE};

use super::config::Mount;
use super::options::{self, IdMap, Options};
use super::step::{Attributes, OciStep, Source};
use super::{Ask, Builder, id_ranges};
use crate::plan::{Origin, OwnIds, PlanError, Tree, TreeMaps, path_text, text};
use crate::spec::Text;
use crate::step::{Step, TreeFrom, TreePath};

/// Files of procfs that a config may cover by its own; anything else below `/proc` would lie about the kernel
/// (CVE-2023-27561).
const PROC_FILES: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// The target without double slashes, `.` and `..`; a relative one is taken from the root.
pub(super) fn clean(path: &str) -> String {
    format!("/{}", crate::cgroup::oci::names(path).join("/"))
}

/// The root file system, attached and not yet the root.
pub(super) fn root(b: &mut Builder<'_>, ask: &Ask<'_>) -> Result<(), PlanError> {
    let root = b.config.root.as_ref().ok_or_else(|| PlanError::invalid("root", "", "a root file system is needed"))?;
    if root.path.is_empty() {
        return Err(PlanError::invalid("root.path", "", "a directory is needed"));
    }
    let path = ask.bundle.join(&root.path);
    let shared = !b.namespaces.has(NEWNS);
    if !shared {
        b.steps.push(if propagation(b)?.is_some_and(|(bit, _)| bit == PRIVATE) {
            Step::PrivateMounts
        } else {
            OciStep::SlaveMounts.into()
        });
    }
    let from = tree(b, &path, true, false, None)?;
    let slave = propagation(b)?.is_some_and(|(bit, _)| bit == SLAVE);
    b.steps.push(OciStep::BundleRoot { from, propagation: if slave { SLAVE } else { PRIVATE }, below: shared }.into());
    Ok(())
}

/// What `linux.rootfsPropagation` says.
pub(super) fn propagation(b: &Builder<'_>) -> Result<Option<(u64, bool)>, PlanError> {
    let word = b.linux.rootfs_propagation.as_str();
    if word.is_empty() {
        return Ok(None);
    }
    let accepted = "shared, slave, private, unbindable or one of them with r is needed";
    options::propagation(word).map(Some).ok_or_else(|| PlanError::invalid("linux.rootfsPropagation", word, accepted))
}

/// A tree of the host: the parent opens what the child could not reach with the ids of its user namespace, what must
/// stay a peer of the host's mount, and what has ids of its own.
fn tree(
    b: &mut Builder<'_>,
    path: &Path,
    recursive: bool,
    peer: bool,
    maps: Option<TreeMaps>,
) -> Result<TreeFrom, PlanError> {
    let shown = path.to_str().ok_or_else(|| PlanError::invalid("path", path.to_string_lossy(), "UTF-8 is needed"))?;
    let path = text("path", &if shown.starts_with('/') { clean_source(shown) } else { shown.to_owned() })?;
    let mut place = TreePath::new(path, recursive, false);
    place.follow = true;
    let by_parent = b.facts.privileged && (b.namespaces.has(NEWUSER) || peer);
    if maps.is_none() && !by_parent {
        return Ok(TreeFrom::Path(place));
    }
    b.trees.push(Tree { place, shift_ids: false, origin: Origin::Host, maps, peer });
    Ok(TreeFrom::Sent(b.trees.len() - 1))
}

/// Doubled slashes go; `..` stays, because a link may be before it.
fn clean_source(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    format!("/{}", parts.join("/"))
}

pub(super) fn mounts(b: &mut Builder<'_>, ask: &Ask<'_>) -> Result<(), PlanError> {
    for (index, mount) in b.config.mounts.iter().enumerate() {
        let field = format!("mounts[{index}]");
        if mount.destination.is_empty() {
            return Err(PlanError::invalid(&format!("{field}.destination"), "", "a path in the container is needed"));
        }
        let target = in_root(b, ask, &mount.destination).unwrap_or_else(|| clean(&mount.destination));
        check_target(&field, mount, &target)?;
        let options = Options::read(&mount.options);
        match mount.kind.as_str() {
            "cgroup" | "cgroup2" if !options.bind => {
                if let Some((key, _)) = options.data.first() {
                    let accepted = "control groups are mounted with attributes only, like ro and nosuid";
                    return Err(PlanError::invalid(&format!("{field}.options"), key, accepted));
                }
                super::cgroups::mount(b, &target, &options, &ask.cgroup)?;
            }
            _ => one(b, ask, &field, mount, &target, &options)?,
        }
    }
    Ok(())
}

/// The path in the container of one that begins with the path of the root file system, as some callers write them.
fn in_root(b: &Builder<'_>, ask: &Ask<'_>, path: &str) -> Option<String> {
    let root = ask.bundle.join(&b.config.root.as_ref()?.path);
    let root = clean(root.to_str()?);
    let rest = Path::new(&clean_source(path)).strip_prefix(&root).ok()?.to_str()?.to_owned();
    let plain = !rest.split('/').any(|part| part == "..");
    (plain && root != "/" && path.starts_with('/')).then(|| clean(&rest))
}

fn check_target(field: &str, mount: &Mount, target: &str) -> Result<(), PlanError> {
    let refused = |why: &str| Err(PlanError::invalid(&format!("{field}.destination"), &mount.destination, why));
    if target == "/" {
        return refused("the root itself cannot be mounted over");
    }
    if target == "/proc" && mount.kind != "proc" && !is_bind(mount) {
        return refused("only a procfs can be mounted on /proc");
    }
    if target.starts_with("/proc/") && !PROC_FILES.contains(&target) {
        return refused(
            "below /proc only these may be covered: cpuinfo, diskstats, meminfo, stat, swaps, uptime, loadavg, slabinfo, net/dev",
        );
    }
    Ok(())
}

/// Engines write the type `bind`, `none`, nothing or any other word where an option says `bind`.
fn is_bind(mount: &Mount) -> bool {
    mount.kind == "bind" || mount.options.iter().any(|o| matches!(o.as_str(), "bind" | "rbind"))
}

/// Whether `/dev` is the host's or another's, where no node is made.
pub(super) fn has_foreign_dev(b: &Builder<'_>) -> bool {
    b.config.mounts.iter().any(|m| clean(&m.destination) == "/dev" && is_bind(m))
}

fn one(
    b: &mut Builder<'_>,
    ask: &Ask<'_>,
    field: &str,
    mount: &Mount,
    target: &str,
    options: &Options,
) -> Result<(), PlanError> {
    let target = path_text(&format!("{field}.destination"), target)?;
    let maps = maps(b, field, mount, options)?;
    if options.remount && !is_bind(mount) {
        b.steps.push(attach(Source::Existing, target, options.attributes));
        return Ok(());
    }
    if is_bind(mount) {
        if let Some((key, _)) = options.data.first() {
            let accepted = "a bind takes no data; see the list of mount options in 'features'";
            return Err(PlanError::invalid(&format!("{field}.options"), key, accepted));
        }
        if options.copy_up {
            return Err(PlanError::invalid(&format!("{field}.options"), "tmpcopyup", "it is for a tmpfs"));
        }
        let source = ask.bundle.join(&mount.source);
        if mount.source.is_empty() {
            return Err(PlanError::invalid(&format!("{field}.source"), "", "a bind needs a path of the host"));
        }
        // The tree comes from the parent, who could take away what the container could not.
        let locked = b.namespaces.has(NEWUSER);
        let a = Attributes { locked, ..options.of_bind(if locked { !NOSYMFOLLOW } else { 0 }) };
        let peer = a.propagation == SHARED || a.propagation_below == SHARED;
        // Where the host opens trees it does not see what is mounted in the container.
        let by_parent = b.facts.privileged && locked || maps.is_some();
        if let Some(path) = source.to_str().and_then(|s| in_root(b, ask, s)).filter(|_| by_parent && !peer) {
            let path = path_text(&format!("{field}.source"), &path)?;
            b.steps.push(attach(Source::Inside { path, recursive: options.recursive, maps }, target, a));
            return Ok(());
        }
        let tree = tree(b, &source, options.recursive, peer, maps)?;
        b.steps.push(attach(Source::Tree { tree }, target, a));
        return Ok(());
    }
    if maps.is_some() {
        let accepted = "ids are shifted for binds only; mount the file system and bind it";
        return Err(PlanError::invalid(&format!("{field}.uidMappings"), &mount.kind, accepted));
    }
    let source = new(b, field, mount, options)?;
    let mut attributes = options.attributes;
    if target.show() == "/dev" && attributes.set & RDONLY != 0 {
        // When its nodes are in it: see `seal_dev`.
        attributes.set &= !RDONLY;
        b.sealed_dev = true;
    }
    b.steps.push(attach(source, target, attributes));
    Ok(())
}

fn attach(source: Source, target: Text, attributes: Attributes) -> Step {
    OciStep::Attach { source, target, attributes }.into()
}

fn new(b: &Builder<'_>, field: &str, mount: &Mount, options: &Options) -> Result<Source, PlanError> {
    let named = |what: &str| format!("{field}.{what}");
    if mount.kind.is_empty() {
        return Err(PlanError::invalid(&named("type"), "", "a file system, or the option bind or rbind, is needed"));
    }
    if options.copy_up && mount.kind != "tmpfs" {
        return Err(PlanError::invalid(&named("options"), "tmpcopyup", "it is for a tmpfs"));
    }
    let mut data = Vec::with_capacity(options.data.len());
    for (key, value) in &options.data {
        let value = value.as_deref().map(|v| text(&named("options"), v)).transpose()?;
        data.push((text(&named("options"), key)?, value));
    }
    if b.facts.selinux
        && !b.linux.mount_label.is_empty()
        && matches!(mount.kind.as_str(), "tmpfs" | "mqueue" | "devpts")
    {
        data.push((text("linux.mountLabel", "context")?, Some(text("linux.mountLabel", &b.linux.mount_label)?)));
    }
    let shown = if mount.source.is_empty() { &mount.kind } else { &mount.source };
    Ok(Source::New {
        filesystem: text(&named("type"), &mount.kind)?,
        source: Some(text(&named("source"), shown)?),
        keep_mode: mount.kind == "tmpfs" && !options.data.iter().any(|(key, _)| key == "mode"),
        copy_up: options.copy_up,
        options: data,
    })
}

/// Ids of a mount: its own, or with `idmap` alone those of the container.
fn maps(b: &Builder<'_>, field: &str, mount: &Mount, options: &Options) -> Result<Option<TreeMaps>, PlanError> {
    let own = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    if !own && options.id_map.is_none() {
        return Ok(None);
    }
    let name = format!("{field}.uidMappings");
    if own && (mount.uid_mappings.is_empty() || mount.gid_mappings.is_empty()) {
        return Err(PlanError::invalid(&name, "", "uidMappings and gidMappings are needed together"));
    }
    if !own && !b.namespaces.has(NEWUSER) {
        let accepted = "idmap needs uidMappings and gidMappings, or a user namespace of the container";
        return Err(PlanError::invalid(&name, "", accepted));
    }
    if !b.facts.privileged {
        return Err(PlanError::Unsupported { what: name, reason: "only root may shift the ids of a mount".to_owned() });
    }
    let ids = if own {
        let (uids, gids) = (id_ranges(&name, &mount.uid_mappings)?, id_ranges(&name, &mount.gid_mappings)?);
        Some(OwnIds { uids, gids })
    } else {
        None
    };
    Ok(Some(TreeMaps { ids, recursive: options.id_map == Some(IdMap::Recursive) }))
}

/// Attributes of what the runtime itself mounts for control groups.
pub(super) const QUIET: u64 = NOSUID | NODEV | NOEXEC;

/// A memory file system of the runtime's own.
pub(super) fn small_memory(target: &Text) -> Result<Step, PlanError> {
    Ok(attach(
        Source::New {
            filesystem: text("type", "tmpfs")?,
            source: Some(text("source", "cgroup")?),
            options: vec![
                (text("option", "size")?, Some(text("option", "64k")?)),
                (text("option", "mode")?, Some(text("option", "755")?)),
            ],
            keep_mode: false,
            copy_up: false,
        },
        target.clone(),
        Attributes { set: QUIET, ..Attributes::default() },
    ))
}

/// Makes `/dev` read-only where it was asked for, when all is in it.
pub(super) fn seal_dev(b: &mut Builder<'_>) -> Result<(), PlanError> {
    if b.sealed_dev {
        b.steps.push(seal(path_text("mount target", "/dev")?));
    }
    Ok(())
}

/// Makes what is mounted there read-only, when all is in it.
pub(super) fn seal(target: Text) -> Step {
    attach(Source::Existing, target, Attributes { set: RDONLY, ..Attributes::default() })
}

/// A bind of a directory of the host that the runtime itself asks for.
pub(super) fn bind(b: &mut Builder<'_>, source: &Path, target: Text, set: u64) -> Result<(), PlanError> {
    let tree = tree(b, source, false, false, None)?;
    b.steps.push(attach(Source::Tree { tree }, target, Attributes { set, ..Attributes::default() }));
    Ok(())
}

/// A control group file system of the container's own view.
pub(super) fn cgroup_view(kind: &str, flags: &[&str], target: Text, attributes: Attributes) -> Result<Step, PlanError> {
    let mut options = Vec::new();
    for flag in flags {
        options.push(match flag.split_once('=') {
            Some((key, value)) => (text("option", key)?, Some(text("option", value)?)),
            None => (text("option", flag)?, None),
        });
    }
    let source = Source::New {
        filesystem: text("type", kind)?,
        source: Some(text("source", "cgroup")?),
        options,
        keep_mode: false,
        copy_up: false,
    };
    Ok(attach(source, target, attributes))
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn targets_stay_inside() {
        for (path, cleaned) in
            [("/a//b/./c", "/a/b/c"), ("../../etc", "/etc"), ("/a/../..", "/"), ("proc", "/proc"), ("/dev/", "/dev")]
        {
            assert_eq!(clean(path), cleaned);
        }
    }
}

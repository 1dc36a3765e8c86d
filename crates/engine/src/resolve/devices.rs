//! `--device`: which devices of the host a container may be given, and as what.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bulkhead_sandbox::facts::HostFacts;
use bulkhead_sandbox::spec::{Device, DeviceRule, Grant};
use rustix::fs::{Access, FileType, Stat, major, makedev, minor};

use crate::error::EngineError;
use crate::request::{ContainerRequest, DeviceRequest};

/// Character devices that are the host, by numbers; a minor of `None` is all of a major.
const HOST: [(u32, Option<u32>, &str); 28] = [
    (1, Some(1), "it is the memory of the host"),
    (1, Some(2), "it is the kernel's memory"),
    (1, Some(4), "it is the host's I/O ports"),
    (1, Some(11), "it is the kernel's log"),
    (1, Some(12), "it is the memory of a crashed kernel"),
    (4, None, "it is a terminal of the host"),
    (5, Some(0), "it is a terminal of the host"),
    (5, Some(1), "it is the host's console"),
    (5, Some(2), "terminals of the host come from it; a container has its own"),
    (7, None, "it is the screen of a terminal of the host"),
    (10, Some(1), "the host's keyboard and mouse are read from it"),
    (10, Some(130), "it restarts the host"),
    (10, Some(144), "it is the host's non-volatile memory"),
    (10, Some(203), "it serves devices of the host"),
    (10, Some(220), "it controls a disk controller of the host"),
    (10, Some(221), "it controls a disk controller of the host"),
    (10, Some(222), "it controls a disk controller of the host"),
    (10, Some(223), "it types on the host"),
    (10, Some(231), "it suspends the host and reads its memory"),
    (10, Some(234), "it controls file systems of the host"),
    (10, Some(235), "it controls mounts of the host"),
    (10, Some(236), "it controls disks of the host"),
    (10, Some(237), "it makes block devices of files of the host"),
    (10, Some(239), "it types on the host"),
    (13, None, "the host's keyboard and mouse are read from it"),
    (162, None, "it is the disks of the host"),
    (21, None, "it sends any command to a disk of the host"),
    (202, None, "it is the registers of the host's processors"),
];

/// Kinds of devices that are the host, by their class in sysfs: their numbers differ from host to host.
const CLASSES: [(&str, &str); 11] = [
    ("bsg", "it sends any command to a disk of the host"),
    ("nvme", "it controls a disk of the host"),
    ("nvme-generic", "it sends any command to a disk of the host"),
    ("scsi_generic", "it sends any command to a disk of the host"),
    ("watchdog", "it restarts the host"),
    ("mtd", "it is the flash memory that the host starts from"),
    ("tpm", "it holds the host's keys"),
    ("tpmrm", "it holds the host's keys"),
    ("hidraw", "the host's keyboard and mouse are read from it"),
    ("input", "the host's keyboard and mouse are read from it"),
    ("ubi", "it is the flash memory that the host starts from"),
];

/// Devices that are the host, by the kernel's name for them: their numbers are given out as they come.
const NAMES: [(&str, &str); 4] = [
    ("userfaultfd", "it does what the filter of system calls holds back"),
    ("vsock", "it leads out of every network of the host"),
    ("vhost-vsock", "it leads out of every network of the host"),
    ("uhid", "it types on the host"),
];

/// The devices of a request, and a grant for each.
///
/// # Errors
/// One that is none, that is the host, or that the caller could not open himself.
pub(super) fn granted(
    request: &ContainerRequest,
    facts: &HostFacts,
    grants: &mut Vec<Grant>,
) -> Result<Vec<Device>, EngineError> {
    let mut all: Vec<Device> = Vec::new();
    for asked in &request.devices {
        let device = one(asked, facts)?;
        // The same path again counts once, the last time.
        all.retain(|d| d.target != device.target);
        all.push(device);
    }
    // One number has one rule, however many names it has: what any of them may do.
    for at in 0..all.len() {
        let same = |a: &DeviceRule, b: &DeviceRule| (a.block, a.major, a.minor) == (b.block, b.major, b.minor);
        let Some(rule) = all.get(at).map(|d| d.rule) else { continue };
        let joined = all.iter().filter(|d| same(&d.rule, &rule)).fold(rule, |sum, d| DeviceRule {
            read: sum.read || d.rule.read,
            write: sum.write || d.rule.write,
            ..sum
        });
        if let Some(device) = all.get_mut(at) {
            device.rule = joined;
        }
    }
    grants.extend(all.iter().map(|d| Grant::Device { target: d.target.clone(), rule: d.rule }));
    Ok(all)
}

fn one(asked: &DeviceRequest, facts: &HostFacts) -> Result<Device, EngineError> {
    let invalid = |why: &str| EngineError::invalid("--device", asked.source.to_string_lossy(), why.to_owned());
    // Names like /dev/disk/by-id/… are links; what they lead to is what is looked at, and named in the plan.
    let source = std::fs::canonicalize(&asked.source).map_err(EngineError::io("open the device", &asked.source))?;
    let stat = rustix::fs::stat(&source).map_err(EngineError::io("look at the device", &source))?;
    let block = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => false,
        FileType::BlockDevice => true,
        FileType::Directory => return Err(invalid("it is a directory; name its devices one by one")),
        _ => return Err(invalid("it is no device")),
    };
    let numbers = (major(stat.st_rdev), minor(stat.st_rdev));
    if let Some(reason) = of_the_host(block, numbers) {
        return Err(EngineError::refused(
            format!("--device {}", asked.source.display()),
            format!("{reason}; no container is given it"),
        ));
    }
    if !facts.privileged {
        may_open(asked, &source, &stat, facts)?;
    }
    let target = asked.target.to_str().ok_or_else(|| invalid("UTF-8 is needed"))?.to_owned();
    let rule = DeviceRule { block, major: numbers.0, minor: numbers.1, read: asked.read, write: asked.write };
    Ok(Device { source, target, rule, mode: stat.st_mode & 0o666 })
}

/// Without control groups of devices the node's own bits are all there is, and of the user's groups none is kept.
fn may_open(asked: &DeviceRequest, source: &Path, stat: &Stat, facts: &HostFacts) -> Result<(), EngineError> {
    let invalid = |why: String| EngineError::invalid("--device", asked.source.to_string_lossy(), why);
    if !(asked.read && asked.write) {
        return Err(invalid(
            "an ordinary user's host cannot hold back a part of a device; leave out the access".into(),
        ));
    }
    let wanted = Access::READ_OK | Access::WRITE_OK;
    let own = if stat.st_uid == facts.uid { stat.st_mode & 0o600 == 0o600 } else { stat.st_mode & 0o006 == 0o006 };
    match (rustix::fs::access(source, wanted), own) {
        (Ok(()), true) => Ok(()),
        (Ok(()), false) => {
            Err(invalid("you may open it as a member of a group, which a container does not keep; run as root".into()))
        }
        (Err(e), _) => Err(invalid(format!("you may not open it yourself: {}", std::io::Error::from(e)))),
    }
}

/// Why a device is the host itself, if it is.
fn of_the_host(block: bool, (major, minor): (u32, u32)) -> Option<String> {
    if block && major == 7 {
        return Some("it is a file of the host, and whoever has the device chooses which".to_owned());
    }
    if block {
        let used = used_devices();
        let mut seen = BTreeSet::new();
        return in_use((major, minor), &used, &mut seen)
            .map(|by| format!("the host uses it ({by}), and both would write on one disk"));
    }
    // A usual device needs no grant, and a pseudo-terminal is somebody's.
    if (136..=143).contains(&major) {
        return Some("it is a terminal of the host".to_owned());
    }
    // Serial lines share a major with the consoles.
    let serial = major == 4 && minor >= 64;
    if let Some((.., why)) = HOST.iter().find(|(m, n, _)| *m == major && n.is_none_or(|n| n == minor) && !serial) {
        return Some((*why).to_owned());
    }
    let about = std::fs::read_to_string(format!("/sys/dev/char/{major}:{minor}/uevent")).unwrap_or_default();
    let name = about.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    if let Some((_, why)) = NAMES.iter().find(|(known, _)| Some(*known) == name) {
        return Some((*why).to_owned());
    }
    let class = std::fs::read_link(format!("/sys/dev/char/{major}:{minor}/subsystem")).ok()?;
    let class = class.file_name()?.to_str()?.to_owned();
    CLASSES.iter().find(|(name, _)| *name == class).map(|(_, why)| (*why).to_owned())
}

/// Block devices that are mounted or swapped to, with what they are used for.
fn used_devices() -> Vec<((u32, u32), String)> {
    let mut used = Vec::new();
    for line in std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
        let mut fields = line.split(' ').skip(2);
        let number = fields.next().and_then(|f| f.split_once(':'));
        let number = number.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        // Some file systems have a number of their own, and name the device they are on.
        let by_name =
            line.split(" - ").nth(1).and_then(|rest| rest.split(' ').nth(1)).and_then(|p| number_of(Path::new(p)));
        let point = fields.nth(1).unwrap_or_default();
        used.extend([number, by_name].into_iter().flatten().map(|n| (n, format!("mounted on {point}"))));
    }
    for line in std::fs::read_to_string("/proc/swaps").unwrap_or_default().lines().skip(1) {
        let number = line.split_whitespace().next().and_then(|p| number_of(Path::new(p)));
        used.extend(number.map(|n| (n, "swap".to_owned())));
    }
    used
}

fn number_of(path: &Path) -> Option<(u32, u32)> {
    if !path.as_os_str().as_bytes().starts_with(b"/") {
        return None;
    }
    let stat = rustix::fs::stat(path).ok()?;
    FileType::from_raw_mode(stat.st_mode).is_block_device().then(|| (major(stat.st_rdev), minor(stat.st_rdev)))
}

/// What a block device is used for: itself, a partition of it, a device that is made of it, or the disk it is part of.
fn in_use(device: (u32, u32), used: &[((u32, u32), String)], seen: &mut BTreeSet<u64>) -> Option<String> {
    if !seen.insert(makedev(device.0, device.1)) {
        return None;
    }
    if let Some((_, by)) = used.iter().find(|(number, _)| *number == device) {
        return Some(by.clone());
    }
    let sysfs = PathBuf::from(format!("/sys/dev/block/{}:{}", device.0, device.1));
    let below = std::fs::read_dir(&sysfs).into_iter().flatten().flatten().map(|e| e.path());
    let holders = std::fs::read_dir(sysfs.join("holders")).into_iter().flatten().flatten().map(|e| e.path());
    let mut made: Vec<PathBuf> = below.filter(|p| p.join("partition").exists()).chain(holders).collect();
    // A whole disk that is mounted as it is has no partition worth the name.
    if sysfs.join("partition").exists() {
        made.extend(std::fs::canonicalize(&sysfs).ok().and_then(|p| p.parent().map(Path::to_path_buf)).filter(
            |disk| {
                std::fs::read_to_string(disk.join("dev"))
                    .is_ok_and(|text| used.iter().any(|(n, _)| Some(*n) == parse(&text)))
            },
        ));
    }
    made.iter().find_map(|path| in_use(parse(&std::fs::read_to_string(path.join("dev")).ok()?)?, used, seen))
}

fn parse(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_host_is_never_given() {
        for numbers in [(1, 1), (1, 2), (1, 4), (1, 11), (4, 1), (5, 1), (5, 2), (136, 0), (10, 237), (21, 0), (202, 3)]
        {
            assert!(of_the_host(false, numbers).is_some(), "{numbers:?}");
        }
        // FUSE, tun, KVM, a serial line.
        for numbers in [(10, 229), (10, 200), (10, 232), (4, 64)] {
            assert_eq!(of_the_host(false, numbers), None, "{numbers:?}");
        }
    }

    #[test]
    fn a_disk_is_in_use_when_anything_of_it_is() {
        let used = vec![((8, 1), "mounted on /".to_owned())];
        assert_eq!(in_use((8, 1), &used, &mut BTreeSet::new()).as_deref(), Some("mounted on /"));
        assert_eq!(in_use((999, 1), &used, &mut BTreeSet::new()), None);
        // The disk of this machine's root.
        let root = used_devices();
        for (number, _) in root.iter().filter(|(n, _)| Path::new(&format!("/sys/dev/block/{}:{}", n.0, n.1)).exists()) {
            assert!(of_the_host(true, *number).is_some());
        }
    }
}

//! Paths in the container, resolved by the kernel below its root.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use bulkhead_image::copy::{self, Destination, Place, Source};
use bulkhead_image::pack::Node;
use bulkhead_image::unpack::{Landing, Rename};
use bulkhead_image::{Meter, OwnIds};
use bulkhead_sys::Errno;
use bulkhead_sys::mount::mount_id;
use bulkhead_sys::root::Root;
use rustix::fs::{FileType, Mode, OFlags, StatVfsMountFlags, fstat, fstatfs, fstatvfs};

use super::{Answer, copy_budget, input, told};

/// `TMPFS_MAGIC` of `statfs(2)`.
const TMPFS: i128 = 0x0102_1994;
/// Links behind one another, as the kernel has it.
const LINKS: usize = 40;
/// How often a path that changes while it is looked at is looked at again.
const ATTEMPTS: usize = 64;

/// Paths of mount points without slashes at their ends, with their parents.
pub(crate) fn paths_of<'a>(targets: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all = Vec::new();
    for target in targets {
        let parts: Vec<&str> = target.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        all.extend((1..=parts.len()).map(|n| parts.get(..n).unwrap_or_default().join("/")));
    }
    all.sort();
    all.dedup();
    all
}

fn c_path(path: &str) -> Result<CString, String> {
    CString::new(path).map_err(|_| format!("the path {path:?} holds a NUL"))
}

fn missing(container: &str, path: &str) -> String {
    format!("Could not find the file {path} in container {container}")
}

fn root_of(fd: &OwnedFd) -> Result<Root, String> {
    fd.try_clone().map(Root::new).map_err(|e| format!("cannot keep hold of the root: {e}"))
}

/// What is at `path`, opened as what it is. A link at its end is followed when asked, or when the path says that it is a
/// directory.
pub(super) fn source(root: &OwnedFd, container: &str, path: &str, follow: bool) -> Result<Node, String> {
    let root = root_of(root)?;
    let c = c_path(path)?;
    let (asserted, _) = copy::asserts(path);
    let last = if follow || asserted { OFlags::empty() } else { OFlags::NOFOLLOW };
    let failed = |e: Errno| match e {
        Errno::NOENT => missing(container, path),
        Errno::NOTDIR => format!("{path}: not a directory"),
        e => format!("cannot open {path:?} in container {container}: {e}"),
    };
    for _ in 0..ATTEMPTS {
        let handle = root.open(&c, OFlags::PATH | last, Mode::empty()).map_err(failed)?;
        let stat = fstat(&handle).map_err(failed)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let how = match kind {
            FileType::Directory => OFlags::DIRECTORY,
            _ if asserted => return Err(format!("{path}: not a directory")),
            FileType::RegularFile => OFlags::empty(),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&handle, c"", Vec::new()).map_err(failed)?;
                return Ok(Node::Link(target.into_bytes(), stat));
            }
            _ => return Ok(Node::Other(stat)),
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | last | how;
        match root.open(&c, flags, Mode::empty()).and_then(|fd| Node::of(fd, kind)) {
            Ok(Some(node)) => return Ok(node),
            // Something else has the name now.
            Ok(None) | Err(Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::NOENT) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Err(format!("{path:?} in container {container} never stays what it is"))
}

/// A destination: where it really is, and what is there.
struct Found {
    path: String,
    to: Destination,
}

/// Follows a link at the end of the destination, as Docker's users know it: what it leads to is overwritten, not the link.
fn destination(root: &Root, container: &str, written: &str) -> Result<Found, String> {
    let (asserted, _) = copy::asserts(written);
    let mut path = written.to_owned();
    let failed = |path: &str, e: Errno| format!("cannot look at {path:?} in container {container}: {e}");
    for _ in 0..LINKS {
        let c = c_path(&path)?;
        match root.open(&c, OFlags::PATH, Mode::empty()) {
            Ok(fd) if FileType::from_raw_mode(fstat(&fd).map_err(|e| failed(&path, e))?.st_mode).is_dir() => {
                return Ok(Found { path, to: Destination { exists: true, directory: true, asserted } });
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(e) => return Err(failed(&path, e)),
        }
        let (directory, name) = copy::split(&path).map_err(|e| told(&e))?;
        let parent = root.open(&c_path(&directory)?, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        let parent = match parent {
            Ok(parent) => parent,
            Err(Errno::NOENT) => return Err(missing(container, &format!("/{directory}"))),
            Err(Errno::NOTDIR) => return Err(format!("/{directory}: not a directory")),
            Err(e) => return Err(failed(&path, e)),
        };
        match Node::open(parent.as_fd(), name.as_bytes()) {
            Ok(Node::Link(target, _)) => {
                let target = String::from_utf8(target).map_err(|_| format!("the link {path:?} leads to no text"))?;
                path = if target.starts_with('/') { target } else { format!("/{directory}/{target}") };
            }
            Ok(_) => return Ok(Found { path, to: Destination { exists: true, directory: false, asserted } }),
            Err(Errno::NOENT) => {
                return Ok(Found { path, to: Destination { exists: false, directory: false, asserted } });
            }
            Err(e) => return Err(failed(&path, e)),
        }
    }
    Err(format!("too many links at {written:?} in container {container}"))
}

/// Unpacks what comes.
pub(super) fn extract(
    top: &OwnedFd,
    container: &str,
    written: &str,
    source: &Source,
    single_id: bool,
) -> Result<Answer, String> {
    let root = root_of(top)?;
    let found = destination(&root, container, written)?;
    if *source == Source::Archive && !found.to.directory {
        return Err(format!("destination \"{container}:{written}\" must be a directory"));
    }
    let (directory, name) = copy::split(&found.path).map_err(|e| told(&e))?;
    let whole = copy::split(&format!("{}/x", found.path)).map_err(|e| told(&e))?.0;
    let into = if found.to.directory { &whole } else { &directory };
    writable(&root, container, into)?;
    let mut tar = input()?;
    let first = copy::first(&mut tar).map_err(|e| told(&e))?;
    let is_directory = first.as_ref().is_some_and(copy::is_directory);
    let place = copy::place(source, is_directory, found.to).map_err(|e| refused(e, container, written))?;
    let (prefix, rename) = match place {
        Place::Inside(rename) => (whole, rename),
        Place::Itself if name.is_empty() => return Err(format!("cannot overwrite the root of container {container}")),
        Place::Itself => (directory, Rename::To(name.into_bytes())),
    };
    let landing = Landing { prefix: prefix.into_bytes(), rename, privileges: true };
    let ids = if single_id { OwnIds::Ignore } else { OwnIds::Apply };
    let mut meter = Meter::new(&copy_budget());
    let report = copy::receive(&mut tar, first, top.as_fd(), ids, landing, &mut meter).map_err(|e| told(&e))?;
    Ok(Answer::Done { entries: report.entries, skipped: report.skipped.devices + report.skipped.xattrs })
}

/// A refusal with what it is about.
fn refused(reason: &str, container: &str, written: &str) -> String {
    match reason {
        "no such directory" => format!("{container}:{written}: no such directory"),
        "not a directory" => format!("{container}:{written}: not a directory"),
        reason => format!("{reason}: {container}:{written}"),
    }
}

/// Says in words what would fail at the first file.
fn writable(root: &Root, container: &str, directory: &str) -> Result<(), String> {
    let failed = |e: Errno| format!("cannot open {directory:?} in container {container}: {e}");
    let place = root.open(&c_path(directory)?, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    if !fstatvfs(&place).map_err(failed)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let same = mount_id(place.as_fd()).map_err(failed)? == mount_id(root.as_fd()).map_err(failed)?;
    let memory = i128::from(fstatfs(&place).map_err(failed)?.f_type) == TMPFS;
    Err(match (same, memory) {
        (true, _) => "container rootfs is marked read-only".to_owned(),
        (false, true) => format!(
            "/{directory} of container {container} is memory, which is fresh at every start: start the container first"
        ),
        (false, false) => "mounted volume is marked read-only".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::paths_of;

    #[test]
    fn mount_points_with_their_parents() {
        let all = paths_of(["/proc", "/var/lib//data/", "/var/lib/x"].into_iter());
        assert_eq!(all, ["proc", "var", "var/lib", "var/lib/data", "var/lib/x"]);
    }
}

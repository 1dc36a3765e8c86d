//! Steps that mount: all by descriptor, every target through the handle of the root file system.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_sys::mount::{NODEV, NOEXEC, NOSUID, RDONLY};
use bulkhead_sys::proc::Proc;
use bulkhead_sys::root::Root;
use bulkhead_sys::{Errno, Result, mount, stdio};
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};

use super::State;
use crate::arm::Armed;
use crate::spec::{DeviceRule, Text};
use crate::step::{Directory, Missing, TreeFrom, TreePath};

/// `DEVPTS_SUPER_MAGIC` of `statfs(2)`.
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// `PROC_SUPER_MAGIC` of `statfs(2)`.
pub(super) const PROC_MAGIC: i64 = 0x9fa0;

/// File systems of the kernel by `statfs(2)`: procfs, sysfs, both kinds of control groups, devpts, mqueue.
pub(super) const KERNEL_MAGICS: [i64; 6] =
    [PROC_MAGIC, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, DEVPTS_MAGIC, 0x1980_0202];

fn open_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a place once, makes sure that it is the one that was looked at, and copies its mount tree by the descriptor.
/// Child-safe.
pub(crate) fn open_tree(place: &TreePath) -> Result<OwnedFd> {
    if place.follow && place.below.is_none() && place.expected.is_none() {
        return mount::copy_of(place.path.c(), place.recursive);
    }
    let mut at = if place.follow {
        rustix::fs::open(place.path.c(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?
    } else {
        mount::place(place.path.c(), place.exact)?
    };
    if let Some(below) = &place.below {
        at = mount::below(at.as_fd(), below.c())?;
    }
    if let Some(expected) = place.expected {
        let stat = rustix::fs::fstat(&at)?;
        if (stat.st_dev, stat.st_ino) != (expected.device, expected.inode) {
            return Err(Errno::STALE);
        }
    }
    mount::copy_tree(at.as_fd(), c"", place.recursive)
}

/// The tree, opened here or sent by the parent.
pub(super) fn with_tree<T>(
    armed: &Armed<'_>,
    from: &TreeFrom,
    use_it: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    match from {
        TreeFrom::Sent(index) => use_it(armed.trees.get(*index).ok_or(Errno::BADF)?.as_fd()),
        TreeFrom::Path(place) => use_it(open_tree(place)?.as_fd()),
    }
}

/// Mounts the scratch file system in the old root, which goes away with it.
pub(super) fn scratch(armed: &Armed<'_>, state: &mut State, layers: usize) -> Result<()> {
    const OPTIONS: [(&CStr, Option<&CStr>); 2] = [(c"size", Some(c"64k")), (c"mode", Some(c"700"))];
    let scratch = mount::new_filesystem(c"tmpfs", OPTIONS.into_iter(), NOSUID | NODEV | NOEXEC)?;
    // Not over the root itself: the old root is let go of by unmounting what lies on top of the new one, and that must
    // be the old root. The host's own procfs below stays visible to the kernel, which looks for one.
    let place = rustix::fs::open(c"/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    mount::attach(scratch.as_fd(), place.as_fd())?;
    let directory = |name: &CStr, mode| rustix::fs::mkdirat(&scratch, name, Mode::from_raw_mode(mode));
    for name in armed.layer_names.get(..layers).ok_or(Errno::BADF)? {
        directory(name, 0o700)?;
    }
    directory(c"rw", 0o700)?;
    directory(c"root", 0o755)?;
    // What masked paths show instead.
    directory(c"void", 0o555)?;
    let empty = rustix::fs::openat(
        &scratch,
        c"empty",
        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o444),
    )?;
    drop(empty);
    mount::set_attributes(scratch.as_fd(), RDONLY, false)?;
    state.scratch = Some(scratch);
    Ok(())
}

pub(super) fn on_scratch(armed: &Armed<'_>, state: &State, from: &TreeFrom, name: &CStr) -> Result<()> {
    let scratch = state.scratch.as_ref().ok_or(Errno::BADF)?;
    let target = open_at(scratch.as_fd(), name)?;
    with_tree(armed, from, |tree| mount::attach(tree, target.as_fd()))
}

pub(super) fn layer(armed: &Armed<'_>, state: &State, index: usize, from: &TreeFrom) -> Result<()> {
    on_scratch(armed, state, from, armed.layer_names.get(index).ok_or(Errno::BADF)?)
}

/// Options name layers relative to the scratch directory, so that a long path cannot be cut and no name can hold the
/// separator.
pub(super) fn overlay(
    armed: &Armed<'_>,
    state: &mut State,
    layers: usize,
    append: bool,
    volatile: bool,
    attributes: u64,
) -> Result<()> {
    let scratch = state.scratch.as_ref().ok_or(Errno::BADF)?;
    rustix::process::fchdir(scratch)?;
    let names = armed.layer_names.get(..layers).ok_or(Errno::BADF)?;
    let appended = names.iter().rev().filter(|_| append).map(|name| (c"lowerdir+", Some(name.as_c_str())));
    let single = (!append).then_some((c"lowerdir", Some(armed.lower_option.as_c_str())));
    let rest: [(&CStr, Option<&CStr>); 3] =
        [(c"upperdir", Some(c"rw/upper")), (c"workdir", Some(c"rw/work")), (c"userxattr", None)];
    let volatile = volatile.then_some((c"volatile", None));
    let options = single.into_iter().chain(appended).chain(rest).chain(volatile);
    let root = mount::new_filesystem(c"overlay", options, attributes)?;
    attach_root(state, root)
}

/// As [`overlay`], with nothing to write to.
pub(super) fn layers_root(
    armed: &Armed<'_>,
    state: &mut State,
    layers: usize,
    append: bool,
    attributes: u64,
) -> Result<()> {
    let scratch = state.scratch.as_ref().ok_or(Errno::BADF)?;
    rustix::process::fchdir(scratch)?;
    let names = armed.layer_names.get(..layers).ok_or(Errno::BADF)?;
    let appended = names.iter().rev().filter(|_| append).map(|name| (c"lowerdir+", Some(name.as_c_str())));
    let single = (!append).then_some((c"lowerdir", Some(armed.lower_option.as_c_str())));
    let options = single.into_iter().chain(appended).chain([(c"userxattr", None)]);
    let root = mount::new_filesystem(c"overlay", options, attributes)?;
    attach_root(state, root)
}

/// A copy of what the container has mounted, in a mount namespace that only this process is in. Taken before anything is
/// mounted here.
pub(super) fn joined_view(armed: &Armed<'_>, state: &mut State, recursive: bool, attributes: u64) -> Result<()> {
    let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let copy = mount::copy_tree(root.as_fd(), c"", recursive)?;
    mount::set_attributes(copy.as_fd(), attributes, recursive)?;
    scratch(armed, state, 0)?;
    attach_root(state, copy)
}

/// Layers side by side, each on a directory of the scratch file system, which is a mount of its own already. None of them
/// takes a write.
pub(super) fn scratch_root(state: &mut State) -> Result<()> {
    let scratch = state.scratch.as_ref().ok_or(Errno::BADF)?;
    mount::set_attributes(scratch.as_fd(), RDONLY | NOSUID | NODEV | NOEXEC, true)?;
    state.root = Some(Root::new(rustix::io::dup(scratch)?));
    Ok(())
}

pub(super) fn directory_root(armed: &Armed<'_>, state: &mut State, from: &TreeFrom, attributes: u64) -> Result<()> {
    let root = match from {
        TreeFrom::Sent(index) => rustix::io::dup(armed.trees.get(*index).ok_or(Errno::BADF)?)?,
        TreeFrom::Path(place) => open_tree(place)?,
    };
    mount::set_attributes(root.as_fd(), attributes, true)?;
    attach_root(state, root)
}

/// `pivot_root(2)` takes a mount point that is attached somewhere.
fn attach_root(state: &mut State, root: OwnedFd) -> Result<()> {
    let scratch = state.scratch.as_ref().ok_or(Errno::BADF)?;
    let target = open_at(scratch.as_fd(), c"root")?;
    mount::attach(root.as_fd(), target.as_fd())?;
    state.root = Some(Root::new(root));
    Ok(())
}

pub(super) fn filesystem(
    state: &mut State,
    name: &CStr,
    target: &CStr,
    options: &[(Text, Option<Text>)],
    attributes: u64,
    missing: Missing,
    directories: &[Directory],
) -> Result<()> {
    let root = state.root()?;
    let plain = if missing == Missing::Make { made_directory(root, target)? } else { kernel_directory(root, target)? };
    let place = match (plain, missing) {
        (Some(plain), _) => plain,
        (None, Missing::Make) => root.directory(target, 0o755)?,
        (None, Missing::Fail) => root.handle(target)?,
        (None, Missing::Skip) => match root.handle(target) {
            Ok(place) => place,
            Err(Errno::NOENT) => return Ok(()),
            Err(e) => return Err(e),
        },
    };
    refuse_kernel_place(root, target, &place)?;
    // What is to be read-only takes its directories first.
    let late = if directories.is_empty() { 0 } else { attributes & RDONLY };
    let words = options.iter().map(|(k, v)| (k.c(), v.as_ref().map(Text::c)));
    let made = mount::new_filesystem(name, words, attributes & !late)?;
    for d in directories {
        let mode = Mode::from_raw_mode(d.mode);
        rustix::fs::mkdirat(&made, d.path.c(), mode)?;
        rustix::fs::chownat(
            &made,
            d.path.c(),
            Some(Uid::from_raw(d.uid)),
            Some(Gid::from_raw(d.gid)),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )?;
        // The mask of the caller has cut the mode, and a change of owner clears bits.
        rustix::fs::chmodat(&made, d.path.c(), mode, rustix::fs::AtFlags::empty())?;
    }
    if late != 0 {
        mount::set_attributes(made.as_fd(), late, false)?;
    }
    mount::attach(made.as_fd(), place.as_fd())?;
    match name.to_bytes() {
        b"proc" if options.is_empty() => state.proc = Some(Proc::verified(made)?),
        // What the program sees lacks the settings: they are written through a procfs that is mounted nowhere.
        b"proc" => state.proc = Some(Proc::verified(mount::new_filesystem(name, core::iter::empty(), attributes)?)?),
        b"devpts" => state.devpts = Some(made),
        _ => {}
    }
    Ok(())
}

/// `/proc`, `/sys` and `/dev` must be what their names say: an image that makes one a link would have its labels and
/// devices written elsewhere (CVE-2019-19921, CVE-2026-41579). Nothing for another target, and for one that is missing.
fn kernel_directory(root: &Root, target: &CStr) -> Result<Option<OwnedFd>> {
    if !matches!(target.to_bytes(), b"/proc" | b"/sys" | b"/dev") {
        return Ok(None);
    }
    match root.open(target, OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY, Mode::empty()) {
        Ok(plain) => Ok(Some(plain)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR) => Err(Errno::LOOP),
        Err(e) => Err(e),
    }
}

/// As [`kernel_directory`], which is made where it is missing; nothing for another target.
pub(super) fn made_directory(root: &Root, target: &CStr) -> Result<Option<OwnedFd>> {
    match kernel_directory(root, target)? {
        None if matches!(target.to_bytes(), b"/proc" | b"/sys" | b"/dev") => {
            drop(root.directory(target, 0o755)?);
            kernel_directory(root, target)
        }
        found => Ok(found),
    }
}

/// Whether a directory is on another file system than this.
fn is_other(dir: &OwnedFd, device: u64) -> Result<bool> {
    Ok(rustix::fs::fstat(dir)?.st_dev != device)
}

/// Only the sandbox itself mounts on the root, on kernel files and in `/dev`. The plan refuses targets that name them;
/// a link of the image, or of a directory that containers share, may lead there all the same (CVE-2019-16884,
/// CVE-2023-28642).
fn refuse_kernel_place(root: &Root, target: &CStr, place: &OwnedFd) -> Result<()> {
    let below = |dir: &[u8]| target.to_bytes().strip_prefix(dir).is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
    if below(b"/proc") || below(b"/sys") {
        return Ok(());
    }
    let kind = i128::from(rustix::fs::fstatfs(place)?.f_type);
    let stat = rustix::fs::fstat(place)?;
    let file_type = FileType::from_raw_mode(stat.st_mode);
    let kernel = KERNEL_MAGICS.iter().any(|m| i128::from(*m) == kind);
    let top = rustix::fs::fstat(root)?;
    let is_root = (stat.st_dev, stat.st_ino) == (top.st_dev, top.st_ino);
    if kernel || is_root || matches!(file_type, FileType::CharacterDevice | FileType::BlockDevice) {
        return Err(Errno::LOOP);
    }
    if below(b"/dev") {
        return Ok(());
    }
    match root.open(c"/dev", OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(dev) if is_other(&dev, top.st_dev)? && rustix::fs::fstat(&dev)?.st_dev == stat.st_dev => Err(Errno::LOOP),
        // A worker has no devices at all, and its `/dev` is a directory like any other.
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e),
    }
}

pub(super) fn bind(
    armed: &Armed<'_>,
    state: &State,
    from: &TreeFrom,
    target: &CStr,
    directory: bool,
    attributes: u64,
) -> Result<()> {
    let root = state.root()?;
    let place = if directory { root.directory(target, 0o755)? } else { root.file(target)? };
    refuse_kernel_place(root, target, &place)?;
    with_tree(armed, from, |tree| {
        // Before it is attached, so that no moment is writable (CVE-2026-115521).
        mount::set_attributes(tree, attributes, true)?;
        mount::attach(tree, place.as_fd())
    })
}

/// As [`bind`]; where nothing is, nothing is mounted.
pub(super) fn bind_existing(
    armed: &Armed<'_>,
    state: &State,
    from: &TreeFrom,
    target: &CStr,
    attributes: u64,
) -> Result<()> {
    let root = state.root()?;
    let place = match root.handle(target) {
        Ok(place) => place,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    refuse_kernel_place(root, target, &place)?;
    with_tree(armed, from, |tree| {
        if is_dir(tree)? != is_dir(place.as_fd())? {
            return Ok(());
        }
        mount::set_attributes(tree, attributes, true)?;
        mount::attach(tree, place.as_fd())
    })
}

/// A look at what a node really is.
pub(super) fn check_device(node: BorrowedFd<'_>, kind: FileType, numbers: (u32, u32)) -> Result<()> {
    let stat = rustix::fs::fstat(node)?;
    let found = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) == kind && found == numbers { Ok(()) } else { Err(Errno::NODEV) }
}

pub(super) fn is_dir(file: BorrowedFd<'_>) -> Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode).is_dir())
}

/// Binds a device of the host, after a look at what it really is (CVE-2025-31133).
pub(super) fn device(state: &State, source: &CStr, target: &CStr, major: u32, minor: u32) -> Result<()> {
    let device = mount::copy_tree(rustix::fs::CWD, source, false)?;
    check_device(device.as_fd(), FileType::CharacterDevice, (major, minor))?;
    mount::set_attributes(device.as_fd(), NOSUID | NOEXEC, false)?;
    let place = state.root()?.file(target)?;
    mount::attach(device.as_fd(), place.as_fd())
}

/// Binds the node of a granted device, after a look at what it really is.
pub(super) fn granted(
    armed: &Armed<'_>,
    state: &State,
    from: &TreeFrom,
    target: &CStr,
    rule: DeviceRule,
) -> Result<()> {
    let place = state.root()?.file(target)?;
    refuse_kernel_place(state.root()?, target, &place)?;
    with_tree(armed, from, |tree| {
        let apart = if is_dir(tree)? { Some(node_in(state, tree)?) } else { None };
        let node = apart.as_ref().map_or(tree, AsFd::as_fd);
        let kind = if rule.block { FileType::BlockDevice } else { FileType::CharacterDevice };
        check_device(node, kind, (rule.major, rule.minor))?;
        mount::set_attributes(node, NOSUID | NOEXEC, false)?;
        mount::attach(node, place.as_fd())
    })
}

/// The node in the memory file system that the parent made for it. Kernels before Linux 6.15 copy from no mount that is not
/// attached, so it is, for that moment.
fn node_in(state: &State, memory: BorrowedFd<'_>) -> Result<OwnedFd> {
    let scratch = state.scratch.as_ref().ok_or(Errno::BADF)?;
    let void = open_at(scratch.as_fd(), c"void")?;
    mount::attach(memory, void.as_fd())?;
    let node = mount::copy_tree(memory, c"node", false);
    // The scratch file system is mounted there: see `scratch`.
    rustix::mount::unmount(c"/proc/void", rustix::mount::UnmountFlags::DETACH)?;
    node
}

pub(super) fn symlink(state: &State, content: &CStr, path: &CStr) -> Result<()> {
    let bytes = path.to_bytes_with_nul();
    let slash = bytes.iter().rposition(|b| *b == b'/').ok_or(Errno::INVAL)?;
    let name = CStr::from_bytes_with_nul(bytes.get(slash + 1..).unwrap_or_default()).map_err(|_| Errno::INVAL)?;
    // Links are made in /dev only, which is one level deep.
    if bytes.get(..=slash) != Some(b"/dev/") {
        return Err(Errno::INVAL);
    }
    let parent = state.root()?.open(c"/dev", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    rustix::fs::symlinkat(content, parent, name)
}

pub(super) fn terminal(state: &mut State, console: bool) -> Result<()> {
    let devpts = match state.devpts.take() {
        Some(devpts) => devpts,
        None => state.root()?.open(c"/dev/pts", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?,
    };
    if i128::from(rustix::fs::fstatfs(&devpts)?.f_type) != i128::from(DEVPTS_MAGIC) {
        return Err(Errno::NOTSUP);
    }
    let (master, slave) = stdio::new_terminal(devpts.as_fd())?;
    if console {
        let tree = mount::copy_tree(slave.as_fd(), c"", false)?;
        let place = state.root()?.file(c"/dev/console")?;
        mount::attach(tree.as_fd(), place.as_fd())?;
    }
    state.master = Some(master);
    state.slave = Some(slave);
    Ok(())
}

/// Covers a path by an empty read-only file or directory of the scratch file system. Nothing of the container takes part.
pub(super) fn mask(state: &State, target: &CStr) -> Result<()> {
    let place = match state.root()?.handle(target) {
        Ok(place) => place,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    let is_dir = is_dir(place.as_fd())?;
    let scratch = state.scratch.as_ref().ok_or(Errno::BADF)?;
    // A copy has the attributes of its origin: read-only, nosuid, nodev, noexec.
    let cover = mount::copy_tree(scratch.as_fd(), if is_dir { c"void" } else { c"empty" }, false)?;
    mount::attach(cover.as_fd(), place.as_fd())
}

pub(super) fn read_only(state: &State, target: &CStr, attributes: u64) -> Result<()> {
    let place = match state.root()?.handle(target) {
        Ok(place) => place,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    let copy = mount::copy_tree(place.as_fd(), c"", true)?;
    mount::set_attributes(copy.as_fd(), attributes, true)?;
    mount::attach(copy.as_fd(), place.as_fd())
}

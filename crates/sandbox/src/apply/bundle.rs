//! Steps that only a bundle asks for.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_sys::mount::{ATIME, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, RDONLY, STRICTATIME};
use bulkhead_sys::proc::Proc;
use bulkhead_sys::root::Root;
use bulkhead_sys::{Errno, Result, caps, clone, fd, mount, seccomp, signal, tune};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::UnmountFlags;

use super::home::Home;
use super::{FAILED, State, copy_up, mounts, wait_for};
use crate::arm::Armed;
use crate::oci::step::{Attributes, NodeKind, OciStep, Source};
use crate::protocol::{Channel, Message};
use crate::step::TreeFrom;

pub(super) fn apply(step: &OciStep, armed: &Armed<'_>, state: &mut State, channel: &Channel) -> Result<()> {
    match step {
        OciStep::SlaveMounts => mount::make_all_slave(),
        OciStep::BundleRoot { from, propagation, below } => bundle_root(armed, state, from, *propagation, *below),
        OciStep::Hooks => hooks(channel),
        OciStep::Attach { source: Source::Inside { path, recursive, maps }, target, attributes } => {
            let tree = inside(state, channel, path.c(), *recursive, maps.is_some())?;
            bind(state, tree.as_fd(), target.c(), *attributes)
        }
        OciStep::Attach { source, target, attributes } => attach(armed, state, source, target.c(), *attributes),
        OciStep::Node { path, kind, major, minor, mode, uid, gid } => {
            node(state, path.c(), *kind, (*major, *minor), *mode, (*uid, *gid))
        }
        OciStep::HostNode { path, kind, major, minor } => host_node(state, path.c(), *kind, (*major, *minor)),
        OciStep::DeviceLink { content, path } => link(state, content.c(), path.c()),
        OciStep::DetachedProc => {
            let made = mount::new_filesystem(c"proc", core::iter::empty(), NOSUID | NODEV | NOEXEC)?;
            state.proc = Some(Proc::verified(made)?);
            Ok(())
        }
        OciStep::Cover { target } => cover(state, target.c()),
        OciStep::Seal { target } => mounts::read_only(state, target.c(), RDONLY),
        OciStep::RootPropagation { propagation, below } => {
            let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            mount::change(root.as_fd(), 0, 0, *propagation, *below)
        }
        OciStep::MoveRoot { kernel } => {
            for place in kernel {
                take_away(place.c())?;
            }
            mount::move_over_root(state.root()?.as_fd())
        }
        OciStep::Chroot => mount::change_root(state.root()?.as_fd()),
        OciStep::Personality { domain } => tune::personality(*domain),
        OciStep::Schedule { policy, flags, nice, priority, deadline: [runtime, deadline, period] } => {
            tune::schedule(tune::SchedAttr {
                policy: *policy,
                flags: *flags,
                nice: *nice,
                priority: *priority,
                runtime: *runtime,
                deadline: *deadline,
                period: *period,
            })
        }
        OciStep::IoPriority { class, level } => tune::io_priority(*class, *level),
        OciStep::MemoryPolicy { mode, nodes } => tune::memory_policy(*mode, nodes),
        OciStep::Affinity { cpus } => tune::affinity(cpus),
        OciStep::Home { uid } => {
            state.home = Some(Home::of(state.root()?, *uid));
            Ok(())
        }
        OciStep::FindProgram => find_program(armed, state),
        OciStep::AwaitStart => await_start(armed, state),
        OciStep::CapSets { effective, permitted, inheritable, ambient } => {
            caps::clear_ambient()?;
            caps::set_three(*effective, *permitted, *inheritable)?;
            caps::raise_ambient(*ambient)
        }
        OciStep::Filter { flags, listener: false } => seccomp::load_with(&armed.filter, *flags),
        OciStep::Filter { flags, listener: true } => {
            let channel = state.starter.as_ref().unwrap_or(channel);
            let listener = seccomp::load_listening(&armed.filter, *flags)?;
            channel.send(Message::Listener, &[listener.as_fd()])
        }
    }
}

/// On itself, so that who knows the bundle finds in this mount namespace what the container will see.
fn bundle_root(armed: &Armed<'_>, state: &mut State, from: &TreeFrom, propagation: u64, below: bool) -> Result<()> {
    let (tree, place) = match from {
        TreeFrom::Path(place) => (mounts::open_tree(place)?, open(place.path.c())?),
        TreeFrom::Sent(index) => {
            let tree = rustix::io::dup(armed.trees.get(*index).ok_or(Errno::BADF)?)?;
            // With ids of a user namespace the path may be out of reach. Nobody but hooks looks for it there.
            (tree, open(c"/")?)
        }
    };
    if !mounts::is_dir(tree.as_fd())? {
        return Err(Errno::NOTDIR);
    }
    mount::change(tree.as_fd(), 0, 0, propagation, below)?;
    mount::attach(tree.as_fd(), place.as_fd())?;
    state.root = Some(Root::new(tree));
    Ok(())
}

/// Whole ones of the host that stay below the new root would let the container mount its own whole
/// (`mount_too_revealing` of the kernel). One that is locked is covered: for what is made in the container the cover is
/// locked too.
fn take_away(place: &CStr) -> Result<()> {
    loop {
        match rustix::mount::unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::PERM) => break,
            // It went with the one above it, or cannot be reached at all.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    let left = open(place)?;
    let kind = i128::from(rustix::fs::fstatfs(&left)?.f_type);
    if !mounts::KERNEL_MAGICS.iter().any(|m| i128::from(*m) == kind) {
        return Ok(());
    }
    let void = mount::new_filesystem(c"tmpfs", core::iter::empty(), RDONLY | NOSUID | NODEV | NOEXEC)?;
    mount::attach(void.as_fd(), left.as_fd())
}

fn open(path: &CStr) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn hooks(channel: &Channel) -> Result<()> {
    channel.send(Message::Hooks, &[])?;
    if !wait_for(channel, Message::Proceed, &mut Vec::new()) {
        clone::exit_now(FAILED);
    }
    Ok(())
}

fn attach(armed: &Armed<'_>, state: &mut State, source: &Source, target: &CStr, attributes: Attributes) -> Result<()> {
    let a = attributes;
    match source {
        Source::Existing => {
            let place = state.root()?.handle(target)?;
            change(place.as_fd(), a)
        }
        // Such a one was taken care of.
        Source::Inside { .. } => Err(Errno::INVAL),
        Source::Tree { tree } => mounts::with_tree(armed, tree, |tree| bind(state, tree, target, a)),
        Source::New { filesystem, source, options, keep_mode, copy_up } => {
            let root = state.root()?;
            let there = *keep_mode && root.handle(target).is_ok();
            let of_kernel = matches!(target.to_bytes(), b"/proc" | b"/sys" | b"/dev");
            let found = match mounts::made_directory(root, target) {
                Ok(Some(place)) => Ok(place),
                Ok(None) if of_kernel => root.directory(target, 0o755),
                Ok(None) => root.target(target, true, 0o755),
                Err(e) => Err(e),
            };
            let place = match found {
                Ok(place) => place,
                // A link that leads nowhere, or to a file, is a link all the same.
                Err(Errno::NOENT | Errno::NOTDIR) => return Err(Errno::LOOP),
                Err(e) => return Err(e),
            };
            refuse_proc(target, place.as_fd(), filesystem.c() == c"proc")?;
            let words = source.iter().map(|s| (c"source", Some(s.c())));
            let words = words.chain(options.iter().map(|(k, v)| (k.c(), v.as_ref().map(crate::spec::Text::c))));
            let mut buffer = [0; 5];
            let mode = if there { Some(octal(rustix::fs::fstat(&place)?.st_mode, &mut buffer)?) } else { None };
            let words = words.chain(mode.map(|mode| (c"mode", Some(mode))));
            // What is to be read-only is filled first.
            let late = if *copy_up { a.set & RDONLY } else { 0 };
            let made = mount::new_filesystem(filesystem.c(), words, a.set & !late)?;
            if *copy_up {
                copy_up::copy(place.as_fd(), made.as_fd())?;
            }
            change(made.as_fd(), Attributes { set: late, clear: 0, ..a })?;
            mount::attach(made.as_fd(), place.as_fd())?;
            match filesystem.c().to_bytes() {
                b"proc" => state.proc = Some(Proc::verified(made)?),
                b"devpts" => state.devpts = Some(made),
                _ => {}
            }
            Ok(())
        }
    }
}

fn bind(state: &State, tree: BorrowedFd<'_>, target: &CStr, attributes: Attributes) -> Result<()> {
    let place = state.root()?.target(target, mounts::is_dir(tree)?, 0o755)?;
    refuse_proc(target, place.as_fd(), false)?;
    // Before it is attached, so that no moment is writable.
    change(tree, attributes)?;
    mount::attach(tree, place.as_fd())
}

/// A copy of what is in the container at this moment. Who is in a user namespace may not shift ids: the parent does.
fn inside(state: &State, channel: &Channel, path: &CStr, recursive: bool, shift: bool) -> Result<OwnedFd> {
    let place = state.root()?.handle(path)?;
    let tree = mount::copy_tree(place.as_fd(), c"", recursive)?;
    if shift {
        channel.send(Message::Shift { step: state.index }, &[tree.as_fd()])?;
        if !wait_for(channel, Message::Proceed, &mut Vec::new()) {
            clone::exit_now(FAILED);
        }
    }
    Ok(tree)
}

/// Permission bits as a mount option has them.
fn octal(mode: u32, buffer: &mut [u8; 5]) -> Result<&CStr> {
    for (digit, shift) in buffer.iter_mut().zip([9, 6, 3, 0]) {
        *digit = b'0' + u8::try_from(mode >> shift & 7).unwrap_or(0);
    }
    CStr::from_bytes_with_nul(buffer).map_err(|_| Errno::INVAL)
}

/// `ST_NOATIME`, `ST_NODIRATIME` and `ST_RELATIME` of `statvfs(3)`.
const ST_ATIME: u64 = 0x400 | 0x800 | 0x1000;

/// Times of access as `statvfs(3)` shows them for attributes that are set.
fn times(set: u64) -> u64 {
    let of = match set & ATIME {
        NOATIME => 0x400,
        STRICTATIME => 0,
        _ => 0x1000,
    };
    of | if set & NODIRATIME != 0 { 0x800 } else { 0 }
}

/// As the kernel would for a mount that a more privileged namespace has locked: which restrictions it has itself, and
/// not by its file system, shows when they are gone.
fn change_locked(mount: BorrowedFd<'_>, a: Attributes) -> Result<()> {
    let has = |bits: u64| -> Result<u64> { Ok(rustix::fs::fstatvfs(mount)?.f_flag.bits() & bits) };
    // The times of access are locked as a whole.
    if a.clear & ATIME != 0 && has(ST_ATIME)? != times(a.set) {
        return Err(Errno::PERM);
    }
    let taken = has((a.clear | a.clear_below) & (RDONLY | NOSUID | NODEV | NOEXEC))?;
    change(mount, Attributes { locked: false, ..a })?;
    if taken & !has(taken)? == 0 { Ok(()) } else { Err(Errno::PERM) }
}

fn change(mount: BorrowedFd<'_>, a: Attributes) -> Result<()> {
    if a.locked {
        return change_locked(mount, a);
    }
    if a.clear_if_free != 0 {
        match mount::change(mount, a.set, a.clear | a.clear_if_free, a.propagation, false) {
            Ok(()) => {}
            // One of them is locked, and stays.
            Err(Errno::PERM) => mount::change(mount, a.set, a.clear, a.propagation, false)?,
            Err(e) => return Err(e),
        }
    } else if a.set | a.clear | a.propagation != 0 {
        mount::change(mount, a.set, a.clear, a.propagation, false)?;
    }
    if a.set_below | a.clear_below | a.propagation_below != 0 {
        mount::change(mount, a.set_below, a.clear_below, a.propagation_below, true)?;
    }
    Ok(())
}

/// A link of the image may lead where the plan's check of the target did not see it: a procfs takes no mounts but on the
/// files that the plan knows (CVE-2019-16884, CVE-2023-27561).
fn refuse_proc(target: &CStr, place: BorrowedFd<'_>, proc: bool) -> Result<()> {
    let inside = target.to_bytes().starts_with(b"/proc/") || proc || target.to_bytes() == b"/proc";
    if !inside && i128::from(rustix::fs::fstatfs(place)?.f_type) == i128::from(mounts::PROC_MAGIC) {
        return Err(Errno::LOOP);
    }
    Ok(())
}

/// Splits an absolute path into the directory and the name in it.
fn split<'a>(path: &'a CStr, buffer: &'a mut [u8; 4096]) -> Result<(&'a CStr, &'a CStr)> {
    let bytes = path.to_bytes_with_nul();
    let slash = bytes.iter().rposition(|b| *b == b'/').ok_or(Errno::INVAL)?;
    let parent = bytes.get(..slash).ok_or(Errno::INVAL)?;
    let end = parent.len().max(1);
    buffer.get_mut(..parent.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(parent);
    if parent.is_empty() {
        buffer[0] = b'/';
    }
    let with_nul = buffer.get(..=end).ok_or(Errno::NAMETOOLONG)?;
    let parent = CStr::from_bytes_with_nul(with_nul).map_err(|_| Errno::INVAL)?;
    let name = CStr::from_bytes_with_nul(bytes.get(slash + 1..).unwrap_or_default()).map_err(|_| Errno::INVAL)?;
    Ok((parent, name))
}

fn node(
    state: &mut State,
    path: &CStr,
    kind: NodeKind,
    numbers: (u32, u32),
    mode: u32,
    owner: (u32, u32),
) -> Result<()> {
    let mut buffer = [0; 4096];
    let (parent, name) = split(path, &mut buffer)?;
    let parent = state.parent(parent)?;
    let device = rustix::fs::makedev(numbers.0, numbers.1);
    match rustix::fs::mknodat(parent, name, file_type(kind), Mode::from_raw_mode(mode), device) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            // One that the image or an earlier mount has is good when it is the same.
            let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let same = FileType::from_raw_mode(stat.st_mode) == file_type(kind)
                && (kind == NodeKind::Pipe || stat.st_rdev == device);
            if !same {
                return Err(Errno::EXIST);
            }
        }
        Err(e) => return Err(e),
    }
    if owner != (0, 0) {
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        // A change of owner leaves the permission bits of a node alone, and a second call by name could meet a link.
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::Character => FileType::CharacterDevice,
        NodeKind::Block => FileType::BlockDevice,
        NodeKind::Pipe => FileType::Fifo,
    }
}

/// The host's own node, after a look at what it really is (CVE-2025-31133).
fn host_node(state: &State, path: &CStr, kind: NodeKind, numbers: (u32, u32)) -> Result<()> {
    let tree = mount::copy_tree(rustix::fs::CWD, path, false)?;
    mounts::check_device(tree.as_fd(), file_type(kind), numbers)?;
    let root = state.root()?;
    let place = root.file(path)?;
    refuse_proc(path, place.as_fd(), false)?;
    mount::attach(tree.as_fd(), place.as_fd())
}

fn link(state: &mut State, content: &CStr, path: &CStr) -> Result<()> {
    let mut buffer = [0; 4096];
    let (parent, name) = split(path, &mut buffer)?;
    let parent = state.parent(parent)?;
    match rustix::fs::symlinkat(content, parent, name) {
        Ok(()) => Ok(()),
        // The terminals are the container's own, whatever its `/dev` came with.
        Err(Errno::EXIST) if name == c"ptmx" && content == c"pts/ptmx" => {
            match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
                Ok(()) => rustix::fs::symlinkat(content, parent, name),
                Err(e) => Err(e),
            }
        }
        Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Covers a path: nothing of the container takes part. The first directory is covered by an empty file system, the
/// others by copies of it.
fn cover(state: &mut State, target: &CStr) -> Result<()> {
    let place = match state.root()?.handle(target) {
        Ok(place) => place,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    if !mounts::is_dir(place.as_fd())? {
        let null = mount::copy_tree(rustix::fs::CWD, c"/dev/null", false)?;
        mounts::check_device(null.as_fd(), FileType::CharacterDevice, (1, 3))?;
        return mount::attach(null.as_fd(), place.as_fd());
    }
    if let Some(void) = &state.void {
        let copy = mount::copy_tree(void.as_fd(), c"", false)?;
        return mount::attach(copy.as_fd(), place.as_fd());
    }
    const OPTIONS: [(&CStr, Option<&CStr>); 2] = [(c"size", Some(c"4k")), (c"nr_inodes", Some(c"1"))];
    let void = mount::new_filesystem(c"tmpfs", OPTIONS.into_iter(), RDONLY | NOSUID | NODEV | NOEXEC)?;
    mount::attach(void.as_fd(), place.as_fd())?;
    state.void = Some(void);
    Ok(())
}

/// Callers expect to hear of a missing program when they create, not when they start.
fn find_program(armed: &Armed<'_>, state: &State) -> Result<()> {
    // Here and not before the program: a filter of the caller's may not know the call.
    fd::cloexec_from(3 + armed.preserve)?;
    let mut worst = Errno::NOENT;
    for candidate in &armed.candidates {
        let at: BorrowedFd<'_> = state.workdir.as_ref().map_or(rustix::fs::CWD, AsFd::as_fd);
        let found = rustix::fs::accessat(at, candidate.as_c_str(), rustix::fs::Access::EXEC_OK, AtFlags::EACCESS);
        match found {
            Ok(()) if is_dir_at(at, candidate)? => worst = Errno::ACCESS,
            Ok(()) => return Ok(()),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(e) => worst = e,
        }
    }
    Err(worst)
}

fn is_dir_at(at: BorrowedFd<'_>, path: &CStr) -> Result<bool> {
    let stat = rustix::fs::statat(at, path, AtFlags::empty())?;
    Ok(FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// Waits for one connection and the word on it. One that ends without the word is forgotten: whoever starts may be
/// killed at any moment.
fn await_start(armed: &Armed<'_>, state: &mut State) -> Result<()> {
    let listener = armed.listener.as_ref().ok_or(Errno::BADF)?;
    // Nothing of the host is held open for as long as that may take (CVE-2024-21626).
    // As the first process of a pid namespace it would else sleep through what ends any other.
    signal::end_on_all()?;
    match &state.workdir {
        Some(workdir) => fd::close_from_but(3 + armed.preserve, [listener.as_fd(), workdir.as_fd()])?,
        None => fd::close_from_but(3 + armed.preserve, [listener.as_fd()])?,
    }
    loop {
        let socket = match rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            Err(e) => return Err(e),
        };
        let channel = Channel::new(socket);
        if wait_for(&channel, Message::Exec, &mut Vec::new()) {
            state.starter = Some(channel);
            return Ok(());
        }
    }
}

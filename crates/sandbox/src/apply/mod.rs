//! The child: one loop over the steps. It allocates nothing, takes no lock and decides nothing.

mod bundle;
mod copy_up;
mod home;
mod mounts;

pub(crate) use self::mounts::open_tree;

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_sys::proc::Proc;
use bulkhead_sys::root::Root;
use bulkhead_sys::{Errno, Result, caps, clone, exec, fd, ids, keyring, landlock, mount, net, seccomp, signal, stdio};
use rustix::fs::{Mode, OFlags};

use crate::arm::{Armed, Stdio};
use crate::oci::step::OciStep;
use crate::protocol::{Channel, Message};
use crate::step::Step;

/// Exit code of a child that could not become the program; the parent knows the reason by then.
const FAILED: i32 = 125;

/// What the steps so far have opened.
#[derive(Default)]
struct State {
    /// Which step it is.
    index: u32,
    root: Option<Root>,
    scratch: Option<OwnedFd>,
    proc: Option<Proc>,
    devpts: Option<OwnedFd>,
    workdir: Option<OwnedFd>,
    master: Option<OwnedFd>,
    slave: Option<OwnedFd>,
    /// An empty directory that is mounted somewhere, to cover others with.
    void: Option<OwnedFd>,
    /// `HOME=` and the directory of the user, where the environment has none.
    home: Option<home::Home>,
    /// Whoever starts the container, once he has come.
    starter: Option<Channel>,
    /// Where the last node or link was made.
    parent: Option<Parent>,
}

/// A directory of the sandbox by its path, as long as nothing is mounted.
#[derive(Debug)]
struct Parent {
    path: [u8; 64],
    length: usize,
    fd: OwnedFd,
}

impl State {
    /// The directory in which a node or a link is made; many are made in the same.
    fn parent(&mut self, path: &CStr) -> Result<BorrowedFd<'_>> {
        let bytes = path.to_bytes();
        if self.parent.as_ref().is_none_or(|p| p.path.get(..p.length) != Some(bytes)) {
            let fd = self.root()?.directory(path, 0o755)?;
            let mut parent = Parent { path: [0; 64], length: usize::MAX, fd };
            if let Some(room) = parent.path.get_mut(..bytes.len()) {
                room.copy_from_slice(bytes);
                parent.length = bytes.len();
            }
            self.parent = Some(parent);
        }
        Ok(self.parent.as_ref().ok_or(Errno::BADF)?.fd.as_fd())
    }

    fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or(Errno::BADF)
    }
}

/// Waits for the word, applies every step, and does not come back.
pub(crate) fn run(armed: &mut Armed<'_>, channel: &Channel) -> ! {
    if signal::reset_all().is_err() || !wait_for(channel, Message::Proceed, &mut armed.trees) {
        clone::exit_now(FAILED);
    }
    let mut state = State::default();
    for (step, index) in armed.steps.iter().zip(0..) {
        state.index = index;
        if let Err(errno) = apply(step, armed, &mut state, channel) {
            let channel = state.starter.as_ref().unwrap_or(channel);
            // If even this cannot be said, the exit code says that something failed.
            channel.tell(Message::Failed { step: index, errno: errno.raw_os_error() }).unwrap_or_default();
            clone::exit_now(FAILED);
        }
    }
    clone::exit_now(FAILED)
}

/// Receives mount trees until `wanted` comes. False when the parent is gone or says something else.
fn wait_for(channel: &Channel, wanted: Message, trees: &mut Vec<OwnedFd>) -> bool {
    loop {
        match channel.recv(trees) {
            Ok(Some(Message::Trees)) => {}
            Ok(Some(message)) => return message == wanted,
            Ok(None) | Err(_) => return false,
        }
    }
}

fn apply(step: &Step, armed: &Armed<'_>, state: &mut State, channel: &Channel) -> Result<()> {
    if !matches!(step, Step::Bundle(OciStep::Node { .. } | OciStep::DeviceLink { .. })) {
        state.parent = None;
    }
    match step {
        Step::DieWithParent => die_with_parent(channel),
        Step::JoinCgroups { count } => join_cgroups(armed, *count),
        Step::CgroupNamespace => clone::unshare(clone::NEWCGROUP),
        Step::BecomeRoot { drop_groups } => {
            ids::become_user(0, 0, if *drop_groups { Some(&[]) } else { None })?;
            // Files of this process in /proc belong to its own root from here on, not to the host's.
            if !armed.joining && !armed.hidden {
                ids::set_dumpable(true)?;
            }
            if armed.survives { Ok(()) } else { die_with_parent(channel) }
        }
        Step::NewSession => match rustix::process::setsid() {
            // It leads a session already when it is process 1 of a pid namespace.
            Ok(_) | Err(Errno::PERM) => Ok(()),
            Err(e) => Err(e),
        },
        Step::Loopback => net::loopback_up(),
        Step::Hostname { name } => rustix::system::sethostname(name.c().to_bytes()),
        Step::Domainname { name } => rustix::system::setdomainname(name.c().to_bytes()),
        Step::PrivateMounts => mount::make_all_private(),
        Step::Scratch { layers } => mounts::scratch(armed, state, *layers),
        Step::Layer { index, from } => mounts::layer(armed, state, *index, from),
        Step::Writable { from } => mounts::on_scratch(armed, state, from, c"rw"),
        Step::Overlay { layers, append, volatile, attributes } => {
            mounts::overlay(armed, state, *layers, *append, *volatile, *attributes)
        }
        Step::LayersRoot { layers, append, attributes } => {
            mounts::layers_root(armed, state, *layers, *append, *attributes)
        }
        Step::JoinedView { recursive, attributes } => mounts::joined_view(armed, state, *recursive, *attributes),
        Step::ScratchRoot => mounts::scratch_root(state),
        Step::DirectoryRoot { from, attributes } => mounts::directory_root(armed, state, from, *attributes),
        Step::Mount { filesystem, target, options, attributes, missing, directories } => {
            mounts::filesystem(state, filesystem.c(), target.c(), options, *attributes, *missing, directories)
        }
        Step::Bind { from, target, directory, attributes } => {
            mounts::bind(armed, state, from, target.c(), *directory, *attributes)
        }
        Step::BindExisting { from, target, attributes } => {
            mounts::bind_existing(armed, state, from, target.c(), *attributes)
        }
        Step::Device { source, target, major, minor, .. } => {
            mounts::device(state, source.c(), target.c(), *major, *minor)
        }
        Step::Granted { from, target, rule } => mounts::granted(armed, state, from, target.c(), *rule),
        Step::Symlink { content, path } => mounts::symlink(state, content.c(), path.c()),
        Step::Terminal { console } => mounts::terminal(state, *console),
        Step::JoinedRoot => {
            let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            state.root = Some(Root::new(root));
            Ok(())
        }
        Step::Mask { target } => mounts::mask(state, target.c()),
        Step::ReadOnly { target } => {
            mounts::read_only(state, target.c(), mount::RDONLY | mount::NOSUID | mount::NODEV | mount::NOEXEC)
        }
        Step::Sysctl { path, value } => state.proc.as_ref().ok_or(Errno::BADF)?.write(path.c(), value.c().to_bytes()),
        Step::Workdir { path } => {
            state.workdir = Some(state.root()?.directory(path.c(), 0o755)?);
            Ok(())
        }
        Step::ExistingWorkdir { path } => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            state.workdir = Some(state.root()?.open(path.c(), flags, Mode::empty())?);
            Ok(())
        }
        Step::ReadOnlyRoot => mount::set_attributes(state.root()?.as_fd(), mount::RDONLY, false),
        Step::Pivot => mount::pivot(state.root()?.as_fd()),
        Step::Stdio { terminal, owner } => streams(armed, state, *terminal, *owner),
        Step::Keyring { name } => fresh_keyring(name.c()),
        Step::Umask { mask } => {
            rustix::process::umask(Mode::from_raw_mode(*mask));
            Ok(())
        }
        Step::Label { file, value } => label(armed, state, file.c(), value.c()),
        Step::Ready => ready(state, channel),
        Step::EnterWorkdir => enter_workdir(state),
        Step::Landlock => forbid_mounts(armed),
        Step::OwnSockets => landlock::restrict_self(landlock::scope(landlock::ABSTRACT_SOCKETS)?.as_fd()),
        Step::Bounding { keep } => caps::drop_bounding(*keep),
        Step::KeepCaps => caps::keep_over_setuid(),
        Step::Identity { uid, gid, set_groups } => {
            ids::become_user(*uid, *gid, if *set_groups { Some(&armed.groups) } else { None })?;
            if armed.survives { Ok(()) } else { die_with_parent(channel) }
        }
        Step::Caps { set } => {
            caps::clear_ambient()?;
            caps::set(*set)
        }
        Step::NoNewPrivileges => rustix::thread::set_no_new_privs(true),
        Step::Seccomp => seccomp::load(&armed.filter),
        Step::Bundle(step) => bundle::apply(step, armed, state, channel),
        Step::Exec => start(armed, state),
    }
}

/// A keyring that nobody uses any more still counts until the kernel has collected it, a moment later: a user who starts
/// many at once waits for that moment (`keyrings(7)`, quotas).
fn fresh_keyring(name: &CStr) -> Result<()> {
    const TRIES: u32 = 400;
    let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    for _ in 0..TRIES {
        match keyring::fresh_session(name) {
            // Woken early, it asks early.
            Err(Errno::DQUOT) => drop(rustix::event::poll(&mut [], Some(&moment))),
            other => return other,
        }
    }
    Err(Errno::DQUOT)
}

/// A parent that ended before the request took effect would never be noticed, hence the second look.
fn die_with_parent(channel: &Channel) -> Result<()> {
    ids::die_with_parent()?;
    if channel.is_closed() {
        clone::exit_now(FAILED);
    }
    Ok(())
}

/// Writing "0" moves the writer. The kernel judges the right to do so by who opened the file.
fn join_cgroups(armed: &Armed<'_>, count: usize) -> Result<()> {
    if armed.groups_to_enter.len() != count {
        return Err(Errno::BADF);
    }
    for group in armed.groups_to_enter {
        rustix::io::write(group, b"0")?;
    }
    Ok(())
}

fn streams(armed: &Armed<'_>, state: &mut State, terminal: bool, owner: Option<(u32, Option<u32>)>) -> Result<()> {
    let give = |file: BorrowedFd<'_>| match owner {
        // The host's own `/dev/null` is nobody's to have.
        Some(_) if is_null(file) => Ok(()),
        // Root's own pipes already belong to the user: the parent saw to it, and the child has no right over them.
        Some((uid, gid)) => match stdio::give_to(file, uid, gid.unwrap_or(u32::MAX)) {
            Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS) => Ok(()),
            Err(e) => Err(e),
        },
        None => Ok(()),
    };
    match (&armed.stdio, terminal) {
        (Stdio::Terminal, true) => {
            let slave = state.slave.take().ok_or(Errno::BADF)?;
            give(slave.as_fd())?;
            stdio::control(slave.as_fd())?;
            for number in 0..3 {
                fd::place(slave.as_fd(), number)?;
            }
            Ok(())
        }
        (Stdio::Files(files), false) => {
            for (file, number) in files.iter().zip(0..) {
                give(file.as_fd())?;
                fd::place(file.as_fd(), number)?;
            }
            Ok(())
        }
        (Stdio::Own, false) => {
            [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()].into_iter().try_for_each(give)
        }
        _ => Err(Errno::BADF),
    }
}

fn is_null(file: BorrowedFd<'_>) -> bool {
    let numbers = |device| (rustix::fs::major(device), rustix::fs::minor(device));
    rustix::fs::fstat(file).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice
            && numbers(stat.st_rdev) == (1, 3)
    })
}

/// Writes a label of this process. The file is reached through the own procfs, by the process's number in it: `self` is
/// a link.
fn label(armed: &Armed<'_>, state: &State, file: &CStr, value: &CStr) -> Result<()> {
    let mut path = [0_u8; 128];
    let mut at = 0;
    let mut push = |bytes: &[u8]| -> Result<()> {
        let end = at + bytes.len();
        path.get_mut(at..end).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(bytes);
        at = end;
        Ok(())
    };
    let mut digits = [0_u8; 10];
    push(decimal(rustix::process::getpid().as_raw_nonzero().get().unsigned_abs(), &mut digits))?;
    push(b"/")?;
    push(file.to_bytes())?;
    let path = CStr::from_bytes_until_nul(&path).map_err(|_| Errno::NAMETOOLONG)?;
    match &state.proc {
        Some(proc) => proc.write(path, value.to_bytes()),
        None if armed.joining => {
            // The container's own /proc, verified; a sandbox that may mount could have covered it.
            let proc = state.root()?.open(c"/proc", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
            Proc::verified(proc)?.write(path, value.to_bytes())
        }
        None => Err(Errno::BADF),
    }
}

/// A number in decimal digits.
fn decimal(mut number: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut start = buffer.len();
    loop {
        start -= 1;
        if let (Some(slot), Ok(digit)) = (buffer.get_mut(start), u8::try_from(number % 10)) {
            *slot = b'0' + digit;
        }
        number /= 10;
        if number == 0 || start == 0 {
            return buffer.get(start..).unwrap_or_default();
        }
    }
}

fn ready(state: &mut State, channel: &Channel) -> Result<()> {
    match state.master.take() {
        Some(master) => channel.send(Message::Ready, &[master.as_fd()])?,
        None => channel.send(Message::Ready, &[])?,
    }
    if !wait_for(channel, Message::Exec, &mut Vec::new()) {
        clone::exit_now(FAILED);
    }
    Ok(())
}

/// Goes to the working directory and makes sure that it lies below the root (CVE-2024-21626).
fn enter_workdir(state: &mut State) -> Result<()> {
    rustix::process::fchdir(state.workdir.take().ok_or(Errno::BADF)?)?;
    let mut buffer = [core::mem::MaybeUninit::<u8>::uninit(); bulkhead_sys::root::PATH_MAX];
    // The kernel says "(unreachable)/…" for a directory outside the root.
    if bulkhead_sys::root::working_directory(&mut buffer)?.first() == Some(&b'/') { Ok(()) } else { Err(Errno::XDEV) }
}

/// A Landlock domain with any file system right forbids every change of mounts, also to a process that finds a way to
/// `CAP_SYS_ADMIN` in its user namespace. Executing and moving files stay allowed below the root.
fn forbid_mounts(armed: &Armed<'_>) -> Result<()> {
    let rights = landlock::EXECUTE | landlock::REFER;
    let ruleset = landlock::ruleset(rights)?;
    let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    landlock::allow_below(ruleset.as_fd(), root.as_fd(), rights)?;
    if let Some(init) = &armed.init {
        match landlock::allow_below(ruleset.as_fd(), init.as_fd(), landlock::EXECUTE) {
            // A file in memory is below no directory, and Landlock lets it be executed.
            Ok(()) | Err(Errno::BADFD) => {}
            Err(e) => return Err(e),
        }
    }
    landlock::restrict_self(ruleset.as_fd())
}

fn start(armed: &Armed<'_>, state: &State) -> Result<()> {
    if !armed.survives {
        fd::cloexec_from(3)?;
    }
    Err(match &armed.init {
        Some(file) => exec::exec_fd(file.as_fd(), &armed.args, &armed.env),
        None => armed.env.with(state.home.as_ref().map(home::Home::text), || {
            exec::exec_first(&armed.candidates, &armed.args, &armed.env)
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn numbers_are_written_in_decimal() {
        for (number, text) in [(0, "0"), (7, "7"), (10, "10"), (4_294_967_295, "4294967295")] {
            assert_eq!(decimal(number, &mut [0; 10]), text.as_bytes());
        }
    }
}

//! Descriptors: closing what was inherited, sealed memory, passing over a socket.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use crate::{Errno, Result, check};

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

/// Marks every descriptor from `first` on close-on-exec (`close_range(2)`, Linux 5.11). Child-safe.
///
/// Descriptors that a caller left open must not reach a container (CVE-2024-21626).
///
/// # Errors
/// What the kernel says.
pub fn cloexec_from(first: u32) -> Result<()> {
    // SAFETY: takes three integers.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Closes every descriptor above 2 whose close-on-exec flag is clear except those in `keep`.
///
/// For the start of a process that was given descriptors by number: what the caller leaked is closed, what it meant is kept.
///
/// # Errors
/// What the kernel says.
pub fn close_all_but(keep: &[RawFd]) -> Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    let mut first: u32 = 3;
    for fd in keep {
        if fd > first {
            // SAFETY: takes three integers; the caller has no other descriptors in use at the start of a process.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) })?;
        }
        first = fd + 1;
    }
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) }).map(drop)
}

/// Closes every descriptor from `first` on but these. Child-safe.
///
/// For a process that waits for long and never returns to what owns the others.
///
/// # Errors
/// What the kernel says.
pub fn close_from_but<const N: usize>(first: u32, keep: [BorrowedFd<'_>; N]) -> Result<()> {
    let mut numbers = keep.map(|fd| fd.as_raw_fd().unsigned_abs());
    numbers.sort_unstable();
    let mut from = first;
    for number in numbers {
        if number > from {
            // SAFETY: takes three integers; the caller uses none of the descriptors between them any more.
            check(unsafe { libc::syscall(libc::SYS_close_range, from, number - 1, 0) })?;
        }
        from = from.max(number + 1);
    }
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_close_range, from, libc::c_uint::MAX, 0) }).map(drop)
}

/// Closes all of them, those with numbers in a row by one call.
pub fn close_all(fds: Vec<OwnedFd>) {
    let mut numbers: Vec<u32> = fds.into_iter().map(|fd| fd.into_raw_fd().unsigned_abs()).collect();
    numbers.sort_unstable();
    for row in numbers.chunk_by(|a, b| a + 1 == *b) {
        if let (Some(first), Some(last)) = (row.first(), row.last()) {
            // SAFETY: takes three integers; the descriptors in the row were owned and are given up here. It fails only
            // for a row that begins after its end.
            unsafe { libc::syscall(libc::SYS_close_range, *first, *last, 0) };
        }
    }
}

/// Writes a value to a file that the kernel makes, in one write.
///
/// # Errors
/// What the kernel says; `EIO` when it took only a part.
pub fn put(path: &std::path::Path, value: &[u8]) -> Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    if rustix::io::write(&file, value)? == value.len() { Ok(()) } else { Err(Errno::IO) }
}

/// The text of a small file that the kernel makes, with no more calls than that takes: a standard library asks for its
/// size first, which is said to be nothing, and begins with 32 bytes. Bytes that are no UTF-8, as anybody's mount point can
/// have in `mountinfo`, are replaced.
///
/// # Errors
/// What the kernel says.
pub fn text(path: impl AsRef<std::path::Path>) -> Result<String> {
    let file = rustix::fs::open(path.as_ref(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::with_capacity(8192);
    loop {
        bytes.reserve(4096);
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes)) {
            Ok(0) => {
                return Ok(String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Takes over a descriptor that this process was started with, by its number.
///
/// # Errors
/// `EBADF` when there is none with this number.
pub fn adopt(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_GETFD takes a number and reads a flag; it does not matter whether the number is open.
    check(libc::c_long::from(unsafe { libc::fcntl(number, libc::F_GETFD) }))?;
    // SAFETY: the descriptor is open, was inherited by number, and the caller takes each number once.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// A read-only, sealed copy of `content` in memory (`memfd_create(2)`), at offset 0.
///
/// # Errors
/// What the kernel says.
pub fn sealed(name: &CStr, content: &[u8]) -> Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = content;
    while !rest.is_empty() {
        let n = rustix::io::write(&fd, rest)?;
        rest = rest.get(n..).unwrap_or_default();
    }
    fcntl_add_seals(&fd, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    rustix::fs::seek(&fd, rustix::fs::SeekFrom::Start(0))?;
    Ok(fd)
}

/// A sealed copy of an open file in memory, for executing from (CVE-2019-5736).
///
/// # Errors
/// What the kernel says.
pub fn sealed_copy(name: &CStr, file: BorrowedFd<'_>) -> Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let size = rustix::fs::fstat(file)?.st_size;
    let mut offset = 0_u64;
    let size = u64::try_from(size).map_err(|_| Errno::INVAL)?;
    while offset < size {
        let rest = usize::try_from(size - offset).map_err(|_| Errno::OVERFLOW)?;
        let n = rustix::fs::sendfile(&fd, file, Some(&mut offset), rest)?;
        if n == 0 {
            return Err(Errno::IO);
        }
    }
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    // The kernel refuses as long as it holds a page for itself, which on a busy machine can outlast its own patience
    // (`F_ADD_SEALS` in fcntl(2)); nobody else has the file, so it ends by itself.
    for _ in 0..SEAL_ATTEMPTS {
        match fcntl_add_seals(&fd, seals) {
            Err(Errno::BUSY) => std::thread::sleep(std::time::Duration::from_millis(10)),
            done => return done.map(|()| fd),
        }
    }
    fcntl_add_seals(&fd, seals)?;
    Ok(fd)
}

/// Times that a file in memory is tried to be sealed, besides the last.
const SEAL_ATTEMPTS: u32 = 50;

/// Most descriptors that one message carries here; the kernel's own limit is 253.
pub const FDS_PER_MESSAGE: usize = 64;

/// Sends `bytes` and up to [`FDS_PER_MESSAGE`] descriptors as one message. Child-safe.
///
/// # Errors
/// `E2BIG` for too many descriptors; `EPIPE` when the other end is closed; else what the kernel says.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    if fds.len() > FDS_PER_MESSAGE {
        return Err(Errno::TOOBIG);
    }
    let mut space = [MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOBIG);
    }
    let iov = [std::io::IoSlice::new(bytes)];
    loop {
        match rustix::net::sendmsg(socket, &iov, &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Receives one message into `bytes` and its descriptors into `fds` (never beyond its capacity, so that nothing is
/// allocated). Returns the length; 0 is the end of the stream. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn recv(socket: BorrowedFd<'_>, bytes: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<usize> {
    let mut space = [MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let n = loop {
        let mut iov = [std::io::IoSliceMut::new(bytes)];
        match rustix::net::recvmsg(socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(msg) => break msg.bytes,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            for fd in received {
                if fds.len() < fds.capacity() {
                    fds.push(fd);
                }
            }
        }
    }
    Ok(n)
}

/// Puts `fd` at number `target` without close-on-exec (`dup2(2)`), for standard input and its kin. Child-safe.
///
/// # Errors
/// What the kernel says.
pub fn place(fd: BorrowedFd<'_>, target: RawFd) -> Result<()> {
    if fd.as_raw_fd() == target {
        return rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty());
    }
    // SAFETY: takes two integers; what was open at `target` is replaced, and the callers use it for 0, 1 and 2 only,
    // which no owned value of this process refers to.
    check(libc::c_long::from(unsafe { libc::dup2(fd.as_raw_fd(), target) })).map(drop)
}

/// Lets `fd` survive the next `execve`.
///
/// # Errors
/// What the kernel says.
pub fn keep_over_exec(fd: impl AsFd) -> Result<()> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())
}

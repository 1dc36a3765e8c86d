//! The caller's end of `--console-socket`: a terminal's master side arrives as a descriptor.

use std::io::{IoSliceMut, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// A socket that one descriptor arrives on.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// # Panics
    /// When the socket cannot be made.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        drop(std::fs::remove_file(path));
        Self { listener: UnixListener::bind(path).expect("a socket"), path: path.to_path_buf() }
    }

    /// Its path, as an argument.
    #[must_use]
    pub fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// The message that arrived, and the descriptor that came with it.
    ///
    /// # Panics
    /// When none comes.
    #[must_use]
    pub fn take(&self) -> (String, OwnedFd) {
        let (stream, _) = self.listener.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let mut bytes = [0; 65_536];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .expect("a message");
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let text = bytes.get(..got.bytes).unwrap_or_default();
        (String::from_utf8_lossy(text).into_owned(), fd.expect("a descriptor"))
    }
}

/// Reads from a terminal until `wanted` is there.
///
/// # Panics
/// When it does not come.
pub fn expect(master: &OwnedFd, wanted: &str) {
    let flags = rustix::fs::fcntl_getfl(master).expect("flags");
    rustix::fs::fcntl_setfl(master, flags | rustix::fs::OFlags::NONBLOCK).expect("flags");
    let mut file = std::fs::File::from(master.try_clone().expect("a copy"));
    let (mut seen, mut chunk) = (String::new(), [0; 4096]);
    let end = Instant::now() + Duration::from_secs(10);
    while !seen.contains(wanted) {
        assert!(Instant::now() < end, "{wanted:?} is not in {seen:?}");
        match file.read(&mut chunk) {
            Ok(got) => seen.push_str(&String::from_utf8_lossy(&chunk[..got])),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

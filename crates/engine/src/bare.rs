//! `sandbox`: a program in a sandbox over a directory, with nothing stored: no image, no record, no monitor.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bulkhead_sandbox::StartError;
use bulkhead_sandbox::Stdio;
use bulkhead_sandbox::plan::plan;
use bulkhead_sandbox::spec::{Caps, IdMaps, Identity, Mount, MountFlags, Process, Rootfs, SandboxSpec};
use bulkhead_sandbox::supervise;
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::ids;
use crate::request::ContainerRequest;
use crate::resolve;
use crate::store::{RangePool, new_id};

/// How many bare sandboxes of root can run at a time.
const SLOTS: u32 = 256;

/// Ids for one bare sandbox: a slot that is locked as long as the command lives. Nothing that it owns outlives it, so
/// a slot can be used again at once.
fn slot(engine: &Engine) -> Result<(IdMaps, Option<OwnedFd>), EngineError> {
    if !engine.facts()?.privileged {
        return Ok((ids::of_user(engine.facts()?), None));
    }
    let directory = engine.paths.run.join("slots");
    match rustix::fs::mkdir(&directory, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        // First use after a boot.
        Err(rustix::io::Errno::NOENT) => {
            engine.store()?;
            rustix::fs::mkdir(&directory, Mode::from_raw_mode(0o700)).map_err(EngineError::io("make", &directory))?;
        }
        Err(e) => return Err(EngineError::io("make", &directory)(e)),
    }
    for number in 0..SLOTS {
        let path = directory.join(number.to_string());
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock =
            rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).map_err(EngineError::io("open", &path))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // The slot right below the pool belongs to the unpacking process.
            let start = RangePool::default().start - (number + 2) * ids::SLOT;
            return Ok((ids::own(start), Some(lock)));
        }
    }
    Err(EngineError::refused("one more bare sandbox", format!("{SLOTS} run already")))
}

/// Whether the sandbox's ids could write the file that this process runs from.
fn exposed(ids: &IdMaps) -> bool {
    let Ok(meta) = std::fs::metadata("/proc/self/exe") else { return true };
    if meta.nlink() == 0 {
        // A sealed copy in memory has no name.
        return false;
    }
    let mapped = |ranges: &[bulkhead_sandbox::spec::IdRange], id: u32| {
        ranges.iter().any(|r| id >= r.outside && id - r.outside < r.count)
    };
    mapped(&ids.uids, meta.uid()) || mapped(&ids.gids, meta.gid()) || meta.mode() & 0o022 != 0
}

/// Runs a program over `rootfs`, read-only, with the hardened defaults and the caller's own streams. Returns its exit
/// code.
///
/// # Errors
/// What was attempted, on what.
pub fn sandbox(engine: &Engine, rootfs: &Path, args: &[String]) -> Result<u8, EngineError> {
    let rootfs = std::fs::canonicalize(rootfs).map_err(EngineError::io("open the root file system", rootfs))?;
    let facts = engine.facts()?;
    let (ids, _slot) = slot(engine)?;
    if exposed(&ids) {
        return Err(again_protected(engine, &rootfs, args));
    }
    let request = ContainerRequest::default();
    let tmpfs = |target: &str, mode| Mount::Tmpfs {
        target: target.to_owned(),
        size: 64 << 20,
        mode,
        owner: (0, 0),
        inodes: 65_536,
        flags: MountFlags { read_only: false, exec: false },
        directories: Vec::new(),
    };
    let present = |name: &str| rootfs.join(name).is_dir();
    let mut mounts = Vec::new();
    for (name, mode) in [("/run", 0o755), ("/tmp", 0o1777)] {
        if present(name.trim_start_matches('/')) {
            mounts.push(tmpfs(name, mode));
        }
    }
    let mut grants = Vec::new();
    let spec = SandboxSpec {
        id: format!("sandbox-{}", new_id()?.chars().take(16).collect::<String>()),
        hostname: "sandbox".to_owned(),
        sysctls: resolve::sysctls(&request, &ids, false)?,
        ids,
        rootfs: Rootfs::Directory { path: rootfs },
        read_only_root: true,
        mounts,
        devices: Vec::new(),
        share: None,
        shm_size: 64 << 20,
        proc_pid_only: false,
        masked_paths: resolve::masked(facts),
        read_only_paths: resolve::read_only(),
        process: Process {
            args: args.to_vec(),
            env: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
                "HOME=/".to_owned(),
            ],
            cwd: "/".to_owned(),
            identity: Identity { uid: 0, gid: 0, groups: vec![0] },
            umask: 0o022,
            terminal: false,
            caps: Caps::DEFAULT,
            bounding: Caps::DEFAULT,
            no_new_privileges: true,
            rlimits: resolve::rlimits(&request)?,
            oom_score_adj: 0,
            init: false,
            apparmor: None,
            selinux: None,
        },
        seccomp: resolve::seccomp(&request, Caps::DEFAULT, facts, &mut grants)?,
        resources: resolve::resources(&request)?,
        grants,
    };
    let plan = plan(&spec, facts)?;
    let stream = |fd: std::os::fd::BorrowedFd<'_>| {
        rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|source| {
            EngineError::Start(StartError::Parent { what: "use the standard streams".to_owned(), source })
        })
    };
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let stdio = Stdio::Files([stream(input.as_fd())?, stream(output.as_fd())?, stream(error.as_fd())?]);
    let running = supervise::prepare(&plan, stdio, None)?.exec()?;
    let ended = supervise::wait(&running)?;
    Ok(u8::try_from(ended.code()).unwrap_or(255))
}

/// Starts this command again from a copy that the sandbox cannot write; returns only on failure.
fn again_protected(engine: &Engine, rootfs: &Path, args: &[String]) -> EngineError {
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    let privileged = engine.facts().is_ok_and(|f| f.privileged);
    match crate::protect::protected_binary(&engine.paths, privileged) {
        Ok(binary) => {
            let program = format!("/proc/self/fd/{}", binary.as_raw_fd());
            let e = std::process::Command::new(&program).arg("sandbox").arg("--").arg(rootfs).args(args).exec();
            EngineError::io("start", Path::new("the protected copy of this program"))(e)
        }
        Err(e) => e,
    }
}

//! The embedded image `host`: this machine's own programs, read-only, with a clean minimal `/etc`.
//!
//! Its one layer is made on first use: empty mount points, the links that the host has (`/bin` to `usr/bin`), and an
//! `/etc` with root and nobody, what the dynamic linker needs, and the links of `/etc/alternatives`. Nothing of the
//! host's accounts, keys, home directories or configuration is in it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bulkhead_image::ImageConfig;

use super::ImageRef;
use super::load::Staging;
use crate::engine::Engine;
use crate::error::EngineError;

/// The name of the embedded image.
pub const HOST: &str = "host";

/// Program directories of the host, where they are directories and not links.
const PROGRAMS: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];
/// Files of `/etc` without which dynamic programs do not find their libraries, or TLS its roots.
const PUBLIC: [&str; 2] = ["ld.so.cache", "ld.so.conf"];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// Version of the layout below; a change makes a new layer.
const VERSION: u32 = 2;

pub(super) fn host(engine: &Engine) -> Result<ImageRef, EngineError> {
    let mut host_binds = Vec::new();
    let mut links = Vec::new();
    for program in PROGRAMS {
        let path = Path::new(program);
        let Ok(meta) = std::fs::symlink_metadata(path) else { continue };
        if meta.is_dir() {
            host_binds.push(path.to_path_buf());
        } else if meta.is_symlink() {
            links.push((path.to_path_buf(), std::fs::read_link(path).map_err(EngineError::io("read", path))?));
        }
    }
    let layer = engine.paths.root.join(format!("host-{VERSION}-{:x}", fingerprint()));
    if !layer.is_dir() {
        make(engine, &layer, &host_binds, &links)?;
    }
    Ok(ImageRef {
        id: None,
        reference: HOST.to_owned(),
        config: ImageConfig { cmd: vec!["/bin/sh".to_owned()], ..ImageConfig::default() },
        layers: vec![layer],
        platform: None,
        host_binds,
    })
}

/// Changes when the host's libraries or alternatives change.
fn fingerprint() -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut all: u64 = 0xcbf2_9ce4_8422_2325;
    for path in ["/etc/ld.so.cache", "/etc/alternatives", "/usr", "/bin", "/lib64"] {
        if let Ok(meta) = std::fs::symlink_metadata(path) {
            for part in [meta.ino(), meta.ctime().unsigned_abs(), meta.ctime_nsec().unsigned_abs()] {
                all = (all ^ part).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
    }
    all
}

fn directory(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).create(path)?;
    // Whatever the umask is.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn make(engine: &Engine, layer: &Path, binds: &[PathBuf], links: &[(PathBuf, PathBuf)]) -> Result<(), EngineError> {
    let held = Staging::new(engine)?;
    let staging = held.path.join("host");
    let fill = || -> std::io::Result<()> {
        for (path, mode) in [
            ("", 0o755),
            ("dev", 0o755),
            ("etc", 0o755),
            ("home", 0o755),
            ("mnt", 0o755),
            ("opt", 0o755),
            ("proc", 0o555),
            ("root", 0o700),
            ("run", 0o755),
            ("srv", 0o755),
            ("sys", 0o555),
            ("tmp", 0o1777),
            ("var", 0o755),
            ("var/cache", 0o755),
            ("var/lib", 0o755),
            ("var/log", 0o755),
            ("var/tmp", 0o1777),
        ] {
            directory(&staging.join(path), mode)?;
        }
        symlink("/run", staging.join("var/run"))?;
        for bind in binds {
            directory(&staging.join(bind.strip_prefix("/").unwrap_or(bind)), 0o755)?;
        }
        for (path, target) in links {
            symlink(target, staging.join(path.strip_prefix("/").unwrap_or(path)))?;
        }
        etc(&staging.join("etc"))?;
        match std::fs::rename(&staging, layer) {
            // Another command was faster.
            Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other,
        }
    };
    fill().map_err(EngineError::io("make the layer of the image host at", layer))
}

fn etc(etc: &Path) -> std::io::Result<()> {
    let file = |name: &str, text: &[u8]| -> std::io::Result<()> {
        let path = etc.join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))
    };
    file("passwd", PASSWD.as_bytes())?;
    file("group", GROUP.as_bytes())?;
    file("nsswitch.conf", NSSWITCH.as_bytes())?;
    for name in ["hosts", "hostname", "resolv.conf"] {
        file(name, b"")?;
    }
    for name in PUBLIC {
        if let Ok(text) = std::fs::read(Path::new("/etc").join(name)) {
            file(name, &text)?;
        }
    }
    if let Ok(release) = std::fs::read_link("/etc/os-release") {
        symlink(release, etc.join("os-release"))?;
    }
    let alternatives = etc.join("alternatives");
    directory(&alternatives, 0o755)?;
    if let Ok(entries) = std::fs::read_dir("/etc/alternatives") {
        for entry in entries.flatten() {
            if let Ok(target) = std::fs::read_link(entry.path()) {
                symlink(target, alternatives.join(entry.file_name()))?;
            }
        }
    }
    Ok(())
}

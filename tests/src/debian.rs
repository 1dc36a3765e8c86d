//! Root file systems of Debian packages, made once with `debootstrap` by root and kept outside the tree, in
//! `BULKHEAD_TEST_CACHE` or `/var/cache/bulkhead-tests`, where an ordinary user finds them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::is_root;

/// The release of Debian that all tests use.
pub const SUITE: &str = "bookworm";

/// What no test needs.
const LEFT_OUT: &[&str] = &[
    "./proc/*",
    "./sys/*",
    "./dev/*",
    "./var/cache/apt/archives/*.deb",
    "./var/cache/apt/*.bin",
    "./var/lib/apt/lists/*",
];

fn cache() -> PathBuf {
    std::env::var_os("BULKHEAD_TEST_CACHE").map_or_else(|| PathBuf::from("/var/cache/bulkhead-tests"), PathBuf::from)
}

/// Where this machine gets its own packages from.
fn mirror() -> String {
    let mut files: Vec<PathBuf> = vec!["/etc/apt/sources.list".into()];
    files.extend(std::fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|e| e.path()));
    files.sort();
    let uri = |line: &str| {
        let words = line.split_whitespace();
        let listed = line.starts_with("deb ") || line.starts_with("URIs:");
        words
            .filter(|_| listed)
            .find(|w| w.contains("://") && w.trim_end_matches('/').ends_with("/debian"))
            .map(str::to_owned)
    };
    let texts = files.iter().filter_map(|f| std::fs::read_to_string(f).ok());
    let found = texts.flat_map(|t| t.lines().filter_map(uri).collect::<Vec<_>>()).next();
    found.unwrap_or_else(|| "http://deb.debian.org/debian".to_owned())
}

fn make(archive: &Path, packages: &str, left_out: &[&str]) {
    let cache = cache();
    std::fs::create_dir_all(&cache).expect("the cache directory");
    let scratch = tempfile::Builder::new().prefix("debootstrap-").tempdir_in(&cache).expect("a scratch directory");
    let target = scratch.path().join("rootfs");
    let done = Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={packages}"), SUITE])
        .arg(&target)
        .arg(mirror())
        .output()
        .expect("debootstrap is installed");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().rev().take(10).collect::<Vec<_>>().join("\n");
    assert!(done.status.success(), "debootstrap: {}\n{}", said(&done.stdout), said(&done.stderr));
    let ready = scratch.path().join("archive.tar");
    // Its owners are what the packages made them.
    let packed = Command::new("tar")
        .arg("-C")
        .arg(&target)
        .args(["--sort=name", "--numeric-owner"])
        .args(LEFT_OUT.iter().chain(left_out).map(|pattern| format!("--exclude={pattern}")))
        .arg("-cf")
        .arg(&ready)
        .arg(".")
        .status();
    assert!(packed.expect("tar starts").success());
    std::fs::rename(&ready, archive).expect("the archive is kept");
}

/// The archive of this name with these packages (separated by commas), made on first use, without what is left out
/// (patterns of `tar`); `None` where it has to be made and only root could.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn archive(name: &str, packages: &str, left_out: &[&str]) -> Option<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let places = [cache(), PathBuf::from("/var/cache/bulkhead-tests")];
    let name = format!("{SUITE}-{name}.tar");
    if let Some(there) = places.iter().map(|p| p.join(&name)).find(|p| p.is_file()) {
        return Some(there);
    }
    if !is_root() {
        return None;
    }
    let archive = cache().join(name);
    make(&archive, packages, left_out);
    Some(archive)
}

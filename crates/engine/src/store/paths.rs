//! Where things are on disk, and the care taken when directories are made.

use std::ffi::OsString;
use std::fs::{DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::StoreError;

/// Name of a layer's root directory in the directory of the layer.
pub const LAYER_ROOT: &str = "fs";

/// Name of the directory of a volume that containers see.
pub const VOLUME_DATA: &str = "data";
/// Name of what makes a layer's archive again, beside its root directory.
pub const LAYER_RECIPE: &str = "recipe";

/// The two places of one bulkhead: what survives the boot, and what does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `/var/lib/bulkhead`, or `$XDG_DATA_HOME/bulkhead`.
    pub root: PathBuf,
    /// `/run/bulkhead`, or `$XDG_RUNTIME_DIR/bulkhead`.
    pub run: PathBuf,
}

impl Paths {
    /// The places for the user `uid`: the system's for root, the user's own by the XDG variables for others.
    /// What the configuration has (`root`, `run`) comes before that, `BULKHEAD_ROOT` and `BULKHEAD_RUN` before both.
    /// Nothing is made yet.
    ///
    /// # Errors
    ///
    /// An ordinary user without `HOME` and `XDG_DATA_HOME`, or an override that is not an absolute path.
    pub fn discover(uid: u32, root: Option<PathBuf>, run: Option<PathBuf>) -> Result<Paths, StoreError> {
        // An override is looked at first; the configuration stands where it is missing.
        Paths::from_lookup(uid, |name| {
            let set = std::env::var_os(name).filter(|value| !value.is_empty());
            let configured = match name {
                "BULKHEAD_ROOT" => root.as_ref(),
                "BULKHEAD_RUN" => run.as_ref(),
                _ => None,
            };
            set.or_else(|| configured.map(|path| path.clone().into_os_string()))
        })
    }

    /// The places for the user `uid` when neither a variable nor the configuration moves them.
    ///
    /// # Errors
    ///
    /// As [`Paths::discover`].
    pub fn usual(uid: u32) -> Result<Paths, StoreError> {
        Paths::from_lookup(uid, |name| if name.starts_with("BULKHEAD_") { None } else { std::env::var_os(name) })
    }

    /// [`Paths::discover`] with the environment as an argument.
    fn from_lookup(uid: u32, get: impl Fn(&str) -> Option<OsString>) -> Result<Paths, StoreError> {
        let over = |variable: &'static str| match get(variable).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) if Path::new(&value).is_absolute() => Ok(Some(PathBuf::from(value))),
            Some(value) => Err(StoreError::NoHome { variable, value: value.to_string_lossy().into_owned() }),
        };
        // The XDG specification: a value that is not absolute is to be ignored.
        let absolute = |variable| get(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let root = match over("BULKHEAD_ROOT")? {
            Some(path) => path,
            None if uid == 0 => PathBuf::from("/var/lib/bulkhead"),
            None => match (absolute("XDG_DATA_HOME"), absolute("HOME")) {
                (Some(data), _) => data.join("bulkhead"),
                (None, Some(home)) => home.join(".local/share/bulkhead"),
                (None, None) => {
                    let value = get("HOME").unwrap_or_default().to_string_lossy().into_owned();
                    return Err(StoreError::NoHome { variable: "HOME", value });
                }
            },
        };
        let run = match over("BULKHEAD_RUN")? {
            Some(path) => path,
            None if uid == 0 => PathBuf::from("/run/bulkhead"),
            None => match absolute("XDG_RUNTIME_DIR") {
                Some(runtime) => runtime.join("bulkhead"),
                None => PathBuf::from(format!("/tmp/bulkhead-run-{uid}")),
            },
        };
        Ok(Paths { root, run })
    }

    /// The database file.
    pub fn db(&self) -> PathBuf {
        self.root.join("bulkhead.db")
    }

    /// Unpacked layers, one directory for each chain id.
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The directory of one layer; `chain_hex` may begin with `sha256:`.
    pub fn layer(&self, chain_hex: &str) -> PathBuf {
        self.layers().join(component(chain_hex.strip_prefix("sha256:").unwrap_or(chain_hex)))
    }

    /// The files of one layer, below its directory.
    pub fn layer_root(&self, chain_hex: &str) -> PathBuf {
        self.layer(chain_hex).join(LAYER_ROOT)
    }

    /// The containers' directories.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// The directory of one container: upper directory, specification, log.
    pub fn container(&self, id: &str) -> PathBuf {
        self.containers().join(component(id))
    }

    /// The volumes, a directory for each.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// The directory of one volume: [`VOLUME_DATA`] and, while it is filled, what is on its way there. The name was
    /// checked: it cannot leave the directory.
    pub fn volume(&self, name: &str) -> PathBuf {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let name: String = name.chars().map(|c| if good(c) { c } else { '_' }).collect();
        self.volumes().join(if name.starts_with('.') || name.is_empty() { "_".to_owned() } else { name })
    }

    /// What containers see of a volume.
    pub fn volume_data(&self, name: &str) -> PathBuf {
        self.volume(name).join(VOLUME_DATA)
    }

    /// Content-addressed files.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Work in progress, on the same file system as layers and containers, so that a rename finishes it.
    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// The directory of one running container: socket, pid, state. It dies with the boot.
    pub fn run_container(&self, id: &str) -> PathBuf {
        self.run.join("containers").join(component(id))
    }

    /// Makes the directories that are missing, with mode 0700, and checks that those that exist are ours alone.
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
        let user = rustix::process::geteuid().as_raw();
        for top in [&self.root, &self.run] {
            if let Some(parent) = top.parent() {
                make_parents(parent, user)?;
            }
            private_dir(top, user)?;
        }
        self.inner().iter().try_for_each(|below| private_dir(below, user))
    }

    /// The directories below the two places that are always there, for the owner alone.
    pub(crate) fn inner(&self) -> [PathBuf; 6] {
        let run = self.run.join("containers");
        [self.layers(), self.containers(), self.volumes(), self.blobs(), self.staging(), run]
    }
}

/// One path component that cannot leave its directory, whatever the text: ids are hex, and anything else becomes `_`.
fn component(text: &str) -> String {
    if text.is_empty() {
        return "_".to_owned();
    }
    text.chars().map(|c| if c.is_ascii_hexdigit() { c } else { '_' }).collect()
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path, source }
}

/// The directories above ours: shared ones for root, private ones (as XDG asks) for a user.
fn make_parents(path: &Path, user: u32) -> Result<(), StoreError> {
    let mode = if user == 0 { 0o755 } else { 0o700 };
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed("make the directory", path))
}

/// Makes `path` with mode 0700, or checks the one that exists.
///
/// An existing directory is not changed, because a wrong `BULKHEAD_ROOT` (say `/tmp`) must not lock others out of it.
fn private_dir(path: &Path, user: u32) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            let made = std::fs::symlink_metadata(path).map_err(failed("look at the directory", path))?;
            check(path, &made, user)?;
            if made.mode() & 0o7777 & !0o2000 != 0o700 {
                // The umask took bits from the owner.
                let mode = Permissions::from_mode(0o700);
                std::fs::set_permissions(path, mode).map_err(failed("set the mode of", path))?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let link = std::fs::symlink_metadata(path).map_err(failed("look at the directory", path))?;
            if !link.is_symlink() {
                return check(path, &link, user);
            }
            // An administrator may have linked the place to a larger disk; in /tmp anybody may have made the link.
            if link.uid() != user && link.uid() != 0 {
                return Err(StoreError::ForeignOwner { path: path.to_owned(), owner: link.uid(), user });
            }
            let target = std::fs::metadata(path).map_err(failed("look at the directory", path))?;
            check(path, &target, user)
        }
        Err(source) => Err(StoreError::Io { what: "make the directory", path: path.to_owned(), source }),
    }
}

fn check(path: &Path, found: &Metadata, user: u32) -> Result<(), StoreError> {
    if !found.is_dir() {
        return Err(StoreError::NotADirectory { path: path.to_owned() });
    }
    if found.uid() != user {
        return Err(StoreError::ForeignOwner { path: path.to_owned(), owner: found.uid(), user });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(StoreError::OpenDirectory { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn root_gets_the_system_places_and_a_user_his_own() {
        let system = Paths::from_lookup(0, lookup(&[("HOME", "/root"), ("XDG_RUNTIME_DIR", "/run/user/0")])).unwrap();
        assert_eq!(system.root, Path::new("/var/lib/bulkhead"));
        assert_eq!(system.run, Path::new("/run/bulkhead"));
        let user = Paths::from_lookup(1000, lookup(&[("HOME", "/home/a"), ("XDG_RUNTIME_DIR", "/run/user/1000")]));
        let user = user.unwrap();
        assert_eq!(user.root, Path::new("/home/a/.local/share/bulkhead"));
        assert_eq!(user.run, Path::new("/run/user/1000/bulkhead"));
        let bare = Paths::from_lookup(1000, lookup(&[("HOME", "/home/a"), ("XDG_DATA_HOME", "rel")])).unwrap();
        assert_eq!(bare.root, Path::new("/home/a/.local/share/bulkhead"));
        assert_eq!(bare.run, Path::new("/tmp/bulkhead-run-1000"));
        assert!(matches!(Paths::from_lookup(1000, lookup(&[])), Err(StoreError::NoHome { variable: "HOME", .. })));
    }

    #[test]
    fn overrides_win_and_must_be_absolute() {
        let set = lookup(&[("BULKHEAD_ROOT", "/x"), ("BULKHEAD_RUN", "/y")]);
        assert_eq!(Paths::from_lookup(1000, set).unwrap(), Paths { root: "/x".into(), run: "/y".into() });
        let set = lookup(&[("BULKHEAD_ROOT", "x")]);
        assert!(matches!(Paths::from_lookup(0, set), Err(StoreError::NoHome { variable: "BULKHEAD_ROOT", .. })));
    }

    #[test]
    fn an_id_cannot_leave_its_directory() {
        let paths = Paths { root: "/r".into(), run: "/s".into() };
        assert_eq!(paths.layer("sha256:00ff"), Path::new("/r/layers/00ff"));
        assert_eq!(paths.container("../../etc"), Path::new("/r/containers/______e_c"));
        assert_eq!(paths.run_container(""), Path::new("/s/containers/_"));
    }
}

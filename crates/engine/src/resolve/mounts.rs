//! Mounts beside the root file system: generated files, memory where images expect to write, and what was asked.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use bulkhead_sandbox::spec::{FileId, IdRange, Mount, MountFlags, TmpfsDirectory, inside, outside};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Context;
use crate::error::EngineError;
use crate::request::{MountRequest, ProfileName};
use crate::volumes::VolumeMount;

/// Size of a tmpfs that nobody gave one, in bytes.
pub(crate) const TMPFS: u64 = 64 << 20;
/// Files and directories of a tmpfs: each costs about a kilobyte of kernel memory.
pub(crate) const INODES: u64 = 65_536;
/// More directories than this in an image's `/run` and it is left on the writable layer.
const SKELETON: usize = 64;

/// Directories that programs expect to be writable and empty at a start.
const VOLATILE: [(&str, u32); 3] = [("/run", 0o755), ("/tmp", 0o1777), ("/var/tmp", 0o1777)];

/// What every container gets.
fn standard(context: &Context<'_>) -> Result<Vec<Mount>, EngineError> {
    let mut mounts = Vec::new();
    for bind in &context.image.host_binds {
        mounts.push(Mount::Bind {
            source: bind.clone(),
            below: None,
            expected: None,
            target: bind.to_string_lossy().into_owned(),
            directory: true,
            // A child with fewer rights may not take a mount apart from what is mounted below it.
            recursive: !context.facts.privileged,
            exact: true,
            // Not shifted: what only the host's root may read, root inside may not.
            shift_ids: false,
            flags: MountFlags { read_only: true, exec: true },
        });
    }
    for name in ["hosts", "hostname", "resolv.conf"] {
        mounts.push(Mount::Bind {
            source: context.layout.etc().join(name),
            below: None,
            expected: None,
            target: format!("/etc/{name}"),
            directory: false,
            recursive: false,
            exact: false,
            shift_ids: true,
            flags: MountFlags { read_only: false, exec: false },
        });
    }
    if context.request.profile == ProfileName::Compat {
        return Ok(mounts);
    }
    for (target, mode) in VOLATILE {
        let asked = context.request.mounts.iter().any(|m| covers(m, target));
        if asked {
            continue;
        }
        if let Some(directories) = skeleton(context, target) {
            mounts.push(Mount::Tmpfs {
                target: target.to_owned(),
                size: TMPFS,
                mode,
                owner: (0, 0),
                inodes: INODES,
                flags: MountFlags { read_only: false, exec: false },
                directories,
            });
        }
    }
    Ok(mounts)
}

fn covers(mount: &MountRequest, target: &str) -> bool {
    let asked = mount.target().to_string_lossy();
    let asked = asked.trim_end_matches('/');
    asked == target || asked.starts_with(&format!("{target}/"))
}

/// The directories that an image has below `target`, to be made again in a fresh tmpfs. Nothing when the image keeps
/// anything else there, or does not have the directory: then it stays what it is.
fn skeleton(context: &Context<'_>, target: &str) -> Option<Vec<TmpfsDirectory>> {
    // Root's layers are on disk as the image has them; an ordinary user's belong to his own ids.
    let id =
        |ranges: &[IdRange], on_disk| if context.facts.privileged { Some(on_disk) } else { inside(ranges, on_disk) };
    let below = target.trim_start_matches('/');
    let mut found: Vec<TmpfsDirectory> = Vec::new();
    let mut present = false;
    for layer in &context.image.layers {
        // A link on the way would be followed on the host.
        let by_link = |part: &Path| std::fs::symlink_metadata(layer.join(part)).is_ok_and(|m| m.is_symlink());
        if Path::new(below).ancestors().skip(1).any(by_link) {
            return None;
        }
        let root = layer.join(below);
        let Ok(meta) = std::fs::symlink_metadata(&root) else { continue };
        if !meta.is_dir() {
            return None;
        }
        present = true;
        let mut stack = vec![PathBuf::new()];
        while let Some(at) = stack.pop() {
            for entry in std::fs::read_dir(root.join(&at)).ok()? {
                let entry = entry.ok()?;
                let meta = entry.metadata().ok()?;
                let path = at.join(entry.file_name());
                let text = path.to_str()?.to_owned();
                if !meta.is_dir() || found.len() >= SKELETON {
                    return None;
                }
                found.retain(|d| d.path != text);
                found.push(TmpfsDirectory {
                    path: text,
                    mode: meta.mode() & 0o7777,
                    uid: id(&context.ids.uids, meta.uid())?,
                    gid: id(&context.ids.gids, meta.gid())?,
                });
                stack.push(path);
            }
        }
    }
    // Parents first.
    found.sort_by(|a, b| a.path.cmp(&b.path));
    present.then_some(found)
}

/// All mounts, in order: the standard ones, then what was asked.
pub(super) fn all(context: &Context<'_>) -> Result<Vec<Mount>, EngineError> {
    let mut all = standard(context)?;
    let mut asked = context.request.mounts.iter().map(|m| one(context, m)).collect::<Result<Vec<_>, _>>()?;
    // A parent first, whatever the order of the flags: it would hide what lies below.
    asked.sort_by_key(|m| Path::new(m.target()).components().count());
    // Something at /etc would hide the generated files; they cannot be put into what takes no writes.
    let etc = |m: &Mount| m.target() == "/etc" && !m.flags().read_only;
    if let Some(at) = asked.iter().position(etc) {
        let generated = all.extract_if(.., |m| m.target().starts_with("/etc/")).collect::<Vec<_>>();
        let after = asked.split_off(at + 1);
        asked.extend(generated);
        asked.extend(after);
    }
    all.extend(asked);
    Ok(all)
}

fn target_text(target: &Path) -> Result<String, EngineError> {
    target
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| EngineError::invalid("mount target", target.to_string_lossy(), "UTF-8 is needed"))
}

fn one(context: &Context<'_>, mount: &MountRequest) -> Result<Mount, EngineError> {
    let compat = context.request.profile == ProfileName::Compat;
    match mount {
        MountRequest::Tmpfs { target, size, mode, exec, read_only, uid, gid, inodes } => Ok(Mount::Tmpfs {
            target: target_text(target)?,
            size: size.unwrap_or(TMPFS),
            mode: mode.unwrap_or(0o1777),
            owner: (tmpfs_owner("uid", *uid, &context.ids.uids)?, tmpfs_owner("gid", *gid, &context.ids.gids)?),
            inodes: inodes.unwrap_or(INODES),
            flags: MountFlags { read_only: *read_only, exec: *exec },
            directories: Vec::new(),
        }),
        MountRequest::Bind { source, target, read_only, exec, create_source, recursive } => {
            let dry = *create_source && !context.make_sources;
            let looked = Source::look(source, *create_source, dry, &context.own_places)?;
            Ok(Mount::Bind {
                source: looked.path,
                below: None,
                target: target_text(target)?,
                directory: looked.directory,
                recursive: *recursive,
                exact: true,
                expected: looked.file,
                shift_ids: true,
                // Docker's binds can be executed from.
                flags: MountFlags { read_only: *read_only, exec: *exec || compat },
            })
        }
        MountRequest::Volume { exec, .. } => match context.volumes.mount(mount, *exec || compat)? {
            VolumeMount::Ready(mount) => Ok(mount),
            VolumeMount::Host(bind) => one(context, &bind),
        },
    }
}

/// The owner of a tmpfs must be somebody in the container.
fn tmpfs_owner(option: &str, id: u32, ranges: &[IdRange]) -> Result<u32, EngineError> {
    let most = ranges.iter().map(|r| r.inside + (r.count - 1)).max().unwrap_or(0);
    match outside(ranges, id) {
        Some(_) => Ok(id),
        None => Err(EngineError::invalid(
            "--tmpfs",
            format!("{option}={id}"),
            format!("ids up to {most} are mapped into this container"),
        )),
    }
}

/// The source of a bind, opened once as the caller. What was looked at through the descriptor is what is mounted: the
/// start opens the true path without following any link, and goes on only when the same file is there.
struct Source {
    path: PathBuf,
    directory: bool,
    /// `None` in a dry run that would make it.
    file: Option<FileId>,
}

impl Source {
    /// `create`: a directory is made where there is nothing, as Docker does for `-v`; `dry`: it is not.
    fn look(source: &Path, create: bool, dry: bool, own: &[PathBuf]) -> Result<Self, EngineError> {
        let fd = match open_source(source) {
            Err(Errno::NOENT) if create => {
                if dry {
                    refuse_sensitive(source, own, None)?;
                    return Ok(Self { path: source.to_owned(), directory: true, file: None });
                }
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(source)
                    .map_err(EngineError::io("make", source))?;
                open_source(source).map_err(EngineError::io("open", source))?
            }
            other => other.map_err(EngineError::io("open the bind source", source))?,
        };
        let stat = rustix::fs::fstat(&fd).map_err(EngineError::io("look at", source))?;
        // The kernel's own name of what was opened: no component of it is a link.
        let link = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let path = std::fs::read_link(link).map_err(EngineError::io("find the true path of", source))?;
        let directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        refuse_sensitive(&path, own, directory.then(|| fd.as_fd()))?;
        Ok(Self { path, directory, file: Some(FileId { device: stat.st_dev, inode: stat.st_ino }) })
    }
}

fn open_source(source: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// Looks at a directory of the host that a volume stands for, as at the source of a bind.
///
/// # Errors
/// One that is not there, or that is not given to containers.
pub(crate) fn look_at_source(source: &Path, own: &[PathBuf]) -> Result<(), EngineError> {
    Source::look(source, false, false, own).map(drop)
}

/// Looks again at the sources of binds of mounts that were resolved earlier: what is there now is what this start mounts, if
/// it may be.
///
/// # Errors
/// A source that is gone, or that is not given to containers.
pub(crate) fn look_again(mounts: &mut [Mount], own: &[PathBuf]) -> Result<(), EngineError> {
    for mount in mounts {
        if let Mount::Bind { source, directory, expected: Some(file), .. } = mount {
            let looked = Source::look(source, false, false, own)?;
            (*source, *directory) = (looked.path, looked.directory);
            *file = looked.file.unwrap_or(*file);
        }
    }
    Ok(())
}

/// Places that would hand the host, or the engine itself, to the container; `directory` is the source, opened.
fn refuse_sensitive(source: &Path, own: &[PathBuf], directory: Option<BorrowedFd<'_>>) -> Result<(), EngineError> {
    const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];
    const SOCKETS: [&str; 6] =
        ["docker.sock", "containerd.sock", "podman.sock", "crio.sock", "bulkhead.sock", "buildkitd.sock"];
    let refuse = |reason: &str| Err(EngineError::refused(format!("binding {source:?}"), reason.to_owned()));
    if source == Path::new("/") {
        return refuse("the root of the host would be handed to the container; bind the directory that is needed");
    }
    if KERNEL.iter().any(|k| source.starts_with(k)) {
        return refuse("files of the host's kernel are not shared with a container");
    }
    // The state itself, what is in it, and every directory that contains it.
    if own.iter().any(|place| source.starts_with(place) || place.starts_with(source)) {
        return refuse("the engine's own files are below it; bind the directory that is needed");
    }
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    if SOCKETS.contains(&name.as_ref()) {
        return refuse("who reaches an engine's socket commands the engine");
    }
    let holds = |fd: BorrowedFd<'_>| SOCKETS.iter().any(|s| rustix::fs::statat(fd, *s, AtFlags::empty()).is_ok());
    if directory.is_some_and(holds) {
        return refuse("an engine's socket is in it, and who reaches that commands the engine");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(source: &Path) -> Mount {
        let looked = Source::look(source, false, false, &[]).unwrap();
        Mount::Bind {
            source: looked.path,
            below: None,
            target: "/x".to_owned(),
            directory: looked.directory,
            recursive: true,
            exact: true,
            expected: looked.file,
            shift_ids: true,
            flags: MountFlags { read_only: false, exec: false },
        }
    }

    #[test]
    fn a_source_is_what_its_descriptor_says() {
        let dir = tempfile::tempdir().unwrap();
        let top = std::fs::canonicalize(dir.path()).unwrap();
        let real = top.join("real");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, top.join("link")).unwrap();
        let looked = Source::look(&top.join("link"), false, false, &[]).unwrap();
        assert_eq!((looked.path.as_path(), looked.directory), (real.as_path(), true));
        let refused = |source: &Path, own: &[PathBuf]| Source::look(source, false, false, own).is_err();
        // By whatever name it is reached.
        assert!(refused(&top.join("link"), std::slice::from_ref(&real)));
        assert!(refused(&top.join("link/../real"), std::slice::from_ref(&top)));
        std::os::unix::fs::symlink("/proc", top.join("kernel")).unwrap();
        assert!(refused(&top.join("kernel"), &[]));
        std::fs::write(real.join("docker.sock"), "").unwrap();
        assert!(refused(&top.join("link"), &[]) && refused(&real.join("docker.sock"), &[]));
        assert!(refused(&top.join("missing"), &[]));
        // A dry run makes nothing.
        assert!(Source::look(&top.join("missing"), true, true, &[]).unwrap().file.is_none());
        assert!(!top.join("missing").exists());
    }

    #[test]
    fn a_later_start_looks_again() {
        let dir = tempfile::tempdir().unwrap();
        let source = std::fs::canonicalize(dir.path()).unwrap().join("data");
        std::fs::create_dir(&source).unwrap();
        let mut mounts = [bind(&source)];
        let first = mounts.clone();
        std::fs::rename(&source, source.with_extension("old")).unwrap();
        assert!(look_again(&mut mounts, &[]).is_err());
        std::fs::write(&source, "a file now").unwrap();
        look_again(&mut mounts, &[]).unwrap();
        assert_ne!(mounts, first);
        assert!(matches!(mounts, [Mount::Bind { directory: false, .. }]));
    }
}

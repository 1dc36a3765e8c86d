//! From what a container asks for to volumes that have names, are recorded with it, and hold what the image has there.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bulkhead_sandbox::spec::{Mount, MountFlags};
use bulkhead_sys::mount;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::options::{self, Backing};
use super::place::Placing;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::ImageRef;
use crate::layout::now;
use crate::request::{ContainerRequest, MountRequest, VolumesFrom};
use crate::store::{ContainerRecord, NewContainer, NewVolume, RangeWish, StoreError, VolumeUse, new_id};

/// The label that tells an anonymous volume, as Docker's clients know it.
pub(super) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume that a container will use.
#[derive(Debug, Clone)]
struct Source {
    backing: Backing,
    /// Directory of the store, for [`Backing::Directory`].
    data: PathBuf,
    /// It is recorded already, so its directory is there.
    exists: bool,
}

/// What a container asks for, with every volume named. Nothing is made before [`Attachment::record`].
#[derive(Debug)]
pub(crate) struct Attachment {
    /// The request with named volumes, the mounts of `--volumes-from`, and the image's own volumes.
    pub(crate) request: ContainerRequest,
    sources: BTreeMap<String, Source>,
    uses: Vec<VolumeUse>,
}

/// Works out which volumes a container gets; changes nothing.
///
/// # Errors
/// Two mounts at one place, an option that cannot be kept to, a container that is not there.
pub(crate) fn attach(engine: &Engine, request: &ContainerRequest, image: &ImageRef) -> Result<Attachment, EngineError> {
    let mut attachment = Attachment { request: request.clone(), sources: BTreeMap::new(), uses: Vec::new() };
    attachment.request.mounts = expand(engine, request, image)?;
    attachment.request.volumes_from = Vec::new();
    for at in 0..attachment.request.mounts.len() {
        attachment.name(engine, at)?;
    }
    Ok(attachment)
}

/// The mounts in Docker's order of precedence: what the command line says, then `--volumes-from`, then the image.
fn expand(engine: &Engine, request: &ContainerRequest, image: &ImageRef) -> Result<Vec<MountRequest>, EngineError> {
    let mut mounts: Vec<MountRequest> = Vec::new();
    for from in &request.volumes_from {
        for taken in of_container(engine, from)? {
            mounts.retain(|m| m.target() != taken.target());
            mounts.push(taken);
        }
    }
    let mut seen: Vec<&Path> = Vec::new();
    for asked in &request.mounts {
        if seen.contains(&asked.target()) {
            return Err(EngineError::refused(
                format!("a second mount at {:?}", asked.target()),
                "Duplicate mount point: one of them would hide the other",
            ));
        }
        seen.push(asked.target());
        mounts.retain(|m| m.target() != asked.target());
        mounts.push(asked.clone());
    }
    for target in &image.config.volumes {
        if !mounts.iter().any(|m| m.target() == Path::new(target)) {
            mounts.push(MountRequest::volume(None, PathBuf::from(target)));
        }
    }
    Ok(mounts)
}

/// The binds and volumes of another container.
fn of_container(engine: &Engine, from: &VolumesFrom) -> Result<Vec<MountRequest>, EngineError> {
    let record = engine.store()?.find_container(&from.container)?;
    let mut taken = record.request.mounts;
    taken.retain(|m| !matches!(m, MountRequest::Tmpfs { .. }));
    for one in &mut taken {
        match one {
            MountRequest::Bind { read_only, .. } => *read_only |= from.read_only,
            MountRequest::Volume { read_only, no_copy, .. } => {
                *read_only |= from.read_only;
                // It was filled for the container that it comes from.
                *no_copy = true;
            }
            MountRequest::Tmpfs { .. } => {}
        }
    }
    Ok(taken)
}

impl Attachment {
    /// Gives the volume of one mount its name, and notes what there is to make.
    fn name(&mut self, engine: &Engine, at: usize) -> Result<(), EngineError> {
        let Some(MountRequest::Volume { name, target, labels, options, anonymous, .. }) =
            self.request.mounts.get_mut(at)
        else {
            return Ok(());
        };
        let target = target
            .to_str()
            .map(str::to_owned)
            .ok_or_else(|| EngineError::invalid("mount target", target.to_string_lossy(), "UTF-8 is needed"))?;
        let named = match name {
            Some(name) => name.clone(),
            None => {
                *anonymous = true;
                name.insert(new_id()?).clone()
            }
        };
        let mut labels: BTreeMap<String, String> = labels.iter().cloned().collect();
        if *anonymous {
            labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        let options: BTreeMap<String, String> = options.iter().cloned().collect();
        let anonymous = *anonymous;
        let found = match engine.store()?.find_volume(&named) {
            Ok(found) => Some(found),
            Err(StoreError::NoSuchVolume { .. }) => None,
            Err(e) => return Err(e.into()),
        };
        if let Some(found) = found.as_ref().filter(|f| !options.is_empty() && f.options != options) {
            return Err(StoreError::VolumeConflict { name: found.name.clone() }.into());
        }
        let backing = options::parse(found.as_ref().map_or(&options, |f| &f.options))?;
        let new = NewVolume { name: named.clone(), options, labels, anonymous, created: now(), project: None };
        // A second use of the same new volume in this container.
        let again = self.sources.contains_key(&named);
        self.uses.push(VolumeUse {
            volume: named.clone(),
            target,
            anonymous,
            exclusive: matches!(backing, Backing::Memory { .. }),
            seen: found.as_ref().map(|f| f.created),
            new: (found.is_none() && !again).then_some(new),
        });
        let data = engine.paths.volume_data(&named);
        self.sources.insert(named, Source { backing, data, exists: found.is_some() });
        Ok(())
    }

    /// Makes the directories of new volumes, and records the container with all of its volumes in one transaction.
    ///
    /// # Errors
    /// As [`crate::store::Store::create_container_with`]; nothing is left.
    pub(crate) fn record(
        &mut self,
        engine: &Engine,
        mut new: NewContainer,
        wish: Option<RangeWish<'_>>,
    ) -> Result<ContainerRecord, EngineError> {
        let mut placing = None;
        for one in &mut self.uses {
            let Some(volume) = &mut one.new else { continue };
            let size = match self.sources.get(&volume.name).map(|s| &s.backing) {
                Some(Backing::Directory { size }) => *size,
                _ => None,
            };
            let placing = match &mut placing {
                Some(placing) => placing,
                none => none.insert(Placing::new(engine)?),
            };
            volume.project = placing.make(&volume.name, size)?;
        }
        new.volumes.clone_from(&self.uses);
        let place = |name: &str| placing.as_ref().map_or(Ok(()), |p| p.place(name));
        let record = engine.store()?.create_container_with(&new, wish, place);
        if let (Err(_), Some(placing)) = (&record, &placing) {
            placing.take_back()?;
        }
        let record = record?;
        for one in self.uses.iter().filter_map(|u| u.new.as_ref()) {
            super::emit(engine, "create", &one.name, &[("driver", "local")]);
        }
        Ok(record)
    }

    /// Puts what the image has at their places into volumes that are empty. The container is recorded, so nobody removes
    /// them, and it does not run yet.
    ///
    /// # Errors
    /// What could not be copied; the volume stays empty.
    pub(crate) fn fill(&self, engine: &Engine, image: &ImageRef, id: &str) -> Result<(), EngineError> {
        for mount in &self.request.mounts {
            let MountRequest::Volume { name: Some(name), target, no_copy: false, subpath: None, .. } = mount else {
                continue;
            };
            let on_disk = self.sources.get(name).is_some_and(|s| matches!(s.backing, Backing::Directory { .. }));
            if on_disk {
                super::fill::fill(engine, image, id, name, target)?;
            }
        }
        Ok(())
    }

    /// The mount of one volume, or the bind that it stands for.
    ///
    /// # Errors
    /// A part of the volume that is not there.
    pub(crate) fn mount(&self, request: &MountRequest, exec: bool) -> Result<VolumeMount, EngineError> {
        let MountRequest::Volume { name: Some(name), target, read_only, subpath, .. } = request else {
            return Err(EngineError::refused("a volume without a name", "it was not resolved"));
        };
        let missing = || EngineError::Store(StoreError::NoSuchVolume { name: name.clone() });
        let source = self.sources.get(name).ok_or_else(missing)?;
        let text = target.to_string_lossy().into_owned();
        match &source.backing {
            Backing::Directory { .. } => {
                let directory = match subpath {
                    Some(below) if source.exists => look_below(&source.data, below)?,
                    Some(below) => return Err(not_there(below)),
                    None => true,
                };
                Ok(VolumeMount::Ready(Mount::Bind {
                    source: source.data.clone(),
                    below: subpath.clone(),
                    target: text,
                    directory,
                    recursive: false,
                    exact: false,
                    expected: None,
                    shift_ids: true,
                    flags: MountFlags { read_only: *read_only, exec },
                }))
            }
            _ if subpath.is_some() => Err(EngineError::invalid(
                "volume-subpath",
                subpath.clone().unwrap_or_default(),
                "only volumes on the store's own disk have parts; leave it out",
            )),
            Backing::Memory { size, mode, owner, read_only: by_option } => Ok(VolumeMount::Ready(Mount::Tmpfs {
                target: text,
                size: size.unwrap_or(crate::resolve::mounts::TMPFS),
                mode: mode.unwrap_or(0o1777),
                owner: owner.unwrap_or_default(),
                inodes: crate::resolve::mounts::INODES,
                flags: MountFlags { read_only: *read_only || *by_option, exec },
                directories: Vec::new(),
            })),
            Backing::Bind { device, recursive, read_only: by_option } => Ok(VolumeMount::Host(MountRequest::Bind {
                source: device.clone(),
                target: target.clone(),
                read_only: *read_only || *by_option,
                exec,
                create_source: false,
                recursive: *recursive,
            })),
        }
    }
}

/// What a volume becomes.
#[derive(Debug)]
pub(crate) enum VolumeMount {
    /// A mount.
    Ready(Mount),
    /// A directory of the host, which is looked at as every bind is.
    Host(MountRequest),
}

fn not_there(below: &str) -> EngineError {
    EngineError::invalid("volume-subpath", below, "the volume has nothing of this name")
}

/// Whether a part of a volume is a directory. Somebody else filled it: links on the way stay inside, or are refused.
fn look_below(data: &Path, below: &str) -> Result<bool, EngineError> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| not_there(below));
    let top = mount::place(&text(data.as_os_str().as_bytes())?, false).map_err(EngineError::io("open", data))?;
    match mount::below(top.as_fd(), &text(below.as_bytes())?) {
        Ok(place) => {
            let stat = rustix::fs::fstat(&place).map_err(EngineError::io("look into", data))?;
            Ok(FileType::from_raw_mode(stat.st_mode).is_dir())
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Err(not_there(below)),
        Err(Errno::XDEV | Errno::LOOP) => {
            Err(EngineError::invalid("volume-subpath", below, "it leads out of the volume"))
        }
        // It belongs to ids that only the container has: that is who opens it.
        Err(Errno::ACCESS) => Ok(true),
        Err(e) => Err(EngineError::io("look into", data)(e)),
    }
}

//! `cp`: files between a container and the host.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bulkhead_image::archive::TarReader;
use bulkhead_image::copy::{self, Destination, Place, Source};
use bulkhead_image::pack::{Node, Owners, PackOptions, Packer};
use bulkhead_image::unpack::{Landing, Rename};
use bulkhead_image::{Meter, OwnIds};
use rustix::fs::{CWD, FileType, Mode, OFlags, open};

use super::{container_event, spec_of};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::files::{
    Answer, Files, Held, Helper, Life, Streams, Task, copy_budget, copy_stream, pipe, settle, told, unexpected,
};
use crate::layout::Layout;
use crate::store::ContainerRecord;

/// The name that the first component of a copy has on its way.
const ON_THE_WAY: &str = "copy";

/// How to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Owners stay: `-a`.
    pub archive: bool,
    /// A link that is named is followed: `-L`.
    pub follow: bool,
}

/// One side of a copy that is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostSide {
    /// A path, as written.
    Path(String),
    /// An archive on standard input or output.
    Stream,
}

/// Counts the bytes of an archive.
#[derive(Debug)]
struct Counted<T>(T, u64);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.read(buffer)?;
        self.1 = self.1.saturating_add(u64::try_from(n).unwrap_or(0));
        Ok(n)
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.0.write(bytes)?;
        self.1 = self.1.saturating_add(u64::try_from(n).unwrap_or(0));
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// A path whose last component does not say what it is called.
fn base_of(path: &str) -> Source {
    let (_, dot) = copy::asserts(path);
    match copy::split(path) {
        Ok((_, base)) if !base.is_empty() => Source::Named { base, content: dot },
        _ => Source::Named { base: ON_THE_WAY.to_owned(), content: true },
    }
}

/// Copies `path` of a container to the host; returns the bytes of the archive that it went as.
///
/// # Errors
/// What is not there, what is in the way, what cannot be read or written.
pub fn copy_out(
    engine: &Engine,
    query: &str,
    path: &str,
    to: &HostSide,
    options: CopyOptions,
) -> Result<u64, EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let mut spec = spec_of(&record)?;
    let layout = Layout::new(&engine.paths, &record.id);
    let life = Life::of(&layout);
    if matches!(life, Life::Stopped) {
        // What is at their places now is looked at as if it were asked for now.
        crate::resolve::mounts::look_again(&mut spec.mounts, &engine.own_places())?;
    }
    let source = base_of(path);
    let name = match (to, &source) {
        (HostSide::Path(_), _) => ON_THE_WAY.to_owned(),
        (HostSide::Stream, Source::Named { base, content: false }) => base.clone(),
        (HostSide::Stream, _) => ".".to_owned(),
    };
    if let HostSide::Path(path) = to {
        check_output(path)?;
    }
    let (read, write) = pipe()?;
    let files = Files::Container { spec: &spec, life: &life, writable: false, mounts: true };
    let streams = Streams { input: None, output: Some(write) };
    let helper = Helper::start(engine, &files, streams, |_| Task::Pack {
        container: record.name.clone(),
        path: path.to_owned(),
        follow: options.follow,
        name,
    })?;
    let ours = match to {
        HostSide::Stream => copy_stream(read, &mut std::io::stdout().lock())
            .map_err(EngineError::io("write to", Path::new("standard output"))),
        HostSide::Path(to) => land(read, &source, to, options.archive),
    };
    let (bytes, _) = settle(ours, helper.finish())?;
    container_event(engine, &record, "archive-path");
    Ok(bytes)
}

/// Docker's own check, before anything is read.
fn check_output(path: &str) -> Result<(), EngineError> {
    if path.is_empty() {
        return Err(EngineError::invalid("DEST_PATH", path, "a path is needed"));
    }
    let (asserted, _) = copy::asserts(path);
    let path = Path::new(path);
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = if asserted && path.parent().is_none() { path } else { parent };
    if std::fs::metadata(parent).is_ok_and(|m| m.is_dir()) {
        return Ok(());
    }
    Err(EngineError::Image(format!("invalid output path: directory {parent:?} does not exist")))
}

fn open_directory(path: &Path) -> Result<OwnedFd, EngineError> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(EngineError::io("open the directory", path))
}

/// Unpacks what comes out of a container. Nothing of it gets more rights here than any file of the caller's has:
/// set-user-id bits and capabilities stay behind.
fn land(read: OwnedFd, source: &Source, written: &str, archive: bool) -> Result<u64, EngineError> {
    let budget = copy_budget();
    let stream = BufReader::with_capacity(256 << 10, Counted(File::from(read), 0));
    let mut tar = TarReader::new(stream, &budget);
    let refused = |e: bulkhead_image::ImageError| EngineError::Image(told(&e));
    let Some(first) = copy::first(&mut tar).map_err(refused)? else {
        return Err(EngineError::Image("nothing came out of the container".to_owned()));
    };
    let (asserted, _) = copy::asserts(written);
    let meta = std::fs::metadata(written).ok();
    let to = Destination { exists: meta.is_some(), directory: meta.is_some_and(|m| m.is_dir()), asserted };
    let place = copy::place(source, copy::is_directory(&first), to)
        .map_err(|e| EngineError::Image(format!("{e}: {written:?}")))?;
    let (directory, rename) = match place {
        Place::Inside(rename) => (PathBuf::from(written), rename),
        Place::Itself => {
            // A file behind a link is overwritten, not the link.
            let path = if to.exists { std::fs::canonicalize(written).ok() } else { None };
            let path = path.unwrap_or_else(|| PathBuf::from(written.trim_end_matches("/.").trim_end_matches('/')));
            let name = path.file_name().map(|n| n.as_bytes().to_vec()).unwrap_or_default();
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (parent.to_path_buf(), Rename::To(name))
        }
    };
    let root = open_directory(&directory)?;
    let landing = Landing { prefix: Vec::new(), rename, privileges: false };
    let ids = if archive { OwnIds::Apply } else { OwnIds::Ignore };
    let mut meter = Meter::new(&budget);
    let report = copy::receive(&mut tar, Some(first), root.as_fd(), ids, landing, &mut meter).map_err(refused)?;
    if report.entries == report.skipped.devices {
        return Err(EngineError::refused(
            "copying a device",
            "it would be one of the host; only files, directories, links and pipes are copied out",
        ));
    }
    Ok(tar.into_inner().into_inner().1)
}

/// Copies from the host to `path` of a container; returns the bytes of the archive that it went as.
///
/// # Errors
/// What is not there, what is in the way, what cannot be read or written.
pub fn copy_in(
    engine: &Engine,
    from: &HostSide,
    query: &str,
    path: &str,
    options: CopyOptions,
) -> Result<u64, EngineError> {
    engine.recover()?;
    let record = engine.store()?.find_container(query)?;
    let source = match from {
        HostSide::Stream => None,
        HostSide::Path(path) => Some((named(path)?, host_node(path, options.follow)?)),
    };
    let mut spec = spec_of(&record)?;
    let layout = Layout::new(&engine.paths, &record.id);
    let (life, _held) = hold(&layout, &record)?;
    if matches!(life, Life::Stopped) {
        crate::resolve::mounts::look_again(&mut spec.mounts, &engine.own_places())?;
    }
    let files = Files::Container { spec: &spec, life: &life, writable: true, mounts: true };
    let (input, ours) = match &source {
        None => (crate::images::stdin()?, None),
        Some(_) => {
            let (read, write) = pipe()?;
            (read, Some(write))
        }
    };
    let kind = source.as_ref().map_or(Source::Archive, |(kind, _)| kind.clone());
    let streams = Streams { input: Some(input), output: None };
    let helper = Helper::start(engine, &files, streams, |single_id| Task::Extract {
        container: record.name.clone(),
        path: path.to_owned(),
        source: kind,
        single_id,
    })?;
    let sent = match (source, ours) {
        (Some((_, node)), Some(write)) => send(write, node, options.archive),
        _ => Ok(0),
    };
    let (bytes, answer) = match (sent, helper.finish()) {
        // It has said why it does not read on.
        (Err(e), Err(theirs)) if e.chain().contains("Broken pipe") => return Err(theirs),
        (sent, answer) => settle(sent, answer)?,
    };
    let Answer::Done { .. } = answer else { return Err(unexpected()) };
    container_event(engine, &record, "extract-to-dir");
    Ok(bytes)
}

/// A container that does not run is kept from starting while its files are written to.
fn hold(layout: &Layout, record: &ContainerRecord) -> Result<(Life, Option<Held>), EngineError> {
    match Life::of(layout) {
        Life::Stopped => {
            let held = Held::new(layout, record)?;
            Ok((Life::of(layout), Some(held)))
        }
        running => Ok((running, None)),
    }
}

/// What a path of the host is called.
fn named(path: &str) -> Result<Source, EngineError> {
    let (_, content) = copy::asserts(path);
    let plain = Path::new(path).file_name().map(|n| n.to_string_lossy().into_owned());
    let base = match plain {
        Some(base) if !content => base,
        _ => {
            let path = Path::new(path);
            let real = std::fs::canonicalize(path).map_err(missing(path))?;
            real.file_name().map_or_else(|| ON_THE_WAY.to_owned(), |n| n.to_string_lossy().into_owned())
        }
    };
    Ok(Source::Named { base, content })
}

fn missing(path: &Path) -> impl FnOnce(std::io::Error) -> EngineError {
    EngineError::io("look at", path)
}

/// What is at a path of the host, opened with the caller's rights.
fn host_node(written: &str, follow: bool) -> Result<Node, EngineError> {
    let path = Path::new(written);
    let (asserted, _) = copy::asserts(written);
    if !follow && !asserted {
        return Node::open(CWD, path.as_os_str().as_bytes()).map_err(EngineError::io("open", path));
    }
    let meta = std::fs::metadata(path).map_err(missing(path))?;
    let kind = FileType::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&meta));
    if asserted && kind != FileType::Directory {
        return Err(EngineError::Image(format!("{written}: not a directory")));
    }
    if !matches!(kind, FileType::Directory | FileType::RegularFile) {
        let real = std::fs::canonicalize(path).map_err(missing(path))?;
        return Node::open(CWD, real.as_os_str().as_bytes()).map_err(EngineError::io("open", path));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = open(path, flags, Mode::empty()).map_err(EngineError::io("open", path))?;
    let node = Node::of(fd, kind).map_err(EngineError::io("look at", path))?;
    node.ok_or_else(|| EngineError::Image(format!("{path:?} changed while it was opened")))
}

fn send(write: OwnedFd, node: Node, archive: bool) -> Result<u64, EngineError> {
    let owners = if archive { Owners::Keep } else { Owners::Root };
    let options = PackOptions { owners, overlay: false, skip: std::collections::HashSet::new() };
    let mut meter = Meter::new(&copy_budget());
    let refused = |e: bulkhead_image::ImageError| EngineError::Image(told(&e));
    let out = BufWriter::with_capacity(256 << 10, Counted(File::from(write), 0));
    let mut packer = Packer::new(out, options, &mut meter);
    packer.node(ON_THE_WAY.as_bytes(), node).map_err(refused)?;
    let (out, _) = packer.finish().map_err(refused)?;
    Ok(out.get_ref().1)
}

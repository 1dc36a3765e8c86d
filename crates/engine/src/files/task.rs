//! What the confined process does, from its own side: its root is the container's, or layers side by side.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};

use bulkhead_image::archive::{Decoder, TarReader};
use bulkhead_image::copy::Source;
use bulkhead_image::diff::diff;
use bulkhead_image::pack::{Owners, PackOptions, Packer};
use bulkhead_image::{Budget, Digest, Hasher, ImageError, Meter, recipe};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

mod paths;

pub(crate) use self::paths::paths_of;

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Pack one path onto standard output.
    Pack {
        /// Name of the container, for messages.
        container: String,
        /// As written.
        path: String,
        /// Follow a link at its end.
        follow: bool,
        /// Name of the first component in the archive.
        name: String,
    },
    /// Pack everything onto standard output.
    Everything,
    /// Pack the upper directory `/l0` onto standard output, as a layer.
    Upper {
        /// Mount points of the engine.
        skip: Vec<String>,
    },
    /// Unpack standard input.
    Extract {
        /// Name of the container, for messages.
        container: String,
        /// Destination as written.
        path: String,
        /// What comes.
        source: Source,
        /// Only one id is mapped.
        single_id: bool,
    },
    /// Compare the upper directory, which is the last, with the layers before it; changes go to standard output.
    Diff {
        /// How many layers.
        layers: usize,
        /// Mount points of the engine.
        skip: Vec<String>,
    },
    /// Make the archive of the layer whose directory is `/l0` again, onto standard output.
    Layer {
        /// Its digest, as hex digits.
        diff_id: String,
        /// By its recipe, or in the canonical form.
        form: Form,
        /// There is a layer below.
        lower: bool,
    },
}

/// How the archive of a layer is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Form {
    /// By the recipe that was written when it was unpacked.
    Recipe,
    /// As this program would pack the tree.
    Canonical,
    /// By whichever gives the digest, the recipe first; nothing is written, and the answer says which.
    Find,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It was done.
    Done {
        /// Entries.
        entries: u64,
        /// What was left out: sockets, devices, attributes.
        skipped: u64,
    },
    /// The archive of a layer.
    Layer {
        /// Its digest, as hex digits.
        digest: String,
        /// Its bytes.
        size: u64,
        /// How it is made.
        form: Form,
    },
    /// It did not work.
    Failed(String),
}

/// Bytes of content that one copy may have; a sparse file counts in full.
const COPY: u64 = 64 << 30;
/// The same for an archive of a whole file system.
const EXPORT: u64 = 4 << 40;

/// Paths are as deep as the kernel can resolve at once.
fn budget(bytes: u64) -> Budget {
    Budget {
        bytes,
        entries: 20_000_000,
        depth: 1024,
        directories: 256 << 20,
        time: std::time::Duration::from_hours(24),
        ..Budget::default()
    }
}

/// Budget of a copy that is unpacked.
pub(crate) fn copy_budget() -> Budget {
    budget(COPY)
}

/// Entry of the confined process; the task is its one argument.
#[must_use]
pub fn main(task: &str) -> u8 {
    let answer = serde_json::from_str(task).map_err(|e| e.to_string()).and_then(work);
    let text = serde_json::to_vec(&answer.unwrap_or_else(Answer::Failed)).unwrap_or_default();
    match std::io::stderr().write_all(&text) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// An error with its cause, as one line. A reader that went away has its own reason and is no news.
pub(crate) fn told(error: &ImageError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn open(path: &str) -> Result<OwnedFd, String> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| format!("cannot open {path}: {e}"))
}

fn work(task: Task) -> Result<Answer, String> {
    match task {
        Task::Pack { container, path, follow, name } => {
            let node = paths::source(&open("/")?, &container, &path, follow)?;
            pack(COPY, plain(), |packer| packer.node(name.as_bytes(), node))
        }
        Task::Everything => {
            let root = open("/")?;
            pack(EXPORT, plain(), |packer| packer.content(root.as_fd()))
        }
        Task::Upper { skip } => {
            let root = open("/l0")?;
            pack(EXPORT, overlay(skip), |packer| packer.content(root.as_fd()))
        }
        Task::Extract { container, path, source, single_id } => {
            paths::extract(&open("/")?, &container, &path, &source, single_id)
        }
        Task::Diff { layers, skip } => changes(layers, skip),
        Task::Layer { diff_id, form, lower } => layer(&diff_id, form, lower),
    }
}

fn plain() -> PackOptions {
    PackOptions { owners: Owners::Keep, overlay: false, skip: HashSet::new() }
}

fn overlay(skip: Vec<String>) -> PackOptions {
    PackOptions { owners: Owners::Keep, overlay: true, skip: skip.into_iter().map(String::into_bytes).collect() }
}

fn pack(
    bytes: u64,
    options: PackOptions,
    what: impl FnOnce(&mut Packer<'_, BufWriter<std::io::Stdout>>) -> bulkhead_image::Result<()>,
) -> Result<Answer, String> {
    let mut meter = Meter::new(&budget(bytes));
    let out = BufWriter::with_capacity(256 << 10, std::io::stdout());
    let mut packer = Packer::new(out, options, &mut meter);
    what(&mut packer).map_err(|e| told(&e))?;
    let (_, report) = packer.finish().map_err(|e| told(&e))?;
    Ok(Answer::Done { entries: report.entries, skipped: report.sockets })
}

fn changes(layers: usize, skip: Vec<String>) -> Result<Answer, String> {
    let lowers: Vec<OwnedFd> = (0..layers).map(|n| open(&format!("/l{n}"))).collect::<Result<_, _>>()?;
    let handles: Vec<_> = lowers.iter().map(AsFd::as_fd).collect();
    let upper = open(&format!("/l{layers}"))?;
    let skip = skip.into_iter().map(String::into_bytes).collect();
    let mut meter = Meter::new(&budget(COPY));
    let found = diff(upper.as_fd(), &handles, &skip, &mut meter).map_err(|e| told(&e))?;
    let mut out = BufWriter::new(std::io::stdout());
    let mut write = || -> std::io::Result<()> {
        for change in &found {
            out.write_all(&[change.kind.letter()])?;
            out.write_all(&change.path)?;
            // No path holds a NUL; a path may hold a line end.
            out.write_all(&[0])?;
        }
        out.flush()
    };
    write().map_err(|e| format!("cannot write the changes: {e}"))?;
    Ok(Answer::Done { entries: u64::try_from(found.len()).unwrap_or(u64::MAX), skipped: 0 })
}

fn layer(diff_id: &str, form: Form, lower: bool) -> Result<Answer, String> {
    let root = open("/l0/fs")?;
    let made = |form: Form, sink: &mut dyn FnMut(&[u8]) -> bulkhead_image::Result<()>| match form {
        Form::Recipe => by_recipe(&root, sink),
        Form::Canonical | Form::Find => canonical(&root, lower, sink),
    };
    let answer = |(digest, size): (Digest, u64), form| Answer::Layer { digest: digest.hex(), size, form };
    if form == Form::Find {
        let mut nowhere = |_: &[u8]| Ok(());
        return match made(Form::Recipe, &mut nowhere) {
            Ok(found) if found.0.hex() == diff_id => Ok(answer(found, Form::Recipe)),
            // Loaded before there were recipes, or one that does not lead there.
            _ => made(Form::Canonical, &mut nowhere).map(|found| answer(found, Form::Canonical)).map_err(|e| told(&e)),
        };
    }
    let mut out = std::io::stdout();
    let mut write = |bytes: &[u8]| out.write_all(bytes).map_err(|e| ImageError::io("writing the archive", e));
    made(form, &mut write).map(|found| answer(found, form)).map_err(|e| told(&e))
}

fn by_recipe(
    root: &OwnedFd,
    sink: &mut dyn FnMut(&[u8]) -> bulkhead_image::Result<()>,
) -> bulkhead_image::Result<(Digest, u64)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open("/l0/recipe", flags, Mode::empty())
        .map_err(|e| ImageError::io("opening the recipe of the layer", e))?;
    recipe::assemble(root.as_fd(), &File::from(file), sink)
}

/// Hashes and counts what is written through it.
struct Hashing<'a> {
    sink: &'a mut dyn FnMut(&[u8]) -> bulkhead_image::Result<()>,
    hasher: Hasher,
    size: u64,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hasher.update(bytes);
        self.size += u64::try_from(bytes.len()).unwrap_or(0);
        (self.sink)(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn canonical(
    root: &OwnedFd,
    lower: bool,
    sink: &mut dyn FnMut(&[u8]) -> bulkhead_image::Result<()>,
) -> bulkhead_image::Result<(Digest, u64)> {
    let mut meter = Meter::new(&budget(EXPORT));
    let out = BufWriter::with_capacity(256 << 10, Hashing { sink, hasher: Hasher::new(), size: 0 });
    // A lowest layer has no marks; what looks like one is a name.
    let options = if lower { overlay(Vec::new()) } else { plain() };
    let mut packer = Packer::new(out, options, &mut meter);
    packer.content(root.as_fd())?;
    let (out, _) = packer.finish()?;
    let hashing = out.into_inner().map_err(|e| ImageError::io("writing the archive", e.into_error()))?;
    Ok((hashing.hasher.finish(), hashing.size))
}

/// The archive on standard input, unpacked here if it is compressed: nothing of the container takes part in that.
fn input() -> Result<TarReader<BufReader<Decoder<BufReader<std::io::Stdin>>>>, String> {
    let decoder = Decoder::new(BufReader::with_capacity(256 << 10, std::io::stdin())).map_err(|e| told(&e))?;
    Ok(TarReader::new(BufReader::with_capacity(256 << 10, decoder), &copy_budget()))
}

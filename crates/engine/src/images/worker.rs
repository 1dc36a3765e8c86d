//! The confined process that reads archives and removes trees that belong to other ids.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bulkhead_image::{Budget, Digest, ImportOptions, ImportReport, LoadOptions, LoadReport, OwnIds};
use bulkhead_sandbox::cgroup::CgroupHandle;
use bulkhead_sandbox::spec::{IdMaps, IdRange, MapWriter, outside};
use bulkhead_sandbox::supervise;
use bulkhead_sandbox::worker::{WorkerImage, WorkerSpec, plan_worker};
use bulkhead_sandbox::{StartError, Stdio};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::filters::{self, Builtin};
use crate::ids;
use crate::protect::protected_binary;
use crate::store::{LAYER_RECIPE, LAYER_ROOT, RangePool};
use crate::volumes::{self, Fill};

/// What a worker is asked to do; travels as one argument.
#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    /// Load images of the archive on standard input, or of the layout at `/input`.
    Load {
        /// Chain ids that the store has.
        known: Vec<String>,
        /// Standard input is nothing, and `/input` is a layout.
        layout: bool,
        /// The layout is still being filled; standard input says with what.
        #[serde(default)]
        arriving: bool,
        /// Only one id is mapped.
        single_id: bool,
    },
    /// Import the root file system archive on standard input.
    Import {
        /// `--change`.
        changes: Vec<String>,
        /// `--message`.
        message: String,
        /// Only one id is mapped.
        single_id: bool,
    },
    /// Unpack the layer archive on standard input, on the layers of this chain.
    Change {
        /// Chain id; `None` when there is nothing below.
        below: Option<String>,
        /// Only one id is mapped.
        single_id: bool,
    },
    /// Remove everything in the directory.
    Empty,
    /// Copy what the image has at a place into a volume.
    Fill {
        /// What and where.
        order: Fill,
        /// Only one id is mapped.
        single_id: bool,
    },
    /// Put in order what a command with this token left in the directory of a volume.
    SettleFill {
        /// Its token.
        token: String,
    },
    /// Count the bytes of each directory in the directory.
    Measure,
}

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Images were loaded.
    Loaded(LoadReport),
    /// A root file system was imported.
    Imported(Box<ImportReport>),
    /// A layer was unpacked; nothing, when the archive was empty.
    Changed(Option<bulkhead_image::LayerReport>),
    /// The directory is empty.
    Emptied,
    /// The volume was filled, or was not empty, or there was nothing to fill it with.
    Filled,
    /// The directory of the volume is in order.
    Settled,
    /// Bytes by name.
    Measured(Vec<(String, u64)>),
    /// It did not work.
    Failed(String),
}

/// Most bytes of an answer: configurations and layer lists of many images.
const ANSWER_LIMIT: u64 = 64 << 20;

/// Longest time of an image that arrives over a network.
const ARRIVAL: std::time::Duration = std::time::Duration::from_hours(24);

/// Ids of workers: the slot below those of containers.
pub(crate) fn worker_ids(engine: &Engine) -> Result<IdMaps, EngineError> {
    if !engine.facts()?.privileged {
        return Ok(ids::of_user(engine.facts()?));
    }
    let outside = RangePool::default().start - ids::SLOT;
    let range = vec![IdRange { inside: 0, outside, count: ids::SLOT }];
    Ok(IdMaps { uids: range.clone(), gids: range, writer: MapWriter::Direct })
}

/// Name of the process that works in `directory`: with it the control group of one that was killed is found again.
pub(crate) fn id_of(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("worker-{}", name.chars().filter(char::is_ascii_alphanumeric).take(16).collect::<String>())
}

/// Ends what still works in `directory` for a command that was killed, and removes its control groups.
///
/// # Errors
/// The group that could not be removed.
pub(crate) fn settle(engine: &Engine, directory: &Path) -> Result<(), EngineError> {
    let groups = crate::containers::cgroup_directories(engine, &id_of(directory))?;
    CgroupHandle::remove_all(&groups).map_err(|e| EngineError::Start(e.into()))
}

/// Runs a task in a confined process whose root is `directory`.
///
/// # Errors
/// What kept it from starting, or what it reported.
pub(crate) fn run(
    engine: &Engine,
    directory: &Path,
    input: Option<OwnedFd>,
    layout: Option<PathBuf>,
    task: impl FnOnce(bool) -> Task,
) -> Result<Answer, EngineError> {
    run_in(engine, &Place { name: directory, directory, layout, image: None }, input, task)
}

/// Where a worker works.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// A directory whose name names the process: see [`settle`].
    pub(crate) name: &'a Path,
    /// What it may write to.
    pub(crate) directory: &'a Path,
    /// What it may read, at `/input`.
    pub(crate) layout: Option<PathBuf>,
    /// Its root instead of the directory.
    pub(crate) image: Option<WorkerImage>,
}

/// The host's ids of the worker's root, to whom a writable layer of its own is given; nothing for an ordinary user, who is
/// that himself.
pub(crate) fn root_ids(engine: &Engine) -> Result<Option<(u32, u32)>, EngineError> {
    let ids = worker_ids(engine)?;
    let both = outside(&ids.uids, 0).zip(outside(&ids.gids, 0));
    Ok(both.filter(|_| ids.writer == MapWriter::Direct))
}

/// [`run`] at such a place.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_in(
    engine: &Engine,
    place: &Place<'_>,
    input: Option<OwnedFd>,
    task: impl FnOnce(bool) -> Task,
) -> Result<Answer, EngineError> {
    let work = start_in(engine, place, input, task)?;
    engine.wait_readable(&work.answer);
    work.finish()
}

/// A confined process at work.
#[derive(Debug)]
pub(crate) struct Work {
    running: supervise::Running,
    answer: OwnedFd,
    directory: PathBuf,
}

impl Work {
    /// Whether it has answered, or is gone, within this time.
    pub(crate) fn is_over(&self, within: std::time::Duration) -> bool {
        let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(within.subsec_nanos()) };
        let mut fds = [PollFd::new(&self.answer, PollFlags::IN)];
        poll(&mut fds, Some(&wait)).is_ok_and(|ready| ready > 0)
    }

    /// Its answer, and its end.
    ///
    /// # Errors
    /// What it reported.
    pub(crate) fn finish(self) -> Result<Answer, EngineError> {
        let Self { running, answer, directory } = self;
        let mut text = Vec::new();
        let read = File::from(answer).take(ANSWER_LIMIT).read_to_end(&mut text);
        let ended = supervise::wait(&running)?;
        read.map_err(EngineError::io("read the answer of the unpacking process for", &directory))?;
        match serde_json::from_slice(&text) {
            Ok(Answer::Failed(message)) => Err(EngineError::Image(message)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(EngineError::Image(format!(
                "the unpacking process ended without an answer (exit status {}); it may have run out of memory",
                ended.code()
            ))),
        }
    }
}

/// Starts a confined process; to be called while this process has one thread only.
///
/// # Errors
/// What kept it from starting.
pub(crate) fn start_in(
    engine: &Engine,
    place: &Place<'_>,
    input: Option<OwnedFd>,
    task: impl FnOnce(bool) -> Task,
) -> Result<Work, EngineError> {
    let Place { name, directory, layout, image } = place;
    let facts = engine.facts()?;
    let ids = worker_ids(engine)?;
    let task = task(ids.writer == MapWriter::Single);
    // Marks of deleted files are character devices with number 0:0, which need no right but the call.
    let program = filters::builtin(Builtin::Strict, 1 << 27, facts.kernel)?;
    let order = serde_json::to_string(&task)
        .map_err(|e| EngineError::refused("unpacking", format!("the task cannot be written down: {e}")))?;
    let spec = WorkerSpec {
        id: id_of(name),
        ids,
        directory: directory.to_path_buf(),
        image: image.clone(),
        input: layout.clone(),
        args: vec!["bulkhead".to_owned(), "worker".to_owned(), order],
        filter: program.insns().to_vec(),
    };
    let plan = plan_worker(&spec, facts)?;
    let binary = protected_binary(&engine.paths, facts.privileged)?;
    let null = |flags| rustix::fs::open(c"/dev/null", flags | OFlags::CLOEXEC, Mode::empty());
    let opened = |e| {
        EngineError::Start(StartError::Parent {
            what: "open the streams of the unpacking process".to_owned(),
            source: e,
        })
    };
    let input = match input {
        Some(input) => {
            engine.follow(&input);
            input
        }
        None => null(OFlags::RDONLY).map_err(opened)?,
    };
    let (answer, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(opened)?;
    let stdio = Stdio::Files([input, theirs, null(OFlags::WRONLY).map_err(opened)?]);
    let running = supervise::prepare(&plan, stdio, Some(binary))?.exec()?;
    Ok(Work { running, answer, directory: directory.to_path_buf() })
}

/// Unpacks a layer archive into the staging directory; nothing for an empty one.
///
/// # Errors
/// As [`run`].
pub(crate) fn change(
    engine: &Engine,
    staging: &Path,
    input: OwnedFd,
    below: Option<&Digest>,
) -> Result<Option<bulkhead_image::LayerReport>, EngineError> {
    let below = below.map(ToString::to_string);
    match run(engine, staging, Some(input), None, |single_id| Task::Change { below, single_id })? {
        Answer::Changed(layer) => Ok(layer),
        _ => Err(EngineError::Image("the unpacking process answered something else".to_owned())),
    }
}

/// Entry of the confined process: the task is its one argument, its root is the directory.
#[must_use]
pub fn main(task: &str) -> u8 {
    let answer = work(task).unwrap_or_else(Answer::Failed);
    let text = serde_json::to_vec(&answer).unwrap_or_default();
    match std::io::stdout().write_all(&text) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn work(task: &str) -> Result<Answer, String> {
    let task: Task = serde_json::from_str(task).map_err(|e| e.to_string())?;
    let open = |path: &str| {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| format!("cannot open {path}: {e}"))
    };
    let root = open("/")?;
    let budget = Budget::default();
    let own = |single: bool| if single { OwnIds::Ignore } else { OwnIds::Apply };
    match task {
        Task::Load { known, layout, arriving, single_id } => {
            let known = known.iter().filter_map(|k| k.parse::<Digest>().ok()).collect();
            let options = LoadOptions { known, ids: own(single_id), ..LoadOptions::default() };
            let report = if arriving {
                // Whoever fetches has clocks of his own; this one is for what they do not see.
                let budget = Budget { time: ARRIVAL, ..budget };
                let lines = std::io::BufReader::new(std::io::stdin());
                bulkhead_image::load_arriving(open("/input")?.as_fd(), lines, root.as_fd(), &budget, &options)
            } else if layout {
                bulkhead_image::load_layout(open("/input")?.as_fd(), root.as_fd(), &budget, &options)
            } else {
                bulkhead_image::load(std::io::stdin(), root.as_fd(), &budget, &options)
            };
            let report = report.map_err(|e| chain(&e))?;
            house()?;
            Ok(Answer::Loaded(report))
        }
        Task::Import { changes, message, single_id } => {
            let options = ImportOptions { ids: own(single_id), changes, message, ..ImportOptions::default() };
            let report = bulkhead_image::import(std::io::stdin(), root.as_fd(), &budget, &options);
            let report = report.map_err(|e| chain(&e))?;
            house()?;
            Ok(Answer::Imported(Box::new(report)))
        }
        Task::Change { below, single_id } => {
            let below = below.map(|b| b.parse::<Digest>()).transpose().map_err(|e| chain(&e))?;
            let layer = bulkhead_image::change(std::io::stdin(), root.as_fd(), &budget, below.as_ref(), own(single_id))
                .map_err(|e| chain(&e))?;
            house()?;
            Ok(Answer::Changed(layer))
        }
        Task::Empty => {
            for entry in std::fs::read_dir("/").map_err(|e| e.to_string())? {
                let path = entry.map_err(|e| e.to_string())?.path();
                let is_dir = std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir());
                let removed = if is_dir { crate::deep::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
                removed.map_err(|e| format!("cannot remove {path:?}: {e}"))?;
            }
            Ok(Answer::Emptied)
        }
        Task::Fill { order, single_id } => volumes::fill_here(&order, single_id).map(|_| Answer::Filled),
        Task::SettleFill { token } => volumes::settle_here(&token).map(|()| Answer::Settled),
        Task::Measure => {
            volumes::measure(root.as_fd()).map(Answer::Measured).map_err(|e| format!("cannot count what is used: {e}"))
        }
    }
}

/// Gives every layer a directory around it. The root of a layer has the owner and mode that the image wants, with which
/// an ordinary user could not rename it; what is around it is his.
fn house() -> Result<(), String> {
    let layers = Path::new("/layers");
    for entry in std::fs::read_dir(layers).map_err(|e| e.to_string())? {
        let layer = entry.map_err(|e| e.to_string())?.path();
        let house = layers.with_file_name("house");
        let build = || {
            std::fs::create_dir(&house)?;
            std::fs::rename(&layer, house.join(LAYER_ROOT))?;
            let recipe = Path::new("/recipes").join(layer.file_name().unwrap_or_default());
            std::fs::rename(recipe, house.join(LAYER_RECIPE))?;
            std::fs::rename(&house, &layer)
        };
        build().map_err(|e: std::io::Error| format!("cannot move the layer {layer:?}: {e}"))?;
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Removes a directory with everything in it, also what belongs to ids that only a user namespace may touch.
///
/// # Errors
/// What is left and why.
pub(crate) fn remove_tree(engine: &Engine, directory: &Path) -> Result<(), EngineError> {
    match crate::deep::remove_dir_all(directory) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied && !engine.facts()?.privileged => {}
        Err(e) => return Err(EngineError::io("remove", directory)(e)),
    }
    run(engine, directory, None, None, |_| Task::Empty)?;
    crate::deep::remove_dir_all(directory).map_err(EngineError::io("remove", directory))
}

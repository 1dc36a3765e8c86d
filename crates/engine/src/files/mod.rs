//! The confined process that reads and writes containers' files for the engine, from the side of the engine.

mod filer;
mod output;
mod task;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use bulkhead_sandbox::files::{JoinedPlan, View, plan_files};
use bulkhead_sandbox::join::Target;
use bulkhead_sandbox::spec::{IdMaps, MapWriter, SandboxSpec};
use bulkhead_sandbox::supervise::{self, Running};
use bulkhead_sandbox::worker::WorkerSpec;
use bulkhead_sandbox::{StartError, Stdio};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

pub use self::filer::filer;
pub(crate) use self::output::{OutputFile, copy_stream};
pub use self::task::main;
pub(crate) use self::task::{Answer, Form, Task, copy_budget, paths_of, told};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::filters::{self, Builtin};
use crate::images::{Staging, worker};
use crate::layout::Layout;
use crate::protect::protected_binary;
use crate::store::ContainerRecord;

/// Most bytes of an answer.
const ANSWER_LIMIT: u64 = 1 << 20;

/// Streams of the confined process that carry data; what is not given is nothing.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) input: Option<OwnedFd>,
    pub(crate) output: Option<OwnedFd>,
}

/// A confined process at work.
#[derive(Debug)]
pub(crate) struct Helper<'a> {
    engine: &'a Engine,
    process: Process,
    answer: File,
    /// Names its control group; left behind by a command that is killed, it is what the next one finds.
    staging: Staging<'a>,
}

#[derive(Debug)]
enum Process {
    Worker(Box<Running>),
    Filer(std::process::Child),
}

/// Whose files, and how.
#[derive(Debug)]
pub(crate) enum Files<'a> {
    /// A container's, whatever its state is.
    Container { spec: &'a SandboxSpec, life: &'a Life, writable: bool, mounts: bool },
    /// Directories side by side, with the ids that they are seen with.
    Layers { directories: Vec<(std::path::PathBuf, bool)>, ids: IdMaps },
}

/// Whether a container runs.
#[derive(Debug)]
pub(crate) enum Life {
    /// It does: this is its first process.
    Running(Target),
    /// It does not.
    Stopped,
}

impl Life {
    pub(crate) fn of(layout: &Layout) -> Self {
        match layout.read_state() {
            Some(state) if crate::containers::is_alive(&state) => Self::Running(Target {
                pid: state.pid,
                started: state.started,
                namespaces: state.namespaces,
                cgroups: state.cgroups,
            }),
            _ => Self::Stopped,
        }
    }
}

/// Keeps a container that does not run from being started or removed.
#[derive(Debug)]
pub(crate) struct Held {
    layout: Layout,
    _lock: OwnedFd,
}

impl Held {
    /// # Errors
    /// Another command is at it.
    pub(crate) fn new(layout: &Layout, record: &ContainerRecord) -> Result<Self, EngineError> {
        let lock = layout.claim()?.ok_or_else(|| crate::containers::busy(record))?;
        Ok(Self { layout: layout.clone(), _lock: lock })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A directory with more in it than the lock belongs to somebody: it stays, and so does the lock.
        let more = std::fs::read_dir(&self.layout.run).map_or(0, Iterator::count) > 1;
        if !more {
            self.layout.clear_run();
        }
    }
}

fn opened(e: rustix::io::Errno) -> EngineError {
    EngineError::Start(StartError::Parent { what: "open the streams of the copying process".to_owned(), source: e })
}

/// A pipe whose ends are closed in other programs.
///
/// # Errors
/// What the kernel says.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), EngineError> {
    pipe_with(PipeFlags::CLOEXEC).map_err(opened)
}

impl<'a> Helper<'a> {
    /// Starts it.
    ///
    /// # Errors
    /// What kept it from starting.
    pub(crate) fn start(
        engine: &'a Engine,
        target: &Files<'_>,
        streams: Streams,
        task: impl FnOnce(bool) -> Task,
    ) -> Result<Self, EngineError> {
        let facts = engine.facts()?;
        let staging = Staging::new(engine)?;
        let (ids, view) = match target {
            Files::Container { spec, life: Life::Stopped, writable, mounts } => {
                (spec.ids.clone(), View::Stopped { spec, writable: *writable, mounts: *mounts })
            }
            Files::Container { spec, life: Life::Running(_), writable, mounts } => {
                (spec.ids.clone(), View::Running { writable: *writable, mounts: *mounts })
            }
            Files::Layers { directories, ids } => (ids.clone(), View::Layers { directories: directories.clone() }),
        };
        let order = serde_json::to_string(&task(ids.writer == MapWriter::Single))
            .map_err(|e| EngineError::refused("copying", format!("the task cannot be written down: {e}")))?;
        // Pipes among what is copied in are made with mknod, which takes no right but the call.
        let filter = filters::builtin(Builtin::Strict, 1 << 27, facts.kernel)?.insns().to_vec();
        let spec = WorkerSpec {
            id: worker::id_of(&staging.path),
            ids,
            directory: staging.path.clone(),
            input: None,
            image: None,
            args: vec!["bulkhead".to_owned(), "files".to_owned(), order],
            filter,
        };
        let plan = plan_files(&spec, &view, facts)?;
        let null = |flags| rustix::fs::open(c"/dev/null", flags | OFlags::CLOEXEC, Mode::empty()).map_err(opened);
        let input = streams.input.map_or_else(|| null(OFlags::RDONLY), Ok)?;
        let output = streams.output.map_or_else(|| null(OFlags::WRONLY), Ok)?;
        let (answer, theirs) = pipe()?;
        let binary = protected_binary(&engine.paths, facts.privileged)?;
        let process = match target {
            Files::Container { life: Life::Running(target), .. } => {
                let joined = JoinedPlan::new(target, plan);
                Process::Filer(filer::spawn(engine, &joined, [input, output, theirs], &binary)?)
            }
            _ => {
                let stdio = Stdio::Files([input, output, theirs]);
                Process::Worker(Box::new(supervise::prepare(&plan, stdio, Some(binary))?.exec()?))
            }
        };
        Ok(Self { engine, process, answer: File::from(answer), staging })
    }

    /// Waits for its end and its answer.
    ///
    /// # Errors
    /// What it reports.
    pub(crate) fn finish(mut self) -> Result<Answer, EngineError> {
        let mut text = Vec::new();
        let read = (&self.answer).take(ANSWER_LIMIT).read_to_end(&mut text);
        let code = match &mut self.process {
            Process::Worker(running) => supervise::wait(running)?.code(),
            Process::Filer(child) => child.wait().ok().and_then(|status| status.code()).unwrap_or(137),
        };
        read.map_err(EngineError::io("read the answer of the copying process for", &self.staging.path))?;
        match serde_json::from_slice(&text) {
            Ok(Answer::Failed(message)) => Err(EngineError::Image(message)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(EngineError::Image(format!(
                "the copying process ended without an answer (exit status {code}); it may have run out of memory"
            ))),
        }
    }
}

impl Drop for Helper<'_> {
    fn drop(&mut self) {
        if let Process::Filer(child) = &mut self.process {
            // It may have ended by itself. Its child ends with it.
            drop(child.kill());
            drop(child.wait());
            drop(worker::settle(self.engine, &self.staging.path));
        }
    }
}

/// What came of both sides of a pipe. What went wrong on both: a side that was cut off has no reason of its own.
pub(crate) fn settle<T>(
    ours: Result<T, EngineError>,
    theirs: Result<Answer, EngineError>,
) -> Result<(T, Answer), EngineError> {
    match (ours, theirs) {
        (Ok(value), Ok(answer)) => Ok((value, answer)),
        (Err(e), Ok(_)) => Err(e),
        (Ok(_), Err(e)) => Err(e),
        (Err(ours), Err(theirs)) => Err(if theirs.chain().contains("Broken pipe") { ours } else { theirs }),
    }
}

/// The answer is none that belongs to the task.
pub(crate) fn unexpected() -> EngineError {
    EngineError::Image("the copying process answered something else".to_owned())
}

//! The process that enters a running container's namespaces so that the confined one can be made there. It reads nothing
//! of the container itself.

use std::io::Write as _;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio as CommandStdio};

use bulkhead_sandbox::Stdio;
use bulkhead_sandbox::files::{JoinedPlan, prepare_joined};
use bulkhead_sandbox::supervise;
use bulkhead_sys::{fd, ids};

use super::task::Answer;
use crate::engine::Engine;
use crate::error::EngineError;

/// Starts it with the streams of the confined process.
pub(super) fn spawn(
    engine: &Engine,
    joined: &JoinedPlan,
    streams: [OwnedFd; 3],
    binary: &OwnedFd,
) -> Result<Child, EngineError> {
    let failed = |what: &'static str| EngineError::io::<rustix::io::Errno>(what, &engine.paths.run);
    let text = serde_json::to_vec(joined)
        .map_err(|e| EngineError::io("encode the order for", &engine.paths.run)(std::io::Error::other(e)))?;
    let order = fd::sealed(c"bulkhead-order", &text).map_err(failed("make the order in memory for"))?;
    let mut command = Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
    command.arg("filer").env_clear().current_dir("/");
    command.stdin(CommandStdio::null()).stdout(CommandStdio::null()).stderr(CommandStdio::null());
    for passed in [&order].into_iter().chain(&streams).chain([binary]) {
        fd::keep_over_exec(passed).map_err(failed("pass a descriptor to"))?;
        command.arg(passed.as_raw_fd().to_string());
    }
    command.spawn().map_err(EngineError::io("start the copying process in", &engine.paths.run))
}

/// Entry of the hidden command: order, input, output, answer and binary, by number.
///
/// # Errors
/// Descriptors that are not there; all else is told by the answer.
pub fn filer(numbers: [RawFd; 5]) -> Result<(), EngineError> {
    let wrong = |e: bulkhead_sys::Errno| {
        EngineError::refused("this hidden command", format!("it is started by bulkhead itself: {e}"))
    };
    // Before anything else: it has no purpose without the command.
    ids::die_with_parent().map_err(wrong)?;
    fd::close_all_but(&numbers).map_err(wrong)?;
    let mut adopted = Vec::with_capacity(numbers.len());
    for number in numbers {
        adopted.push(fd::adopt(number).map_err(wrong)?);
    }
    let streams: [OwnedFd; 5] = adopted.try_into().map_err(|_| wrong(bulkhead_sys::Errno::BADF))?;
    let [order, input, output, answer, binary] = streams;
    let tell = answer.try_clone().map_err(|_| wrong(bulkhead_sys::Errno::MFILE))?;
    if let Err(e) = run(order, [input, output, answer], binary) {
        let text = serde_json::to_vec(&Answer::Failed(e.chain())).unwrap_or_default();
        // Nobody may be listening any more.
        drop(std::fs::File::from(tell).write_all(&text));
    }
    Ok(())
}

fn run(order: OwnedFd, streams: [OwnedFd; 3], binary: OwnedFd) -> Result<(), EngineError> {
    let wrong = |e: String| EngineError::refused("the order of the copying process", e);
    let order: JoinedPlan = serde_json::from_reader(std::io::BufReader::new(std::fs::File::from(order)))
        .map_err(|e| wrong(e.to_string()))?;
    let running = prepare_joined(&order, Stdio::Files(streams), binary)?.exec()?;
    supervise::wait(&running)?;
    Ok(())
}

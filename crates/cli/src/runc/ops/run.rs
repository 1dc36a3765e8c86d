//! `run`: create, start, wait and delete.

use super::{create, delete, foreground, start, streams};
use crate::runc::args::{Global, RunArgs};
use crate::runc::error::{During, RuncError};

/// Runs a container; returns the exit code of its program.
///
/// # Errors
///
/// As `create` and `start`; nothing is left of the container then.
pub fn run(global: &Global, args: RunArgs) -> Result<u8, RuncError> {
    let how = create::How { detached: args.detach, waits: false };
    let mut made = create::make(global, &args.create, how).map_err(|e| streams::failed(e, "run"))?;
    if !args.no_subreaper && !args.detach {
        // What the program leaves behind is collected here when it has no first process of its own.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).during("adopt orphans")?;
    }
    let pidfd = if made.waits { made.keep()? } else { made.exec()? };
    let terminal = made.terminal.take();
    let started = match made.waits {
        true => start::begin(global, &made.place, &mut made.record, &made.config),
        false => Ok(()),
    };
    made.unlock();
    if args.detach {
        return match started {
            Ok(()) => Ok(0),
            Err(error) => Err(undo(global, &made, error)),
        };
    }
    let code = started.and_then(|()| foreground::wait(made.record.pid.unwrap_or_default(), pidfd, terminal));
    match code {
        Ok(code) if args.keep => Ok(code),
        Ok(code) => {
            // It was collected: there is nobody to end and to wait for.
            made.record.pid = None;
            delete::remove(global, &made.place, &made.record, Some(&made.config)).map(|()| code)
        }
        Err(error) => Err(undo(global, &made, error)),
    }
}

/// What failed first is what is told.
fn undo(global: &Global, made: &create::Made, error: RuncError) -> RuncError {
    drop(delete::remove(global, &made.place, &made.record, Some(&made.config)));
    error
}

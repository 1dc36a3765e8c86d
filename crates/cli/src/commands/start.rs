//! `bulkhead start`.

use clap::Args;

use super::{Entry, flags_of, for_each, session};
use crate::error::{CliError, FAILED};
use crate::flags::{self, keys};
use crate::line::Flags;
use crate::wire::{self, StartOptions};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "start",
    about: "Start containers that were made or have ended",
    footer: "Examples:\n  bulkhead start web db\n  bulkhead start -ai shell",
    flags: Flags::Anywhere,
    build: StartFlags::augment_args,
    run: |matches| execute(&flags_of::<StartFlags>(matches)?),
};

/// The words of a `start` command line.
#[derive(Debug, Args)]
pub struct StartFlags {
    /// Show the output and wait for the end
    #[arg(short, long)]
    attach: bool,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Keys that leave it running [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Names, ids or starts of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Starts the containers; attached, returns the exit code of the one's program.
///
/// # Errors
///
/// More than one container to attach to; why the one cannot be started.
pub fn execute(words: &StartFlags) -> Result<u8, CliError> {
    let attach = words.attach || words.interactive;
    let keys = flags::optionally_meant("--detach-keys", words.detach_keys.as_deref(), keys::parse)?;
    if !attach {
        return for_each(&words.containers, |name| {
            wire::start(name, StartOptions::default()).map(|_| vec![name.to_owned()]).map_err(|e| e.with_code(FAILED))
        });
    }
    let [name] = words.containers.as_slice() else {
        return Err(CliError::usage("you cannot start and attach multiple containers at once").with_code(FAILED));
    };
    one(name, words.interactive, keys)
}

fn one(name: &str, stdin: bool, keys: Option<Vec<u8>>) -> Result<u8, CliError> {
    let tty = wire::inspect_container(name, false)?.and_then(|v| v.pointer("/Config/Tty")?.as_bool()).unwrap_or(false);
    session::check_terminal(stdin, tty, false)?;
    let options = StartOptions { attach: true, stdin, size: session::size(tty, false) };
    let started = wire::start(name, options).map_err(|e| e.with_code(FAILED))?;
    let (socket, tty, stdin, auto_remove, id) = match started {
        Some(one) => match one.socket {
            Some(socket) => (socket, one.tty, one.stdin, one.auto_remove, one.id),
            None => return Ok(0),
        },
        // It runs already: the end of it is somebody else's business.
        None => {
            let attached = wire::attach(name, stdin)?;
            (attached.socket, attached.tty, attached.stdin, false, attached.id)
        }
    };
    let wish = session::Wish { keys, ..session::Wish::whole(stdin, tty) };
    let end = session::attach(socket, &wish, "the container")?;
    if auto_remove && !matches!(end, session::End::Left(_)) {
        wire::remove_ended(&id)?;
    }
    end.code().map_err(|e| e.with_code(FAILED))
}

//! The command line of an OCI runtime: the program called as `bulkhead-runc`, or `bulkhead oci …`.
//!
//! containerd, conmon and Docker's daemon call it, so flags, JSON, messages and exit codes are the ones they know from
//! other runtimes. [`args`] reads the words, [`state`] is what is on disk between two calls, [`show`] answers questions,
//! and [`ops`] acts.

pub mod args;
pub mod error;
pub mod group;
pub mod log;
pub mod ops;
pub mod show;
pub mod state;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use self::args::{Command, Global};
use self::error::{EXEC_FAILED, RuncError};
use crate::output;

/// Name of the program.
pub const NAME: &str = "bulkhead-runc";
/// Newest version of the OCI runtime specification whose fields are known.
pub const SPEC_VERSION: &str = "1.3.0";

/// Whether the program was called by this command line's name.
#[must_use]
pub fn is_called(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(NAME))
}

/// Runs what the arguments (without the program's name) ask for, reports errors, and returns the exit code.
pub fn main(args: impl Iterator<Item = OsString>) -> u8 {
    let (global, done) = match texts(args) {
        Ok(args) => {
            let (global, command) = args::parse(args);
            let done = command.and_then(|command| execute(&global, command));
            (global, done)
        }
        Err(error) => (Global::default(), Err(error)),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            global.log.error(&error);
            error.code
        }
    }
}

fn execute(global: &Global, command: Command) -> Result<u8, RuncError> {
    // Those that come near a container may begin anew, and tell when they have.
    if !matches!(command, Command::Create(_) | Command::Run(_) | Command::Exec(_)) {
        global.log.debug(|| format!("{command:?}"));
    }
    match command {
        Command::Show(text) => Ok(output::raw(text.as_bytes()).map(|()| 0)?),
        Command::Create(args) => ops::create(global, args),
        Command::Start { id } => ops::start(global, id),
        Command::Run(args) => ops::run(global, args),
        Command::State { id } => show::state::execute(global, &id),
        Command::Kill(args) => ops::kill(global, args),
        Command::Delete(args) => ops::delete(global, args),
        Command::Exec(args) => {
            ops::exec(global, *args).map_err(|error| error.during("exec failed").with_code(EXEC_FAILED))
        }
        Command::List { json, quiet } => show::list::execute(global, json, quiet),
        Command::Ps { id, json, options } => show::ps::execute(global, &id, json, &options),
        Command::Events { id, stats, interval } => show::events::execute(global, &id, stats, interval),
        Command::Pause { id } => ops::pause(global, id),
        Command::Resume { id } => ops::resume(global, id),
        Command::Update(args) => ops::update(global, *args),
        Command::Spec { bundle, rootless } => show::spec::execute(&bundle, rootless),
        Command::Features => show::features::execute(),
    }
}

fn texts(args: impl Iterator<Item = OsString>) -> Result<Vec<String>, RuncError> {
    args.map(|arg| {
        arg.into_string()
            .map_err(|arg| RuncError::new(format!("the argument {:?} is not UTF-8 text", arg.to_string_lossy())))
    })
    .collect()
}

//! `bulkhead exec`.

use bulkhead_engine::request::ExecRequest;
use clap::Args;

use super::{Entry, flags_of, session};
use crate::error::{CliError, FAILED, USAGE};
use crate::flags::{self, env};
use crate::line::Flags;
use crate::output;
use crate::wire::{self, Started};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "exec",
    about: "Run a program in a running container",
    footer: "Examples:\n  bulkhead exec -it web sh\n  bulkhead exec -u 0 web id",
    flags: Flags::First,
    build: ExecFlags::augment_args,
    run: |matches| {
        let words: ExecFlags = flags_of(matches)?;
        let keys = flags::optionally_meant("--detach-keys", words.detach_keys.as_deref(), flags::keys::parse)?;
        execute(&words.into_request()?, keys)
    },
};

#[derive(Debug, Args)]
struct ExecFlags {
    /// Pass standard input to the program
    #[arg(short, long)]
    interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    tty: bool,
    /// Do not wait for the program
    #[arg(short, long)]
    detach: bool,
    /// User, as NAME|UID[:GROUP|GID] [default: the container's]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory in the container [default: the container's]
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Set a variable, or pass on your own when only its name is given
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file, one NAME=VALUE in a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Keys that leave it running [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Give the program every capability that the container's user namespace has
    #[arg(long)]
    privileged: bool,
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Program and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

impl ExecFlags {
    fn into_request(self) -> Result<ExecRequest, CliError> {
        let workdir = flags::optional("--workdir", self.workdir.as_deref(), |text| {
            if text.starts_with('/') { Ok(text.to_owned()) } else { Err("an absolute path is needed".into()) }
        })?;
        Ok(ExecRequest {
            container: self.container,
            args: self.command,
            env: env::collect(&self.env_file, &self.env)?,
            user: self.user,
            workdir,
            stdin: self.interactive,
            tty: self.tty,
            size: session::size(self.tty, self.detach),
            detach: self.detach,
            privileged: self.privileged,
        })
    }
}

/// Runs the program; returns its exit code.
///
/// # Errors
///
/// What the engine says (1), and why the program cannot be started (126, 127).
pub fn execute(request: &ExecRequest, keys: Option<Vec<u8>>) -> Result<u8, CliError> {
    session::check_terminal(request.stdin, request.tty, request.detach)?;
    match wire::exec(request).map_err(own)? {
        Started::Attached(socket, _) => {
            let wish = session::Wish { keys, ..session::Wish::whole(request.stdin, request.tty) };
            session::attach(socket, &wish, "the program").and_then(session::End::code).map_err(own)
        }
        Started::Detached(_) => Ok(0),
        Started::Plan(text) => output::raw(text.as_bytes()).map(|()| 0),
    }
}

/// An error that is not the program's: 1, as of every command but `run`.
fn own(error: CliError) -> CliError {
    if error.code == USAGE { error.with_code(FAILED) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::parsed;

    fn request(words: &[&str]) -> Result<ExecRequest, CliError> {
        flags_of::<ExecFlags>(&parsed(&ENTRY, words)?)?.into_request()
    }

    #[test]
    fn flags_end_at_the_container() {
        let made = request(&["-it", "-u", "0:0", "-eA=1", "web", "ls", "-u", "--", "--help"]).unwrap();
        assert_eq!(made.container, "web");
        assert_eq!(made.args, ["ls", "-u", "--", "--help"]);
        assert_eq!((made.stdin, made.tty, made.user.as_deref()), (true, true, Some("0:0")));
        assert_eq!(made.env, ["A=1"]);
        assert_eq!(request(&["web"]).unwrap_err().to_string(), "'bulkhead exec' needs <COMMAND>...");
        assert_eq!(request(&["-w", "x", "web", "ls"]).unwrap_err().code, 125);
    }
}

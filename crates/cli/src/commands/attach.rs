//! `bulkhead attach`.

use clap::Args;

use super::{Entry, flags_of, session};
use crate::error::CliError;
use crate::flags::{self, keys};
use crate::line::Flags;
use crate::wire;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "attach",
    about: "Connect with the streams of a running container",
    footer: "Examples:\n  bulkhead attach shell\n  bulkhead attach --no-stdin --sig-proxy=false web",
    flags: Flags::Anywhere,
    build: AttachFlags::augment_args,
    run: |matches| execute(&flags_of::<AttachFlags>(matches)?),
};

/// The words of an `attach` command line.
#[derive(Debug, Args)]
pub struct AttachFlags {
    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the program, which is the default; --sig-proxy=false keeps them
    #[arg(long)]
    sig_proxy: bool,
    /// Keep signals
    #[arg(long, hide = true)]
    no_sig_proxy: bool,
    /// Keys that leave it running [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Name, id or the start of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Connects until the container ends or we go; returns the exit code of its program.
///
/// # Errors
///
/// One that does not run.
pub fn execute(words: &AttachFlags) -> Result<u8, CliError> {
    let keys = flags::optionally_meant("--detach-keys", words.detach_keys.as_deref(), keys::parse)?;
    let attached = wire::attach(&words.container, !words.no_stdin)?;
    session::check_terminal(attached.stdin, attached.tty, false)?;
    let wish = session::Wish {
        keys,
        forward_signals: !words.no_sig_proxy,
        ..session::Wish::whole(attached.stdin, attached.tty)
    };
    session::attach(attached.socket, &wish, "the container").and_then(session::End::code)
}

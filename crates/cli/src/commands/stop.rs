//! `bulkhead stop`.

use clap::Args;

use super::{Entry, flags_of, for_each};
use crate::error::CliError;
use crate::flags::{self, signal};
use crate::line::Flags;
use crate::wire;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "stop",
    about: "Stop running containers",
    footer: "Examples:\n  bulkhead stop web\n  bulkhead stop -t 0 web db",
    flags: Flags::Anywhere,
    build: StopFlags::augment_args,
    run: |matches| execute(&flags_of::<StopFlags>(matches)?.into_request()?),
};

#[derive(Debug, Args)]
struct StopFlags {
    /// Signal to send first [default: the container's stop signal, SIGTERM]
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds until SIGKILL, -1 to wait for ever [default: the container's, 10]
    #[arg(short = 't', long = "time", visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<String>,
    /// Names, ids or starts of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Which containers to stop, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopRequest {
    /// Names as written.
    pub containers: Vec<String>,
    /// First signal; `None`: the container's own.
    pub signal: Option<i32>,
    /// Seconds until SIGKILL; `None`: the container's own; -1: never.
    pub timeout: Option<i64>,
}

/// Seconds until SIGKILL.
pub(super) fn seconds(text: &str) -> Result<i64, flags::Needed> {
    let seconds = text.parse().ok().filter(|seconds| (-1..=i64::from(u32::MAX)).contains(seconds));
    seconds.ok_or_else(|| "a number of seconds, or -1 to wait for ever, is needed".into())
}

impl StopFlags {
    fn into_request(self) -> Result<StopRequest, CliError> {
        let timeout = flags::optional("--time", self.time.as_deref(), seconds)?;
        let signal = flags::optionally_meant("--signal", self.signal.as_deref(), signal::parse)?;
        Ok(StopRequest { containers: self.containers, signal, timeout })
    }
}

/// Stops the containers one after the other; returns 1 when one of them failed.
///
/// # Errors
///
/// Only those of standard output.
pub fn execute(request: &StopRequest) -> Result<u8, CliError> {
    for_each(&request.containers, |name| {
        wire::stop(name, request.signal, request.timeout).map(|()| vec![name.to_owned()])
    })
}

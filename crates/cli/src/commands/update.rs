//! `bulkhead update`.

use bulkhead_engine::request::LimitRequest;
use clap::Args;

use super::{Entry, flags_of, for_each, run};
use crate::error::CliError;
use crate::flags::{self, limits, size};
use crate::line::Flags;
use crate::wire::{self, UpdateRequest};

/// The command.
pub const ENTRY: Entry = Entry {
    name: "update",
    about: "Change limits and the restart policy of containers",
    footer: "Examples:\n  bulkhead update -m 512m --cpus 2 web\n  bulkhead update --restart unless-stopped web",
    flags: Flags::Anywhere,
    build: UpdateFlags::augment_args,
    run: |matches| execute(&flags_of::<UpdateFlags>(matches)?),
};

/// The words of an `update` command line.
#[derive(Debug, Args)]
pub struct UpdateFlags {
    /// Memory
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Memory plus swap, -1 for no limit
    #[arg(long, value_name = "SIZE")]
    memory_swap: Option<String>,
    /// Memory that is left to the container when the host runs short
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// Number of CPUs, like 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Weight among containers, 2 to 262144
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    cpu_shares: Option<String>,
    /// CPUs to run on, like 0-1,3
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use, like 0,1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Number of processes and threads, -1 for no limit
    #[arg(long, value_name = "NUMBER")]
    pids_limit: Option<String>,
    /// Weight for block devices, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<String>,
    /// What follows its end: no, on-failure[:TIMES], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Names, ids or starts of ids
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// A size that cannot be is 1, as of Docker's daemon; what is no size is a wrong flag.
fn memory(text: Option<&str>) -> Result<Option<u64>, CliError> {
    flags::optional("--memory", text, size::positive)?;
    flags::optionally_meant("--memory", text, size::memory)
}

fn request(words: &UpdateFlags) -> Result<UpdateRequest, CliError> {
    let limits = LimitRequest {
        memory: memory(words.memory.as_deref())?,
        memory_swap: flags::optional("--memory-swap", words.memory_swap.as_deref(), size::memory_swap)?,
        memory_reservation: flags::optional(
            "--memory-reservation",
            words.memory_reservation.as_deref(),
            size::positive,
        )?,
        milli_cpus: flags::optional("--cpus", words.cpus.as_deref(), limits::cpus)?,
        cpu_shares: flags::optional("--cpu-shares", words.cpu_shares.as_deref(), limits::cpu_shares)?,
        cpuset_cpus: flags::optional("--cpuset-cpus", words.cpuset_cpus.as_deref(), limits::cpu_list)?,
        cpuset_mems: flags::optional("--cpuset-mems", words.cpuset_mems.as_deref(), limits::cpu_list)?,
        pids: flags::optional("--pids-limit", words.pids_limit.as_deref(), limits::pids)?,
        blkio_weight: flags::optional("--blkio-weight", words.blkio_weight.as_deref(), limits::blkio_weight)?,
        ..LimitRequest::default()
    };
    let restart = flags::optionally_meant("--restart", words.restart.as_deref(), run::life::restart)?;
    Ok(UpdateRequest { limits, restart })
}

/// Changes one after the other; returns 1 when one of them failed.
///
/// # Errors
///
/// A flag's value, and a command line without a change.
pub fn execute(words: &UpdateFlags) -> Result<u8, CliError> {
    let change = request(words)?;
    if change == UpdateRequest::default() {
        return Err(CliError::usage("you must provide one or more flags when using this command")
            .with_code(crate::error::FAILED)
            .with_hint("see 'bulkhead update --help'"));
    }
    for_each(&words.containers, |name| wire::update(name, &change).map(|()| vec![name.to_owned()]))
}

//! `bulkhead run`: from flags to the request.

mod words;

#[cfg(test)]
mod tests;

use bulkhead_engine::request::{ContainerRequest, LimitRequest, MountRequest, ProfileName, RateKind};
use clap::{ArgMatches, Args};

use super::{Entry, flags_of, session};
use crate::error::{CliError, USAGE};
use crate::flags::mount::Place;
use crate::flags::{self, device, env, limits, mount, pairs, security, signal, size, ulimit, volume};
use crate::line::Flags;
use crate::output;
use crate::wire::{self, Pull, RunOptions, Started};
use words::RunFlags;

/// The command.
pub const ENTRY: Entry = Entry {
    name: "run",
    about: "Start a container",
    footer: "\
Without a flag a container has its own user namespace, no new privileges, the
least capabilities, a strict system call filter, and limits on memory, processes
and CPU. Words after IMAGE belong to the container.

Examples:
  bulkhead run --rm -it alpine sh
  bulkhead run -d --name web -m 256m --cpus 0.5 -p 8080:80 -v ./site:/srv:ro web
  bulkhead run --dry-run --profile strict -u 1000 alpine id",
    flags: Flags::First,
    build: RunFlags::augment_args,
    run: |matches| {
        let (mut request, options) = request(matches, &Place::current())?;
        request.size = session::size(request.tty, request.detach);
        execute(&request, &options)
    },
};

/// Starts the container; returns the exit code of its program, or 0 when it was detached.
///
/// # Errors
///
/// What the engine says (125, 126, 127).
pub fn execute(request: &ContainerRequest, options: &RunOptions) -> Result<u8, CliError> {
    if !options.dry_run {
        session::check_terminal(request.stdin, request.tty, request.detach)?;
    }
    match wire::run(request, options).map_err(at_least_usage)? {
        Started::Plan(text) => output::line(text.trim_end_matches('\n')).map(|()| 0),
        Started::Detached(id) => output::line(&id).map(|()| 0),
        Started::Attached(socket, id) => {
            // When the connection broke, the next command sees what became of the container.
            let end = session::attach(socket, request.stdin, request.tty, "the container")?;
            match &end {
                session::End::Exited(_) => wire::finish_run(&id, request, true)?,
                session::End::Unstarted(_) => wire::finish_run(&id, request, false)?,
                // Detached, or our output is gone: the container goes on.
                session::End::Left(_) => {}
            }
            end.code()
        }
    }
}

/// An engine error that carries no exit code of its own: 125, because 1 could be the program's.
fn at_least_usage(error: CliError) -> CliError {
    if error.code < USAGE { error.with_code(USAGE) } else { error }
}

/// The request that the flags ask for.
fn request(matches: &ArgMatches, place: &Place) -> Result<(ContainerRequest, RunOptions), CliError> {
    let words: RunFlags = flags_of(matches)?;
    let pull = flags::value("--pull", &words.pull, |text| match text {
        "missing" => Ok(Pull::Missing),
        "never" => Ok(Pull::Never),
        "always" => Ok(Pull::Always),
        _ => Err("missing, never or always is needed".into()),
    })?;
    let options = RunOptions { dry_run: words.dry_run, pull };
    let profile = flags::value("--profile", &words.profile, |text| match text {
        "strict" => Ok(ProfileName::Strict),
        "default" => Ok(ProfileName::Default),
        "compat" => Ok(ProfileName::Compat),
        _ => Err("strict, default or compat is needed".into()),
    })?;
    let mounts = mounts(matches, &words, place)?;
    let limits = limits_of(&words)?;
    let absolute = |text: &str| match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err("an absolute path is needed".into()),
    };
    let seconds = |text: &str| text.parse().map_err(|_| "a number of seconds is needed".into());
    if let Some(signal) = &words.stop_signal {
        flags::value("--stop-signal", signal, signal::parse)?;
    }
    let request = ContainerRequest {
        entrypoint: words.entrypoint.map(|word| if word.is_empty() { Vec::new() } else { vec![word] }),
        name: flags::optional("--name", words.name.as_deref(), name)?,
        env: env::collect(&words.env_file, &words.env)?,
        labels: flags::each("--label", &words.label, pairs::label)?,
        user: flags::optional("--user", words.user.as_deref(), not_empty)?,
        group_add: flags::each("--group-add", &words.group_add, not_empty)?,
        workdir: flags::optional("--workdir", words.workdir.as_deref(), absolute)?,
        hostname: flags::optional("--hostname", words.hostname.as_deref(), pairs::hostname)?,
        stdin: words.interactive,
        tty: words.tty,
        size: None,
        detach: words.detach,
        auto_remove: words.rm,
        init: words.init,
        read_only: words.read_only,
        profile,
        privileged: words.privileged,
        cap_add: flags::each("--cap-add", &words.cap_add, not_empty)?,
        cap_drop: flags::each("--cap-drop", &words.cap_drop, not_empty)?,
        security: security::parse(&words.security_opt)?,
        mounts,
        volumes_from: flags::each("--volumes-from", &words.volumes_from, volume::from)?,
        sysctls: flags::each("--sysctl", &words.sysctl, pairs::sysctl)?,
        limits,
        network: flags::optional("--network", words.network.as_deref(), not_empty)?,
        publish: flags::each("--publish", &words.publish, not_empty)?,
        stop_signal: words.stop_signal,
        stop_timeout: flags::optional("--stop-timeout", words.stop_timeout.as_deref(), seconds)?,
        image: flags::value("IMAGE", &words.image, not_empty)?,
        args: words.args,
    };
    Ok((request, options))
}

fn not_empty(text: &str) -> Result<String, flags::Needed> {
    if text.is_empty() { Err("it must not be empty".into()) } else { Ok(text.to_owned()) }
}

/// Docker's rule for names; the store checks it again.
fn name(text: &str) -> Result<String, flags::Needed> {
    let text = text.strip_prefix('/').unwrap_or(text);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && (2..=128).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("[a-zA-Z0-9][a-zA-Z0-9_.-]+ is needed, 128 characters at most".into())
    }
}

/// `-v`, `--mount` and `--tmpfs` in the order written: a later one may lie below an earlier one.
fn mounts(matches: &ArgMatches, words: &RunFlags, place: &Place) -> Result<Vec<MountRequest>, CliError> {
    let mut found: Vec<(usize, MountRequest)> = Vec::new();
    let mut add = |id: &str, made: Vec<MountRequest>| {
        let places = matches.indices_of(id).into_iter().flatten();
        found.extend(places.zip(made));
    };
    add("volume", flags::each("--volume", &words.volume, |text| volume::parse(text, place))?);
    add("mount", flags::each("--mount", &words.mount, |text| mount::parse(text, place))?);
    add("tmpfs", flags::each("--tmpfs", &words.tmpfs, volume::tmpfs)?);
    found.sort_by_key(|(index, _)| *index);
    Ok(found.into_iter().map(|(_, mount)| mount).collect())
}

fn limits_of(words: &RunFlags) -> Result<LimitRequest, CliError> {
    let mut device_rates = Vec::new();
    for (flag, texts, kind) in [
        ("--device-read-bps", &words.device_read_bps, RateKind::ReadBps),
        ("--device-write-bps", &words.device_write_bps, RateKind::WriteBps),
        ("--device-read-iops", &words.device_read_iops, RateKind::ReadIops),
        ("--device-write-iops", &words.device_write_iops, RateKind::WriteIops),
    ] {
        device_rates.extend(flags::each(flag, texts, |text| device::parse(text, kind))?);
    }
    let memory_reservation =
        flags::optional("--memory-reservation", words.memory_reservation.as_deref(), size::positive)?;
    Ok(LimitRequest {
        memory: flags::optional("--memory", words.memory.as_deref(), size::memory)?,
        memory_swap: flags::optional("--memory-swap", words.memory_swap.as_deref(), size::memory_swap)?,
        memory_reservation,
        milli_cpus: flags::optional("--cpus", words.cpus.as_deref(), limits::cpus)?,
        cpu_shares: flags::optional("--cpu-shares", words.cpu_shares.as_deref(), limits::cpu_shares)?,
        cpuset_cpus: flags::optional("--cpuset-cpus", words.cpuset_cpus.as_deref(), limits::cpu_list)?,
        cpuset_mems: flags::optional("--cpuset-mems", words.cpuset_mems.as_deref(), limits::cpu_list)?,
        pids: flags::optional("--pids-limit", words.pids_limit.as_deref(), limits::pids)?,
        blkio_weight: flags::optional("--blkio-weight", words.blkio_weight.as_deref(), limits::blkio_weight)?,
        device_rates,
        shm_size: flags::optional("--shm-size", words.shm_size.as_deref(), size::positive)?,
        ulimits: flags::each("--ulimit", &words.ulimit, ulimit::parse)?,
        oom_score_adj: flags::optional("--oom-score-adj", words.oom_score_adj.as_deref(), limits::oom_score_adj)?,
        unified: flags::each("--cgroup-conf", &words.cgroup_conf, pairs::cgroup_conf)?,
    })
}

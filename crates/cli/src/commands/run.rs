//! `bulkhead run`: from flags to the request.

pub(in crate::commands) mod id_file;
pub(in crate::commands) mod life;
mod words;

#[cfg(test)]
mod tests;

use bulkhead_engine::request::{ContainerRequest, LimitRequest, MountRequest, ProfileName, RateKind};
use clap::{ArgMatches, Args};

use super::{Entry, flags_of, session};
use crate::error::{CliError, USAGE};
use crate::flags::mount::Place;
use crate::flags::{self, device, env, hosts, limits, mount, namespace, pairs, security, signal, size, ulimit, volume};
use crate::line::Flags;
use crate::output;
use crate::wire::{self, Pull, RunOptions, Started};
use id_file::IdFile;
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
        let (mut request, options, wish) = request(matches, &Place::current(), wire::default_profile()?)?;
        request.size = session::size(request.tty, request.detach);
        execute(&request, &options, &wish)
    },
};

/// Starts the container; returns the exit code of its program, or 0 when it was detached.
///
/// # Errors
///
/// What the engine says (125, 126, 127).
pub fn execute(request: &ContainerRequest, options: &RunOptions, wish: &session::Wish) -> Result<u8, CliError> {
    if !options.dry_run {
        session::check_terminal(wish.stdin, request.tty, request.detach)?;
    }
    let mut id_file = match &request.cid_file {
        Some(path) if !options.dry_run => Some(IdFile::make(path)?),
        _ => None,
    };
    match wire::run(request, options).map_err(at_least_usage)? {
        Started::Plan(text) => output::line(text.trim_end_matches('\n')).map(|()| 0),
        Started::Detached(id) => {
            id_file.as_mut().map_or(Ok(()), |file| file.write(&id))?;
            output::line(&id).map(|()| 0)
        }
        Started::Attached(socket, id) => {
            id_file.as_mut().map_or(Ok(()), |file| file.write(&id))?;
            // When the connection broke, the next command sees what became of the container.
            let end = session::attach(socket, wish, "the container")?;
            match &end {
                session::End::Exited(_) => wire::finish_run(&id, request, true)?,
                session::End::Unstarted(_) => {
                    if let Some(file) = &mut id_file {
                        file.forget();
                    }
                    wire::finish_run(&id, request, false)?;
                }
                // Detached, or our output is gone: the container goes on.
                session::End::Left(_) => {}
            }
            end.code()
        }
    }
}

/// Adds the flags of a container to a command that makes one.
pub(in crate::commands) fn flags(command: clap::Command) -> clap::Command {
    RunFlags::augment_args(command)
}

/// An engine error that carries no exit code of its own: 125, because 1 could be the program's.
fn at_least_usage(error: CliError) -> CliError {
    if error.code < USAGE { error.with_code(USAGE) } else { error }
}

/// The request that the flags ask for.
pub(in crate::commands) fn request(
    matches: &ArgMatches,
    place: &Place,
    usual: ProfileName,
) -> Result<(ContainerRequest, RunOptions, session::Wish), CliError> {
    let words: RunFlags = flags_of(matches)?;
    words.refused.check()?;
    let pull = flags::value("--pull", &words.general.pull, |text| match text {
        "missing" => Ok(Pull::Missing),
        "never" => Ok(Pull::Never),
        "always" => Ok(Pull::Always),
        _ => Err("missing, never or always is needed".into()),
    })?;
    let streams = words.life.streams(words.general.interactive, words.general.detach)?;
    let attached = session::Wish {
        stdin: streams.stdin,
        tty: words.general.tty,
        stdout: streams.stdout,
        stderr: streams.stderr,
        keys: words.life.detach_keys()?,
        forward_signals: words.life.sig_proxy(),
    };
    let options = RunOptions { dry_run: words.general.dry_run, pull, quiet: words.general.quiet };
    let profile = flags::optional("--profile", words.security.profile.as_deref(), |text| {
        ProfileName::named(text).ok_or_else(|| "strict, default or compat is needed".into())
    })?
    .unwrap_or(usual);
    let mounts = mounts(matches, &words, place)?;
    let limits = limits_of(&words)?;
    let absolute = |text: &str| match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err("an absolute path is needed".into()),
    };
    let seconds = |text: &str| {
        let number = text.parse().ok().filter(|seconds| *seconds >= -1);
        number.ok_or_else(|| "a number of seconds, or -1 to wait for ever, is needed".into())
    };
    if let Some(signal) = &words.program.stop_signal {
        flags::value("--stop-signal", signal, signal::parse)?;
    }
    let request = ContainerRequest {
        entrypoint: words.program.entrypoint.map(|word| if word.is_empty() { Vec::new() } else { vec![word] }),
        name: flags::optional("--name", words.general.name.as_deref(), name)?,
        env: env::collect(&words.program.env_file, &words.program.env)?,
        labels: env::labels(&words.program.label_file, &words.program.label)?,
        annotations: flags::each("--annotation", &words.program.annotation, pairs::annotation)?,
        platform: flags::optional("--platform", words.general.platform.as_deref(), not_empty)?,
        cid_file: words.general.cidfile.as_deref().map(|file| place.cwd.join(file)),
        domainname: flags::optional("--domainname", words.program.domainname.as_deref(), pairs::hostname)?,
        devices: flags::each("--device", &words.security.device, device::grant)?,
        ipc: flags::optional("--ipc", words.namespaces.ipc.as_deref(), namespace::ipc)?.unwrap_or_default(),
        pid_of: flags::optional("--pid", words.namespaces.pid.as_deref(), namespace::other)?.flatten(),
        uts_of: flags::optional("--uts", words.namespaces.uts.as_deref(), namespace::other)?.flatten(),
        dns: flags::each("--dns", &words.network.dns, hosts::dns)?,
        dns_search: flags::each("--dns-search", &words.network.dns_search, hosts::dns_search)?,
        dns_options: flags::each("--dns-option", &words.network.dns_option, hosts::dns_option)?,
        extra_hosts: flags::each("--add-host", &words.network.add_host, hosts::add_host)?,
        user: flags::optional("--user", words.program.user.as_deref(), not_empty)?,
        group_add: flags::each("--group-add", &words.program.group_add, not_empty)?,
        workdir: flags::optional("--workdir", words.program.workdir.as_deref(), absolute)?,
        hostname: flags::optional("--hostname", words.program.hostname.as_deref(), pairs::hostname)?,
        // Input that the command does not give comes from others that attach.
        stdin: words.general.interactive || streams.stdin,
        tty: words.general.tty,
        size: None,
        detach: words.general.detach,
        auto_remove: words.general.rm,
        init: words.program.init,
        read_only: words.files.read_only,
        profile,
        privileged: words.security.privileged,
        cap_add: flags::each("--cap-add", &words.security.cap_add, not_empty)?,
        cap_drop: flags::each("--cap-drop", &words.security.cap_drop, not_empty)?,
        security: security::parse(&words.security.security_opt)?,
        mounts,
        volumes_from: flags::each("--volumes-from", &words.files.volumes_from, volume::from)?,
        sysctls: flags::each("--sysctl", &words.security.sysctl, pairs::sysctl)?,
        limits,
        net: words.network.request()?,
        stop_signal: words.program.stop_signal,
        stop_timeout: flags::optional("--stop-timeout", words.program.stop_timeout.as_deref(), seconds)?,
        restart: words.life.restart()?,
        health: words.life.health()?,
        log: words.life.log()?,
        image: flags::value("IMAGE", &words.image, not_empty)?,
        args: words.args,
    };
    Ok((request, options, attached))
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
    add("volume", flags::each("--volume", &words.files.volume, |text| volume::parse(text, place))?);
    add("mount", flags::each("--mount", &words.files.mount, |text| mount::parse(text, place))?);
    add("tmpfs", flags::each("--tmpfs", &words.files.tmpfs, volume::tmpfs)?);
    found.sort_by_key(|(index, _)| *index);
    Ok(found.into_iter().map(|(_, mount)| mount).collect())
}

fn limits_of(words: &RunFlags) -> Result<LimitRequest, CliError> {
    let mut device_rates = Vec::new();
    for (flag, texts, kind) in [
        ("--device-read-bps", &words.limits.device_read_bps, RateKind::ReadBps),
        ("--device-write-bps", &words.limits.device_write_bps, RateKind::WriteBps),
        ("--device-read-iops", &words.limits.device_read_iops, RateKind::ReadIops),
        ("--device-write-iops", &words.limits.device_write_iops, RateKind::WriteIops),
    ] {
        device_rates.extend(flags::each(flag, texts, |text| device::parse(text, kind))?);
    }
    let memory_reservation =
        flags::optional("--memory-reservation", words.limits.memory_reservation.as_deref(), size::positive)?;
    Ok(LimitRequest {
        memory: flags::optional("--memory", words.limits.memory.as_deref(), size::memory)?,
        memory_swap: flags::optional("--memory-swap", words.limits.memory_swap.as_deref(), size::memory_swap)?,
        memory_reservation,
        milli_cpus: flags::optional("--cpus", words.limits.cpus.as_deref(), limits::cpus)?,
        cpu_period: flags::optional("--cpu-period", words.limits.cpu_period.as_deref(), limits::cpu_period)?.flatten(),
        cpu_quota: flags::optional("--cpu-quota", words.limits.cpu_quota.as_deref(), limits::cpu_quota)?.flatten(),
        swappiness: flags::optional(
            "--memory-swappiness",
            words.limits.memory_swappiness.as_deref(),
            limits::swappiness,
        )?
        .flatten(),
        blkio_weight_devices: flags::each("--blkio-weight-device", &words.limits.blkio_weight_device, device::weight)?,
        cpu_shares: flags::optional("--cpu-shares", words.limits.cpu_shares.as_deref(), limits::cpu_shares)?,
        cpuset_cpus: flags::optional("--cpuset-cpus", words.limits.cpuset_cpus.as_deref(), limits::cpu_list)?,
        cpuset_mems: flags::optional("--cpuset-mems", words.limits.cpuset_mems.as_deref(), limits::cpu_list)?,
        pids: flags::optional("--pids-limit", words.limits.pids_limit.as_deref(), limits::pids)?,
        blkio_weight: flags::optional("--blkio-weight", words.limits.blkio_weight.as_deref(), limits::blkio_weight)?,
        device_rates,
        shm_size: flags::optional("--shm-size", words.files.shm_size.as_deref(), size::positive)?,
        ulimits: flags::each("--ulimit", &words.limits.ulimit, ulimit::parse)?,
        oom_score_adj: flags::optional(
            "--oom-score-adj",
            words.limits.oom_score_adj.as_deref(),
            limits::oom_score_adj,
        )?,
        unified: flags::each("--cgroup-conf", &words.limits.cgroup_conf, pairs::cgroup_conf)?,
    })
}

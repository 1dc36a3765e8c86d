//! `inspect`: a container in the form that Docker's clients know, and beside it what only we have.

use bulkhead_sandbox::spec::{Caps, SandboxSpec, Seccomp};
use serde_json::{Value, json};

use super::health::Check;
use super::list::{State, state_of};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::layout::Layout;
use crate::request::{LogRequest, RestartPolicy};
use crate::resolve::show_identity;
use crate::store::{ContainerRecord, StoreError};

/// A time as Docker writes it.
pub(crate) fn time(nanoseconds: i64) -> String {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let rest = nanoseconds.rem_euclid(1_000_000_000);
    let (year, month, day) = date(seconds);
    let second = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{rest:09}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day in UTC, from seconds since 1970.
pub(super) fn date(seconds: i64) -> (i64, i64, i64) {
    // Howard Hinnant's days-to-civil, for the proleptic Gregorian calendar.
    let z = seconds.div_euclid(86_400) + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

fn state(engine: &Engine, record: &ContainerRecord, check: Option<&Check>) -> Value {
    let layout = Layout::new(&engine.paths, &record.id);
    let run = layout.read_state();
    let exit = layout.read_exit();
    let found = state_of(&layout);
    let (status, running) = match found {
        State::Created => ("created", false),
        State::Running { .. } => ("running", true),
        State::Paused { .. } => ("paused", true),
        State::Restarting { .. } => ("restarting", true),
        State::Exited { .. } => ("exited", false),
    };
    let exit = run.as_ref().and_then(|r| r.restarting.clone()).or(exit);
    // A start that came to nothing, as long as nothing came of one since.
    let failed = layout.read_failed().filter(|_| !running && run.is_none());
    let zero = "0001-01-01T00:00:00Z".to_owned();
    let since = run.as_ref().map(|r| r.since).or(exit.as_ref().map(|e| e.since)).filter(|t| *t > 0);
    // Between two runs the last end is the newest there is to know.
    let ended = !running || matches!(found, State::Restarting { .. });
    let mut shown = json!({
        "Status": status,
        "Running": running,
        "Paused": matches!(found, State::Paused { .. }),
        "Restarting": matches!(found, State::Restarting { .. }),
        "Dead": false,
        "OOMKilled": exit.as_ref().is_some_and(|e| e.out_of_memory),
        "Pid": run.as_ref().filter(|_| running).map_or(0, |r| r.pid),
        "ExitCode": failed.as_ref().map_or_else(
            || exit.as_ref().filter(|_| ended).map_or(0, |e| e.code),
            // Docker has no 125 here.
            |failure| if failure.exit == 125 { 128 } else { u32::from(failure.exit) },
        ),
        "Error": match &failed {
            Some(failure) => failure.message.clone(),
            None => exit.as_ref().filter(|_| ended).and_then(|e| e.error.clone()).unwrap_or_default(),
        },
        "StartedAt": since.map_or_else(|| zero.clone(), time),
        "FinishedAt": exit.as_ref().map_or(zero, |e| time(e.at)),
        "PidsRefused": exit.as_ref().map_or(0, |e| e.pids_refused),
    });
    if let (Some(health), Some(shown)) = (super::health(&layout, check), shown.as_object_mut()) {
        let log: Vec<Value> = health
            .log
            .iter()
            .map(|c| json!({ "Start": time(c.start), "End": time(c.end), "ExitCode": c.exit_code, "Output": c.output }))
            .collect();
        let value = json!({ "Status": health.status, "FailingStreak": health.failing_streak, "Log": log });
        shown.insert("Health".to_owned(), value);
    }
    shown
}

fn restart_policy(policy: RestartPolicy) -> Value {
    let (name, most) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::OnFailure(most) => ("on-failure", most),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
    };
    json!({ "Name": name, "MaximumRetryCount": most })
}

fn log_config(asked: &LogRequest) -> Value {
    let mut config = serde_json::Map::new();
    if let Some(files) = asked.max_files {
        config.insert("max-file".to_owned(), json!(files.to_string()));
    }
    if let Some(size) = asked.max_size {
        config.insert("max-size".to_owned(), json!(short_size(size)));
    }
    json!({ "Type": if asked.none { "none" } else { "json-file" }, "Config": config })
}

/// A size the way people write it: `10m`.
fn short_size(bytes: u64) -> String {
    let unit =
        [(30, "g"), (20, "m"), (10, "k")].into_iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| bytes.to_string(), |(shift, letter)| format!("{}{letter}", bytes >> shift))
}

fn security(spec: &SandboxSpec) -> Value {
    let filter = match &spec.seccomp {
        Seccomp::Unconfined => "unconfined",
        Seccomp::Filter { name, .. } => name,
    };
    json!({
        "UserNamespace": spec.ids,
        "Identity": show_identity(&spec.process.identity),
        "Capabilities": spec.process.caps.names(),
        "BoundingSet": spec.process.bounding.names(),
        "NoNewPrivileges": spec.process.no_new_privileges,
        "Seccomp": filter,
        "MaskedPaths": spec.masked_paths,
        "ReadonlyPaths": spec.read_only_paths,
        "Grants": spec.grants.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// A container as JSON; `None` when there is none of that name.
///
/// # Errors
/// A prefix that fits several containers; what the store says.
pub fn inspect(engine: &Engine, query: &str) -> Result<Option<Value>, EngineError> {
    engine.recover()?;
    let record = match engine.store()?.find_container(query) {
        Ok(record) => record,
        Err(StoreError::NoSuchContainer { .. }) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let (joined, ports) = (engine.store()?.joined(&record.id)?, engine.store()?.ports_of(&record.id)?);
    let spec = record.spec.as_deref().and_then(|s| serde_json::from_slice::<SandboxSpec>(s).ok());
    let layout = Layout::new(&engine.paths, &record.id);
    let request = &record.request;
    let check =
        crate::images::of_container(engine, &record).ok().and_then(|i| super::check(&request.health, &i.config));
    let restarts = layout.read_state().map(|s| s.restarts).or_else(|| layout.read_exit().map(|e| e.restarts));
    let process = spec.as_ref().map(|s| &s.process);
    let resources = spec.as_ref().map(|s| &s.resources);
    let args = process.map(|p| p.args.clone()).unwrap_or_default();
    let caps_added: Vec<&str> = process.map(|p| p.bounding.without(Caps::DEFAULT).names()).unwrap_or_default();
    let mut shown = json!({
        "Id": record.id,
        "Created": time(record.created),
        "Path": args.first().cloned().unwrap_or_default(),
        "Args": args.get(1..).unwrap_or_default(),
        "State": state(engine, &record, check.as_ref()),
        "Image": record.image_id.as_ref().map_or_else(String::new, |i| format!("sha256:{i}")),
        "LogPath": crate::monitor::log::current(&layout.log()),
        "Name": format!("/{}", record.name),
        "RestartCount": restarts.unwrap_or(0),
        "Driver": "overlay",
        "Platform": "linux",
        "HostConfig": {
            "Binds": request.mounts.iter().filter_map(|m| match m {
                crate::request::MountRequest::Bind { source, target, read_only, .. } =>
                    Some(format!("{}:{}:{}", source.display(), target.display(), if *read_only { "ro" } else { "rw" })),
                crate::request::MountRequest::Volume { name: Some(name), target, read_only, anonymous: false, .. } =>
                    Some(format!("{name}:{}:{}", target.display(), if *read_only { "ro" } else { "rw" })),
                _ => None,
            }).collect::<Vec<_>>(),
            "AutoRemove": record.auto_remove,
            "Privileged": request.privileged,
            "ReadonlyRootfs": spec.as_ref().is_some_and(|s| s.read_only_root),
            "CapAdd": caps_added,
            "CapDrop": request.cap_drop,
            "Memory": resources.and_then(|r| r.memory).unwrap_or(0),
            "MemoryReservation": resources.and_then(|r| r.memory_reservation).unwrap_or(0),
            "NanoCpus": resources.and_then(|r| r.milli_cpus).unwrap_or(0) * 1_000_000,
            "CpuShares": resources.and_then(|r| r.cpu_shares).unwrap_or(0),
            "CpusetCpus": resources.and_then(|r| r.cpuset_cpus.clone()).unwrap_or_default(),
            "PidsLimit": resources.and_then(|r| r.pids).unwrap_or(0),
            "ShmSize": spec.as_ref().map_or(0, |s| s.shm_size),
            "OomScoreAdj": process.map_or(0, |p| p.oom_score_adj),
            "Init": request.init,
            "RestartPolicy": restart_policy(request.restart),
            "LogConfig": log_config(&request.log),
        },
        "Mounts": spec.iter().flat_map(|s| &s.mounts).filter_map(|m| crate::volumes::show_mount(m, request)).collect::<Vec<_>>(),
        "Config": {
            "Hostname": spec.as_ref().map(|s| s.hostname.clone()).unwrap_or_default(),
            "User": request.user.clone().unwrap_or_default(),
            "Tty": request.tty,
            "OpenStdin": request.stdin,
            "Env": process.map(|p| p.env.clone()).unwrap_or_default(),
            "Cmd": request.args,
            "Image": request.image,
            "WorkingDir": process.map(|p| p.cwd.clone()).unwrap_or_default(),
            "Entrypoint": request.entrypoint,
            "StopSignal": request.stop_signal,
            "StopTimeout": request.stop_timeout,
            "Healthcheck": check.as_ref().map(|c| json!({
                "Test": c.test, "Interval": c.interval, "Timeout": c.timeout, "StartPeriod": c.start_period,
                "StartInterval": c.start_interval, "Retries": c.retries,
            })),
            "Labels": request.labels.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        },
        "NetworkSettings": crate::networks::settings(request, &joined, &ports),
        "Bulkhead": {
            "Profile": request.profile,
            "Security": spec.as_ref().map(security),
            "Range": record.range,
        },
    });
    super::inspect_asked::add(&mut shown, request, spec.as_ref());
    Ok(Some(shown))
}

#[cfg(test)]
mod tests {
    use super::{short_size, time};

    #[test]
    fn sizes_are_written_as_people_write_them() {
        for (bytes, text) in [(4096, "4k"), (10 << 20, "10m"), (2 << 30, "2g"), (4097, "4097"), (0, "0")] {
            assert_eq!(short_size(bytes), text);
        }
    }

    #[test]
    fn times_are_written_as_docker_writes_them() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(time(1_709_210_096_000_000_001), "2024-02-29T12:34:56.000000001Z");
        assert_eq!(time(1_798_761_599_999_999_999), "2026-12-31T23:59:59.999999999Z");
    }
}
